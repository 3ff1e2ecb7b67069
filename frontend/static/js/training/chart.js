// One curve as an SVG: geometry in attributes, looks in training.css. Redrawn whole; a few hundred points at most.
import { read, smooth, thin, ticks } from "./curve.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 420;
const HEIGHT = 210;
const EDGE = { left: 46, right: 10, top: 10, bottom: 24 };
const MOST = 400;

/** @param {string} name @param {Record<string, string | number>} attributes @param {string} [text] */
function draw(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  if (text !== undefined) node.textContent = text;
  return node;
}

export class Chart {
  /** @param {string} name of the figure */
  constructor(name) {
    this.name = name;
    this.title = name.replaceAll("_", " ");
    this.figure = document.createElement("figure");
    this.figure.className = "chart";
    const caption = document.createElement("figcaption");
    const title = document.createElement("strong");
    title.textContent = this.title;
    this.reading = document.createElement("span");
    this.reading.className = "reading small";
    caption.append(title, this.reading);
    this.svg = /** @type {SVGSVGElement} */ (draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: 0 }));
    this.figure.append(caption, this.svg);
    /** @type {Array<[number, number]>} */
    this.line = [];
    this.at = -1;
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.show(-1));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.svg.addEventListener("blur", () => this.show(-1));
  }

  /** @param {import("./curve.js").Series[]} series @param {number} smoothing */
  update(series, smoothing) {
    const all = series.flatMap((one) => one.points);
    const steps = ticks(Math.min(...all.map(([step]) => step)), Math.max(...all.map(([step]) => step)));
    const values = ticks(Math.min(...all.map(([, value]) => value)), Math.max(...all.map(([, value]) => value)));
    const [left, right] = [steps[0], steps.at(-1)];
    const [low, high] = [values[0], values.at(-1)];
    this.x = (step) => EDGE.left + ((step - left) / (right - left)) * (WIDTH - EDGE.left - EDGE.right);
    this.y = (value) => HEIGHT - EDGE.bottom - ((value - low) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
    const parts = [];
    for (const value of values) {
      parts.push(draw("line", { class: "grid-line", x1: EDGE.left, x2: WIDTH - EDGE.right, y1: this.y(value), y2: this.y(value) }));
      parts.push(draw("text", { x: EDGE.left - 6, y: this.y(value) + 4, "text-anchor": "end" }, read(value)));
    }
    for (const step of steps.filter((one) => Number.isInteger(one))) {
      parts.push(draw("text", { x: this.x(step), y: HEIGHT - 6, "text-anchor": "middle" }, read(step)));
    }
    const newest = series.at(-1);
    for (const earlier of series.slice(0, -1)) parts.push(this.path(thin(earlier.points, MOST), "earlier"));
    if (smoothing > 0) parts.push(this.path(thin(newest.points, MOST), "raw"));
    this.line = thin(smooth(newest.points, smoothing), MOST);
    parts.push(this.path(this.line, "line"));
    if (this.line.length === 1) parts.push(draw("circle", { class: "dot", cx: this.x(this.line[0][0]), cy: this.y(this.line[0][1]), r: 3 }));
    this.cursor = draw("g", {});
    parts.push(this.cursor);
    this.svg.replaceChildren(...parts);
    const [step, value] = newest.points.at(-1);
    this.svg.setAttribute("aria-label", `${this.title}: ${read(value)} at step ${step}, from ${read(newest.points[0][1])} at step ${newest.points[0][0]}. Arrow keys read single steps.`);
    this.show(this.at);
  }

  /** @param {Array<[number, number]>} points @param {string} look */
  path(points, look) {
    return draw("polyline", { class: look, points: points.map(([step, value]) => `${this.x(step).toFixed(1)},${this.y(value).toFixed(1)}`).join(" ") });
  }

  /** @param {PointerEvent} event */
  point(event) {
    if (!this.line.length) return;
    const box = this.svg.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * WIDTH;
    let best = 0;
    this.line.forEach(([step], index) => {
      if (Math.abs(this.x(step) - place) < Math.abs(this.x(this.line[best][0]) - place)) best = index;
    });
    this.show(best);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const last = this.line.length - 1;
    const moves = { ArrowLeft: this.at < 0 ? last : Math.max(0, this.at - 1), ArrowRight: this.at < 0 ? 0 : Math.min(last, this.at + 1), Home: 0, End: last };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.show(moves[event.key]);
  }

  /** The number at one point, or the newest. @param {number} index */
  show(index) {
    this.at = index < this.line.length ? index : -1;
    if (!this.line.length) return;
    const [step, value] = this.line.at(this.at);
    this.reading.textContent = `${read(value)} at step ${step}`;
    if (this.at < 0) return this.cursor.replaceChildren();
    this.cursor.replaceChildren(
      draw("line", { class: "cross", x1: this.x(step), x2: this.x(step), y1: EDGE.top, y2: HEIGHT - EDGE.bottom }),
      draw("circle", { class: "dot", cx: this.x(step), cy: this.y(value), r: 3.5 }),
    );
  }
}
