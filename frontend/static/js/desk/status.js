// The chip that says whether everything is saved, and the live region that says what changed.

/** @param {import("./outbox.js").Outbox} outbox */
function words(outbox) {
  const waiting = `${outbox.count} waiting`;
  const kept = outbox.boxes.safe ? "kept on this device" : "this browser cannot keep them: leave the page open";
  if (outbox.state === "waiting") return `No connection: ${waiting}, ${kept}`;
  if (outbox.state === "signed-out") return `Signed out: ${waiting}, ${kept}. Sign in in another tab.`;
  return outbox.state === "sending" ? "Saving …" : "All saved";
}

export class Status {
  /**
   * @param {{ chip: HTMLElement, live: HTMLElement, outbox: import("./outbox.js").Outbox }} options
   */
  constructor({ chip, live, outbox }) {
    this.chip = chip;
    this.live = live;
    this.outbox = outbox;
    this.troubled = false;
    this.shown = "";
    outbox.addEventListener("state", () => this.#update());
    this.#update();
  }

  /**
   * Say something to who does not see it.
   * @param {string} text
   */
  say(text) {
    // the same words twice are spoken twice: a no-break space makes them differ
    this.live.textContent = this.live.textContent === text ? `${text}\u00a0` : text;
  }

  #update() {
    const { state } = this.outbox;
    const text = words(this.outbox);
    if (text === this.shown) return;
    this.shown = text;
    this.chip.textContent = text;
    this.chip.className = `badge ${{ saved: "good", sending: "busy", waiting: "warn", "signed-out": "bad" }[state]}`;
    const troubled = state === "waiting" || state === "signed-out";
    if (troubled) this.say(text);
    else if (this.troubled && state === "saved") this.say("Connected again. All saved.");
    this.troubled = troubled || (this.troubled && state === "sending");
  }
}
