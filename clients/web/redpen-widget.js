// Redpen's widget: thumbs, love and "What was wrong?" under any answer. README.md says how to use it.

const WORDS = {
  group: "What do you think of this answer?",
  like: "Good answer",
  dislike: "Bad answer",
  love: "Love it",
  wrong: "What was wrong?",
  phrase: "Which words? Select them in the answer, or type them here.",
  why: "Why? (optional)",
  send: "Send",
  cancel: "Cancel",
  thanks: "Thank you.",
  undone: "Taken back.",
  kept: "No connection. It is kept here and sent later.",
  absent: "These words do not stand in the answer like this.",
  empty: "Select the words that are wrong, or say why.",
};
const THUMB = "M7 10v11H3V10zM9 21h9l3-8v-3h-7l1-5-2-2-4 7z";
const ICONS = { like: THUMB, dislike: THUMB, love: "M12 21C4 15 3 11 3 8a4 4 0 0 1 9-1 4 4 0 0 1 9 1c0 3-1 7-9 13z" };
const POLARITY = { like: 1, love: 1, dislike: -1 };
const SHEET = `
:host { display: block; margin: .5em 0; color: var(--redpen-ink, inherit); font: var(--redpen-font, inherit) }
div { display: flex; flex-wrap: wrap; gap: .4em }
form { max-width: 32em }
label { display: block; margin: .5em 0 }
button, textarea { font: inherit; color: inherit; background: var(--redpen-paper, transparent); padding: .3em .6em;
  border: 1px solid var(--redpen-edge, color-mix(in srgb, currentColor 60%, transparent)); border-radius: var(--redpen-radius, 6px) }
button { cursor: pointer; min-width: 2.5em; min-height: 2.5em }
button:hover, [aria-pressed=true], [aria-expanded=true] { border-color: currentColor }
[aria-pressed=true], [aria-expanded=true] { color: var(--redpen-accent, LinkText) }
textarea { box-sizing: border-box; width: 100% }
:focus-visible { outline: 2px solid var(--redpen-accent, LinkText); outline-offset: 2px }
svg { width: 1.25em; height: 1.25em; vertical-align: middle; fill: none; stroke: currentColor; stroke-width: 2 }
[aria-pressed=true] svg { fill: currentColor }
.dislike svg { transform: rotate(180deg) }
p { margin: 0; min-height: 1.5em }`;
const MARKED = "::highlight(redpen) { background: var(--redpen-mark, #f3b4ad); color: #000 }";
const BATCH = 50, KEPT = 500, SOON = 300, AGAIN = 5000, LONGEST = 300000;

// What this browser remembers, or (localStorage forbidden or full) this page.
let shelf = {};
const keep = (name, value) => {
  try { shelf[name] = value } catch { shelf = { ...shelf, [name]: value } }
};
try { shelf = localStorage } catch { /* forbidden */ }

const newId = () => crypto.randomUUID?.() ?? crypto.getRandomValues(new Uint32Array(4)).join("-");
const bodyOf = (events) => `[${events.map((name) => shelf[name]).join()}]`;
let lastTime = 0;

/** Sends what waits. An entry an event: tabs do not overwrite each other's, and repeats count once. */
class Outbox {
  constructor(url) {
    this.url = url;
    this.start = `redpen:send:${url}:`;
    this.listeners = new Set();
    addEventListener("online", () => this.flush());
    addEventListener("pagehide", () => this.leave());
    document.addEventListener("visibilitychange", () => document.hidden && this.leave());
    this.later(0, AGAIN);
  }

  waiting() {
    return Object.keys(shelf).filter((name) => name.startsWith(this.start)).sort();
  }

  add(event) {
    lastTime = Math.max(Date.now(), lastTime + 1); // no two events have one time: their order decides what counts
    for (const name of this.waiting().slice(0, -KEPT)) delete shelf[name];
    keep(`${this.start}${lastTime}:${newId()}`, JSON.stringify({ ...event, at: new Date(lastTime).toISOString() }));
    this.later(SOON, AGAIN);
  }

  later(time, wait) {
    this.wait = wait; // before the try after the next one
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), time);
  }

  async flush() {
    const events = this.waiting().slice(0, BATCH);
    if (this.busy || !events.length) return;
    this.busy = true;
    let fates;
    try {
      const reply = await fetch(this.url, { method: "POST", body: bodyOf(events) });
      if (reply.ok) fates = (await reply.json()).results;
      else if ([400, 413, 422].includes(reply.status)) fates = []; // refused for good
    } catch { /* no connection */ }
    this.busy = false;
    if (fates) for (const [place, name] of events.entries()) if (fates[place]?.status !== "retry") delete shelf[name];
    for (const listener of this.listeners) listener(!!fates);
    const moved = events.some((name) => !shelf[name]);
    if (this.waiting().length)
      this.later(moved ? SOON : this.wait * (0.5 + Math.random() / 2), Math.min(this.wait * 2, LONGEST));
  }

  // Nobody hears whether a beacon arrives, so the events stay, and the next page sends them again.
  leave() {
    const events = this.waiting().slice(0, BATCH);
    if (events.length) navigator.sendBeacon(this.url, bodyOf(events));
  }
}
const outboxes = {};

/** Puts the widget after `element`, which shows an answer. See README.md for the options. */
export function attach(element, options) {
  const { endpoint, key, response, kinds = ["like", "dislike", "love", "wrong"] } = options;
  const words = { ...WORDS, ...options.strings };
  const url = `${endpoint.replace(/\/$/, "")}/api/v1/reactions?key=${encodeURIComponent(key)}`;
  const outbox = (outboxes[url] ??= new Outbox(url));
  if (!options.user && !shelf["redpen:user"]) keep("redpen:user", newId());
  const user = options.user || shelf["redpen:user"];
  const memo = `redpen:said:${user}:${response}`;
  const said = new Set(JSON.parse(shelf[memo] || "[]"));
  const buttons = {};
  const tell = (kind, more) => outbox.add({ response, kind, user, ...more });
  const say = (kind) => {
    for (const other of said) if (POLARITY[other] * POLARITY[kind] < 0) unsay(other);
    said.add(kind);
  };
  const unsay = (kind) => said.delete(kind) && (tell(kind, { retract: true }), true);
  const show = (text) => {
    keep(memo, JSON.stringify([...said]));
    for (const kind in buttons) buttons[kind].setAttribute("aria-pressed", said.has(kind));
    status.textContent = text && !navigator.onLine ? words.kept : text;
  };

  const host = make("div");
  const root = host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [sheet(SHEET)];
  const status = make("p", { role: "status" });
  const group = make("div", { role: "group", "aria-label": words.group });
  root.append(group, status);
  const button = (text, does, type = "button") => {
    const one = make("button", { type }, text);
    one.onclick = does;
    return one;
  };
  for (const kind of kinds) {
    if (kind === "wrong") continue;
    const name = words[kind] || kind;
    const one = (buttons[kind] = button(ICONS[kind] ? picture(ICONS[kind]) : name, () => {
      if (unsay(kind)) return show(words.undone);
      tell(kind);
      say(kind);
      show(words.thanks);
    }));
    one.className = kind;
    one.ariaLabel = one.title = name;
    group.append(one);
  }
  show("");

  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    if (said.has("shown")) return;
    tell("shown");
    said.add("shown");
    keep(memo, JSON.stringify([...said]));
  });
  observer.observe(element);
  const listener = (arrived) => {
    if (!arrived) status.textContent = words.kept;
    else if (status.textContent === words.kept) status.textContent = words.thanks;
  };
  outbox.listeners.add(listener);

  let place = -1; // of the words in the text that is shown, in UTF-16 units
  let picked = "", field = ""; // these words, and as a field without \r holds them
  const phrase = make("textarea", { rows: 2 });
  const why = make("textarea", { rows: 2, maxlength: 5000 });
  const form = make("form", { hidden: "" });
  const open = button(words.wrong, () => toggle(form.hidden));
  const toggle = (on) => {
    form.hidden = !on;
    open.ariaExpanded = on;
    status.textContent = phrase.value = why.value = picked = field = "";
    place = -1;
    paint();
    if (on) pick();
    (!on ? open : phrase.value ? why : phrase).focus();
  };
  const pick = () => {
    const range = !form.hidden && selectedIn(element);
    const raw = range ? range.toString() : "";
    const quote = raw.trim();
    if (!quote) return;
    const before = document.createRange();
    before.setStart(element, 0);
    before.setEnd(range.startContainer, range.startOffset);
    place = before.toString().length + raw.indexOf(quote);
    picked = phrase.value = quote;
    field = phrase.value;
    paint(element, place, quote.length);
  };
  phrase.oninput = () => {
    place = element.textContent.indexOf(phrase.value);
    paint(element, place, phrase.value.length);
  };
  form.onkeydown = (event) => {
    if (event.key === "Escape") toggle(false);
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    const quote = phrase.value === field ? picked : phrase.value, critique = why.value.trim();
    let more = { text: critique };
    if (quote.trim()) {
      const text = options.text ?? element.textContent;
      const unit = locate(text, element.textContent, place, quote);
      if (unit < 0) return show(words.absent);
      const start = length(text.slice(0, unit));
      more = { spans: [{ start, end: start + length(quote), quote, critique }] };
    } else if (!critique) return show(words.empty);
    tell("dislike", { id: newId(), ...more });
    say("dislike");
    toggle(false);
    show(words.thanks);
  };
  if (kinds.includes("wrong")) {
    open.ariaExpanded = false;
    open.onmousedown = (event) => event.preventDefault(); // the selection stays
    form.append(make("label", {}, words.phrase, phrase), make("label", {}, words.why, why),
      make("div", {}, button(words.send, null, "submit"), button(words.cancel, () => toggle(false))));
    group.append(open);
    group.after(form);
    document.addEventListener("selectionchange", pick);
  }
  element.after(host);
  return {
    host,
    remove() {
      observer.disconnect();
      outbox.listeners.delete(listener);
      document.removeEventListener("selectionchange", pick);
      host.remove();
    },
  };
}

/** Code points, which the server counts; JavaScript counts UTF-16 units. */
export const length = (text) => [...text].length;

/** Where the words shown at `place` stand in the stored text; -1: uncertain. The n-th of n equal phrases is the n-th. */
export function locate(text, shown, place, quote) {
  if (place < 0 || !shown.startsWith(quote, place)) return -1;
  if (text === shown) return place;
  const [here, there] = [shown, text].map((whole) => {
    const found = [];
    for (let at = whole.indexOf(quote); at > -1; at = whole.indexOf(quote, at + 1)) found.push(at);
    return found;
  });
  return here.length === there.length ? there[here.indexOf(place)] : -1;
}

/** What of the selection lies in the element. */
function selectedIn(element) {
  const selection = getSelection();
  const range = selection.rangeCount && selection.getRangeAt(0).cloneRange();
  if (!range || !range.intersectsNode(element)) return null;
  const whole = document.createRange();
  whole.selectNodeContents(element);
  if (range.compareBoundaryPoints(0, whole) < 0) range.setStart(element, 0); // start to start
  if (range.compareBoundaryPoints(2, whole) > 0) range.setEnd(element, element.childNodes.length); // end to end
  return range;
}

/** Marks the words without touching the answer, where the browser can. */
function paint(element, place, size) {
  const marks = CSS.highlights;
  marks?.delete("redpen");
  if (!marks || !(place >= 0) || !size) return;
  const range = document.createRange();
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  for (let node, at = 0; (node = walker.nextNode()); at += node.length) {
    if (place >= at && place < at + node.length) range.setStart(node, place - at);
    if (place + size > at && place + size <= at + node.length) range.setEnd(node, place + size - at);
  }
  if (!document.adoptedStyleSheets.includes(sheet(MARKED))) document.adoptedStyleSheets.push(sheet(MARKED));
  marks.set("redpen", new Highlight(range));
}

const sheets = {};
function sheet(text) {
  if (!sheets[text]) (sheets[text] = new CSSStyleSheet()).replaceSync(text);
  return sheets[text];
}

function make(tag, attributes, ...children) {
  const one = document.createElement(tag);
  for (const name in attributes) one.setAttribute(name, attributes[name]);
  one.append(...children);
  return one;
}

function picture(path) {
  const [svg, line] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  svg.setAttribute("viewBox", "0 0 24 24");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}
