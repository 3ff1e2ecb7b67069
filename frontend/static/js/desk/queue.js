// The order of writes that wait to be sent: what may be joined, and what falls with what. No DOM, no network here.

/**
 * @typedef {object} Write
 * @property {string} key the Idempotency-Key: sent again, it adds nothing
 * @property {"create" | "change" | "retract" | "restore" | "draft" | "submit" | "skip" | "reopen" | "report"} type
 * @property {string} [mark] the page's own id of the mark that it is about
 * @property {string} path below the project's API; `{mark}` stands for the mark's lineage, known once it is created
 * @property {string} method
 * @property {Record<string, any> | null} body
 * @property {string} words what it is, for people
 * @property {number} tries how often it was sent
 */

/**
 * Add a write at the end. A change joins the create or change of the same mark before it, and a draft replaces a draft,
 * as long as those were never sent: a key that was sent keeps its content.
 * @param {Write[]} waiting
 * @param {Write} write
 * @returns {Write[]}
 */
export function add(waiting, write) {
  if (write.type === "change") {
    const before = waiting.findLastIndex((other) => other.mark === write.mark);
    const other = waiting[before];
    if (other && other.tries === 0 && (other.type === "create" || other.type === "change")) {
      return waiting.with(before, { ...other, body: { ...other.body, ...write.body } });
    }
  }
  if (write.type === "draft") {
    const kept = waiting.filter((other) => other.type !== "draft" || other.tries > 0 || other.path !== write.path);
    return [...kept, write];
  }
  return [...waiting, write];
}

/**
 * Take out a write that was never sent.
 * @param {Write[]} waiting
 * @param {string} key
 * @returns {Write[] | null} null when it is gone or under way
 */
export function withdraw(waiting, key) {
  const write = waiting.find((other) => other.key === key);
  return write && write.tries === 0 ? waiting.filter((other) => other !== write) : null;
}

/**
 * What is left once a write was refused: what builds on a mark that never came to be falls with it.
 * @param {Write[]} waiting
 * @param {Write} refused
 */
export function without(waiting, refused) {
  const rest = waiting.filter((other) => other.key !== refused.key);
  return refused.type === "create" ? rest.filter((other) => other.mark !== refused.mark) : rest;
}

/**
 * Milliseconds until the next try: 1 s, 2 s, 4 s ... 30 s, give or take a fifth so that a roomful does not come at once.
 * @param {number} tries
 * @param {number} random in [0, 1)
 */
export function backOff(tries, random) {
  return Math.min(30_000, 1000 * 2 ** Math.max(0, tries - 1)) * (0.8 + 0.4 * random);
}
