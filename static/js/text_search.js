// Search in text nodes. CSS paints the matches (::highlight), so that the document stays as it is.

/** The matches of a query, one of which is the current one. */
export class TextSearch {
  #matches = [];
  #current = -1;
  #query = "";

  /** Finds `query` in text nodes, ignoring case. `keepCurrent`: the nodes were updated, the query is the same. */
  find(nodes, query, { keepCurrent = false } = {}) {
    this.#query = query;
    this.#matches = query ? nodes.flatMap((node) => rangesOf(node, query)) : [];
    if (!keepCurrent || this.#current >= this.#matches.length) this.#current = -1;
    CSS.highlights.set("found", new Highlight(...this.#matches));
    this.#highlightCurrent();
  }

  /** Moves to the next (1) or previous (-1) match, and returns its range, if there is any. */
  step(by) {
    const count = this.#matches.length;
    if (!count) return null;
    this.#current = this.#current < 0 && by < 0 ? count - 1 : (this.#current + by + count) % count;
    this.#highlightCurrent();
    return this.#matches[this.#current];
  }

  /** "11 found", or "2 of 11" after a step; empty without a query. */
  get status() {
    if (!this.#query) return "";
    const count = this.#matches.length;
    return this.#current < 0 ? `${count} found` : `${this.#current + 1} of ${count}`;
  }

  #highlightCurrent() {
    if (this.#current < 0) CSS.highlights.delete("found-current");
    else CSS.highlights.set("found-current", new Highlight(this.#matches[this.#current]));
  }
}

// A regular expression, since lower-casing changes the length of some texts, and so the offsets in them.
function rangesOf(node, query) {
  const pattern = new RegExp(query.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"), "giu");
  return Array.from(node.data.matchAll(pattern), ({ index, 0: match }) => {
    const range = new Range();
    range.setStart(node, index);
    range.setEnd(node, index + match.length);
    return range;
  });
}
