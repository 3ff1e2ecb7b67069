// Code points and UTF-16 units. The database, the API and the recipes count code points; the browser counts units.
// Every conversion in the browser goes through this file (in Python: annotation/offsets). No DOM here.

const SURROGATE = /[\uD800-\uDFFF]/;

/** The two ways of counting one text. Built once a text, then each conversion is a binary search. */
export class CodePoints {
  /** @param {string} text well-formed: the server refuses lone surrogates */
  constructor(text) {
    this.text = text;
    /** @type {number[]} the code point indexes of what takes two units, ascending */
    this.wide = [];
    if (SURROGATE.test(text)) {
      let index = 0;
      for (const character of text) {
        if (character.length === 2) this.wide.push(index);
        index += 1;
      }
    }
    this.length = text.length - this.wide.length;
  }

  /**
   * @param {number} point code points from the start
   * @returns {number} UTF-16 units from the start
   */
  toUnits(point) {
    if (!Number.isInteger(point) || point < 0 || point > this.length)
      throw new RangeError(`No code point ${point} in a text of ${this.length}.`);
    return point + countBelow(this.wide, (wide) => wide < point);
  }

  /**
   * @param {number} unit UTF-16 units from the start
   * @param {"down" | "up"} [round] where to go from the middle of a surrogate pair
   * @returns {number} code points from the start
   */
  fromUnits(unit, round = "down") {
    if (!Number.isInteger(unit) || unit < 0 || unit > this.text.length)
      throw new RangeError(`No unit ${unit} in a text of ${this.text.length}.`);
    // the k-th wide character begins k units later than its code point index says
    const begun = countBelow(this.wide, (wide, k) => wide + k < unit);
    const inside = begun > 0 && this.wide[begun - 1] + begun === unit;
    return unit - begun + (inside && round === "up" ? 1 : 0);
  }

  /**
   * @param {number} start code points
   * @param {number} end exclusive
   */
  slice(start, end) {
    return this.text.slice(this.toUnits(start), this.toUnits(end));
  }
}

/**
 * How many items at the front of a sorted list hold.
 * @param {number[]} list
 * @param {(item: number, index: number) => boolean} holds true for a prefix of the list
 */
function countBelow(list, holds) {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(list[middle], middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
