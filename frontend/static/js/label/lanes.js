// Which underline lies under which, and which notes make room for which. No DOM here.

/**
 * Lanes for overlapping stretches, counted from the text downwards: an inner phrase lies nearest to its words.
 * @param {{ id: string, start: number, end: number }[]} marks
 * @returns {Map<string, number>}
 */
export function lanes(marks) {
  /** @type {{ start: number, end: number, lane: number }[]} */
  const placed = [];
  /** @type {Map<string, number>} */
  const result = new Map();
  const byLength = [...marks].sort(
    (a, b) => a.end - a.start - (b.end - b.start) || a.start - b.start || (a.id < b.id ? -1 : 1),
  );
  for (const mark of byLength) {
    const taken = new Set(
      placed.filter((other) => other.start < mark.end && mark.start < other.end).map((other) => other.lane),
    );
    let lane = 0;
    while (taken.has(lane)) lane += 1;
    placed.push({ ...mark, lane });
    result.set(mark.id, lane);
  }
  return result;
}

/**
 * Cut [0, length) at the borders of all marks. Empty marks stand at the end of the piece before them, as pieces of their own.
 * @param {number} length
 * @param {{ id: string, start: number, end: number }[]} marks
 * @returns {{ start: number, end: number, marks: string[] }[]} outermost mark first
 */
export function pieces(length, marks) {
  const cuts = new Set([0, length]);
  for (const mark of marks) cuts.add(mark.start).add(mark.end);
  const sorted = [...cuts].sort((a, b) => a - b);
  const outerFirst = [...marks].sort(
    (a, b) => b.end - b.start - (a.end - a.start) || a.start - b.start || (a.id < b.id ? 1 : -1),
  );
  const result = [];
  for (let i = 0; i < sorted.length; i += 1) {
    const start = sorted[i];
    for (const mark of outerFirst)
      if (mark.start === start && mark.end === start) result.push({ start, end: start, marks: [mark.id] });
    const end = sorted[i + 1];
    if (end === undefined) break;
    result.push({
      start,
      end,
      marks: outerFirst
        .filter((mark) => mark.start < end && start < mark.end && mark.end > mark.start)
        .map((mark) => mark.id),
    });
  }
  return result;
}

/**
 * Tops for notes that each want to stand at `top`: in order, never overlapping; the active one stands exactly where its words are.
 * @param {{ id: string, top: number, height: number }[]} notes in reading order
 * @param {string | null} active
 * @param {number} gap
 * @returns {Map<string, number>}
 */
export function placeNotes(notes, active, gap) {
  const tops = notes.map((note) => note.top);
  const fixed = Math.max(
    0,
    notes.findIndex((note) => note.id === active),
  );
  for (let i = fixed + 1; i < notes.length; i += 1)
    tops[i] = Math.max(tops[i], tops[i - 1] + notes[i - 1].height + gap);
  for (let i = fixed - 1; i >= 0; i -= 1) tops[i] = Math.min(tops[i], tops[i + 1] - notes[i].height - gap);
  const above = Math.min(0, ...tops); // never above the page: then all move down
  return new Map(notes.map((note, i) => [note.id, tops[i] - above]));
}
