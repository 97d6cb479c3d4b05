// The npm package `ws`: rooms over one connection. `run.py` starts this program.

import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { API, Inbox, TENANT, TOKEN, ask, lastSeq, leafHash, ledger, makeToken, revoke, run, server, submit, within } from './cases.mjs';

const PLACE = `${API.replace('http:', 'ws:')}/ws`;
// Messages are read by the server in order, so what an answered one let through has come before its answer.
let asked = 0;

/** An open connection. */
async function open({ token = TOKEN, path = '' } = {}) {
  const socket = new WebSocket(PLACE + path, 'fastness.v1', { headers: { Authorization: `Bearer ${token}` } });
  const inbox = new Inbox();
  const pings = new Inbox();
  const closed = new Promise((resolve) => socket.on('close', (code, reason) => resolve({ code, reason: String(reason) })));
  socket.on('message', (data, isBinary) => inbox.put(isBinary ? { type: 'binary' } : told(String(data))));
  socket.on('ping', (data) => pings.put(String(data)));
  await within(new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject)), 'the opening');
  return { socket, inbox, pings, closed };
}

/** A message, and the bytes of its event as they stand in it. */
function told(text) {
  const message = JSON.parse(text);
  const bytes = text.slice(text.indexOf('"event":{') + '"event":'.length, text.lastIndexOf(',"hash":"'));
  return message.hash ? { ...message, bytes } : message;
}

/** Says something; the answer, which must come next. */
async function say({ socket, inbox }, message) {
  asked += 1;
  socket.send(JSON.stringify({ ...message, id: asked }));
  const answer = await inbox.take(`the answer to ${message.type}`);
  assert.equal(answer.id, asked, JSON.stringify(answer));
  return answer;
}

/** Opens a room; its name. */
async function subscribe(reader, message) {
  const answer = await say(reader, message);
  assert.equal(answer.type, 'ack', JSON.stringify(answer));
  return answer.room;
}

/** So many events, each as it must be: a cursor that is its sequence, and its bytes' hash. */
async function take({ inbox }, count) {
  const events = await inbox.takeMany(count);
  for (const { type, cursor, event, hash, bytes } of events) {
    assert.equal(type, 'event');
    assert.equal(cursor, String(event.seq));
    assert.equal(hash, leafHash(bytes));
  }
  return events;
}

/** How a handshake is refused: status and code. */
function refusal(protocols, headers) {
  return within(
    new Promise((resolve, reject) => {
      const socket = new WebSocket(PLACE, protocols, { headers });
      socket.on('open', () => reject(new Error('it was let in')));
      socket.on('error', reject);
      socket.on('unexpected-response', async (_, answer) => {
        let text = '';
        for await (const part of answer) text += part;
        resolve({ status: answer.statusCode, code: JSON.parse(text).code });
      });
    }),
    'the refusal',
  );
}

const bearer = { Authorization: `Bearer ${TOKEN}` };

await run({
  'the subprotocol is fastness.v1, without extensions': async () => {
    const { socket, closed } = await open();
    assert.equal(socket.protocol, 'fastness.v1');
    assert.equal(socket.extensions, '');
    socket.close(1000, 'done');
    assert.deepEqual(await within(closed, 'the close'), { code: 1000, reason: 'done' });
  },

  'who may not is told at the upgrade': async () => {
    assert.deepEqual(await refusal('fastness.v1', {}), { status: 401, code: 'unauthenticated' });
    assert.deepEqual(await refusal('fastness.v1', { Authorization: 'Bearer nothing' }), { status: 401, code: 'unauthenticated' });
    assert.deepEqual(await refusal('other', bearer), { status: 400, code: 'subprotocol_required' });
    assert.deepEqual(await refusal('fastness.v1', { ...bearer, Origin: 'https://elsewhere.example' }), { status: 403, code: 'origin_not_allowed' });
  },

  'an event of three rooms comes once and names them': async () => {
    const [job] = await submit(1, { hold: true });
    const reader = await open();
    const rooms = [
      await subscribe(reader, { type: 'subscribe:job', jobId: job }),
      await subscribe(reader, { type: 'subscribe:workspace:jobs' }),
      await subscribe(reader, { type: 'subscribe:events' }),
    ];
    assert.deepEqual(rooms, [`job:${job}`, `workspace:${TENANT}:jobs`, 'events']);
    await ask('POST', `/jobs/${job}/cancel`, { body: { reason: 'tried by a test' } });
    const [event] = await take(reader, 1);
    assert.equal(event.name, 'job:status');
    assert.equal(event.event.type, 'job.cancelled');
    assert.deepEqual([...event.rooms].sort(), [...rooms].sort());
    // Another job is of two of them.
    await submit(1);
    const [other] = await take(reader, 1);
    assert.equal(other.name, 'job:created');
    assert.deepEqual([...other.rooms].sort(), rooms.slice(1).sort());
    assert.equal((await say(reader, { type: 'unsubscribe:events' })).asOf, other.event.seq, 'nothing came twice');
    reader.socket.close();
  },

  'a room that was left is silent': async () => {
    const reader = await open();
    const [job] = await submit(1, { hold: true });
    await subscribe(reader, { type: 'subscribe:job', jobId: job });
    await subscribe(reader, { type: 'subscribe:events', types: ['job.cancelled'] });
    assert.equal((await say(reader, { type: 'unsubscribe:job', jobId: job })).type, 'ack');
    await ask('POST', `/jobs/${job}/cancel`, { body: { reason: 'tried by a test' } });
    const [event] = await take(reader, 1);
    assert.deepEqual(event.rooms.map((room) => room.split(':')[0]), ['events']);
    assert.equal((await say(reader, { type: 'unsubscribe:events', types: ['job.cancelled'] })).type, 'ack');
    await submit(3);
    // The refusal is the next that comes: none of the three did.
    assert.equal((await say(reader, { type: 'unsubscribe:events' })).code, 'not_subscribed');
    assert.equal(reader.inbox.size, 0);
    reader.socket.close();
  },

  'a restart closes with 1001, and `after` brings what was missed': async () => {
    const after = await lastSeq();
    let reader = await open();
    await subscribe(reader, { type: 'subscribe:events' });
    await submit(20);
    const seen = await take(reader, 20);
    await server('stop');
    assert.equal((await within(reader.closed, 'the close')).code, 1001);
    await server('start');
    await submit(20);
    reader = await open();
    await subscribe(reader, { type: 'subscribe:events', after: seen.at(-1).cursor });
    await submit(20);
    seen.push(...(await take(reader, 40)));
    assert.equal(reader.inbox.size, 0);
    reader.socket.close();
    assert.deepEqual(seen.map(({ event }) => event), await ledger(after));
  },

  'each heartbeat is a ping that tells the last event': async () => {
    const last = String(await lastSeq());
    const reader = await open({ path: '?heartbeatMs=1000' });
    await subscribe(reader, { type: 'subscribe:events' });
    await submit(1);
    await take(reader, 1);
    let told;
    do told = await reader.pings.take('a ping');
    while (told === last);
    assert.equal(told, String(Number(last) + 1));
    reader.socket.close();
  },

  'a revoked token closes with 4401': async () => {
    const { token, id } = await makeToken();
    const reader = await open({ token });
    await subscribe(reader, { type: 'subscribe:events' });
    await revoke(id);
    assert.equal((await within(reader.closed, 'the close', 5_000)).code, 4401);
    assert.equal(reader.inbox.size, 0);
  },

  'what cannot be acted upon is told and changes nothing': async () => {
    const reader = await open();
    reader.socket.send(Buffer.from('{}'));
    assert.equal((await reader.inbox.take()).code, 'text_expected');
    assert.equal((await say(reader, { type: 'subscribe:job', jobId: '01900000-0000-7000-8000-000000000000' })).code, 'not_found');
    assert.equal((await say(reader, { type: 'subscribe:events', after: 1_000_000 })).code, 'beyond_end');
    // Longer than a message may be: the library is told so by the close code.
    reader.socket.send(`"${'x'.repeat(17 * 1024)}"`);
    assert.equal((await within(reader.closed, 'the close')).code, 1009);
  },
});
