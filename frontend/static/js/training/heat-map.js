// The heat map of a model's page: sends a text to the model, draws what it says on the words, and reads numbers out.
import { heat, kinds, pieces, value } from "./heat.js";

const SECONDS = 150; // the first time, the model server has to start and to load the model
const root = document.getElementById("heat-map");
/** @param {string} name @returns {any} */
const part = (name) => document.getElementById(`heat-${name}`);
/** @type {Record<string, string>} names of labels by key */
const names = JSON.parse(root.dataset.labels || "{}");
/** @param {string} name of a kind, as heat.js calls it */
const called = (name) => (name.startsWith("label ") ? (names[name.slice(6)] ?? name.slice(6)) : name);
const button = root.querySelector("button[type=submit]");
/** @type {import("./heat.js").Piece[]} */
let shown = [];
let kind = "bad";
let current = -1;

part("answer").addEventListener("change", () => {
  part("own").hidden = Boolean(part("answer").value);
});

part("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  part("error").hidden = true;
  button.disabled = true;
  part("wait").textContent = "Asking the model … the first time it has to be loaded.";
  try {
    draw(await ask());
  } catch (error) {
    part("error").textContent = error.message;
    part("error").hidden = false;
  } finally {
    button.disabled = false;
    part("wait").textContent = "";
  }
});

function question() {
  if (part("answer").value) return { response: part("answer").value };
  const passages = part("context").value.trim();
  return {
    question: part("question").value,
    context: passages ? [{ id: "1", title: "", text: passages }] : [],
    text: part("text").value,
  };
}

async function ask() {
  const token = document.cookie.match(/(?:^|; )csrftoken=([^;]*)/)?.[1] ?? "";
  let answer;
  try {
    answer = await fetch(root.dataset.url, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": token },
      body: JSON.stringify(question()),
      signal: AbortSignal.timeout(SECONDS * 1000),
    });
  } catch {
    throw new Error("The server cannot be reached. Try again in a moment.");
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.detail || `The server answered ${answer.status}.`);
  return body;
}

function draw({ text, tokens, reward }) {
  shown = pieces(text, tokens);
  current = -1;
  const choices = kinds(tokens);
  if (!choices.includes(kind)) kind = "bad";
  part("kinds").replaceChildren(
    ...choices.map((name) => {
      const label = document.createElement("label");
      label.className = "check";
      const radio = Object.assign(document.createElement("input"), { type: "radio", name: "heat-kind", value: name, checked: name === kind });
      radio.addEventListener("change", () => {
        kind = name;
        paint();
      });
      label.append(radio, ` ${called(name)}`);
      return label;
    }),
  );
  part("reward").textContent = reward.toFixed(3);
  part("words").replaceChildren(
    ...shown.map(({ text: words, token }, index) => {
      if (!token) return document.createTextNode(words);
      const span = document.createElement("span");
      span.textContent = words;
      span.dataset.piece = String(index);
      return span;
    }),
  );
  part("words").tabIndex = 0;
  part("head").replaceChildren(...["Words", ...choices].map((name) => Object.assign(document.createElement("th"), { scope: "col", textContent: called(name), className: name === "Words" ? "" : "number" })));
  part("rows").replaceChildren(
    ...shown.filter(({ token }) => token).map(({ text: words, token }) => {
      const row = document.createElement("tr");
      row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: words.trim() || "␠" }));
      for (const name of choices) row.append(Object.assign(document.createElement("td"), { className: "number", textContent: value(token, name).toFixed(3) }));
      return row;
    }),
  );
  part("result").hidden = false;
  paint();
}

function paint() {
  for (const span of part("words").querySelectorAll("span[data-piece]")) {
    const share = value(shown[Number(span.dataset.piece)].token, kind);
    span.className = `heat heat-${heat(share)}${share >= 0.5 ? " over-half" : ""}`;
    span.title = `${called(kind)} ${share.toFixed(3)}`;
  }
  point(current);
}

/** Read one piece's numbers out. @param {number} index -1: none */
function point(index) {
  part("words").querySelector(".current")?.classList.remove("current");
  current = index;
  if (index < 0) return;
  const { text, token } = shown[index];
  part("words").querySelector(`[data-piece="${index}"]`)?.classList.add("current");
  part("readout").textContent = `“${text.trim()}”: ${called(kind)} ${value(token, kind).toFixed(3)} (good ${token.good.toFixed(3)}, bad ${token.bad.toFixed(3)})`;
}

part("words").addEventListener("pointerover", (event) => {
  const index = /** @type {HTMLElement} */ (event.target).dataset.piece;
  if (index !== undefined) point(Number(index));
});
part("words").addEventListener("keydown", (event) => {
  const stops = shown.flatMap(({ token }, index) => (token ? [index] : []));
  const place = stops.indexOf(current);
  const moves = { ArrowRight: place + 1, ArrowLeft: place < 0 ? 0 : place - 1, Home: 0, End: stops.length - 1 };
  if (!(event.key in moves) || !stops.length) return;
  event.preventDefault();
  point(stops[Math.min(stops.length - 1, Math.max(0, moves[event.key]))]);
});
