// Scores of tokens as pieces of text, without a DOM. Offsets count code points (desk/offsets.js).
import { CodePoints } from "../desk/offsets.js";

/**
 * @typedef {{ start: number, end: number, good: number, bad: number, score: number, labels: Record<string, number> }} Token
 * @typedef {{ text: string, token: Token | null }} Piece
 */

/**
 * The text cut at its tokens, nothing lost: what no token covers is a piece without one.
 * @param {string} text @param {Token[]} tokens
 * @returns {Piece[]}
 */
export function pieces(text, tokens) {
  const points = new CodePoints(text);
  const found = [];
  let at = 0;
  for (const token of tokens) {
    if (token.start < at || token.end <= token.start || token.end > points.length) continue;
    if (token.start > at) found.push({ text: points.slice(at, token.start), token: null });
    found.push({ text: points.slice(token.start, token.end), token });
    at = token.end;
  }
  if (at < points.length) found.push({ text: points.slice(at, points.length), token: null });
  return found;
}

/** What can be shown on the words: bad, good, and each label. @param {Token[]} tokens @returns {string[]} */
export function kinds(tokens) {
  return ["bad", "good", ...Object.keys(tokens[0]?.labels ?? {}).map((label) => `label ${label}`)];
}

/** @param {Token} token @param {string} kind @returns {number} from 0 to 1 */
export function value(token, kind) {
  return kind.startsWith("label ") ? (token.labels?.[kind.slice(6)] ?? 0) : token[kind];
}

/** The step of the scale, 0 to 20. @param {number} share */
export function heat(share) {
  return Math.round(20 * Math.min(1, Math.max(0, Number.isFinite(share) ? share : 0)));
}
