// One undo stack for everything that a person does on a page, submitting included. No DOM here.

/**
 * @typedef {object} Gesture
 * @property {string} words what was done, for people: "mark “the year”"
 * @property {() => void | Promise<void>} undo
 * @property {() => void | Promise<void>} redo
 */

export class UndoStack {
  /** @param {number} [limit] */
  constructor(limit = 500) {
    this.limit = limit;
    /** @type {Gesture[]} */
    this.done = [];
    /** @type {Gesture[]} */
    this.undone = [];
    this.busy = false;
  }

  /** @param {Gesture} gesture that has just been done */
  push(gesture) {
    this.done.push(gesture);
    if (this.done.length > this.limit) this.done.shift();
    this.undone = [];
  }

  /** @param {Gesture} gesture takes it off wherever it stands: it was refused, there is nothing to undo */
  forget(gesture) {
    this.done = this.done.filter((other) => other !== gesture);
    this.undone = this.undone.filter((other) => other !== gesture);
  }

  /** @returns {Promise<Gesture | null>} what was undone; null where there was nothing, or another is still going on */
  undo() {
    return this.#move(this.done, this.undone, "undo");
  }

  /** @returns {Promise<Gesture | null>} */
  redo() {
    return this.#move(this.undone, this.done, "redo");
  }

  /**
   * @param {Gesture[]} from
   * @param {Gesture[]} to
   * @param {"undo" | "redo"} way
   */
  async #move(from, to, way) {
    const gesture = from.at(-1);
    if (!gesture || this.busy) return null;
    this.busy = true; // a second Ctrl+Z waits for nothing and does nothing: going back over the network takes a moment
    try {
      await gesture[way]();
      from.pop();
      to.push(gesture);
      return gesture;
    } finally {
      this.busy = false;
    }
  }
}
