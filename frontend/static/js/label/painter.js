// Draws the answer: text nodes that know their code points, in <mark>s that carry the underlines.
import { Reading } from "../desk/reading.js";
import { lanes, pieces } from "./lanes.js";

/**
 * @typedef {import("./marks.js").Mark} Mark
 * @typedef {{ node: Text, start: number, end: number }} Piece a text node and the code points that it shows
 */

const LANES = 4; // deeper ones share the last; the notes in the margin still tell them apart

export class Painter {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.reading = new Reading("");
    /** @type {Piece[]} ascending, without gaps */
    this.pieces = [];
    /** @type {WeakMap<Node, Piece>} */
    this.known = new WeakMap();
    /** @type {{ look: string, top: Node, piece: Piece | null }[]} what is drawn now, one entry a child of the root */
    this.drawn = [];
  }

  /** @param {string} text */
  read(text) {
    this.reading = new Reading(text);
    this.drawn = [];
    this.root.replaceChildren();
    this.paint([], null);
  }

  /**
   * Draw what has changed: the pieces before and behind it stay the nodes that they are, so that a key costs the same
   * in a long answer as in a short one.
   * @param {Mark[]} marks
   * @param {string | null} active
   */
  paint(marks, active) {
    const byId = new Map(marks.map((mark) => [mark.id, mark]));
    const lane = lanes(marks.filter((mark) => mark.end > mark.start));
    const wanted = pieces(this.reading.length, marks).map((piece) => {
      const around = piece.marks.map((id) => {
        const mark = /** @type {Mark} */ (byId.get(id));
        return { id, look: look(mark, lane.get(id) ?? 0, piece, id === active) };
      });
      return {
        ...piece,
        around,
        look: `${piece.start} ${piece.end} ${around.map(({ id, look }) => id + look).join(" ")}`,
      };
    });
    const { drawn } = this;
    let front = 0;
    while (front < wanted.length && front < drawn.length && wanted[front].look === drawn[front].look) front += 1;
    let back = 0;
    const most = Math.min(wanted.length, drawn.length) - front;
    while (back < most && wanted.at(-1 - back)?.look === drawn.at(-1 - back)?.look) back += 1;
    const behind = drawn[drawn.length - back]?.top ?? null;
    for (const { top } of drawn.slice(front, drawn.length - back)) this.root.removeChild(top);
    const fresh = wanted.slice(front, wanted.length - back).map((piece) => this.#draw(piece));
    for (const { top } of fresh) this.root.insertBefore(top, behind);
    this.drawn = [...drawn.slice(0, front), ...fresh, ...drawn.slice(drawn.length - back)];
    this.pieces = this.drawn.flatMap(({ piece }) => piece ?? []);
  }

  /** @param {{ start: number, end: number, look: string, around: { id: string, look: string }[] }} wanted */
  #draw({ start, end, look: drawnLook, around }) {
    const inner = end > start ? document.createTextNode(this.reading.points.slice(start, end)) : null;
    const piece = inner && { node: inner, start, end };
    if (inner && piece) this.known.set(inner, piece);
    /** @type {Node | null} */
    let top = inner;
    for (const { id, look } of around.toReversed()) {
      const node = document.createElement("mark");
      node.className = look;
      node.dataset.mark = id;
      if (top) node.append(top);
      top = node;
    }
    return { look: drawnLook, top: /** @type {Node} */ (top ?? document.createTextNode("")), piece };
  }

  /**
   * The text node and unit offset of a place. At a border between two nodes `after` takes the later one.
   * @param {number} point
   * @param {boolean} after
   * @returns {{ node: Node, offset: number }}
   */
  place(point, after) {
    const piece = this.pieces.find((p) => (after ? point < p.end : point <= p.end)) ?? this.pieces.at(-1);
    if (!piece) return { node: this.root, offset: 0 };
    const { points } = this.reading;
    const offset = points.toUnits(Math.max(piece.start, Math.min(point, piece.end))) - points.toUnits(piece.start);
    return { node: piece.node, offset };
  }

  /**
   * @param {number} start
   * @param {number} end
   */
  range(start, end) {
    const range = document.createRange();
    const from = this.place(start, start < end);
    const to = this.place(end, false);
    range.setStart(from.node, from.offset);
    range.setEnd(to.node, start < end ? to.offset : from.offset);
    if (start === end) range.collapse(true);
    return range;
  }

  /**
   * The code point at a place of the browser's; null outside the answer.
   * @param {Node} node
   * @param {number} offset units within a text node, else children
   * @param {"down" | "up"} round
   */
  pointAt(node, offset, round) {
    const piece = this.known.get(node);
    const { points } = this.reading;
    if (piece && node.isConnected) return points.fromUnits(points.toUnits(piece.start) + offset, round);
    if (!this.root.contains(node)) return null;
    const child = node.childNodes[offset] ?? null;
    const border = document.createRange();
    border.setStart(node, offset);
    const next = this.pieces.find((p) => (child && child.contains(p.node)) || border.comparePoint(p.node, 0) >= 0);
    return next ? next.start : this.reading.length;
  }

  /**
   * The marks at a place, innermost first; also a mark of something missing that stands there.
   * @param {Mark[]} marks
   * @param {number} point
   */
  marksAt(marks, point) {
    return marks
      .filter((mark) => (mark.start === mark.end ? mark.start === point : mark.start <= point && point < mark.end))
      .sort((a, b) => a.end - a.start - (b.end - b.start));
  }
}

/**
 * The classes of a mark in one of its pieces.
 * @param {Mark} mark
 * @param {number} lane
 * @param {{ start: number, end: number }} piece
 * @param {boolean} active
 */
function look(mark, lane, piece, active) {
  const sentiment = { "-1": "bad", 0: "neutral", 1: "good" }[mark.sentiment];
  const edge = mark.start === mark.end ? " missing" : piece.end === mark.end ? " ends" : "";
  return `mark ${sentiment} severity-${mark.severity} lane-${Math.min(lane, LANES - 1)}${edge}${active ? " active" : ""}`;
}
