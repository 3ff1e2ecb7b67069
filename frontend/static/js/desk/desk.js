// What the label page and the pair page share: the outbox, undo, the bar of keys, skip and report, what is left, the empty desk.
import { toast } from "../shell/toasts.js";
import { Api } from "./api.js";
import { askForReason } from "./dialogs.js";
import { Keys } from "./keys.js";
import { Outbox } from "./outbox.js";
import { showGuidelines, showMessages, showPassages } from "./prompt.js";
import { Status } from "./status.js";
import { UndoStack } from "./undo.js";
import { Work } from "./work.js";

/** @type {Record<string, string>} */
const NOTHING = {
  done: "Nothing is left for you here.",
  held: "All that is left is on somebody’s desk.",
  closed: "There is nothing to do here yet.",
};

/**
 * @template {Element} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export const byId = (id) => /** @type {any} */ (document.getElementById(id));

export class Desk {
  /** @param {"spans" | "pair"} kind */
  constructor(kind) {
    this.root = byId("desk");
    this.bar = /** @type {HTMLElement} */ (this.root.querySelector(".bar"));
    const { api, owner } = /** @type {{ api: string, owner: string }} */ (/** @type {unknown} */ (this.root.dataset));
    this.api = new Api(api);
    this.outbox = new Outbox({ api: this.api, owner });
    this.undo = new UndoStack();
    this.status = new Status({ chip: byId("status"), live: byId("live"), outbox: this.outbox });
    this.keys = new Keys({ answer: document.getElementById("answer") });
    this.work = new Work({ api: this.api, outbox: this.outbox, undo: this.undo, kind });
    /** Called before anything leaves the desk: save what is being written. */
    this.flush = () => {};
    /** Where the focus goes when what had it is gone. */
    this.settle = () => {};
    /** @type {WeakMap<EventTarget, string>} what stood in a field when it was entered */
    this.entered = new WeakMap();
    this.others = new BroadcastChannel(`redpen:${owner}`);
    this.#listen();
  }

  /** Send what waits from before, then ask for work. */
  async start() {
    await this.outbox.adopt();
    await this.deal();
    // the tab that was left a moment ago may not have let go of its writes yet
    setTimeout(async () => (await this.outbox.adopt()) && this.work.current && this.reload(), 3000);
  }

  async deal() {
    try {
      await this.work.next();
    } catch (error) {
      byId("nothing").hidden = false;
      byId("item").hidden = true;
      this.#words(
        byId("nothing"),
        "There is no work on the desk yet.",
        /** @type {Error} */ (error).message || "The server cannot be reached.",
      );
      setTimeout(() => !this.work.current && this.deal(), 5000);
    }
  }

  /** @param {string} text */
  say(text) {
    this.status.say(text);
  }

  /** Where the bar at the bottom begins: what lies below it cannot be read. */
  get floor() {
    return this.bar.getBoundingClientRect().top;
  }

  #listen() {
    const { work, outbox } = this;
    new ResizeObserver(() => this.root.style.setProperty("--bar", `${this.bar.offsetHeight}px`)).observe(this.bar);
    work.addEventListener("show", () => this.#show());
    work.addEventListener("left", () => (byId("left").textContent = work.left === null ? "" : left(work.left)));
    work.addEventListener("leave", () => this.#leaving(true));
    work.addEventListener("stay", () => {
      this.#leaving(false);
      this.settle();
    });
    work.addEventListener("nothing", (event) => this.#nothing(/** @type {CustomEvent} */ (event).detail));
    work.addEventListener("stuck", () => this.deal());
    work.addEventListener("extra", () =>
      toast("Your place had been given away meanwhile; your answer is kept as one more opinion."),
    );
    outbox.addEventListener("delivered", (event) => {
      const { assignment, write } = /** @type {CustomEvent} */ (event).detail;
      this.others.postMessage({ assignment, type: write.type });
    });
    this.others.addEventListener("message", ({ data }) => this.#elsewhere(data));
    askForReason(byId("skip-form"), (reason, text) => this.skip(reason, text));
    askForReason(byId("report-form"), (reason, text) => this.report(reason, text));
    document.addEventListener("focusin", ({ target }) => {
      if (target instanceof HTMLTextAreaElement) this.entered.set(target, target.value);
    });
    document.addEventListener("pointerdown", (event) => {
      // a click on the bar leaves the words selected
      if (/** @type {Element} */ (event.target).closest("[data-key]")) event.preventDefault();
    });
    document.addEventListener("click", (event) => {
      const key = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest("[data-key]"))
        ?.dataset.key;
      if (key) this.keys.byKey.get(key)?.run();
    });
  }

  #show() {
    const { current } = this.work;
    byId("nothing").hidden = true;
    byId("item").hidden = false;
    this.#leaving(false);
    showMessages(byId("prompt"), current.prompt.messages);
    showPassages(byId("context"), current.prompt.context);
    showGuidelines(byId("guidelines"), current.campaign.guidelines);
    const question = current.questions[0]?.text;
    if (question) byId("question").textContent = question;
    scrollTo(0, current.draft?.scroll ?? 0);
  }

  /** @param {boolean} on */
  #leaving(on) {
    this.root.classList.toggle("leaving", on);
    byId("item").inert = on;
  }

  /** @param {{ message: string, why: string }} detail */
  #nothing({ message, why }) {
    this.#leaving(false);
    byId("item").hidden = true;
    byId("left").textContent = "";
    const nothing = byId("nothing");
    nothing.hidden = false;
    this.#words(nothing, NOTHING[why] ?? NOTHING.done, message);
    nothing.querySelector("h2")?.focus();
    this.say(message);
  }

  /**
   * @param {HTMLElement} root
   * @param {string} title
   * @param {string} text
   */
  #words(root, title, text) {
    /** @type {HTMLElement} */ (root.querySelector("[data-title]")).textContent = title;
    /** @type {HTMLElement} */ (root.querySelector("[data-text]")).textContent = text;
  }

  /** @param {{ assignment: string, type: string }} news from another tab of this person */
  async #elsewhere({ assignment, type }) {
    const { work } = this;
    if (work.current?.id !== assignment || work.leaving || this.outbox.waiting(assignment).length) return;
    if (document.hasFocus() && document.activeElement?.matches("textarea")) return; // nobody is interrupted
    if (type === "submit" || type === "skip") {
      toast("This one was finished in another tab; here is the next.");
      await this.deal();
    } else if (type !== "draft") {
      await this.reload();
    }
  }

  /** The assignment as the server has it now. */
  async reload() {
    const { current } = this.work;
    const fresh = await this.api.call("GET", `assignments/${current.id}`).catch(() => null);
    if (!fresh || this.work.current !== current || this.outbox.waiting(current.id).length) return;
    if (fresh.state === "submitted" || fresh.state === "skipped") await this.deal();
    else this.work.show({ ...fresh, draft: { ...fresh.draft, scroll: scrollY } });
  }

  /**
   * @param {"undo" | "redo"} way
   */
  async travel(way) {
    this.flush();
    if (this.undo.busy) return;
    try {
      const gesture = await this.undo[way]();
      if (gesture) this.say(way === "undo" ? `Undone: ${gesture.words}` : `Done again: ${gesture.words}`);
      else
        toast(
          way === "undo" ? "There is nothing to undo since this page was opened." : "There is nothing to do again.",
        );
      if (document.activeElement === document.body) this.settle();
    } catch {
      toast("That was sent already and needs the connection to take back. Try again in a moment.", "warn");
    }
  }

  /**
   * @param {string} reason
   * @param {string} text
   */
  skip(reason, text) {
    this.flush();
    this.work.skip(reason, text);
    this.say("Skipped");
  }

  /**
   * @param {string} reason
   * @param {string} text
   */
  report(reason, text) {
    const { current } = this.work;
    const response = (current.response ?? current.left).id;
    this.outbox.add(current.id, {
      type: "report",
      path: `responses/${response}/reports`,
      method: "POST",
      body: { reason, text, assignment: current.id },
      words: "a report",
    });
    toast("Reported. An admin of the project will see it.", "good");
  }

  /**
   * The keys that both pages have.
   * @returns {import("./keys.js").Command[]}
   */
  commonCommands() {
    // a field's own undo comes first, while something was typed in it
    const inField = (/** @type {HTMLTextAreaElement} */ field) => this.entered.get(field) === field.value;
    const open = (/** @type {string} */ id) =>
      this.work.current && !this.work.leaving && /** @type {HTMLDialogElement} */ (byId(id)).showModal();
    return [
      {
        keys: ["Ctrl+z"],
        words: "undo the last gesture, a submit too",
        group: "Going on",
        where: "page",
        inField,
        run: () => this.travel("undo"),
      },
      {
        keys: ["Ctrl+Shift+z", "Ctrl+y"],
        words: "do it again",
        group: "Going on",
        where: "page",
        inField,
        run: () => this.travel("redo"),
      },
      { keys: ["x"], words: "skip this one, with a reason", group: "Going on", where: "page", run: () => open("skip") },
      { keys: ["!"], words: "report it to an admin", group: "Going on", where: "page", run: () => open("report") },
      {
        keys: ["c"],
        words: "open or close the passages",
        group: "Reading",
        where: "page",
        run: () => toggle("context"),
      },
      {
        keys: ["i"],
        words: "open or close the guidelines",
        group: "Reading",
        where: "page",
        run: () => toggle("guidelines"),
      },
      {
        keys: ["?"],
        words: "show this sheet",
        group: "Reading",
        where: "page",
        run: () => this.keys.show(byId("keys")),
      },
    ];
  }
}

/** @param {number} count */
function left(count) {
  return count ? `${count} more after this` : "the last one for now";
}

/** @param {string} id */
function toggle(id) {
  const details = /** @type {HTMLDetailsElement} */ (byId(id));
  if (!details.hidden) details.open = !details.open;
}
