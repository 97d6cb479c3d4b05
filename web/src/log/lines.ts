// The lines of a run's log that this tab holds. Owns them; a view says which of them are shown.
// Promises: lines stand in the order of their positions, none twice. Holds LINES_MAX at most, the newest.

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
  /** `gap` stands where lines were lost; its text says how many. */
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

  append(lines: LogLine[]): void {
    for (const line of lines) {
      if (line.pos <= this.lastPos) continue;
      this.lastPos = line.pos;
      const plain = plainText(line.line);
      const { pos, attempt, stream } = line;
      this.#lines.push({ pos, at: Date.parse(line.at), step: this.#shared(line.step), attempt, stream, raw: plain === line.line ? plain : line.line, plain });
    }
    this.#forget();
  }

  /** Marks that positions were lost for good. */
  lost(from: number, to: number): void {
    if (to <= this.lastPos) return;
    const at = this.#lines.at(-1)?.at ?? Date.now();
    const text = `Lines ${from} to ${to} were lost: the server stopped before they were kept.`;
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
