// Where waiting writes survive a closed lid: localStorage, one entry for each tab and assignment.
// A tab holds a lock as long as it lives, so that another can tell whose writes are orphans and send them.

/**
 * @typedef {import("./queue.js").Write & { at: number }} Kept
 * @typedef {{ waiting: Kept[], lineages: Record<string, string> }} Box
 */

const TAB = Math.random().toString(36).slice(2);

export class Boxes {
  /** @param {string} owner the person and the project: nobody sends another's writes */
  constructor(owner) {
    this.prefix = `redpen:outbox:${owner}:`;
    /** @type {Map<string, Box>} by assignment */
    this.boxes = new Map();
    this.safe = true;
    navigator.locks?.request(this.prefix + TAB, () => new Promise(() => {}));
  }

  /**
   * @param {string} assignment
   * @returns {Box}
   */
  of(assignment) {
    let box = this.boxes.get(assignment);
    if (!box) this.boxes.set(assignment, (box = { waiting: [], lineages: {} }));
    return box;
  }

  /** @param {string} assignment writes it down; an empty box leaves no trace */
  keep(assignment) {
    const name = `${this.prefix}${assignment}:${TAB}`;
    const box = this.of(assignment);
    try {
      if (box.waiting.length) localStorage.setItem(name, JSON.stringify(box));
      else localStorage.removeItem(name);
      this.safe = true;
    } catch {
      this.safe = false; // full or forbidden: the page must say so
    }
  }

  /** Take over what tabs that are gone have left behind; whether there was anything. */
  async adopt() {
    let found = false;
    const alive = await this.#livingTabs();
    for (const name of Object.keys(localStorage)) {
      if (!name.startsWith(this.prefix)) continue;
      const [assignment, tab] = name.slice(this.prefix.length).split(":");
      if (alive.has(tab)) continue;
      try {
        const orphan = /** @type {Box} */ (JSON.parse(localStorage.getItem(name) ?? ""));
        const box = this.of(assignment);
        box.waiting = [...orphan.waiting, ...box.waiting].sort((a, b) => a.at - b.at);
        Object.assign(box.lineages, orphan.lineages);
        this.keep(assignment);
        found = true;
      } catch {
        // not readable: nothing of it can be sent
      }
      localStorage.removeItem(name);
    }
    return found;
  }

  async #livingTabs() {
    const tabs = new Set([TAB]);
    const { held = [] } = (await navigator.locks?.query()) ?? {};
    for (const lock of held) if (lock.name?.startsWith(this.prefix)) tabs.add(lock.name.slice(this.prefix.length));
    return tabs;
  }
}
