// The pair page: which of two answers is better, by how much, and why. Sides are the server's; who wrote them nobody knows here.
import { toast } from "../shell/toasts.js";
import { Desk, byId } from "../desk/desk.js";
import { differingWords } from "./diff.js";

/** @typedef {{ choice: string, strength: number, reason: string }} Judgement */

const WORDS = { left: "A is better", right: "B is better", tie: "a tie", neither: "neither is good" };
const STRENGTHS = { 1: "slightly", 2: "clearly", 3: "far better" };
const DRAFT_PAUSE = 800;

class PairPage {
  constructor() {
    this.desk = new Desk("pair");
    this.form = /** @type {HTMLFormElement} */ (byId("judgement"));
    this.reason = /** @type {HTMLTextAreaElement} */ (this.form.elements.namedItem("reason"));
    /** @type {Judgement} what stood there before the last gesture */
    this.before = { choice: "", strength: 2, reason: "" };
    this.differing = false;
    this.desk.flush = () => this.flush();
    this.desk.settle = () => byId("prompt").focus({ preventScroll: true });
    this.desk.work.addEventListener("show", () => this.#show());
    this.desk.outbox.addEventListener("refused", (event) => this.#refused(/** @type {CustomEvent} */ (event).detail));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", (event) => event.target !== this.reason && this.#gesture("the choice"));
    this.reason.addEventListener("input", () => this.#saveDraft());
    this.reason.addEventListener("blur", () => this.flush());
    this.reason.addEventListener("keydown", (event) => {
      if (
        event.isComposing ||
        (event.key !== "Escape" && (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.metaKey))
      )
        return;
      event.preventDefault();
      this.reason.blur();
    });
    document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && this.flush());
  }

  #show() {
    const { current } = this.desk.work;
    const [left, right] = differingWords(current.left.text, current.right.text);
    write(byId("left-text"), left);
    write(byId("right-text"), right);
    this.#put({ choice: "", strength: 2, reason: "", ...(current.preference ?? current.draft?.judgement) });
    this.before = this.value;
    this.desk.keys.use([...this.#commands(), ...this.desk.commonCommands()]);
    this.desk.settle();
    this.desk.say("The next pair.");
  }

  /** @returns {Judgement} */
  get value() {
    const data = new FormData(this.form);
    return {
      choice: String(data.get("choice") ?? ""),
      strength: Number(data.get("strength") ?? 2),
      reason: this.reason.value,
    };
  }

  /** @param {Judgement} judgement */
  #put({ choice, strength, reason }) {
    for (const radio of this.form.querySelectorAll("input[type=radio]")) {
      const input = /** @type {HTMLInputElement} */ (radio);
      input.checked = input.value === (input.name === "choice" ? choice : String(strength));
    }
    this.reason.value = reason;
    this.#paint();
  }

  #paint() {
    const { choice } = this.value;
    for (const side of document.querySelectorAll("[data-side]")) {
      side.classList.toggle("chosen", /** @type {HTMLElement} */ (side).dataset.side === choice);
      side.classList.toggle("refused", choice === "neither");
    }
    const graded = choice !== "tie" && choice !== "neither";
    for (const radio of this.form.querySelectorAll("input[name=strength]"))
      /** @type {HTMLInputElement} */ (radio).disabled = !graded;
  }

  /**
   * Something was chosen: show it, keep it, and let it be undone.
   * @param {string} words
   */
  #gesture(words) {
    const { before } = this;
    const after = this.value;
    if (JSON.stringify(before) === JSON.stringify(after)) return;
    const put = (/** @type {Judgement} */ judgement) => {
      this.#put(judgement);
      this.before = judgement;
      this.#saveDraft();
    };
    this.before = after;
    this.#paint();
    this.#saveDraft();
    this.desk.undo.push({ words, undo: () => put(before), redo: () => put(after) });
    if (after.choice)
      this.desk.say(
        `${WORDS[/** @type {keyof typeof WORDS} */ (after.choice)]}, ${STRENGTHS[/** @type {1 | 2 | 3} */ (after.strength)]}`,
      );
  }

  flush() {
    this.#gesture("the reason");
    if (this.drafting !== undefined) this.#sendDraft();
  }

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  drafting = undefined;

  #saveDraft() {
    clearTimeout(this.drafting);
    this.drafting = setTimeout(() => this.#sendDraft(), DRAFT_PAUSE);
  }

  #sendDraft() {
    clearTimeout(this.drafting);
    this.drafting = undefined;
    const { work, outbox } = this.desk;
    if (!work.current || work.leaving) return;
    const { id } = work.current;
    outbox.add(id, {
      type: "draft",
      path: `assignments/${id}/draft`,
      method: "PUT",
      body: { judgement: this.value, scroll: Math.round(scrollY) },
      words: "a draft",
    });
  }

  #submit() {
    const { work } = this.desk;
    if (!work.current || work.leaving) return;
    this.#gesture("the reason");
    const preference = this.value;
    if (!preference.choice) {
      toast("Choose first: A, B, T for a tie, N for neither.", "warn");
      return;
    }
    clearTimeout(this.drafting);
    this.drafting = undefined;
    this.desk.outbox.drop(work.current.id, "draft");
    work.submit({ preference });
    this.desk.say("Submitted");
  }

  #differ() {
    this.differing = !this.differing;
    byId("item").classList.toggle("show-differences", this.differing);
    byId("differ").setAttribute("aria-pressed", String(this.differing));
    this.desk.say(this.differing ? "Words that differ are underlined" : "Words that differ are plain again");
  }

  /**
   * @param {string} name
   * @param {string} value
   */
  #choose(name, value) {
    const { work } = this.desk;
    if (!work.current || work.leaving) return;
    const input = /** @type {HTMLInputElement} */ (this.form.querySelector(`input[name=${name}][value="${value}"]`));
    if (input.disabled) return;
    input.checked = true;
    this.#gesture("the choice");
  }

  /** @returns {import("../desk/keys.js").Command[]} */
  #commands() {
    const choice = (/** @type {string} */ key, /** @type {string} */ words, /** @type {string} */ value) => ({
      keys: [key],
      words,
      group: "Judging",
      where: /** @type {const} */ ("page"),
      run: () => this.#choose("choice", value),
    });
    return [
      choice("a", "A is better", "left"),
      choice("b", "B is better", "right"),
      choice("t", "a tie: equally good", "tie"),
      choice("n", "neither: both are bad", "neither"),
      ...Object.entries(STRENGTHS).map(([key, words]) => ({
        keys: [key],
        words,
        group: "Judging",
        where: /** @type {const} */ ("page"),
        run: () => this.#choose("strength", key),
      })),
      { keys: ["w"], words: "write why", group: "Judging", where: "page", run: () => this.reason.focus() },
      { keys: ["d"], words: "show the words that differ", group: "Reading", where: "page", run: () => this.#differ() },
      {
        keys: ["Ctrl+Enter"],
        words: "submit, and bring the next",
        group: "Going on",
        where: "anywhere",
        run: () => this.#submit(),
      },
    ];
  }

  /** @param {{ assignment: string, problem: Error }} detail */
  #refused({ assignment, problem }) {
    toast(problem.message, "bad");
    if (this.desk.work.current?.id === assignment) this.desk.reload();
  }
}

/**
 * @param {HTMLElement} root
 * @param {import("./diff.js").Part[]} parts
 */
function write(root, parts) {
  root.replaceChildren(
    ...parts.map(({ text, differs }) => {
      if (!differs) return document.createTextNode(text);
      const words = document.createElement("span");
      words.className = "differs";
      words.textContent = text;
      return words;
    }),
  );
}

const page = new PairPage();
page.desk.start();
