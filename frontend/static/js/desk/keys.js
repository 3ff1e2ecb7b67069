// Keys and the sheet that shows them come from one table, so that the sheet cannot be wrong.

/**
 * @typedef {object} Command
 * @property {string[]} keys as "Ctrl+Enter", "Shift+ArrowRight", "1", "?"; letters are small: "Shift+g"
 * @property {string} words what it does; commands without words are not on the sheet
 * @property {string} [shown] how the sheet writes the keys, where it joins several commands
 * @property {string} group the sheet's heading
 * @property {"answer" | "page" | "anywhere"} where with the focus in the answer; anywhere but in a field; in fields too
 * @property {(field: HTMLTextAreaElement) => boolean} [inField] whether it acts in this field after all
 * @property {boolean} [repeats] whether holding the key down goes on: only where nothing is written
 * @property {(event?: KeyboardEvent) => void} run
 */

const FIELDS = "input:not([type='radio'], [type='checkbox']), textarea, select";
const PRESSABLE = "button, a[href], summary, input[type='radio'], input[type='checkbox']";

/** @param {KeyboardEvent} event */
export function nameOf(event) {
  const digit = event.altKey && /^Digit(\d)$/.exec(event.code); // Alt+1 types another sign on a Mac
  const letter = event.key.length === 1;
  const key = digit ? digit[1] : letter ? event.key.toLowerCase() : event.key;
  const shift = event.shiftKey && (!letter || event.key.toLowerCase() !== event.key.toUpperCase());
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${event.altKey ? "Alt+" : ""}${shift ? "Shift+" : ""}${key}`;
}

export class Keys {
  /** @param {{ answer: HTMLElement | null }} options */
  constructor({ answer }) {
    this.answer = answer;
    /** @type {Command[]} */
    this.commands = [];
    /** @type {Map<string, Command>} */
    this.byKey = new Map();
    /** The key that a command took, as long as it is down: its repeats are not typed into the field that it opened. */
    this.taken = "";
    document.addEventListener("keydown", (event) => this.#press(event));
    document.addEventListener("keyup", () => (this.taken = ""));
  }

  /** @param {Command[]} commands replaces what was there */
  use(commands) {
    this.commands = commands;
    this.byKey = new Map(commands.flatMap((command) => command.keys.map((key) => [key, command])));
  }

  /** @param {KeyboardEvent} event */
  #press(event) {
    if (event.repeat && event.code === this.taken) event.preventDefault();
    else this.taken = "";
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    const name = nameOf(event);
    const command = this.byKey.get(name);
    if (!command) return;
    const target = /** @type {Element} */ (event.target);
    const acts = command.where === "anywhere" || command.inField?.(/** @type {HTMLTextAreaElement} */ (target));
    if (target.matches(FIELDS) && !acts) return;
    if (command.where === "answer" && !this.answer?.contains(target)) return;
    if ((name === "Enter" || name === " ") && target.matches(PRESSABLE)) return;
    event.preventDefault();
    if (event.repeat && !command.repeats) return;
    if (!command.repeats) this.taken = event.code;
    command.run(event);
  }

  /** @param {HTMLDialogElement} dialog with an element [data-keys] for the list */
  show(dialog) {
    const list = /** @type {HTMLElement} */ (dialog.querySelector("[data-keys]"));
    list.replaceChildren();
    for (const group of new Set(this.commands.map((command) => command.group))) {
      const rows = this.commands.filter((command) => command.group === group && command.words);
      if (!rows.length) continue;
      const heading = document.createElement("h3");
      heading.textContent = group;
      const table = document.createElement("dl");
      table.className = "keys";
      for (const command of rows) table.append(...row(command));
      list.append(heading, table);
    }
    dialog.showModal();
  }
}

const SIGNS = {
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
  Delete: "Del",
  " ": "Space",
  Escape: "Esc",
};

/** @param {string} key */
export function sign(key) {
  return key
    .split(/\+(?=.)/)
    .map((part) => SIGNS[/** @type {keyof typeof SIGNS} */ (part)] ?? (part.length === 1 ? part.toUpperCase() : part))
    .join("+");
}

/** @param {Command} command */
function row(command) {
  const term = document.createElement("dt");
  for (const key of command.shown ? command.shown.split(" ") : command.keys.map(sign)) {
    const cap = document.createElement("kbd");
    cap.textContent = key;
    term.append(cap, " ");
  }
  const words = document.createElement("dd");
  words.textContent = command.words;
  return [term, words];
}
