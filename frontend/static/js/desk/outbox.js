// Writes on their way: kept before they are sent, sent in order, again until somebody answers.
//
// Events: "delivered" {write, assignment, answer}, "refused" {write, assignment, problem}, "state" (see `state`).
import { newKey } from "./api.js";
import { Boxes } from "./box.js";
import * as queue from "./queue.js";

/** @typedef {import("./queue.js").Write} Write */

export class Outbox extends EventTarget {
  /**
   * @param {{ api: import("./api.js").Api, owner: string }} options
   */
  constructor({ api, owner }) {
    super();
    this.api = api;
    this.boxes = new Boxes(owner);
    /** @type {"saved" | "sending" | "waiting" | "signed-out"} */
    this.state = "saved";
    this.delivering = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    globalThis.addEventListener("online", () => this.deliver());
    globalThis.addEventListener("focus", () => this.state !== "saved" && this.deliver());
  }

  /** Send what earlier visits left behind; whether there was anything. */
  async adopt() {
    const found = await this.boxes.adopt();
    await this.deliver();
    return found;
  }

  /**
   * @param {string} assignment
   * @param {Omit<Write, "key" | "tries"> & { key?: string }} write
   * @returns {string} its key
   */
  add(assignment, write) {
    const box = this.boxes.of(assignment);
    const kept = { key: newKey(), ...write, tries: 0, at: Date.now() };
    box.waiting = /** @type {any} */ (queue.add(box.waiting, kept));
    this.boxes.keep(assignment);
    this.#report(this.state === "saved" ? "sending" : this.state);
    queueMicrotask(() => this.deliver());
    return kept.key;
  }

  /**
   * Take back a write that was never sent.
   * @param {string} assignment
   * @param {string} key
   */
  withdraw(assignment, key) {
    const box = this.boxes.of(assignment);
    const rest = queue.withdraw(box.waiting, key);
    if (!rest) return false;
    box.waiting = /** @type {any} */ (rest);
    this.boxes.keep(assignment);
    this.#report(this.count ? this.state : "saved");
    return true;
  }

  /**
   * Let go of what later writes make needless, where it was never sent.
   * @param {string} assignment
   * @param {Write["type"]} type
   */
  drop(assignment, type) {
    const box = this.boxes.of(assignment);
    box.waiting = box.waiting.filter((write) => write.type !== type || write.tries > 0);
    this.boxes.keep(assignment);
  }

  /** @param {string} assignment */
  waiting(assignment) {
    return this.boxes.of(assignment).waiting;
  }

  get count() {
    return [...this.boxes.boxes.values()].reduce((sum, box) => sum + box.waiting.length, 0);
  }

  /**
   * The lineage that the server gave to a mark made here; a mark of the server's has it as its id.
   * @param {string} mark
   */
  lineage(mark) {
    for (const box of this.boxes.boxes.values()) if (box.lineages[mark]) return box.lineages[mark];
    return mark;
  }

  /**
   * The page's own id of a lineage.
   * @param {string} lineage
   */
  localId(lineage) {
    for (const box of this.boxes.boxes.values()) {
      for (const [mark, known] of Object.entries(box.lineages)) if (known === lineage) return mark;
    }
    return lineage;
  }

  /** Send everything in the order in which it was said; stop at the first that nobody answers. */
  async deliver() {
    if (this.delivering) return;
    clearTimeout(this.timer);
    this.delivering = true;
    try {
      for (let next = this.#oldest(); next; next = this.#oldest()) {
        if (!(await this.#send(next.assignment, next.write))) return;
      }
      this.#report("saved");
    } finally {
      this.delivering = false;
    }
  }

  #oldest() {
    /** @type {{ assignment: string, write: import("./box.js").Kept } | null} */
    let oldest = null;
    for (const [assignment, { waiting }] of this.boxes.boxes) {
      if (waiting[0] && (!oldest || waiting[0].at < oldest.write.at)) oldest = { assignment, write: waiting[0] };
    }
    return oldest;
  }

  /**
   * @param {string} assignment
   * @param {import("./box.js").Kept} write
   * @returns {Promise<boolean>} whether to go on with the next
   */
  async #send(assignment, write) {
    const box = this.boxes.of(assignment);
    write.tries += 1;
    this.boxes.keep(assignment);
    const path = write.path.replace("{mark}", this.lineage(write.mark ?? ""));
    try {
      const answer = await this.api.call(write.method, path, { body: write.body, key: write.key });
      if (write.type === "create" && write.mark) box.lineages[write.mark] = answer.lineage;
      box.waiting = box.waiting.filter((other) => other.key !== write.key);
      this.boxes.keep(assignment);
      this.#report(this.count ? "sending" : "saved");
      this.dispatchEvent(new CustomEvent("delivered", { detail: { write, assignment, answer } }));
      return true;
    } catch (error) {
      const problem = /** @type {import("./api.js").Problem} */ (error);
      if (problem.passing) {
        this.timer = setTimeout(
          () => this.deliver(),
          problem.retryAfter * 1000 || queue.backOff(write.tries, Math.random()),
        );
        this.#report(problem.status === 401 ? "signed-out" : "waiting");
        return false;
      }
      if (!problem.status) throw error; // our own mistake, not the server's
      box.waiting = /** @type {any} */ (queue.without(box.waiting, write));
      this.boxes.keep(assignment);
      this.dispatchEvent(new CustomEvent("refused", { detail: { write, assignment, problem } }));
      return true;
    }
  }

  /** @param {Outbox["state"]} state */
  #report(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
