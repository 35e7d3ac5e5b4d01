// Search in text nodes. CSS paints the matches (::highlight), so that the document stays as it is. A browser that can't
// (Firefox before 140) gets a box around the current match instead; selecting the match would take the focus.

const canHighlight = typeof Highlight === "function" && Boolean(globalThis.CSS?.highlights);

/** The matches of a query, one of which is the current one. */
export class TextSearch {
  #matches = []; // Static ranges: thousands of live ones would slow each change of the page.
  #current = -1;
  #query = "";

  /** Finds `query` in text nodes, ignoring case. `keepCurrent`: the nodes were updated, the query is the same. */
  find(nodes, query, { keepCurrent = false } = {}) {
    this.#query = query;
    this.#matches = query ? nodes.flatMap((node) => rangesOf(node, query)) : [];
    if (!keepCurrent || this.#current >= this.#matches.length) this.#current = -1;
    paint("found", this.#matches);
    this.#paintCurrent();
  }

  /** Moves to the next (1) or previous (-1) match, and returns its range, if there is any. */
  step(by) {
    const count = this.#matches.length;
    if (!count) return null;
    this.#current = this.#current < 0 && by < 0 ? count - 1 : (this.#current + by + count) % count;
    this.#paintCurrent();
    return liveRange(this.#matches[this.#current]);
  }

  /** "11 found", or "2 of 11" after a step; empty without a query. */
  get status() {
    if (!this.#query) return "";
    const count = this.#matches.length;
    return this.#current < 0 ? `${count} found` : `${this.#current + 1} of ${count}`;
  }

  #paintCurrent() {
    const current = this.#matches[this.#current];
    if (canHighlight) paint("found-current", current ? [current] : []);
    else drawBox(current);
  }
}

function paint(name, ranges) {
  if (!canHighlight) return;
  const highlight = new Highlight();
  for (const range of ranges) highlight.add(range);
  CSS.highlights.set(name, highlight);
}

function liveRange({ startContainer, startOffset, endOffset }) {
  const range = new Range();
  range.setStart(startContainer, startOffset);
  range.setEnd(startContainer, endOffset);
  return range;
}

function drawBox(match) {
  document.querySelector(".found-box")?.remove();
  if (!match) return;
  const container = match.startContainer.parentElement;
  const inside = container.getBoundingClientRect();
  const { left, top, width, height } = liveRange(match).getBoundingClientRect();
  const box = document.createElement("span");
  box.className = "found-box";
  box.style.left = `${left - inside.left + container.scrollLeft}px`;
  box.style.top = `${top - inside.top + container.scrollTop}px`;
  box.style.width = `${width}px`;
  box.style.height = `${height}px`;
  container.append(box);
}

// A regular expression, since lower-casing changes the length of some texts, and so the offsets in them.
function rangesOf(node, query) {
  const pattern = new RegExp(query.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"), "giu");
  return Array.from(node.data.matchAll(pattern), ({ index, 0: match }) => {
    const place = { startContainer: node, startOffset: index, endContainer: node, endOffset: index + match.length };
    return new StaticRange(place);
  });
}
