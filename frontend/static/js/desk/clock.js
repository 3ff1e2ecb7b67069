// Seconds that somebody really worked: the tab in front, and a hand on it within the last minute.

const IDLE = 60_000;

export class Clock {
  constructor() {
    this.seconds = 0;
    this.touched = Date.now();
    this.counted = Date.now();
    for (const name of ["pointermove", "pointerdown", "keydown", "scroll"]) {
      document.addEventListener(name, () => this.#touch(), { passive: true, capture: true });
    }
    document.addEventListener("visibilitychange", () => this.#count(document.visibilityState === "hidden"));
  }

  #touch() {
    if (Date.now() - this.touched > 1000) this.#count(true);
    this.touched = Date.now();
  }

  /** @param {boolean} worked whether the time since the last count may be work */
  #count(worked) {
    const now = Date.now();
    const until = Math.min(now, this.touched + IDLE);
    if (worked && until > this.counted) this.seconds += (until - this.counted) / 1000;
    this.counted = now;
  }

  /** What has gathered since the last time somebody took it. */
  take() {
    this.#count(document.visibilityState === "visible");
    const seconds = Math.round(this.seconds * 10) / 10;
    this.seconds = 0;
    return seconds;
  }
}
