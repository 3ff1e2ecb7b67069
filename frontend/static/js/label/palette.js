// The labels as buttons, each with its key. They do what the key does.

const SIGNS = { "-1": "✗", 0: "·", 1: "✓" };
const KINDS = { "-1": "bad", 0: "neutral", 1: "good" };

export class Palette {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
  }

  /** @param {{ id: string, name: string, sentiment: -1 | 0 | 1, shortcut: string, description: string }[]} labels */
  show(labels) {
    const plain = [
      { id: "", name: "bad", sentiment: -1, shortcut: "b", description: "bad, without a label" },
      { id: "", name: "good", sentiment: 1, shortcut: "g", description: "good, without a label" },
    ];
    this.root.replaceChildren(
      ...[...labels.filter((label) => label.shortcut), ...plain].map((label) => button(/** @type {any} */ (label))),
    );
  }

  /** @param {import("./marks.js").Mark | null} mark the open one: its label is shown pressed */
  point(mark) {
    for (const child of this.root.children) {
      const { label, sentiment } = /** @type {HTMLElement} */ (child).dataset;
      const pressed =
        mark !== null && label === (mark.label ?? "") && (mark.label !== null || sentiment === String(mark.sentiment));
      child.setAttribute("aria-pressed", String(pressed));
    }
  }
}

/** @param {{ id: string, name: string, sentiment: -1 | 0 | 1, shortcut: string, description: string }} label */
function button(label) {
  const node = document.createElement("button");
  node.type = "button";
  node.className = `label-button ${KINDS[label.sentiment]}`;
  node.dataset.key = label.shortcut;
  node.dataset.label = label.id;
  node.dataset.sentiment = String(label.sentiment);
  node.title = label.description;
  const mark = document.createElement("span");
  mark.className = "sign";
  mark.setAttribute("aria-hidden", "true");
  mark.textContent = SIGNS[label.sentiment];
  const cap = document.createElement("kbd");
  cap.textContent = label.shortcut.toUpperCase();
  node.append(mark, label.name, cap);
  return node;
}
