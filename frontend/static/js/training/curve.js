// What a chart needs to know, without a DOM: series from points, smoothing, scales, ticks, thinning.

/**
 * @typedef {{ attempt: number, points: Array<[number, number]> }} Series one attempt's [step, value] pairs
 */

/** Collects points as they come, by the name of the figure and the attempt. */
export class Curves {
  constructor() {
    /** @type {Map<string, Map<number, Array<[number, number]>>>} */
    this.byName = new Map();
  }

  /** @param {Array<[number, number | null, Record<string, number>]>} points attempt, step, figures */
  add(points) {
    for (const [attempt, step, values] of points) {
      for (const [name, value] of Object.entries(values)) {
        if (typeof value !== "number" || !Number.isFinite(value)) continue;
        if (!this.byName.has(name)) this.byName.set(name, new Map());
        const attempts = this.byName.get(name);
        if (!attempts.has(attempt)) attempts.set(attempt, []);
        const line = attempts.get(attempt);
        if (line.length && line.at(-1)[0] === (step ?? 0)) line.pop(); // measured once more after the same step
        line.push([step ?? 0, value]);
      }
    }
  }

  /** @returns {string[]} loss first, the others as they came */
  get names() {
    const names = [...this.byName.keys()];
    return names.sort((a, b) => Number(!isLoss(a)) - Number(!isLoss(b)));
  }

  /** @param {string} name @returns {Series[]} the newest attempt last */
  of(name) {
    return [...(this.byName.get(name) ?? [])].sort((a, b) => a[0] - b[0]).map(([attempt, points]) => ({ attempt, points }));
  }
}

const MAIN =
  /^(loss|accuracy|entropy|rate|exploitability|best_of_\d+|perplexity|agreement|held_out_\w+|(dev|test)_\w+|win\/\w+|delta\/\w+|ok\/.+|kl\/answer|groups\/\w+|refinement\/gain)$/;
const GROUPS = [
  { key: "reward", title: "The reward and its parts", names: /^(reward|said)(\/|$)|^(reward_std|held_out_reward|kept_reward)$/ },
  { key: "watch", title: "The watch for reward hacking", names: /^(hack|truth)\/|^(rewarded_tokens|reward_length_correlation)$/ },
];

/**
 * Where a figure's chart stands: with those of its kind, under their title; what is of no kind and seldom looked at is
 * folded away.
 * @param {string} name of the figure
 * @returns {{ key: string, title: string }} both empty for a main figure
 */
export function groupOf(name) {
  return GROUPS.find(({ names }) => names.test(name)) ?? (MAIN.test(name) ? { key: "", title: "" } : { key: "more", title: "More figures" });
}

/** @param {string} name */
const isLoss = (name) => name === "loss";

/**
 * An exponential mean that starts unbiased: the first values are not drawn towards zero.
 * @param {Array<[number, number]>} points
 * @param {number} weight of what came before: 0 is none
 * @returns {Array<[number, number]>}
 */
export function smooth(points, weight) {
  if (!(weight > 0)) return points;
  let total = 0;
  let count = 0;
  return points.map(([step, value]) => {
    total = weight * total + value;
    count = weight * count + 1;
    return [step, total / count];
  });
}

/**
 * At most `most` points that keep the shape: the lowest and the highest of each stretch.
 * @param {Array<[number, number]>} points
 * @param {number} most
 * @returns {Array<[number, number]>}
 */
export function thin(points, most) {
  if (points.length <= most) return points;
  const stretch = Math.ceil((points.length * 2) / most);
  const kept = [];
  for (let start = 0; start < points.length; start += stretch) {
    const part = points.slice(start, start + stretch);
    let low = 0;
    let high = 0;
    part.forEach(([, value], index) => {
      if (value < part[low][1]) low = index;
      if (value > part[high][1]) high = index;
    });
    kept.push(...[...new Set([low, high])].sort((a, b) => a - b).map((index) => part[index]));
  }
  return kept;
}

/**
 * Round numbers that span the values.
 * @param {number} low
 * @param {number} high
 * @param {number} [about] how many steps
 * @returns {number[]}
 */
export function ticks(low, high, about = 4) {
  if (!(high - low > 1e-9 * Math.max(Math.abs(low), Math.abs(high)))) {
    // all the same, but for rounding
    const room = Math.abs(low) || 1;
    return ticks(low - room / 2, low + room / 2, about);
  }
  const raw = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw) ?? 10);
  const first = Math.floor(low / step);
  const last = Math.ceil(high / step);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

/** @param {number} value a number as people read it, three digits that matter */
export function read(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000 && Number.isInteger(value)) return value.toLocaleString("en");
  return size >= 1e-4 && size < 1e5 ? String(Number(value.toPrecision(3))) : value.toExponential(2);
}
