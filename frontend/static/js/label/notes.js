// The notes in the margin, one beside each marked phrase, as in the comments of a document.
import { placeNotes } from "./lanes.js";
import { short } from "./marks.js";

/** @typedef {import("./marks.js").Mark} Mark */

export const SEVERITIES = { 1: "slight", 2: "plain", 3: "grave" };
const SIGNS = { "-1": "✗", 0: "·", 1: "✓" };
const KINDS = { "-1": "bad", 0: "neutral", 1: "good" };
const PAUSE = 600;

export class Notes {
  /**
   * @param {object} options
   * @param {HTMLElement} options.root
   * @param {HTMLTemplateElement} options.template
   * @param {import("./marks.js").Marks} options.marks
   * @param {(id: string | null) => void} options.activate
   * @param {() => void} options.done back to the answer
   * @param {(id: string) => DOMRect | undefined} options.rectOf where the mark stands
   */
  constructor({ root, template, marks, activate, done, rectOf }) {
    this.root = root;
    this.template = template;
    this.marks = marks;
    this.activate = activate;
    this.done = done;
    this.rectOf = rectOf;
    /** @type {Map<string, string>} names of labels by id */
    this.labels = new Map();
    /** @type {Map<string, HTMLElement>} */
    this.notes = new Map();
    /** @type {{ id: string, name: "critique" | "replacement", before: string | null, timer?: ReturnType<typeof setTimeout> } | null} */
    this.writing = null;
    globalThis.addEventListener("resize", () => this.layout(this.active));
    document.fonts?.addEventListener("loadingdone", () => this.layout(this.active));
    /** @type {string | null} */
    this.active = null;
  }

  /**
   * @param {Mark[]} list in reading order
   * @param {string | null} active
   */
  render(list, active) {
    this.active = active;
    const ids = new Set(list.map((mark) => mark.id));
    for (const [id, note] of this.notes) {
      if (ids.has(id)) continue;
      note.remove();
      this.notes.delete(id);
    }
    list.forEach((mark, index) => {
      const note = this.notes.get(mark.id) ?? this.#make(mark.id);
      if (this.root.children[index] !== note) this.root.insertBefore(note, this.root.children[index] ?? null);
      this.#fill(note, mark, mark.id === active);
    });
    this.layout(active);
  }

  /**
   * Beside their words on a wide desk; on a narrow one they stand in a list and CSS does it.
   * @param {string | null} active
   */
  layout(active) {
    const beside = getComputedStyle(this.root).position === "relative";
    const from = this.root.getBoundingClientRect().top;
    const wanted = [];
    for (const [index, note] of [...this.root.children].entries()) {
      const id = /** @type {HTMLElement} */ (note).dataset.mark ?? "";
      wanted.push({
        id,
        top: (this.rectOf(id)?.top ?? from) - from,
        height: beside ? /** @type {HTMLElement} */ (note).offsetHeight : index,
      });
    }
    const tops = beside ? placeNotes(wanted, active, 8) : new Map();
    let bottom = 0;
    for (const { id, height } of wanted) {
      const note = /** @type {HTMLElement} */ (this.notes.get(id));
      note.style.top = beside ? `${tops.get(id)}px` : "";
      if (beside) bottom = Math.max(bottom, (tops.get(id) ?? 0) + height);
    }
    this.root.style.minHeight = beside ? `${bottom}px` : "";
  }

  /**
   * @param {string} id
   * @param {"critique" | "replacement"} [name]
   */
  write(id, name = "critique") {
    const note = this.notes.get(id);
    if (name === "replacement") {
      note?.querySelector("[data-replacement]")?.removeAttribute("hidden");
      this.layout(this.active);
    }
    const field = /** @type {HTMLTextAreaElement | null} */ (note?.querySelector(`[name=${name}]`) ?? null);
    field?.focus();
    field?.setSelectionRange(field.value.length, field.value.length);
  }

  /** Save what is being written, at once. */
  flush() {
    if (!this.writing) return;
    const { id, name, before, timer } = this.writing;
    clearTimeout(timer);
    const field = /** @type {HTMLTextAreaElement | null} */ (
      this.notes.get(id)?.querySelector(`[name=${name}]`) ?? null
    );
    this.writing = null;
    if (!field || !this.marks.live.has(id)) return;
    const after = valueOf(field, name);
    if (this.marks.live.get(id)?.[name] !== after) this.marks.put(id, { [name]: after });
    if (after !== before)
      this.marks.remember(
        id,
        { [name]: before },
        { [name]: after },
        name === "critique" ? "the words of a note" : "the better wording",
      );
  }

  /** @param {string} id */
  #make(id) {
    const note = /** @type {HTMLElement} */ (
      /** @type {Element} */ (this.template.content.firstElementChild).cloneNode(true)
    );
    note.dataset.mark = id;
    note.addEventListener("pointerdown", () => this.active !== id && this.activate(id));
    note.addEventListener("focusin", () => this.active !== id && this.activate(id));
    note.querySelector("[data-delete]")?.addEventListener("click", () => {
      this.marks.retract(id);
      this.done();
    });
    note.querySelector("[data-reword]")?.addEventListener("click", () => this.write(id, "replacement"));
    for (const radio of note.querySelectorAll("input[type=radio]")) {
      const input = /** @type {HTMLInputElement} */ (radio);
      input.name = `severity-${id}`;
      input.addEventListener("change", () =>
        this.marks.change(id, { severity: /** @type {1 | 2 | 3} */ (Number(input.value)) }, "the severity"),
      );
    }
    for (const name of /** @type {const} */ (["critique", "replacement"]))
      this.#listen(id, /** @type {HTMLTextAreaElement} */ (note.querySelector(`[name=${name}]`)), name);
    this.notes.set(id, note);
    return note;
  }

  /**
   * @param {string} id
   * @param {HTMLTextAreaElement} field
   * @param {"critique" | "replacement"} name
   */
  #listen(id, field, name) {
    field.addEventListener("input", () => {
      if (this.writing?.id !== id || this.writing.name !== name) {
        this.flush();
        this.writing = { id, name, before: this.marks.live.get(id)?.[name] ?? null };
      }
      clearTimeout(this.writing.timer);
      this.writing.timer = setTimeout(() => this.marks.put(id, { [name]: valueOf(field, name) }), PAUSE);
      this.layout(this.active);
    });
    field.addEventListener("blur", () => this.flush());
    field.addEventListener("keydown", (event) => {
      if (
        event.isComposing ||
        (event.key !== "Escape" && !(event.key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.metaKey))
      )
        return;
      event.preventDefault();
      event.stopPropagation();
      if (event.repeat) return;
      this.flush();
      this.done();
    });
  }

  /**
   * @param {HTMLElement} note
   * @param {Mark} mark
   * @param {boolean} active
   */
  #fill(note, mark, active) {
    const label =
      (mark.label && this.labels.get(mark.label)) || (mark.start === mark.end ? "missing here" : KINDS[mark.sentiment]);
    note.className = `note ${KINDS[mark.sentiment]}${active ? " active" : ""}`;
    text(note, "[data-sign]", mark.start === mark.end ? "▴" : SIGNS[mark.sentiment]);
    text(note, "[data-label]", label);
    text(note, "[data-severity]", mark.sentiment > 0 && mark.severity === 2 ? "" : SEVERITIES[mark.severity]);
    text(note, "[data-quote]", mark.quote ? short(mark.quote) : "something is missing here");
    text(note, "[data-problem]", mark.problem ? `Not saved. ${mark.problem}` : "");
    text(note, "[data-critique]", mark.critique);
    text(
      note,
      "[data-becomes]",
      mark.replacement === null ? "" : mark.replacement === "" ? "→ strike it" : `→ ${mark.replacement}`,
    );
    note.setAttribute("aria-label", `${label}: ${mark.quote || "something is missing here"}`);
    for (const radio of note.querySelectorAll("input[type=radio]")) {
      const input = /** @type {HTMLInputElement} */ (radio);
      input.checked = Number(input.value) === mark.severity;
    }
    for (const name of /** @type {const} */ (["critique", "replacement"])) {
      const field = /** @type {HTMLTextAreaElement} */ (note.querySelector(`[name=${name}]`));
      const writing = this.writing?.id === mark.id && this.writing.name === name;
      if (!writing && field.value !== (mark[name] ?? "")) field.value = mark[name] ?? "";
    }
    const reworded = note.querySelector("[data-replacement]");
    if (mark.replacement !== null) reworded?.removeAttribute("hidden");
    else if (!reworded?.contains(document.activeElement)) reworded?.setAttribute("hidden", "");
  }
}

/**
 * @param {HTMLElement} note
 * @param {string} selector
 * @param {string} words
 */
function text(note, selector, words) {
  const node = /** @type {HTMLElement} */ (note.querySelector(selector));
  if (node.textContent !== words) node.textContent = words;
  node.hidden = !words;
}

/**
 * @param {HTMLTextAreaElement} field
 * @param {"critique" | "replacement"} name
 */
function valueOf(field, name) {
  return name === "replacement" && field.value === "" ? null : field.value;
}
