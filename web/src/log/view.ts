// Which lines are shown, in how many rows each, and where a searched text stands. Owns the filter's result.
// Promises: new lines cost only themselves; a changed filter, width or search is worked out once.

import { columnsOf } from './ansi.ts';
import type { Line, LogLines } from './lines.ts';
import { RowIndex } from './window.ts';

export interface LogFilter {
  /** Empty: all. */
  step: string;
  stream: '' | 'stdout' | 'stderr';
}

/** A line may fill a screen, not a day of scrolling; the raw log has all of it. */
export const WRAPPED_ROWS_MAX = 200;

export class LogView {
  /** Indexes into the lines, of those shown. */
  shown: number[] = [];
  /** Places in `shown` where the searched text stands. */
  hits: number[] = [];
  /** Columns of the widest line shown. */
  widest = 0;
  readonly rows = new RowIndex();

  readonly #lines: LogLines;
  #filter: LogFilter = { step: '', stream: '' };
  #query = '';
  /** Columns to wrap at; 0: one row a line. */
  #wrapAt = 0;
  #next = 0;
  #forgotten = 0;

  constructor(lines: LogLines) {
    this.#lines = lines;
  }

  get wrapAt(): number {
    return this.#wrapAt;
  }

  /** Sets what is asked for, and takes in new lines. */
  update(filter: LogFilter, query: string, wrapAt: number): void {
    const same = filter.step === this.#filter.step && filter.stream === this.#filter.stream && wrapAt === this.#wrapAt;
    if (!same || this.#forgotten !== this.#lines.forgotten) this.#restart(filter, wrapAt);
    const wanted = query.toLowerCase();
    if (wanted !== this.#query) this.#search(wanted);
    for (; this.#next < this.#lines.end; this.#next += 1) {
      const line = this.#lines.at(this.#next);
      if (line && this.#passes(line)) this.#show(this.#next, line);
    }
  }

  lineAt(place: number): Line | undefined {
    const index = this.shown[place];
    return index === undefined ? undefined : this.#lines.at(index);
  }

  /** The place of the line with this position, or of the first after it; null if there is none. */
  placeOf(pos: number): number | null {
    let low = 0;
    let high = this.shown.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.lineAt(middle)?.pos ?? 0) < pos) low = middle + 1;
      else high = middle;
    }
    return low < this.shown.length ? low : null;
  }

  /** The nearest hit beyond a place, round the end if need be; null without any. */
  hitFrom(place: number, direction: 1 | -1): number | null {
    if (this.hits.length === 0) return null;
    const beyond = direction === 1 ? this.hits.find((hit) => hit > place) : this.hits.findLast((hit) => hit < place);
    return beyond ?? (direction === 1 ? (this.hits[0] ?? null) : (this.hits.at(-1) ?? null));
  }

  #restart(filter: LogFilter, wrapAt: number): void {
    this.#filter = { ...filter };
    this.#wrapAt = wrapAt;
    this.#forgotten = this.#lines.forgotten;
    this.#next = this.#lines.forgotten;
    this.shown = [];
    this.hits = [];
    this.widest = 0;
    this.rows.clear();
  }

  #search(query: string): void {
    this.#query = query;
    this.hits = [];
    if (query === '') return;
    for (let place = 0; place < this.shown.length; place += 1) {
      if (this.lineAt(place)?.plain.toLowerCase().includes(query)) this.hits.push(place);
    }
  }

  #passes(line: Line): boolean {
    const { step, stream } = this.#filter;
    if (line.stream === 'gap') return true;
    return (step === '' || line.step === step) && (stream === '' || line.stream === stream);
  }

  #show(index: number, line: Line): void {
    if (this.#query !== '' && line.plain.toLowerCase().includes(this.#query)) this.hits.push(this.shown.length);
    this.shown.push(index);
    const columns = columnsOf(line.plain);
    this.widest = Math.max(this.widest, columns);
    this.rows.push(this.#wrapAt > 0 ? Math.min(WRAPPED_ROWS_MAX, Math.ceil(columns / this.#wrapAt)) : 1);
  }
}
