// The run page: asks every two seconds for new points and lines of the log, until the run has ended and all is there.
import { Chart } from "./chart.js";
import { Curves, groupOf, read } from "./curve.js";

const PAUSE = 2000;
const section = document.getElementById("curve");
const charts = document.getElementById("charts");
const log = document.getElementById("log");
const lines = document.getElementById("log-lines");
const smoothing = /** @type {HTMLInputElement} */ (document.getElementById("smoothing"));
const curves = new Curves();
/** @type {Map<string, Chart>} */
const drawn = new Map();
let after = "";

/** The place for a figure's chart: all figures of one kind stand together. @param {string} name @returns {HTMLElement} */
function placeOf(name) {
  const { key, title } = groupOf(name);
  if (!key) return charts;
  const known = document.getElementById(`charts-${key}`);
  if (known) return known;
  const place = Object.assign(document.createElement("div"), { id: `charts-${key}`, className: "charts" });
  if (key === "more") {
    const fold = document.createElement("details");
    fold.append(Object.assign(document.createElement("summary"), { textContent: title }), place);
    document.getElementById("once-section").before(fold);
    return place;
  }
  const section = document.createElement("section");
  const heading = Object.assign(document.createElement("h3"), { id: `charts-${key}-title`, textContent: title });
  section.setAttribute("aria-labelledby", heading.id);
  section.append(heading, place);
  charts.after(section);
  return place;
}

function redraw() {
  for (const name of curves.names) {
    if (!drawn.has(name)) {
      document.getElementById("no-points")?.remove();
      const chart = new Chart(name);
      drawn.set(name, chart);
      if (name === "loss") charts.prepend(chart.figure);
      else placeOf(name).append(chart.figure);
    }
    drawn.get(name).update(curves.of(name), Number(smoothing.value));
  }
  const rows = curves.names.map((name) => {
    const [step, value] = curves.of(name).at(-1).points.at(-1);
    const row = document.createElement("tr");
    const head = Object.assign(document.createElement("th"), { scope: "row", textContent: name.replaceAll("_", " ") });
    const cells = [read(value), step].map((text) => Object.assign(document.createElement("td"), { className: "number", textContent: text }));
    row.append(head, ...cells);
    return row;
  });
  document.getElementById("figures").replaceChildren(...rows);
}

/** What a run that has ended measured once makes no curve: a line of a list instead of a chart with one dot. */
function listOnce() {
  const once = curves.names.filter((name) => name !== "loss" && curves.of(name).length === 1 && curves.of(name)[0].points.length === 1);
  const list = document.getElementById("once");
  for (const name of once) {
    drawn.get(name)?.figure.remove();
    drawn.delete(name);
    const [step, value] = curves.of(name)[0].points[0];
    const entry = document.createElement("div");
    const term = Object.assign(document.createElement("dt"), { textContent: name.replaceAll("_", " ") });
    const said = Object.assign(document.createElement("dd"), { className: "number", textContent: read(value), title: `at step ${step}` });
    entry.append(term, said);
    list.append(entry);
  }
  for (const place of document.querySelectorAll(".charts")) if (!place.children.length && place !== charts) place.parentElement.remove();
  document.getElementById("once-section").hidden = !once.length;
}

/** @param {Array<{ attempt: number, at: string, level: string, text: string }>} news */
function append(news) {
  // the log stays at its end only for those who were there
  const followed = log.scrollTop + log.clientHeight > log.scrollHeight - 30;
  for (const { attempt, at, level, text } of news) {
    const line = document.createElement("li");
    line.className = level;
    const time = document.createElement("time");
    time.dateTime = at;
    time.title = `attempt ${attempt}, ${new Date(at).toLocaleString()}`;
    time.textContent = new Date(at).toLocaleTimeString();
    const words = document.createElement("span");
    words.textContent = text;
    line.append(time, words);
    lines.append(line);
  }
  if (followed && news.length) log.scrollTop = log.scrollHeight;
}

async function ask() {
  let pause = PAUSE;
  try {
    const answer = await fetch(`${section.dataset.url}${after ? `?after=${after}` : ""}`, { headers: { Accept: "application/json" } });
    if (answer.status === 401 || answer.status === 403 || answer.status === 404) return;
    if (answer.ok) {
      const news = await answer.json();
      after = news.after;
      curves.add(news.points);
      append(news.log);
      if (news.points.length) redraw();
      if (news.more) pause = 0;
      else if (news.ended) return listOnce();
    }
  } catch {
    // the server is away: the curve stays as it is, and we ask again
  }
  setTimeout(ask, document.hidden ? PAUSE * 5 : pause);
}

smoothing.addEventListener("input", () => {
  const weight = Number(smoothing.value);
  document.getElementById("smoothing-value").textContent = weight ? weight.toFixed(2) : "none";
  if (drawn.size) redraw();
});
ask();
