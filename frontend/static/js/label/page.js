// The label page: puts the modules together, and says which key does what.
import { toast } from "../shell/toasts.js";
import { newKey } from "../desk/api.js";
import { Desk, byId } from "../desk/desk.js";
import { answerCommands, caretCommands } from "./commands.js";
import { Marks, short } from "./marks.js";
import { Notes } from "./notes.js";
import { Painter } from "./painter.js";
import { Palette } from "./palette.js";
import { Selection } from "./selection.js";
import { Whole } from "./whole.js";

const DRAFT_PAUSE = 1200;

class LabelPage {
  constructor() {
    this.desk = new Desk("spans");
    const { outbox, undo, work, keys } = this.desk;
    this.answer = byId("answer");
    this.marks = new Marks({ outbox, undo });
    this.painter = new Painter(this.answer);
    this.selection = new Selection({
      root: this.answer,
      painter: this.painter,
      caret: byId("caret"),
      floor: () => this.#floor(),
    });
    this.notes = new Notes({
      root: byId("notes"),
      template: byId("note-template"),
      marks: this.marks,
      activate: (id) => this.activate(id),
      done: () => this.backToAnswer(),
      rectOf: (id) => this.answer.querySelector(`[data-mark="${CSS.escape(id)}"]`)?.getClientRects()[0],
    });
    this.palette = new Palette(byId("palette-labels"));
    this.whole = new Whole({ form: byId("whole"), undo, changed: () => this.saveDraft() });
    /** @type {string | null} the mark that keys act on */
    this.active = null;
    /** @type {any[]} */
    this.labels = [];
    /** @type {Map<string, any>} what answers looked like when they were submitted from this page */
    this.left = new Map();
    this.desk.flush = () => this.flush();
    this.desk.settle = () => this.backToAnswer();
    this.marks.addEventListener("change", () => this.paint());
    this.selection.addEventListener("change", () => this.#selected());
    this.answer.addEventListener("click", (event) => this.#clicked(event));
    work.addEventListener("show", () => this.#show());
    outbox.addEventListener("refused", (event) => this.#refused(/** @type {CustomEvent} */ (event).detail));
    document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && this.flush());
    this.keys = keys;
    // beside the answer there is room for the passages; above it they would push it down
    /** @type {HTMLDetailsElement} */ (byId("context")).open = matchMedia("(min-width: 84rem)").matches;
  }

  #show() {
    const { current } = this.desk.work;
    this.labels = current.labels;
    this.notes.labels = new Map(current.labels.map((/** @type {any} */ label) => [label.id, label.name]));
    this.active = null;
    this.painter.read(current.response.text);
    this.selection.park(0); // where it stood in the answer before may lie beyond this one's end
    this.palette.show(current.labels);
    const left = this.left.get(current.id) ?? current.draft;
    this.whole.open({ ...current, draft: left });
    this.marks.open(current);
    this.keys.use([...answerCommands(this), ...caretCommands(this), ...this.desk.commonCommands()]);
    const caret = Math.min(left?.caret ?? 0, this.painter.reading.length);
    this.answer.focus({ preventScroll: true });
    this.selection.set(caret, caret, { quietly: true, scroll: false });
    if (left?.scroll) scrollTo(0, left.scroll);
    this.desk.say(`The next answer. ${this.marks.list.length ? `${this.marks.list.length} marks.` : ""}`);
  }

  /** The bar, or the note that lies above it on a narrow screen. */
  #floor() {
    const note = this.active && document.querySelector(".note.active");
    const fixed = note && getComputedStyle(note).position === "fixed";
    return fixed ? note.getBoundingClientRect().top : this.desk.floor;
  }

  /** Underlines, notes, caret: at most one frame after the key. */
  paint() {
    if (this.active && !this.marks.live.has(this.active)) this.active = null;
    const { list } = this.marks;
    this.painter.paint(list, this.active);
    this.notes.render(list, this.active);
    this.selection.restore();
    this.palette.point(this.active ? (this.marks.live.get(this.active) ?? null) : null);
    byId("notes-empty").hidden = list.length > 0;
  }

  /** @param {string | null} id */
  activate(id) {
    if (this.active === id) return;
    this.active = id;
    this.paint();
  }

  backToAnswer() {
    this.answer.focus({ preventScroll: true });
    this.selection.restore();
    this.selection.reveal();
  }

  #selected() {
    if (this.active) this.activate(null);
    if (!this.selection.empty) this.desk.say(`Selected: ${short(this.selection.quote)}`);
    this.saveDraft();
  }

  /** @param {MouseEvent} event a click on a mark opens it; another click takes the next of those that lie there */
  #clicked(event) {
    const id = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest("[data-mark]"))?.dataset
      .mark;
    if (!id || !getSelection()?.isCollapsed) return;
    const mark = this.marks.live.get(id);
    if (!mark) return;
    const here = this.painter
      .marksAt(this.marks.list, mark.start === mark.end ? mark.start : this.#pointOf(event))
      .map((other) => other.id);
    const next = here[(here.indexOf(this.active ?? "") + 1) % here.length] ?? id;
    setTimeout(() => this.activate(next), 130); // after the caret has settled there, which leaves every mark
  }

  /** @param {MouseEvent} event */
  #pointOf(event) {
    const at = document.caretPositionFromPoint?.(event.clientX, event.clientY);
    return (at && this.painter.pointAt(at.offsetNode, at.offset, "down")) ?? this.selection.start;
  }

  /**
   * One keystroke: marks the words that are selected, or what is missing at the caret; gives an open mark another label.
   * @param {{ label: string | null, sentiment: -1 | 0 | 1, name: string }} judgement
   */
  judge({ label, sentiment, name }) {
    if (this.desk.work.leaving || !this.desk.work.current) return;
    if (this.active) {
      this.marks.change(this.active, { label, sentiment }, "the label");
      this.desk.say(`Now ${name}`);
      return;
    }
    const { start, end } = this.selection;
    if (start === end && sentiment > 0) {
      toast("Select the words that are good first. Without words a mark says that something is missing.", "warn");
      return;
    }
    const quote = this.selection.quote;
    const id = newKey();
    this.active = id;
    this.selection.park(end);
    this.marks.create({ id, start, end, quote, sentiment, severity: 2, label, critique: "", replacement: null });
    this.notes.write(id);
    this.desk.say(
      quote
        ? `Marked as ${name}: ${short(quote)}. Type why, or press Enter.`
        : `Marked here that something is missing: ${name}. Type what, or press Enter.`,
    );
    this.saveDraft();
  }

  /** @param {1 | 2 | 3} severity */
  severity(severity) {
    if (!this.active) return;
    this.marks.change(this.active, { severity }, "the severity");
    this.desk.say(`Severity ${severity} of 3`);
  }

  /** @param {1 | -1} direction */
  walk(direction) {
    const { list } = this.marks;
    if (!list.length) return;
    const at = list.findIndex((mark) => mark.id === this.active);
    const from =
      at >= 0
        ? at + direction
        : direction > 0
          ? list.findIndex((mark) => mark.start >= this.selection.focus)
          : list.findLastIndex((mark) => mark.end <= this.selection.focus);
    const mark = list[(from + list.length) % list.length] ?? list[0];
    this.backToAnswer();
    this.selection.set(mark.start, mark.start, { quietly: true });
    this.activate(mark.id);
    this.desk.say(`${mark.quote ? short(mark.quote) : "Something is missing here"}. ${mark.critique}`);
  }

  remove() {
    if (!this.active) return;
    this.marks.retract(this.active);
    this.desk.say("Mark deleted. Ctrl+Z brings it back.");
  }

  submit() {
    const { work } = this.desk;
    if (!work.current || work.leaving) return;
    this.notes.flush();
    this.whole.flush();
    const [refused] = this.marks.refused;
    if (refused) {
      toast("One mark could not be saved: its note says why. Delete it, or mark the words again.", "bad");
      this.activate(refused.id);
      return;
    }
    const { verdict, words } = this.whole;
    this.dropDraft(); // the submit says all that it says; what else there is to come back to stays in this page
    this.left.set(work.current.id, { verdict, words, caret: this.selection.focus, scroll: Math.round(scrollY) });
    work.submit({ verdict, words });
    this.desk.say("Submitted");
  }

  dropDraft() {
    clearTimeout(this.drafting);
    this.drafting = undefined;
    this.desk.outbox.drop(this.desk.work.current.id, "draft");
  }

  flush() {
    this.notes.flush();
    this.whole.flush();
    clearTimeout(this.drafting);
    if (this.drafting !== undefined) this.#sendDraft();
  }

  /** The caret, the scroll and the words on the whole are no records yet: they are kept as a draft. */
  saveDraft() {
    clearTimeout(this.drafting);
    this.drafting = setTimeout(() => this.#sendDraft(), DRAFT_PAUSE);
  }

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  drafting = undefined;

  #sendDraft() {
    this.drafting = undefined;
    const { work, outbox } = this.desk;
    if (!work.current || work.leaving) return;
    const { id } = work.current;
    const body = {
      verdict: this.whole.verdict,
      words: this.whole.words,
      caret: this.selection.focus,
      scroll: Math.round(scrollY),
    };
    outbox.add(id, { type: "draft", path: `assignments/${id}/draft`, method: "PUT", body, words: "a draft" });
  }

  /** @param {{ write: import("../desk/queue.js").Write, assignment: string, problem: import("../desk/api.js").Problem }} detail */
  #refused({ write, assignment, problem }) {
    const here = this.desk.work.current?.id === assignment;
    if (here && write.type === "create" && write.mark) this.marks.refuse(write.mark, problem.message);
    else toast(`${problem.message}${write.body?.critique ? ` Your words were: “${write.body.critique}”` : ""}`, "bad");
    if (here && write.type !== "create" && write.type !== "draft") this.desk.reload();
  }
}

const page = new LabelPage();
page.desk.start();
