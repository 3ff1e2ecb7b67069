// What is said of the whole answer: good or bad, and words. A draft until it is submitted.

export class Whole {
  /**
   * @param {{ form: HTMLFormElement, undo: import("../desk/undo.js").UndoStack, changed: () => void }} options
   */
  constructor({ form, undo, changed }) {
    this.form = form;
    this.undo = undo;
    this.changed = changed;
    this.field = /** @type {HTMLTextAreaElement} */ (form.elements.namedItem("words"));
    /** @type {string} the words before this visit to the field */
    this.before = "";
    this.shownVerdict = "";
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", (event) => {
      if (event.target !== this.field) this.#remember(this.shownVerdict, this.verdict);
    });
    this.field.addEventListener("input", () => this.changed());
    this.field.addEventListener("focus", () => (this.before = this.words));
    this.field.addEventListener("blur", () => this.flush());
  }

  /** @returns {"good" | "bad" | ""} */
  get verdict() {
    return /** @type {any} */ (new FormData(this.form).get("verdict") ?? "");
  }

  get words() {
    return this.field.value;
  }

  /** @param {{ draft: any, verdict: string, words: string }} assignment */
  open({ draft, verdict, words }) {
    this.#setVerdict(draft?.verdict ?? verdict ?? "");
    this.field.value = this.before = draft?.words ?? words ?? "";
  }

  /** @param {"good" | "bad"} verdict pressing it again takes it back */
  toggle(verdict) {
    const before = this.verdict;
    this.#setVerdict(before === verdict ? "" : verdict);
    this.#remember(before, this.verdict);
  }

  write() {
    this.field.focus();
  }

  flush() {
    const { before, words } = this;
    if (before === words) return;
    this.before = words;
    const set = (/** @type {string} */ value) => {
      this.field.value = this.before = value;
      this.changed();
    };
    this.undo.push({ words: "the words on the whole answer", undo: () => set(before), redo: () => set(words) });
  }

  /**
   * @param {string} before
   * @param {string} after
   */
  #remember(before, after) {
    this.shownVerdict = after;
    const set = (/** @type {string} */ value) => {
      this.#setVerdict(value);
      this.changed();
    };
    this.undo.push({ words: "the verdict", undo: () => set(before), redo: () => set(after) });
    this.changed();
  }

  /** @param {string} verdict */
  #setVerdict(verdict) {
    for (const radio of this.form.querySelectorAll("input[name=verdict]")) {
      const input = /** @type {HTMLInputElement} */ (radio);
      input.checked = input.value === verdict;
    }
    this.shownVerdict = verdict;
  }
}
