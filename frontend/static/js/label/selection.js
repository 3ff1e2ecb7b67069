// The words that are selected and the caret, in code points: by mouse, finger or keyboard, always whole characters.
//
// Events: "change" after the person moved it.

export class Selection extends EventTarget {
  /**
   * @param {{ root: HTMLElement, painter: import("./painter.js").Painter, caret: HTMLElement, floor: () => number }} options
   *   floor: below it nothing can be read
   */
  constructor({ root, painter, caret, floor }) {
    super();
    this.root = root;
    this.painter = painter;
    this.caret = caret;
    this.floor = floor;
    this.anchor = 0;
    this.focus = 0;
    this.dragging = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.settling = undefined;
    root.addEventListener("pointerdown", () => (this.dragging = true));
    document.addEventListener("pointerup", () => this.#letGo());
    document.addEventListener("pointercancel", () => (this.dragging = false));
    document.addEventListener("selectionchange", () => this.#changed());
    root.addEventListener("focus", () => this.draw());
    root.addEventListener("blur", () => this.draw());
    globalThis.addEventListener("resize", () => this.draw());
    document.fonts?.addEventListener("loadingdone", () => this.draw());
  }

  get start() {
    return Math.min(this.anchor, this.focus);
  }

  get end() {
    return Math.max(this.anchor, this.focus);
  }

  get empty() {
    return this.anchor === this.focus;
  }

  get quote() {
    return this.painter.reading.points.slice(this.start, this.end);
  }

  /**
   * @param {number} anchor
   * @param {number} focus
   * @param {{ quietly?: boolean, scroll?: boolean }} [options] quietly: nobody is told
   */
  set(anchor, focus, { quietly = false, scroll = true } = {}) {
    const whole = this.painter.reading.whole(Math.min(anchor, focus), Math.max(anchor, focus));
    [this.anchor, this.focus] = anchor <= focus ? [whole.start, whole.end] : [whole.end, whole.start];
    this.#tellBrowser();
    this.draw();
    if (scroll) this.reveal();
    if (!quietly) this.dispatchEvent(new Event("change"));
  }

  /**
   * Where the caret will be when the answer has the focus again.
   * @param {number} at
   */
  park(at) {
    this.anchor = this.focus = at;
  }

  /** The same words again, after the answer was painted anew. */
  restore() {
    if (document.activeElement === this.root) this.#tellBrowser();
    this.draw();
  }

  #tellBrowser() {
    const from = this.painter.place(this.anchor, this.anchor <= this.focus);
    const to = this.painter.place(this.focus, this.focus < this.anchor);
    if (this.empty) getSelection()?.collapse(from.node, from.offset);
    else getSelection()?.setBaseAndExtent(from.node, from.offset, to.node, to.offset);
  }

  #letGo() {
    if (!this.dragging) return;
    this.dragging = false;
    setTimeout(() => this.#take()); // after the browser has set its selection
  }

  #changed() {
    if (this.dragging) return;
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.#take(), 120); // handles on a phone move in many steps
  }

  /** Take what the browser has selected, if it lies in the answer. */
  #take() {
    const native = getSelection();
    if (!native?.anchorNode || !native.focusNode || !this.root.contains(native.anchorNode)) return;
    const forwards =
      !native.getRangeAt(0).collapsed &&
      native.getRangeAt(0).startContainer === native.anchorNode &&
      native.getRangeAt(0).startOffset === native.anchorOffset;
    const anchor = this.painter.pointAt(native.anchorNode, native.anchorOffset, forwards ? "down" : "up");
    // a triple click ends in whatever comes after the answer
    const focus =
      this.painter.pointAt(native.focusNode, native.focusOffset, forwards ? "up" : "down") ??
      this.painter.reading.length;
    if (anchor === null || (anchor === this.anchor && focus === this.focus)) return;
    const { reading } = this.painter;
    const whole = reading.whole(Math.min(anchor, focus), Math.max(anchor, focus));
    const { start, end } = reading.trim(whole.start, whole.end);
    if (anchor <= focus) this.set(start, end, { scroll: false });
    else this.set(end, start, { scroll: false });
  }

  /** The caret shows where the keyboard is; while words are selected, at the end that moves. */
  draw() {
    const shown = document.activeElement === this.root;
    this.caret.hidden = !shown;
    if (!shown) return;
    const { rect, rightToLeft } = this.#focusRect();
    const desk = /** @type {HTMLElement} */ (this.caret.offsetParent ?? this.root).getBoundingClientRect();
    this.caret.style.insetInlineStart = "auto";
    this.caret.style.left = `${(rightToLeft ? rect.right : rect.left) - desk.left}px`;
    this.caret.style.top = `${rect.top - desk.top}px`;
    this.caret.style.height = `${rect.height}px`;
  }

  /** @returns {{ rect: DOMRect, rightToLeft: boolean }} where the caret stands: before the character after it, or after the last */
  #focusRect() {
    const { reading } = this.painter;
    const at = this.focus;
    const behind = at > 0 && (at === reading.length || (this.focus > this.anchor && !this.empty));
    const rightToLeft = reading.runsLeft(behind ? at - 1 : at);
    const step = behind
      ? { start: reading.step(at, -1, "grapheme", false), end: at }
      : { start: at, end: reading.step(at, 1, "grapheme", true) };
    const rects = this.painter.range(step.start, step.end).getClientRects();
    const rect = (behind ? rects[rects.length - 1] : rects[0]) ?? this.root.getBoundingClientRect();
    const edge = behind === rightToLeft ? rect.left : rect.right;
    return { rect: new DOMRect(edge, rect.top, 0, rect.height || 24), rightToLeft: false };
  }

  /** Scroll only where the caret cannot be seen. */
  reveal() {
    const { rect } = this.#focusRect();
    const floor = this.floor() - rect.height;
    if (rect.bottom > floor) scrollBy(0, rect.bottom - floor + rect.height);
    else if (rect.top < rect.height) scrollBy(0, rect.top - 3 * rect.height);
  }
}
