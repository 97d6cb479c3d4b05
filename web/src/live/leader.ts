// The one tab's duty of holding the streams for all tabs. Owns the sources and who wants which.
// Promises: one connection per topic in the whole browser, at most STREAMS_MAX; a reader who is behind is caught up.
// Must never drop a stream that a living tab still reads.

import type { Bus, Note, TopicState } from './bus.ts';
import { type Cursor, isBehind, nearest } from './cursor.ts';
import { Source, type SourceOptions } from './source.ts';

/** Of the six connections that HTTP/1.1 allows, four: the rest is for questions. */
export const STREAMS_MAX = 4;
export const ALIVE_MS = 10_000;
const SILENT_MS_MAX = 3 * ALIVE_MS;

interface Want {
  hasLines: boolean;
  after: Cursor;
  heardAt: number;
}

export interface LeaderOptions {
  /** The tab that leads. */
  tab: string;
  bus: Bus;
  open: SourceOptions['open'];
  now(): number;
}

export class Leader {
  readonly #options: LeaderOptions;
  readonly #wants = new Map<string, Map<string, Want>>();
  readonly #sources = new Map<string, Source>();
  readonly #states = new Map<string, TopicState>();
  #sweeper: ReturnType<typeof setInterval> | null = null;
  #leading = false;

  constructor(options: LeaderOptions) {
    this.#options = options;
    options.bus.listen((note) => this.#leading && this.#hear(note));
  }

  start(): void {
    if (this.#leading) return;
    this.#leading = true;
    this.#sweeper = setInterval(() => this.#sweep(), ALIVE_MS);
    this.#options.bus.send({ kind: 'leading' });
  }

  stop(): void {
    this.#leading = false;
    if (this.#sweeper) clearInterval(this.#sweeper);
    for (const source of this.#sources.values()) source.close();
    this.#sources.clear();
    this.#wants.clear();
    this.#states.clear();
  }

  #hear(note: Note): void {
    if (note.kind === 'want') this.#want(note.tab, note.topic, { hasLines: note.hasLines, after: note.after, heardAt: this.#options.now() });
    else if (note.kind === 'alive') this.#alive(note.tab, note.topic);
    else if (note.kind === 'drop') this.#drop(note.tab, note.topic);
    else if (note.kind === 'retry') for (const source of this.#sources.values()) source.retryNow();
  }

  #want(tab: string, topic: string, want: Want): void {
    const readers = this.#wants.get(topic) ?? new Map<string, Want>();
    this.#wants.set(topic, readers.set(tab, want));
    const source = this.#sources.get(topic);
    if (source && !isBehind(want.after, source.cursor)) return this.#tell(topic);
    // A newcomer who is behind makes the stream start over from where he is; the others skip what they already have.
    if (source) this.#close(topic);
    this.#open(topic, want.hasLines, source ? nearest(want.after, source.cursor) : want.after);
  }

  #isReadAfar(topic: string): boolean {
    return [...(this.#wants.get(topic)?.keys() ?? [])].some((tab) => tab !== this.#options.tab);
  }

  #alive(tab: string, topic: string): void {
    const want = this.#wants.get(topic)?.get(tab);
    if (want) want.heardAt = this.#options.now();
    else this.#options.bus.send({ kind: 'leading' });
  }

  #open(topic: string, hasLines: boolean, after: Cursor): void {
    if (this.#sources.size >= STREAMS_MAX) return this.#become(topic, 'limited');
    this.#become(topic, 'connecting');
    const source = new Source({
      topic,
      hasLines,
      after,
      open: this.#options.open,
      onMessages: (messages) => this.#options.bus.send({ kind: 'messages', topic, messages }, this.#isReadAfar(topic)),
      onState: (state) => this.#become(topic, state),
    });
    this.#sources.set(topic, source);
  }

  #become(topic: string, state: TopicState): void {
    this.#states.set(topic, state);
    this.#tell(topic);
    if (state !== 'ended' && state !== 'refused') return;
    // What has ended holds no connection; the next one who wants it opens it anew and learns the same.
    this.#sources.delete(topic);
    this.#admit();
  }

  #tell(topic: string): void {
    this.#options.bus.send({ kind: 'state', topic, state: this.#states.get(topic) ?? 'connecting' });
  }

  #drop(tab: string, topic: string): void {
    const readers = this.#wants.get(topic);
    readers?.delete(tab);
    if (readers?.size) return;
    this.#wants.delete(topic);
    this.#close(topic);
    this.#admit();
  }

  #close(topic: string): void {
    this.#sources.get(topic)?.close();
    this.#sources.delete(topic);
    this.#states.delete(topic);
  }

  /** Gives a freed connection to a topic that waits for one. */
  #admit(): void {
    for (const [topic, readers] of this.#wants) {
      if (this.#sources.size >= STREAMS_MAX) return;
      const wants = [...readers.values()];
      const first = wants[0];
      if (!first || this.#states.get(topic) !== 'limited') continue;
      this.#open(topic, first.hasLines, wants.map((want) => want.after).reduce(nearest));
    }
  }

  /** Tabs that ended without a word stop repeating themselves. */
  #sweep(): void {
    const oldest = this.#options.now() - SILENT_MS_MAX;
    for (const [topic, readers] of [...this.#wants]) {
      for (const [tab, want] of [...readers]) if (want.heardAt < oldest) this.#drop(tab, topic);
    }
  }
}
