// The lines of a run's log that this tab holds. Owns them; a view says which of them are shown.
// Promises: lines stand in the order of their positions, none twice; where positions are missing there is one mark.
// Holds LINES_MAX at most, the newest.

import type { LogLine } from '../api/types.ts';
import { plainText } from './ansi.ts';

/** About 60 MB of ordinary output. */
export const LINES_MAX = 200_000;
/** Room is made in steps, since every step makes views count anew. */
const FORGET_LINES = 20_000;

export interface Line {
  pos: number;
  /** Milliseconds since 1970. */
  at: number;
  step: string;
  attempt: number;
  /** `gap` stands where lines may have been lost. */
  stream: 'stdout' | 'stderr' | 'gap';
  raw: string;
  plain: string;
}

export class LogLines {
  /** How many of the oldest lines were let go. */
  forgotten = 0;
  lastPos = -1;

  #lines: Line[] = [];
  #steps = new Map<string, string>();

  /** One past the index of the last line; indexes count from the first line ever held. */
  get end(): number {
    return this.forgotten + this.#lines.length;
  }

  at(index: number): Line | undefined {
    return this.#lines[index - this.forgotten];
  }

  /** Adds lines of the whole log, whichever way they came: only a stream tells what is missing between them. */
  append(lines: LogLine[]): void {
    for (const line of lines) {
      if (line.pos <= this.lastPos) continue;
      // Positions count from 1 and go on by one.
      if (line.pos > Math.max(this.lastPos, 0) + 1) this.lost(line.pos - 1);
      this.lastPos = line.pos;
      const plain = plainText(line.line);
      const { pos, attempt, stream } = line;
      this.#lines.push({ pos, at: Date.parse(line.at), step: this.#shared(line.step), attempt, stream, raw: plain === line.line ? plain : line.line, plain });
    }
    this.#forget();
  }

  /** Marks that there is no line up to `to`. How many there were is not known: after a crash positions are skipped. */
  lost(to: number): void {
    if (to <= this.lastPos) return;
    const at = this.#lines.at(-1)?.at ?? Date.now();
    const text = 'Lines may have been lost here: the server was stopped, or a file is damaged.';
    this.#lines.push({ pos: to, at, step: '', attempt: 0, stream: 'gap', raw: text, plain: text });
    this.lastPos = to;
  }

  /** The last lines of one step, oldest first; looks no further back than `within` lines. */
  tail(step: string, count: number, within = 20_000): Line[] {
    const found: Line[] = [];
    for (let at = this.#lines.length - 1; at >= Math.max(0, this.#lines.length - within) && found.length < count; at -= 1) {
      const line = this.#lines[at];
      if (line?.step === step) found.push(line);
    }
    return found.reverse();
  }

  #forget(): void {
    if (this.#lines.length <= LINES_MAX) return;
    const over = this.#lines.length - LINES_MAX + FORGET_LINES;
    this.#lines.splice(0, over);
    this.forgotten += over;
  }

  /** One string per step instead of one per line. */
  #shared(step: string): string {
    const known = this.#steps.get(step);
    if (known !== undefined) return known;
    this.#steps.set(step, step);
    return step;
  }
}
