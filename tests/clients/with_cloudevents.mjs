// The npm package `cloudevents`, the SDK of the CloudEvents project: takes our events one by one, in batches and from
// server-sent events, as it does those of anybody. `run.py` starts this program.

import assert from 'node:assert/strict';
import { CloudEvent, HTTP } from 'cloudevents';
import { EventSource } from 'eventsource';
import { API, Inbox, TENANT, TOKEN, ask, leafHash, ledger, run, submit } from './cases.mjs';

const ONE = 'application/cloudevents+json';
const BATCH = 'application/cloudevents-batch+json';

/** What the SDK makes of an answer's body; it looks at the content type by itself. */
async function read(path, accept) {
  const answer = await ask('GET', path, { headers: { Accept: accept } });
  assert.equal(answer.headers.get('content-type'), accept);
  return { taken: parse(await answer.text(), accept), link: answer.headers.get('link') };
}

const parse = (body, type) => HTTP.toEvent({ headers: { 'content-type': type }, body });

/** Looks whether a CloudEvent is valid and tells what the event of the ledger does. */
function tells(cloud, event) {
  assert.ok(cloud instanceof CloudEvent);
  assert.equal(cloud.validate(), true);
  assert.equal(cloud.specversion, '1.0');
  assert.equal(cloud.id, String(event.seq));
  assert.match(cloud.source, new RegExp(`^urn:fastness:ledger:.+:${TENANT}$`));
  assert.equal(cloud.type, event.type);
  assert.equal(cloud.subject, event.subject.job && `job:${event.subject.job}`);
  assert.equal(cloud.time, event.at);
  assert.equal(cloud.datacontenttype, 'application/json');
  assert.equal(cloud.correlationid, event.correlationId);
  assert.equal(cloud.sequence, String(event.seq).padStart(20, '0'));
  assert.deepEqual(cloud.data, event);
  // What was parsed and written again is canonical still.
  assert.equal(cloud.ledgerhash, leafHash(JSON.stringify(cloud.data)));
}

await submit(120, { correlationId: 'order-17' });
const held = await ledger();

await run({
  'one by one': async () => {
    for (const event of [held[0], held[1], held.at(-1)]) {
      tells((await read(`/events/${event.seq}`, ONE)).taken, event);
    }
  },

  'in batches, from link to link': async () => {
    const all = [];
    let pages = 0;
    for (let path = '/events?after=-1&limit=50'; path; pages += 1) {
      const { taken, link } = await read(path, BATCH);
      assert.ok(Array.isArray(taken) && taken.length <= 50);
      all.push(...taken);
      path = link && `/events${/^<(\?.+)>; rel="next"$/.exec(link)[1]}`;
    }
    assert.equal(pages, 3);
    assert.equal(all.length, held.length);
    all.forEach((cloud, index) => tells(cloud, held[index]));
  },

  'from server-sent events, past and present': async () => {
    const inbox = new Inbox();
    const source = new EventSource(`${API}/stream?after=-1&format=cloudevents`, {
      fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, Authorization: `Bearer ${TOKEN}` } }),
    });
    for (const type of ['ledger.opened', 'job.created']) source.addEventListener(type, (event) => inbox.put(event));
    const past = await inbox.takeMany(held.length);
    await submit(3);
    const present = await inbox.takeMany(3);
    source.close();
    const now = await ledger();
    assert.equal(now.length, held.length + 3);
    [...past, ...present].forEach((message, index) => {
      assert.equal(message.lastEventId, String(index));
      const cloud = parse(message.data, ONE);
      assert.equal(message.type, cloud.type);
      tells(cloud, now[index]);
    });
  },

  'the envelope is no CloudEvent: the SDK refuses what is not one': async () => {
    assert.throws(() => parse(JSON.stringify(held[1]), ONE).validate());
  },
});
