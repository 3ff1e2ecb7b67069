// The words in which two texts differ. No DOM here.

const WORDS = new Intl.Segmenter(undefined, { granularity: "word" });

/** @typedef {{ text: string, differs: boolean }} Part */

/**
 * Both texts cut into runs of words that the other has too (in the same order), and runs that it has not.
 * @param {string} left
 * @param {string} right
 * @returns {[Part[], Part[]]}
 */
export function differingWords(left, right) {
  const a = Array.from(WORDS.segment(left), (segment) => segment.segment);
  const b = Array.from(WORDS.segment(right), (segment) => segment.segment);
  let front = 0;
  while (front < a.length && front < b.length && a[front] === b[front]) front += 1;
  let back = 0;
  while (back < a.length - front && back < b.length - front && a.at(-1 - back) === b.at(-1 - back)) back += 1;
  const [keptA, keptB] = common(a.slice(front, a.length - back), b.slice(front, b.length - back));
  return [runs(a, front, back, keptA), runs(b, front, back, keptB)];
}

/**
 * The longest common subsequence, as two masks. Quadratic: texts of some thousand words take milliseconds.
 * @param {string[]} a
 * @param {string[]} b
 */
function common(a, b) {
  const width = b.length + 1;
  const table = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      table[i * width + j] =
        a[i] === b[j]
          ? table[(i + 1) * width + j + 1] + 1
          : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    }
  }
  const keptA = a.map(() => false);
  const keptB = b.map(() => false);
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (a[i] === b[j]) {
      keptA[i] = keptB[j] = true;
      i += 1;
      j += 1;
    } else if (table[(i + 1) * width + j] >= table[i * width + j + 1]) i += 1;
    else j += 1;
  }
  return [keptA, keptB];
}

/**
 * @param {string[]} words
 * @param {number} front
 * @param {number} back
 * @param {boolean[]} kept of the middle
 * @returns {Part[]}
 */
function runs(words, front, back, kept) {
  /** @type {Part[]} */
  const parts = [];
  words.forEach((word, i) => {
    const differs = i >= front && i < words.length - back && !kept[i - front];
    const last = parts.at(-1);
    if (last && last.differs === differs) last.text += word;
    else parts.push({ text: word, differs });
  });
  return parts;
}
