// The streams of this tab, wired to the browser. Owns the hub's life.
// Promises: a hidden tab lets go after a moment and catches up when it is shown; without Web Locks each tab has its own streams.

import { sendChecked } from '../api/client.ts';
import { Refused } from '../api/problem.ts';
import { localBus, sharedBus, type TopicState } from './bus.ts';
import type { Cursor } from './cursor.ts';
import { oncePerFrame } from './frame.ts';
import { Hub, type Subscriber, type Subscription } from './hub.ts';
import { Leader } from './leader.ts';
import type { Message } from './parser.ts';
import { attachStreams } from './status.svelte.ts';

const HIDDEN_GRACE_MS = 10_000;
const SKEW_MS_MIN = 1_000;
const CHANNEL = 'fastness.live.1';

const shared = 'locks' in navigator && 'BroadcastChannel' in globalThis;
const bus = shared ? sharedBus(new BroadcastChannel(CHANNEL)) : localBus();
const tab = Array.from(crypto.getRandomValues(new Uint32Array(2)), (word) => word.toString(36)).join('');
const hub = new Hub({
  tab,
  bus,
  leader: new Leader({ tab, bus, open, now: () => performance.now() }),
  elect,
  frame: oncePerFrame,
});
const topics = new Map<string, TopicState>();
const tell = attachStreams({ retry: () => hub.retryNow(), stop: () => hub.pause() });

async function open(path: string, signal: AbortSignal): Promise<Response> {
  try {
    return await sendChecked(path, { signal });
  } catch (cause) {
    if (cause instanceof Refused) return new Response(null, { status: cause.status });
    throw cause;
  }
}

function elect(lead: () => void, resign: AbortSignal): void {
  if (!shared) return lead();
  const held = (): Promise<void> =>
    new Promise((release) => {
      lead();
      resign.addEventListener('abort', () => release());
    });
  navigator.locks.request(CHANNEL, { signal: resign }, held).catch(() => {
    // Resigned before it was this tab's turn.
  });
}

/** The worst of the tab's topics is what is shown. */
function settle(): void {
  const states = [...topics.values()];
  tell.connection((['retrying', 'connecting', 'limited', 'live'] as const).find((state) => states.includes(state)) ?? 'idle');
}

function readClock(messages: Message[]): void {
  const beat = messages.findLast(({ event }) => event === 'heartbeat');
  if (!beat) return;
  const ahead = Date.parse((JSON.parse(beat.data) as { at: string }).at) - Date.now();
  if (Number.isFinite(ahead)) tell.skew(Math.abs(ahead) < SKEW_MS_MIN ? 0 : ahead);
}

/** Follows a topic from a cursor on; see `Subscriber` for what comes. */
export function follow(topic: string, hasLines: boolean, after: Cursor, subscriber: Subscriber): Subscription {
  // Someone follows, so someone is signed in: a hub that stopped at sign-out goes on.
  onVisibility();
  topics.set(topic, 'connecting');
  settle();
  const subscription = hub.subscribe(topic, hasLines, after, {
    messages(batch) {
      readClock(batch);
      subscriber.messages(batch);
    },
    resync: () => subscriber.resync(),
    state(state) {
      topics.set(topic, state);
      settle();
      subscriber.state(state);
    },
  });
  return {
    restart: subscription.restart,
    close() {
      subscription.close();
      topics.delete(topic);
      settle();
    },
  };
}

let hiding: ReturnType<typeof setTimeout> | undefined;

function onVisibility(): void {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(() => hub.pause(), HIDDEN_GRACE_MS);
  else hub.resume();
}

document.addEventListener('visibilitychange', onVisibility);
addEventListener('pagehide', () => hub.pause());
addEventListener('pageshow', onVisibility);
