// A tab's side of the streams. Owns its subscriptions, their cursors, and who leads.
// Promises: a subscriber gets each event and line after its cursor once, in one batch a frame; after a pause it is
// told to take a new snapshot. Must never open a connection itself: the leader of the browser does.

import type { Bus, Note, TopicState } from './bus.ts';
import { type Cursor, furthest, parseCursor } from './cursor.ts';
import { ALIVE_MS, Leader } from './leader.ts';
import type { Message } from './parser.ts';

export interface Subscriber {
  messages(batch: Message[]): void;
  /** What is shown may lack something: take a snapshot and call `restart`. */
  resync(): void;
  state(state: TopicState): void;
}

export interface Subscription {
  restart(after: Cursor): void;
  close(): void;
}

interface Reading {
  topic: string;
  hasLines: boolean;
  cursor: Cursor;
  state: TopicState;
  subscriber: Subscriber;
  waiting: Message[];
}

export interface HubOptions {
  tab: string;
  bus: Bus;
  leader: Leader;
  /** Waits for leadership, leads while granted, and gives it back when the signal fires. */
  elect(lead: () => void, resign: AbortSignal): void;
  frame(work: () => void): { ask(): void; cancel(): void };
}

/** How often a topic without a connection of its own is asked for anew. */
export const LIMITED_MS = 5_000;
/** What may wait for a frame; beyond it the subscriber gets its batch at once. */
export const BATCH_MESSAGES_MAX = 20_000;

export class Hub {
  readonly #options: HubOptions;
  readonly #readings = new Set<Reading>();
  readonly #frame: { ask(): void; cancel(): void };
  #resignation = new AbortController();
  #paused = true;
  #alive: ReturnType<typeof setInterval> | null = null;
  #poll: ReturnType<typeof setInterval> | null = null;

  constructor(options: HubOptions) {
    this.#options = options;
    this.#frame = options.frame(() => this.#deliver());
    options.bus.listen((note) => !this.#paused && this.#hear(note));
  }

  subscribe(topic: string, hasLines: boolean, after: Cursor, subscriber: Subscriber): Subscription {
    const reading: Reading = { topic, hasLines, cursor: after, state: 'connecting', subscriber, waiting: [] };
    this.#readings.add(reading);
    if (!this.#paused) this.#want(reading);
    return {
      restart: (from) => {
        if (!this.#readings.has(reading)) return;
        reading.cursor = from;
        reading.waiting = [];
        if (!this.#paused) this.#want(reading);
      },
      close: () => {
        this.#readings.delete(reading);
        if (!this.#reads(topic)) this.#options.bus.send({ kind: 'drop', tab: this.#options.tab, topic });
      },
    };
  }

  /** Begins, or begins again after a pause; then each subscriber takes a snapshot first. */
  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#resignation = new AbortController();
    this.#options.elect(() => this.#options.leader.start(), this.#resignation.signal);
    this.#resignation.signal.addEventListener('abort', () => this.#options.leader.stop());
    this.#alive = setInterval(() => this.#repeat(), ALIVE_MS);
    this.#poll = setInterval(() => this.#askLimited(), LIMITED_MS);
    for (const reading of this.#readings) reading.subscriber.resync();
  }

  /** Lets go of every stream and of leadership: the tab is hidden, closed or signed out. */
  pause(): void {
    if (this.#paused) return;
    for (const topic of this.#topics()) this.#options.bus.send({ kind: 'drop', tab: this.#options.tab, topic });
    this.#paused = true;
    this.#resignation.abort();
    this.#frame.cancel();
    if (this.#alive) clearInterval(this.#alive);
    if (this.#poll) clearInterval(this.#poll);
    for (const reading of this.#readings) reading.waiting = [];
  }

  retryNow(): void {
    this.#options.bus.send({ kind: 'retry' });
  }

  #topics(): Set<string> {
    return new Set([...this.#readings].map(({ topic }) => topic));
  }

  #reads(topic: string): boolean {
    return this.#topics().has(topic);
  }

  #want(reading: Reading): void {
    const { topic, hasLines, cursor } = reading;
    this.#options.bus.send({ kind: 'want', tab: this.#options.tab, topic, hasLines, after: cursor });
  }

  #repeat(): void {
    for (const topic of this.#topics()) this.#options.bus.send({ kind: 'alive', tab: this.#options.tab, topic });
  }

  #askLimited(): void {
    for (const reading of this.#readings) if (reading.state === 'limited') reading.subscriber.resync();
  }

  #hear(note: Note): void {
    if (note.kind === 'leading') for (const reading of this.#readings) this.#want(reading);
    else if (note.kind === 'messages') this.#take(note.topic, note.messages);
    else if (note.kind === 'state') {
      for (const reading of this.#readings) {
        if (reading.topic !== note.topic || reading.state === note.state) continue;
        reading.state = note.state;
        reading.subscriber.state(note.state);
      }
    }
  }

  #take(topic: string, messages: Message[]): void {
    for (const reading of this.#readings) {
      if (reading.topic !== topic) continue;
      for (const message of messages) if (advances(reading, message)) reading.waiting.push(message);
      if (reading.waiting.length > BATCH_MESSAGES_MAX) this.#deliver();
      else if (reading.waiting.length > 0) this.#frame.ask();
    }
  }

  #deliver(): void {
    for (const reading of this.#readings) {
      if (reading.waiting.length === 0) continue;
      const batch = reading.waiting;
      reading.waiting = [];
      reading.subscriber.messages(batch);
    }
  }
}

/** Moves the reader on and says whether the message was new to it. Messages without an id are about now: always new. */
function advances(reading: Reading, message: Message): boolean {
  const at = message.id === null ? null : parseCursor(message.id);
  if (!at) return true;
  const before = reading.cursor;
  reading.cursor = furthest(before, at);
  if (message.event === 'heartbeat' || message.event === 'gap' || message.event === 'end') return true;
  return message.event === 'step.output' ? at.pos > before.pos : at.seq > before.seq;
}
