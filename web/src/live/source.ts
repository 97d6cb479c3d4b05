// One connection to one stream. Owns reconnecting: from where, when, and when to give up.
// Promises: whatever the breaks, each event and line is given out in order and none twice; silence counts as a break.
// Must never retry what the server has refused for good.

import { type Cursor, formatCursor, furthest, parseCursor } from './cursor.ts';
import { type Message, Parser } from './parser.ts';

export type SourceState = 'connecting' | 'live' | 'retrying' | 'refused' | 'ended';

export interface SourceOptions {
  /** Path and filters of the stream, without `after`. */
  topic: string;
  hasLines: boolean;
  after: Cursor;
  open(path: string, signal: AbortSignal): Promise<Response>;
  onMessages(messages: Message[], cursor: Cursor): void;
  onState(state: SourceState): void;
}

const HEARTBEAT_MS = 10_000;
const SILENCE_MS_MAX = 25_000;
const RETRY_MS_FIRST = 500;
const RETRY_MS_MAX = 15_000;
/** Refusals that no waiting cures: signed out, not allowed, not there, gone. */
const FINAL = [400, 401, 403, 404, 410, 422];

export class Source {
  cursor: Cursor;
  state: SourceState = 'connecting';

  readonly #options: SourceOptions;
  readonly #closing = new AbortController();
  #wake: (() => void) | null = null;

  constructor(options: SourceOptions) {
    this.#options = options;
    this.cursor = options.after;
    void this.#run();
  }

  close(): void {
    this.#closing.abort();
    this.#wake?.();
  }

  /** Ends a wait before the next try: the network is back, or a person asked. */
  retryNow(): void {
    this.#wake?.();
  }

  #become(state: SourceState): void {
    if (this.state === state || this.#closing.signal.aborted) return;
    this.state = state;
    this.#options.onState(state);
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#closing.signal.aborted) {
      const parser = new Parser();
      const outcome = await this.#read(parser, () => (failures = 0));
      if (outcome === 'ended' || outcome === 'refused') return this.#become(outcome);
      this.#become('retrying');
      await this.#pause(parser.retryMs ?? RETRY_MS_FIRST, failures);
      failures += 1;
    }
  }

  /** Reads one connection to its end and says how it ended. */
  async #read(parser: Parser, onOpen: () => void): Promise<'broken' | 'ended' | 'refused'> {
    const connection = new AbortController();
    const abort = () => connection.abort();
    this.#closing.signal.addEventListener('abort', abort);
    let watchdog = setTimeout(abort, SILENCE_MS_MAX);
    try {
      const response = await this.#options.open(this.#path(), connection.signal);
      if (!response.ok || !response.body) return FINAL.includes(response.status) ? 'refused' : 'broken';
      onOpen();
      this.#become('live');
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return 'broken';
        clearTimeout(watchdog);
        watchdog = setTimeout(abort, SILENCE_MS_MAX);
        if (this.#give(parser.push(value))) return 'ended';
      }
    } catch {
      return 'broken';
    } finally {
      clearTimeout(watchdog);
      this.#closing.signal.removeEventListener('abort', abort);
      connection.abort();
    }
  }

  #path(): string {
    const { topic, hasLines } = this.#options;
    const joint = topic.includes('?') ? '&' : '?';
    return `${topic}${joint}after=${formatCursor(this.cursor, hasLines)}&heartbeatMs=${HEARTBEAT_MS}`;
  }

  #give(messages: Message[]): boolean {
    if (messages.length === 0 || this.#closing.signal.aborted) return false;
    for (const { id } of messages) {
      const at = id === null ? null : parseCursor(id);
      if (at) this.cursor = furthest(this.cursor, at);
    }
    this.#options.onMessages(messages, this.cursor);
    return messages.some(({ event }) => event === 'end');
  }

  #pause(firstMs: number, failures: number): Promise<void> {
    const longest = Math.min(RETRY_MS_MAX, firstMs * 2 ** Math.min(failures, 6));
    return new Promise((resolve) => {
      // Half fixed, half drawn: many tabs that lost one server do not come back in one instant.
      const timer = setTimeout(done, longest / 2 + (Math.random() * longest) / 2);
      const wake = done;
      function done(): void {
        clearTimeout(timer);
        resolve();
      }
      this.#wake = wake;
    });
  }
}
