// What the tabs of one browser tell each other about streams. Owns the messages and the channel they travel on.
// Promises: a message reaches every listener of every tab, the sender's own included.

import type { Cursor } from './cursor.ts';
import type { Message } from './parser.ts';
import type { SourceState } from './source.ts';

/** `limited`: the browser's connections are used up, so this topic is asked for anew now and then instead. */
export type TopicState = SourceState | 'limited';

export type Note =
  /** A tab reads a topic from a cursor on. */
  | { kind: 'want'; tab: string; topic: string; hasLines: boolean; after: Cursor }
  /** It still does: a sign of life, which moves nothing. */
  | { kind: 'alive'; tab: string; topic: string }
  | { kind: 'drop'; tab: string; topic: string }
  /** A tab has become the one that holds the streams: the others say again what they want. */
  | { kind: 'leading' }
  | { kind: 'messages'; topic: string; messages: Message[] }
  | { kind: 'state'; topic: string; state: TopicState }
  | { kind: 'retry' };

export interface Bus {
  /** `far` false: no other tab has use for it. */
  send(note: Note, far?: boolean): void;
  listen(listener: (note: Note) => void): void;
}

export function localBus(): Bus {
  const listeners: ((note: Note) => void)[] = [];
  return {
    send: (note) => listeners.forEach((listener) => listener(note)),
    listen: (listener) => void listeners.push(listener),
  };
}

/** The same, and to the other tabs as well. */
export function sharedBus(channel: BroadcastChannel): Bus {
  const own = localBus();
  channel.addEventListener('message', (event) => own.send(event.data as Note));
  return {
    send(note, far = true) {
      if (far) channel.postMessage(note);
      own.send(note);
    },
    listen: own.listen,
  };
}
