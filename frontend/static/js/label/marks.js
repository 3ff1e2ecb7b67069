// The marks of the answer on the desk: what they are, and each gesture on them as a write and as something to undo.
//
// Events: "change" when any mark came, went or changed.
/**
 * @typedef {object} Mark
 * @property {string} id the page's own; the lineage for marks that came from the server
 * @property {number} start code points
 * @property {number} end
 * @property {string} quote
 * @property {-1 | 0 | 1} sentiment
 * @property {1 | 2 | 3} severity
 * @property {string | null} label
 * @property {string} critique
 * @property {string | null} replacement
 * @property {string} [problem] why the server did not take it: it stands on the page only
 */

const FIELDS = /** @type {const} */ ([
  "start",
  "end",
  "quote",
  "sentiment",
  "severity",
  "label",
  "critique",
  "replacement",
]);

export class Marks extends EventTarget {
  /**
   * @param {{ outbox: import("../desk/outbox.js").Outbox, undo: import("../desk/undo.js").UndoStack }} options
   */
  constructor({ outbox, undo }) {
    super();
    this.outbox = outbox;
    this.undo = undo;
    this.assignment = "";
    this.response = "";
    /** @type {Map<string, Mark>} */
    this.live = new Map();
    /** @type {Map<string, Mark>} what was taken away on this page and may come back, of all answers */
    this.gone = new Map();
  }

  /** In reading order. */
  get list() {
    return [...this.live.values()].sort((a, b) => a.start - b.start || a.end - b.end || (a.id < b.id ? -1 : 1));
  }

  /**
   * The marks that the server has, and on top of them what still waits to be sent.
   * @param {{ id: string, response: { id: string }, spans: any[] }} assignment
   */
  open(assignment) {
    this.assignment = assignment.id;
    this.response = assignment.response.id;
    this.live = new Map();
    for (const span of assignment.spans) {
      const id = this.outbox.localId(span.lineage);
      this.live.set(id, { id, ...pick(span) });
    }
    for (const write of this.outbox.waiting(assignment.id)) {
      if (!write.mark) continue;
      const known = this.live.get(write.mark);
      if (write.type === "create" || write.type === "restore")
        this.live.set(write.mark, { ...known, id: write.mark, ...pick(write.body ?? this.gone.get(write.mark)) });
      if (write.type === "change" && known) this.live.set(write.mark, { ...known, ...write.body });
      if (write.type === "retract") this.live.delete(write.mark);
    }
    this.#tell();
  }

  /** @param {Mark} mark with an id of its own */
  create(mark) {
    this.#appear(mark, "create");
    this.undo.push({
      words: mark.quote ? `the mark on “${short(mark.quote)}”` : "the mark of something missing",
      undo: () => this.#vanish(mark.id),
      redo: () => this.#appear(this.gone.get(mark.id) ?? mark, "restore"),
    });
  }

  /**
   * @param {string} id
   * @param {Partial<Mark>} fields
   * @param {string} words what it is, for undo
   */
  change(id, fields, words) {
    const mark = this.live.get(id);
    if (!mark) return;
    const before = Object.fromEntries(
      Object.keys(fields).map((name) => [name, mark[/** @type {keyof Mark} */ (name)]]),
    );
    if (JSON.stringify(before) === JSON.stringify(fields)) return;
    this.put(id, fields);
    this.remember(id, before, fields, words);
  }

  /**
   * Something to undo for changes that were put one by one, such as the words of a sentence.
   * @param {string} id
   * @param {Partial<Mark>} before
   * @param {Partial<Mark>} after
   * @param {string} words
   */
  remember(id, before, after, words) {
    this.undo.push({ words, undo: () => this.put(id, before), redo: () => this.put(id, after) });
  }

  /** @param {string} id */
  retract(id) {
    const mark = this.live.get(id);
    if (!mark) return;
    this.#vanish(id);
    this.undo.push({
      words: mark.quote ? `deleting the mark on “${short(mark.quote)}”` : "deleting a mark",
      undo: () => this.#appear(this.gone.get(id) ?? mark, "restore"),
      redo: () => this.#vanish(id),
    });
  }

  /**
   * Change without a step to undo.
   * @param {string} id
   * @param {Partial<Mark>} fields
   */
  put(id, fields) {
    const mark = this.live.get(id);
    if (!mark) return;
    this.live.set(id, { ...mark, ...fields });
    if (!mark.problem)
      this.#send({
        type: "change",
        mark: id,
        path: "spans/{mark}",
        method: "PATCH",
        body: fields,
        words: "a changed mark",
      });
    this.#tell();
  }

  /**
   * The server did not take a mark: it stays, with its words and the reason, until somebody deletes it.
   * @param {string} id
   * @param {string} problem
   */
  refuse(id, problem) {
    const mark = this.live.get(id);
    if (mark) this.live.set(id, { ...mark, problem });
    this.#tell();
  }

  get refused() {
    return this.list.filter((mark) => mark.problem);
  }

  /**
   * @param {Mark} mark
   * @param {"create" | "restore"} type
   */
  #appear(mark, type) {
    this.live.set(mark.id, mark);
    this.gone.delete(mark.id);
    const { id, problem, ...fields } = mark;
    const write =
      type === "create"
        ? { path: `responses/${this.response}/spans`, body: { ...fields, assignment: this.assignment } }
        : { path: "spans/{mark}/restore", body: null };
    if (!problem) this.#send({ type, mark: id, method: "POST", words: "a mark", ...write });
    this.#tell();
  }

  /** @param {Omit<import("../desk/queue.js").Write, "key" | "tries">} write */
  #send(write) {
    this.outbox.add(this.assignment, write);
  }

  /** @param {string} id */
  #vanish(id) {
    const mark = this.live.get(id);
    if (!mark) return;
    this.gone.set(id, mark);
    this.live.delete(id);
    if (!mark.problem)
      this.#send({
        type: "retract",
        mark: id,
        path: "spans/{mark}",
        method: "DELETE",
        body: null,
        words: "a deleted mark",
      });
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * @param {any} span
 * @returns {Omit<Mark, "id">}
 */
function pick(span) {
  return /** @type {any} */ (
    Object.fromEntries(FIELDS.filter((name) => span && name in span).map((name) => [name, span[name]]))
  );
}

/** @param {string} quote */
export function short(quote) {
  const characters = Array.from(
    new Intl.Segmenter().segment(quote.replace(/\s+/gu, " ")),
    (segment) => segment.segment,
  );
  return characters.length > 40 ? `${characters.slice(0, 38).join("")} …` : characters.join("");
}
