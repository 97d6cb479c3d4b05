import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { localBus, type Bus } from '../src/live/bus.ts';
import type { Cursor } from '../src/live/cursor.ts';
import { Hub, type Subscriber } from '../src/live/hub.ts';
import { Leader, STREAMS_MAX } from '../src/live/leader.ts';
import type { Message } from '../src/live/parser.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A server with events 0..last on every topic, which sends what is after the cursor and then keeps the stream open. */
class Server {
  last = 9;
  lines = 0;
  refuse: number | null = null;
  opened: string[] = [];
  #open: { write: (text: string) => void; close: () => void; hasLines: boolean }[] = [];

  readonly open = async (path: string, signal: AbortSignal): Promise<Response> => {
    this.opened.push(path.replace(/&heartbeatMs=\d+/, ''));
    if (this.refuse !== null) return new Response(null, { status: this.refuse });
    const [, seq, pos] = /after=(-?\d+)(?:\.(-?\d+))?/.exec(path) ?? [];
    const encoder = new TextEncoder();
    let stop = (): void => {};
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        stop = () => {
          try {
            controller.close();
          } catch {
            // Closed already.
          }
        };
        const stream = { write: (text: string) => controller.enqueue(encoder.encode(text)), close: stop, hasLines: pos !== undefined };
        for (let at = Number(seq) + 1; at <= this.last; at += 1) stream.write(this.#event(at, stream.hasLines));
        if (pos !== undefined) for (let at = Number(pos) + 1; at < this.lines; at += 1) stream.write(this.#line(at));
        this.#open.push(stream);
        signal.addEventListener('abort', () => {
          this.#open = this.#open.filter((one) => one !== stream);
          stop();
        });
      },
    });
    return new Response(body);
  };

  get streams(): number {
    return this.#open.length;
  }

  emit(): void {
    this.last += 1;
    for (const stream of this.#open) stream.write(this.#event(this.last, stream.hasLines));
  }

  cut(): void {
    for (const stream of this.#open.splice(0)) stream.close();
  }

  #event(at: number, hasLines: boolean): string {
    return `id: ${at}${hasLines ? `.${this.lines - 1}` : ''}\nevent: job.started\ndata: ${at}\n\n`;
  }

  #line(at: number): string {
    return `id: ${this.last}.${at}\nevent: step.output\ndata: line ${at}\n\n`;
  }
}

/** Web Locks of one browser: leadership goes to who waits longest. */
class Locks {
  #queue: { lead: () => void; resign: AbortSignal }[] = [];

  readonly elect = (lead: () => void, resign: AbortSignal): void => {
    const entry = { lead, resign };
    this.#queue.push(entry);
    resign.addEventListener('abort', () => {
      const first = this.#queue[0] === entry;
      this.#queue = this.#queue.filter((one) => one !== entry);
      if (first) this.#queue[0]?.lead();
    });
    if (this.#queue.length === 1) lead();
  };
}

class Tab {
  readonly hub: Hub;
  #work: (() => void) | null = null;

  constructor(name: string, server: Server, bus: Bus, locks: Locks) {
    const leader = new Leader({ tab: name, bus, open: server.open, now: () => Date.now() });
    const frame = (work: () => void) => ({ ask: () => void (this.#work = work), cancel: () => void (this.#work = null) });
    this.hub = new Hub({ tab: name, bus, leader, elect: locks.elect, frame });
  }

  frame(): void {
    this.#work?.();
    this.#work = null;
  }
}

function reader(): Subscriber & { seen: string[]; states: string[]; batches: number; resyncs: number } {
  const self = {
    seen: [] as string[],
    states: [] as string[],
    batches: 0,
    resyncs: 0,
    messages(batch: Message[]) {
      self.batches += 1;
      self.seen.push(...batch.map(({ data }) => data));
    },
    resync: () => void (self.resyncs += 1),
    state: (state: string) => void self.states.push(state),
  };
  return self;
}

const START: Cursor = { seq: 4, pos: -1 };
const settle = async (ms = 0): Promise<void> => void (await vi.advanceTimersByTimeAsync(ms));

test('a subscriber gets what is after its cursor, once, in one batch a frame', async () => {
  const server = new Server();
  const tab = new Tab('a', server, localBus(), new Locks());
  tab.hub.resume();
  const seen = reader();
  tab.hub.subscribe('/stream', false, START, seen);
  await settle();
  server.emit();
  await settle();
  expect(seen.seen).toEqual([]);
  tab.frame();
  expect(seen.seen).toEqual(['5', '6', '7', '8', '9', '10']);
  expect(seen.batches).toBe(1);
});

test('a broken stream goes on where it stopped, nothing lost and nothing double', async () => {
  const server = new Server();
  const tab = new Tab('a', server, localBus(), new Locks());
  tab.hub.resume();
  const seen = reader();
  tab.hub.subscribe('/stream', false, START, seen);
  await settle();
  for (let round = 0; round < 3; round += 1) {
    server.cut();
    server.last += 2;
    await settle(20_000);
    tab.frame();
  }
  expect(seen.seen).toEqual(['5', '6', '7', '8', '9', '10', '11', '12', '13', '14', '15']);
  expect(seen.states).toContain('retrying');
  expect(seen.states.at(-1)).toBe('live');
});

test('a stream that falls silent counts as broken', async () => {
  const server = new Server();
  const tab = new Tab('a', server, localBus(), new Locks());
  tab.hub.resume();
  tab.hub.subscribe('/stream', false, START, reader());
  await settle();
  expect(server.opened).toHaveLength(1);
  await settle(40_000);
  expect(server.opened.length).toBeGreaterThan(1);
});

test.each([401, 403, 404])('a refusal with %s is not tried again', async (status) => {
  const server = new Server();
  server.refuse = status;
  const tab = new Tab('a', server, localBus(), new Locks());
  tab.hub.resume();
  const seen = reader();
  tab.hub.subscribe('/stream', false, START, seen);
  await settle(120_000);
  expect(server.opened).toHaveLength(1);
  expect(seen.states.at(-1)).toBe('refused');
});

test('503 is tried again', async () => {
  const server = new Server();
  server.refuse = 503;
  const tab = new Tab('a', server, localBus(), new Locks());
  tab.hub.resume();
  const seen = reader();
  tab.hub.subscribe('/stream', false, START, seen);
  await settle(5_000);
  server.refuse = null;
  await settle(20_000);
  expect(seen.states.at(-1)).toBe('live');
});

test('tabs of one browser share one connection, and each skips what it already has', async () => {
  const server = new Server();
  const bus = localBus();
  const locks = new Locks();
  const [one, two] = [new Tab('a', server, bus, locks), new Tab('b', server, bus, locks)];
  one.hub.resume();
  two.hub.resume();
  const [first, second] = [reader(), reader()];
  one.hub.subscribe('/stream', false, { seq: 4, pos: -1 }, first);
  await settle();
  two.hub.subscribe('/stream', false, { seq: 7, pos: -1 }, second);
  await settle();
  server.emit();
  await settle();
  one.frame();
  two.frame();
  expect(server.streams).toBe(1);
  expect(first.seen).toEqual(['5', '6', '7', '8', '9', '10']);
  expect(second.seen).toEqual(['8', '9', '10']);
});

test('when the leading tab goes another leads, and nobody misses anything', async () => {
  const server = new Server();
  const bus = localBus();
  const locks = new Locks();
  const [one, two] = [new Tab('a', server, bus, locks), new Tab('b', server, bus, locks)];
  one.hub.resume();
  two.hub.resume();
  one.hub.subscribe('/stream', false, START, reader());
  const stays = reader();
  two.hub.subscribe('/stream', false, START, stays);
  await settle();
  server.last += 3;
  one.hub.pause();
  await settle();
  server.emit();
  await settle();
  two.frame();
  expect(stays.seen).toEqual(['5', '6', '7', '8', '9', '10', '11', '12', '13']);
  expect(server.streams).toBe(1);
});

test('a tab that ended without a word is forgotten, and its stream closed', async () => {
  const server = new Server();
  const bus = localBus();
  const tab = new Tab('a', server, bus, new Locks());
  tab.hub.resume();
  bus.send({ kind: 'want', tab: 'gone', topic: '/stream/other', hasLines: false, after: START });
  await settle();
  expect(server.streams).toBe(1);
  await settle(60_000);
  expect(server.streams).toBe(0);
});

test('beyond the connections of a browser a topic is asked for anew, and gets the first that comes free', async () => {
  const server = new Server();
  const tab = new Tab('a', server, localBus(), new Locks());
  tab.hub.resume();
  const open = Array.from({ length: STREAMS_MAX }, (_, index) => tab.hub.subscribe(`/stream/${index}`, false, START, reader()));
  const late = reader();
  tab.hub.subscribe('/stream/late', false, START, late);
  await settle(11_000);
  expect(server.streams).toBe(STREAMS_MAX);
  expect(late.states.at(-1)).toBe('limited');
  expect(late.resyncs).toBe(2);
  open[0]?.close();
  await settle();
  expect(late.states.at(-1)).toBe('live');
});

test('a paused tab holds no stream, and takes a snapshot before it goes on', async () => {
  const server = new Server();
  const tab = new Tab('a', server, localBus(), new Locks());
  tab.hub.resume();
  const seen = reader();
  const subscription = tab.hub.subscribe('/stream', false, START, seen);
  await settle();
  tab.frame();
  tab.hub.pause();
  await settle();
  expect(server.streams).toBe(0);
  server.last += 100;
  tab.hub.resume();
  expect(seen.resyncs).toBe(1);
  subscription.restart({ seq: 107, pos: -1 });
  await settle();
  tab.frame();
  expect(seen.seen.slice(5)).toEqual(['108', '109']);
});

test('lines and events advance apart: neither hides the other', async () => {
  const server = new Server();
  server.lines = 3;
  const tab = new Tab('a', server, localBus(), new Locks());
  tab.hub.resume();
  const seen = reader();
  tab.hub.subscribe('/stream/pack-runs/r', true, { seq: 7, pos: -1 }, seen);
  await settle();
  tab.frame();
  expect(server.opened).toEqual(['/stream/pack-runs/r?after=7.-1']);
  expect(seen.seen.filter((data) => !data.startsWith('line'))).toEqual(['8', '9']);
});

test('a newcomer who lacks lines but not events takes no event from the others', async () => {
  const server = new Server();
  server.lines = 3;
  const bus = localBus();
  const locks = new Locks();
  const [one, two] = [new Tab('a', server, bus, locks), new Tab('b', server, bus, locks)];
  one.hub.resume();
  two.hub.resume();
  const first = reader();
  one.hub.subscribe('/stream/pack-runs/r', true, { seq: 8, pos: -1 }, first);
  await settle();
  server.last = 11;
  two.hub.subscribe('/stream/pack-runs/r', true, { seq: 11, pos: -1 }, reader());
  await settle();
  one.frame();
  expect(first.seen.filter((data) => !data.startsWith('line'))).toEqual(['9', '10', '11']);
  expect(server.streams).toBe(1);
});

test('signs of life move nothing and open nothing', async () => {
  const server = new Server();
  const tab = new Tab('a', server, localBus(), new Locks());
  tab.hub.resume();
  tab.hub.subscribe('/stream', false, START, reader());
  await settle();
  for (let beat = 0; beat < 6; beat += 1) {
    await settle(10_000);
    server.emit();
  }
  expect(server.opened).toHaveLength(1);
});
