// From one assignment to the next: deal, submit, skip, take back. The same for every kind of task.
//
// Events: "show" (an assignment to work on: see `current`), "nothing" {message, why}, "left" (how many are left).
import { newKey } from "./api.js";
import { Clock } from "./clock.js";

const HEARTBEAT = 60_000;

export class Work extends EventTarget {
  /**
   * @param {object} options
   * @param {import("./api.js").Api} options.api
   * @param {import("./outbox.js").Outbox} options.outbox
   * @param {import("./undo.js").UndoStack} options.undo
   * @param {"spans" | "pair"} options.kind
   */
  constructor({ api, outbox, undo, kind }) {
    super();
    this.api = api;
    this.outbox = outbox;
    this.undo = undo;
    this.kind = kind;
    /** @type {any} the assignment on the desk */
    this.current = null;
    /** @type {number | null} */
    this.left = null;
    this.leaving = false; // submitted or skipped, and not answered yet: nothing more may be changed
    this.clock = new Clock();
    outbox.addEventListener("delivered", (event) => this.#delivered(/** @type {CustomEvent} */ (event).detail));
    outbox.addEventListener("refused", (event) => this.#refused(/** @type {CustomEvent} */ (event).detail));
    setInterval(() => this.#beat(), HEARTBEAT);
  }

  /** Ask for the next piece of work; what this person holds already comes first. */
  async next() {
    const query = `assignments/next?kind=${this.kind}`;
    this.#take(await this.api.call("POST", query, { key: newKey() }));
  }

  /** @param {{ assignment: any, left: number, why: string, message: string }} dealt */
  #take(dealt) {
    this.left = dealt.left;
    this.dispatchEvent(new Event("left"));
    if (dealt.assignment) this.show(dealt.assignment);
    else {
      this.current = null;
      this.leaving = false;
      this.dispatchEvent(new CustomEvent("nothing", { detail: dealt }));
    }
  }

  /** @param {any} assignment */
  show(assignment) {
    this.current = assignment;
    this.leaving = false;
    this.clock.take();
    this.dispatchEvent(new Event("show"));
  }

  /**
   * @param {Record<string, any>} body what the kind of task answers
   */
  submit(body) {
    this.#leave("submit", body, "submit");
  }

  /**
   * @param {string} reason
   * @param {string} text
   */
  skip(reason, text) {
    this.#leave("skip", { reason, text }, "skip");
  }

  /**
   * @param {"submit" | "skip"} type
   * @param {Record<string, any>} body
   * @param {string} words
   */
  #leave(type, body, words) {
    if (!this.current || this.leaving) return;
    const { id } = this.current;
    let key = this.#send(type, id, body);
    this.undo.push({
      words,
      undo: async () => {
        const unsent = this.outbox.withdraw(id, key);
        const pending = this.outbox.waiting(id).some((write) => write.key === key);
        if (pending)
          this.outbox.add(id, {
            type: "reopen",
            path: `assignments/${id}/reopen`,
            method: "POST",
            body: null,
            words: "take it back",
          });
        if (unsent || pending) this.leaving = false;
        else this.show((await this.api.call("POST", `assignments/${id}/reopen`, { key: newKey() })).assignment);
        this.dispatchEvent(new Event("stay"));
      },
      redo: () => {
        key = this.#send(type, id, body);
      },
    });
  }

  /**
   * @param {"submit" | "skip"} type
   * @param {string} id
   * @param {Record<string, any>} body
   */
  #send(type, id, body) {
    this.leaving = true;
    this.dispatchEvent(new Event("leave"));
    return this.outbox.add(id, {
      type,
      path: `assignments/${id}/${type}`,
      method: "POST",
      body: { ...body, active_seconds: this.clock.take(), deal_next: true },
      words: type,
    });
  }

  /** @param {{ write: import("./queue.js").Write, assignment: string, answer: any }} detail */
  #delivered({ write, assignment, answer }) {
    if (write.type !== "submit" && write.type !== "skip") return;
    const takenBack = this.outbox.waiting(assignment).some((other) => other.type === "reopen");
    if (takenBack || this.current?.id !== assignment) return;
    if (answer.extra) this.dispatchEvent(new Event("extra"));
    if (answer.next) this.#take(answer.next);
    else this.next().catch(() => this.dispatchEvent(new Event("stuck")));
  }

  /** @param {{ write: import("./queue.js").Write, assignment: string }} detail */
  #refused({ write, assignment }) {
    if (this.current?.id !== assignment) return;
    if (write.type === "submit" || write.type === "skip") this.leaving = false;
  }

  async #beat() {
    if (!this.current || this.leaving || document.visibilityState === "hidden") return;
    const body = { active_seconds: this.clock.take() };
    await this.api.call("POST", `assignments/${this.current.id}/heartbeat`, { body, key: newKey() }).catch(() => {
      this.clock.seconds += body.active_seconds; // said again with the next one
    });
  }
}
