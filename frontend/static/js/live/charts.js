// Reads single times off the charts of rates: by pointing, or with the arrow keys. The server has drawn them.

const SVG = "http://www.w3.org/2000/svg";

/** @param {HTMLElement} figure */
function readable(figure) {
  const svg = figure.querySelector("svg");
  const reading = figure.querySelector("[data-reading]");
  const times = [...figure.querySelectorAll("rect.at")];
  if (!svg || !reading || !times.length) return;
  const whole = reading.textContent;
  const cursor = document.createElementNS(SVG, "g");
  svg.append(cursor);
  let at = -1;

  /** @param {number} index of the time to read; -1: all of them together */
  function show(index) {
    at = index;
    cursor.replaceChildren();
    if (index < 0) {
      reading.textContent = whole;
      return;
    }
    const { x, y, says } = /** @type {SVGElement} */ (times[index]).dataset;
    reading.textContent = says ?? "";
    cursor.append(
      draw("line", { class: "cross", x1: x, x2: x, y1: 10, y2: 166 }),
      draw("circle", { class: "dot", cx: x, cy: y, r: 3.5 }),
    );
  }

  times.forEach((rect, index) => rect.addEventListener("pointerenter", () => show(index)));
  svg.addEventListener("pointerleave", () => show(-1));
  svg.addEventListener("blur", () => show(-1));
  svg.addEventListener("keydown", (event) => {
    const last = times.length - 1;
    const moves = { ArrowLeft: at < 0 ? last : Math.max(0, at - 1), ArrowRight: at < 0 ? 0 : Math.min(last, at + 1), Home: 0, End: last };
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key]);
  });
}

/** @param {string} name @param {Record<string, string | number | undefined>} attributes */
function draw(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  return node;
}

document.querySelectorAll("[data-chart]").forEach((figure) => readable(/** @type {HTMLElement} */ (figure)));
