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
  }

  /** @param {string} text */
  read(text) {
    this.reading = new Reading(text);
    this.paint([], null);
  }

  /**
   * @param {Mark[]} marks
   * @param {string | null} active
   */
  paint(marks, active) {
    const byId = new Map(marks.map((mark) => [mark.id, mark]));
    const lane = lanes(marks.filter((mark) => mark.end > mark.start));
    const fragment = document.createDocumentFragment();
    this.pieces = [];
    for (const piece of pieces(this.reading.length, marks)) {
      /** @type {Node} */
      let parent = fragment;
      for (const id of piece.marks) {
        const mark = /** @type {Mark} */ (byId.get(id));
        parent = parent.appendChild(element(mark, lane.get(id) ?? 0, piece, id === active));
      }
      if (piece.end === piece.start) continue;
      const node = document.createTextNode(this.reading.points.slice(piece.start, piece.end));
      const known = { node, start: piece.start, end: piece.end };
      this.pieces.push(known);
      this.known.set(node, known);
      parent.appendChild(node);
    }
    this.root.replaceChildren(fragment);
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
 * @param {Mark} mark
 * @param {number} lane
 * @param {{ start: number, end: number }} piece
 * @param {boolean} active
 */
function element(mark, lane, piece, active) {
  const node = document.createElement("mark");
  const sentiment = { "-1": "bad", 0: "neutral", 1: "good" }[mark.sentiment];
  node.className = `mark ${sentiment} severity-${mark.severity} lane-${Math.min(lane, LANES - 1)}`;
  node.dataset.mark = mark.id;
  if (mark.start === mark.end) node.classList.add("missing");
  else if (piece.end === mark.end) node.classList.add("ends");
  if (active) node.classList.add("active");
  return node;
}
