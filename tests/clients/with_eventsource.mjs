// The npm package `eventsource`: the browser's EventSource for Node, with the token through its `fetch`.
// It comes back by itself. `run.py` starts this program.

import assert from 'node:assert/strict';
import { EventSource } from 'eventsource';
import { API, Inbox, TOKEN, lastSeq, ledger, makeToken, revoke, run, server, submit, within } from './cases.mjs';

const TYPES = ['ledger.opened', 'job.created', 'job.scheduled', 'heartbeat'];

/** An EventSource, what it has received of each type, and what it sent as Last-Event-ID at each connection. */
function open(path, { token = TOKEN } = {}) {
  const inbox = new Inbox();
  const errors = new Inbox();
  const resumed = [];
  const source = new EventSource(API + path, {
    fetch: (url, init) => {
      resumed.push(init.headers['Last-Event-ID'] ?? null);
      return fetch(url, { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } });
    },
  });
  for (const type of TYPES) source.addEventListener(type, (event) => inbox.put(event));
  source.addEventListener('error', (event) => errors.put(event));
  return { source, inbox, errors, resumed };
}

/** So many events, heartbeats left out. */
async function take({ inbox }, count) {
  const taken = [];
  while (taken.length < count) {
    const event = await inbox.take(`event ${taken.length + 1} of ${count}`);
    if (event.type !== 'heartbeat') taken.push(event);
  }
  return taken;
}

/** Looks whether they are what the ledger has behind an event: ids, types, content. */
async function areOfLedger(events, after) {
  const held = await ledger(after);
  assert.deepEqual(events.map(({ data }) => JSON.parse(data)), held);
  assert.deepEqual(events.map(({ lastEventId }) => Number(lastEventId)), held.map(({ seq }) => seq));
  assert.deepEqual(events.map(({ type }) => type), held.map(({ type }) => type));
  assert.deepEqual(held.map(({ seq }) => seq), Array.from(held, (_, index) => after + 1 + index));
}

await run({
  'a hundred events come in order, past and present': async () => {
    await submit(50);
    const reader = open('/stream?after=-1');
    const past = await take(reader, 51);
    await submit(50);
    const present = await take(reader, 50);
    reader.source.close();
    await areOfLedger([...past, ...present], -1);
  },

  'it comes back by itself after a restart, without gap or double': async () => {
    const after = await lastSeq();
    const reader = open(`/stream?after=${after}`);
    await submit(20);
    const before = await take(reader, 20);
    await server('stop');
    await reader.errors.take('the loss');
    assert.equal(reader.source.readyState, EventSource.CONNECTING);
    await server('start');
    // It waits before it tries again, so these are made while it is away.
    await submit(20);
    const missed = await take(reader, 20);
    assert.equal(reader.resumed.at(-1), before.at(-1).lastEventId);
    await submit(20);
    const present = await take(reader, 20);
    reader.source.close();
    await areOfLedger([...before, ...missed, ...present], after);
  },

  'a heartbeat moves the place of a reader whose filter lets nothing through': async () => {
    const reader = open('/stream?type=nothing.*&heartbeatMs=1000');
    await within(new Promise((resolve) => reader.source.addEventListener('open', resolve)), 'the opening');
    await submit(5);
    const last = await lastSeq();
    let beat;
    do {
      beat = await reader.inbox.take('a heartbeat');
      assert.equal(beat.type, 'heartbeat');
    } while (Number(beat.lastEventId) < last);
    await server('stop');
    await reader.errors.take('the loss');
    await server('start');
    await reader.inbox.take('a heartbeat of the second connection');
    assert.equal(reader.resumed.at(-1), String(last));
    reader.source.close();
  },

  'a wrong token is told, and not tried again': async () => {
    const { source, errors, resumed } = open('/stream', { token: 'not-the-token' });
    const error = await errors.take('the refusal');
    assert.equal(error.code, 401);
    assert.equal(source.readyState, EventSource.CLOSED);
    assert.equal(resumed.length, 1);
  },

  'a revoked token ends the stream, and it stays away': async () => {
    const { token, id } = await makeToken();
    const reader = open('/stream', { token });
    await within(new Promise((resolve) => reader.source.addEventListener('open', resolve)), 'the opening');
    await revoke(id);
    await reader.errors.take('the loss');
    assert.equal((await reader.errors.take('the refusal')).code, 401);
    assert.equal(reader.source.readyState, EventSource.CLOSED);
  },
});
