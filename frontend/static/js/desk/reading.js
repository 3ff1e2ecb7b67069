// A text as people read it: whole characters (graphemes), words, sentences, all in code points. No DOM here.
import { CodePoints } from "./offsets.js";

/** @typedef {{ start: number, end: number }} Stretch half-open, code points */

const SPACE = /^\s*$/u;
const MORE_THAN_PUNCTUATION = /[^\s\p{P}]/u; // an emoji, a sign: not a word to a dictionary, but something to stop at
const FIRST_STRONG = /\p{L}/u;
const RIGHT_TO_LEFT = /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;

export class Reading {
  /** @type {Stretch[] | null} */
  #graphemes = null;
  /** @type {Stretch[] | null} */
  #words = null;
  /** @type {Stretch[] | null} */
  #sentences = null;

  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.points = new CodePoints(text);
    this.length = this.points.length;
  }

  get graphemes() {
    return (this.#graphemes ??= this.#cut("grapheme", () => true));
  }

  get words() {
    return (this.#words ??= this.#cut(
      "word",
      (segment) => segment.isWordLike || MORE_THAN_PUNCTUATION.test(segment.segment),
    ));
  }

  get sentences() {
    return (this.#sentences ??= this.#cut("sentence", (segment) => !SPACE.test(segment.segment)).map((s) =>
      this.trim(s.start, s.end),
    ));
  }

  /**
   * @param {"grapheme" | "word" | "sentence"} granularity
   * @param {(segment: { segment: string, isWordLike?: boolean }) => boolean} keep
   * @returns {Stretch[]}
   */
  #cut(granularity, keep) {
    const stretches = [];
    for (const segment of new Intl.Segmenter(undefined, { granularity }).segment(this.text)) {
      if (!keep(segment)) continue;
      stretches.push({
        start: this.points.fromUnits(segment.index),
        end: this.points.fromUnits(segment.index + segment.segment.length),
      });
    }
    return stretches;
  }

  /**
   * The smallest stretch of whole characters that holds [start, end): nobody can mark half an emoji.
   * @param {number} start
   * @param {number} end
   * @returns {Stretch}
   */
  whole(start, end) {
    const first = this.graphemes[lastAtOrBefore(this.graphemes, start)];
    const last = this.graphemes[lastAtOrBefore(this.graphemes, Math.max(start, end - 1))];
    if (!first || start >= this.length) return { start: this.length, end: this.length };
    if (end <= start) return { start: first.start, end: first.start };
    return { start: first.start, end: last.end };
  }

  /**
   * Without the white space at both ends; what is only white space stays as it is.
   * @param {number} start
   * @param {number} end
   * @returns {Stretch}
   */
  trim(start, end) {
    const quote = this.points.slice(start, end);
    if (SPACE.test(quote)) return { start, end };
    const front = quote.length - quote.trimStart().length; // white space is one unit a code point
    const back = quote.length - quote.trimEnd().length;
    return { start: start + front, end: end - back };
  }

  /**
   * Where the caret goes. Moving goes to beginnings; extending to the right goes to ends, so that words are taken whole.
   * @param {number} at
   * @param {1 | -1} direction
   * @param {"grapheme" | "word" | "sentence"} unit
   * @param {boolean} extending
   */
  step(at, direction, unit, extending) {
    const stretches = unit === "grapheme" ? this.graphemes : unit === "word" ? this.words : this.sentences;
    if (direction < 0) {
      for (let i = lastAtOrBefore(stretches, at); i >= 0; i -= 1)
        if (stretches[i].start < at) return stretches[i].start;
      return 0;
    }
    const edge = extending ? "end" : "start";
    for (let i = Math.max(0, lastAtOrBefore(stretches, at)); i < stretches.length; i += 1)
      if (stretches[i][edge] > at) return stretches[i][edge];
    return this.length;
  }

  /**
   * The paragraph that holds `at`, without its line break.
   * @param {number} at
   * @returns {Stretch}
   */
  paragraph(at) {
    const unit = this.points.toUnits(at);
    const start = this.text.lastIndexOf("\n", unit - 1) + 1;
    const end = this.text.indexOf("\n", unit);
    return { start: this.points.fromUnits(start), end: end < 0 ? this.length : this.points.fromUnits(end) };
  }

  /**
   * Whether the paragraph at `at` runs from right to left: there the left arrow goes on.
   * @param {number} at
   */
  runsLeft(at) {
    const { start, end } = this.paragraph(at);
    const strong = FIRST_STRONG.exec(this.points.slice(start, end));
    return strong !== null && RIGHT_TO_LEFT.test(strong[0]);
  }
}

/**
 * @param {Stretch[]} stretches ascending
 * @param {number} at
 * @returns {number} the index of the last one that starts at or before `at`, or -1
 */
function lastAtOrBefore(stretches, at) {
  let low = 0;
  let high = stretches.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (stretches[middle].start <= at) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
