// Reads a log that is already there, as newline-delimited JSON, page by page.
// Promises: lines are handed on as they come, in order; stops when the log is read to its end or the time is used up.

import { sendChecked } from '../api/client.ts';
import { Refused } from '../api/problem.ts';
import type { LogLine } from '../api/types.ts';

const PAGE_LINES = 10_000;
const HANDED_LINES = 2_000;

export interface LogAsk {
  run: string;
  after: number;
  /** Goes on beyond this only if it cannot be had from the stream. */
  untilMs: number;
  signal: AbortSignal;
  take(lines: LogLine[]): void;
}

export async function loadLog(ask: LogAsk): Promise<void> {
  const started = performance.now();
  let after = ask.after;
  do {
    const last = await loadPage(ask, after);
    if (last === null) return;
    after = last;
  } while (performance.now() - started < ask.untilMs);
}

/** The position of the last line of the page; null if there was none. */
async function loadPage(ask: LogAsk, after: number): Promise<number | null> {
  const response = await openPage(`/pack-runs/${ask.run}/logs?after=${after}`, ask.signal);
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (!reader) return null;
  let rest = '';
  let last: number | null = null;
  let lines: LogLine[] = [];
  const take = (text: string): void => {
    if (text === '') return;
    const line = JSON.parse(text) as LogLine;
    last = line.pos;
    lines.push(line);
    if (lines.length >= HANDED_LINES) ask.take(lines.splice(0));
  };
  for (;;) {
    const { done, value } = await reader.read();
    const parts = (rest + (value ?? '')).split('\n');
    rest = done ? '' : (parts.pop() ?? '');
    parts.forEach(take);
    if (done) break;
  }
  if (lines.length > 0) ask.take(lines);
  lines = [];
  return last;
}

/** A server with a lower bound than ours refuses the size of the page: then it gives its own. */
async function openPage(path: string, signal: AbortSignal): Promise<Response> {
  try {
    return await sendChecked(`${path}&limit=${PAGE_LINES}`, { signal });
  } catch (cause) {
    if (cause instanceof Refused && cause.status === 422) return sendChecked(path, { signal });
    throw cause;
  }
}
