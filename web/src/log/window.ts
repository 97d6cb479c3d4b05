// Which rows of a long list stand in the document. Pure.
// Promises: never more than ROWS_MAX rows whatever the sizes; a list taller than a browser can scroll is scrolled in proportion.

export const ROWS_MAX = 200;
/** Browsers lose precision or clamp somewhere above; Firefox first. */
export const SCROLL_PIXELS_MAX = 15_000_000;

export interface Sizes {
  rows: number;
  rowHeight: number;
  viewport: number;
  scrollTop: number;
  overscan: number;
}

export interface Window {
  first: number;
  /** One past the last. */
  end: number;
  /** Where the first row stands relative to the top of the viewport. */
  offset: number;
  /** The height that makes the scroll bar right. */
  spacer: number;
}

export function windowOf({ rows, rowHeight, viewport, scrollTop, overscan }: Sizes): Window {
  const height = rows * rowHeight;
  const spacer = Math.min(height, SCROLL_PIXELS_MAX);
  const top = virtualTop(scrollTop, height, spacer, viewport);
  const visible = Math.ceil(viewport / rowHeight) + 1;
  const first = Math.max(0, Math.floor(top / rowHeight) - overscan);
  const end = Math.min(rows, first + Math.min(ROWS_MAX, visible + 2 * overscan));
  return { first, end, offset: first * rowHeight - top, spacer };
}

/** The scroll position that brings a row to the middle of the viewport. */
export function scrollTopFor(row: number, rows: number, rowHeight: number, viewport: number): number {
  const height = rows * rowHeight;
  const spacer = Math.min(height, SCROLL_PIXELS_MAX);
  const top = Math.max(0, Math.min(height - viewport, row * rowHeight - (viewport - rowHeight) / 2));
  return height <= spacer ? top : (top * (spacer - viewport)) / (height - viewport);
}

function virtualTop(scrollTop: number, height: number, spacer: number, viewport: number): number {
  const most = Math.max(0, height - viewport);
  if (height <= spacer) return Math.min(Math.max(0, scrollTop), most);
  return Math.min(most, Math.max(0, (scrollTop * most) / (spacer - viewport)));
}

/**
 * Rows of lines that may take several rows each, when long lines are wrapped. Grows at its end only; what came before is
 * not computed again.
 */
export class RowIndex {
  #ends: number[] = [];

  get lines(): number {
    return this.#ends.length;
  }

  get rows(): number {
    return this.#ends.at(-1) ?? 0;
  }

  push(rows: number): void {
    this.#ends.push(this.rows + Math.max(1, rows));
  }

  clear(): void {
    this.#ends = [];
  }

  /** The first row of a line. */
  rowOf(line: number): number {
    return line === 0 ? 0 : (this.#ends[line - 1] ?? this.rows);
  }

  /** The line that a row belongs to. */
  lineAt(row: number): number {
    let low = 0;
    let high = this.#ends.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#ends[middle] ?? 0) > row) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
