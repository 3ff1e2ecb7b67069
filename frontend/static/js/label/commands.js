// The keys of the label page.

/** @typedef {import("../desk/keys.js").Command} Command */

const MARK = "Marking";
const MOVE = "Moving in the answer";
const NOTE = "The mark that is open";
const ON = "Going on";

/**
 * @param {any} page the LabelPage
 * @returns {Command[]}
 */
export function answerCommands(page) {
  const labels = page.labels
    .filter((/** @type {any} */ label) => label.shortcut)
    .map((/** @type {any} */ label) => ({
      keys: [label.shortcut],
      words: label.name,
      group: MARK,
      where: "page",
      run: () => page.judge({ label: label.id, sentiment: label.sentiment, name: label.name }),
    }));
  return [
    ...labels,
    {
      keys: ["b"],
      words: "bad, without a label",
      group: MARK,
      where: "page",
      run: () => page.judge({ label: null, sentiment: -1, name: "bad" }),
    },
    {
      keys: ["g"],
      words: "good, without a label",
      group: MARK,
      where: "page",
      run: () => page.judge({ label: null, sentiment: 1, name: "good" }),
    },
    ...severities(page),
    { keys: ["n", "j"], words: "to the next mark", group: NOTE, where: "page", run: () => page.walk(1) },
    { keys: ["p", "k"], words: "to the mark before", group: NOTE, where: "page", run: () => page.walk(-1) },
    {
      keys: ["Enter"],
      words: "write why",
      group: NOTE,
      where: "page",
      run: () => page.active && page.notes.write(page.active),
    },
    {
      keys: ["r"],
      words: "write how it should read",
      group: NOTE,
      where: "page",
      run: () => page.active && page.notes.write(page.active, "replacement"),
    },
    { keys: ["Delete", "Backspace"], words: "delete the mark", group: NOTE, where: "page", run: () => page.remove() },
    {
      keys: ["Shift+g"],
      words: "the answer is good on the whole",
      group: ON,
      where: "page",
      run: () => page.whole.toggle("good"),
    },
    {
      keys: ["Shift+b"],
      words: "the answer is bad on the whole",
      group: ON,
      where: "page",
      run: () => page.whole.toggle("bad"),
    },
    { keys: ["w"], words: "words on the whole answer", group: ON, where: "page", run: () => page.whole.write() },
    {
      keys: ["Ctrl+Enter"],
      words: "submit, and bring the next",
      group: ON,
      where: "anywhere",
      run: () => page.submit(),
    },
    { keys: ["Escape"], words: "back to the answer", group: MOVE, where: "anywhere", run: () => escape(page) },
  ];
}

/**
 * @param {any} page
 * @returns {Command[]}
 */
function severities(page) {
  const words = { 1: "slight", 2: "plain", 3: "grave" };
  return /** @type {const} */ ([1, 2, 3]).map((severity) => ({
    keys: [`Alt+${severity}`],
    words: words[severity],
    group: NOTE,
    where: "anywhere",
    run: () => page.severity(severity),
  }));
}

/** @param {any} page */
function escape(page) {
  page.flush();
  page.backToAnswer();
  if (page.selection.empty) page.activate(null);
  else page.selection.set(page.selection.focus, page.selection.focus);
}

/**
 * The caret: arrows by word and sentence, Ctrl or Alt by character, Shift extends.
 * @param {any} page
 * @returns {Command[]}
 */
export function caretCommands(page) {
  const { selection, painter } = page;
  /**
   * @param {(at: number, extending: boolean) => number} where
   * @param {boolean} extending
   */
  const go = (where, extending) => () => {
    const at = where(selection.focus, extending);
    selection.set(extending ? selection.anchor : at, at);
  };
  /**
   * @param {1 | -1} direction as seen on the screen
   * @param {"grapheme" | "word"} unit
   */
  const across = (direction, unit) => (/** @type {number} */ at, /** @type {boolean} */ extending) => {
    const { reading } = painter;
    const turned = reading.runsLeft(at) ? -direction : direction;
    return reading.step(at, turned, unit, extending);
  };
  /** @param {1 | -1} direction */
  const sentence = (direction) => (/** @type {number} */ at, /** @type {boolean} */ extending) =>
    painter.reading.step(at, direction, "sentence", extending);
  /** @type {[string, (at: number, extending: boolean) => number, string][]} */
  const moves = [
    ["ArrowRight", across(1, "word"), ""],
    ["ArrowLeft", across(-1, "word"), ""],
    ["ArrowDown", sentence(1), ""],
    ["ArrowUp", sentence(-1), ""],
    ["Ctrl+ArrowRight", across(1, "grapheme"), ""],
    ["Ctrl+ArrowLeft", across(-1, "grapheme"), ""],
    ["Alt+ArrowRight", across(1, "grapheme"), ""],
    ["Alt+ArrowLeft", across(-1, "grapheme"), ""],
    ["Home", (at) => painter.reading.paragraph(at).start, ""],
    ["End", (at) => painter.reading.paragraph(at).end, ""],
    ["Ctrl+Home", () => 0, ""],
    ["Ctrl+End", () => painter.reading.length, ""],
  ];
  const shift = (/** @type {string} */ key) => (key.includes("+") ? key.replace("+", "+Shift+") : `Shift+${key}`);
  return [
    { keys: [], shown: "← →", words: "by word", group: MOVE, where: "answer", run: () => {} },
    { keys: [], shown: "↑ ↓", words: "by sentence", group: MOVE, where: "answer", run: () => {} },
    { keys: [], shown: "Ctrl+← Ctrl+→", words: "by character", group: MOVE, where: "answer", run: () => {} },
    {
      keys: [],
      shown: "Home End",
      words: "to the paragraph’s ends, with Ctrl the answer’s",
      group: MOVE,
      where: "answer",
      run: () => {},
    },
    { keys: [], shown: "Shift", words: "with these: select", group: MOVE, where: "answer", run: () => {} },
    ...moves.flatMap(([key, where, words]) => [
      { keys: [key], words, group: MOVE, where: /** @type {const} */ ("answer"), repeats: true, run: go(where, false) },
      {
        keys: [shift(key)],
        words: "",
        group: MOVE,
        where: /** @type {const} */ ("answer"),
        repeats: true,
        run: go(where, true),
      },
    ]),
    {
      keys: ["Ctrl+a"],
      words: "select the whole answer",
      group: MOVE,
      where: "answer",
      run: () => selection.set(0, painter.reading.length, { scroll: false }),
    },
  ];
}
