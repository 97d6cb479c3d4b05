// What the client programs for Node share: how a case is told to the runner, and how things are made in the tenant.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';

export const { CLIENT_URL: URL_, CLIENT_TOKEN: TOKEN, CLIENT_TENANT: TENANT } = process.env;
export const API = `${URL_}/api/v1`;
const ANSWER_MS_MAX = 30_000;

/** Runs the functions by their names, one after the other; does not come back. */
export async function run(cases) {
  let failed = 0;
  for (const [name, work] of Object.entries(cases)) {
    try {
      await within(work(), name);
      console.log(`ok ${name}`);
    } catch (error) {
      console.error(error);
      console.log(`failed ${name}`);
      failed += 1;
    }
  }
  process.exit(failed > 0 ? 1 : 0);
}

/** The promise, or a failure when it takes too long. */
export function within(promise, what, ms = ANSWER_MS_MAX) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing came within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has the server ended (`stop`) or started again (`start`), and waits until it is. */
export async function server(order) {
  console.log(`server ${order}`);
  assert.equal((await answers.next()).value, 'done');
}

/** What came and was not taken yet, in order. */
export class Inbox {
  #items = [];
  #waiting = [];

  put(item) {
    const taker = this.#waiting.shift();
    if (taker) taker(item);
    else this.#items.push(item);
  }

  take(what = 'a message') {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    return within(new Promise((resolve) => this.#waiting.push(resolve)), what);
  }

  async takeMany(count) {
    const taken = [];
    while (taken.length < count) taken.push(await this.take(`message ${taken.length + 1} of ${count}`));
    return taken;
  }

  get size() {
    return this.#items.length;
  }
}

/** One request that must be answered well; the answer. */
export async function ask(method, path, { body, token = TOKEN, headers = {} } = {}) {
  const sent = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', ...headers };
  const answer = await fetch(API + path, { method, headers: sent, body: body && JSON.stringify(body) });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${answer.ok ? '' : await answer.text()}`);
  return answer;
}

/** Submits jobs; their ids. */
export async function submit(count, more = {}) {
  const items = Array.from({ length: count }, () => ({ type: 'client.work', ...more }));
  return (await (await ask('POST', '/jobs/batch', { body: { items } })).json()).results.map(({ job }) => job.id);
}

/** The ledger behind an event, as `GET /events` tells it. */
export async function ledger(after = -1) {
  const events = [];
  for (let cursor = ''; cursor !== null; ) {
    const { items, nextCursor } = await (await ask('GET', `/events?after=${after}&limit=500${cursor}`)).json();
    events.push(...items);
    cursor = nextCursor === null ? null : `&cursor=${nextCursor}`;
  }
  return events;
}

/** The sequence of the last event there is. */
export async function lastSeq() {
  return (await (await ask('GET', '/events?limit=1')).json()).asOf;
}

/** The leaf hash of an event's bytes. */
export const leafHash = (event) => createHash('sha256').update('\0').update(event).digest('hex');

/** A token that may read, and its id. */
export async function makeToken() {
  const body = { name: 'brief', person: 'brief', scopes: ['orch:read'], tenants: [TENANT] };
  return (await ask('POST', '/tokens', { body, token: process.env.CLIENT_ADMIN })).json();
}

/** Revokes a token. */
export const revoke = (id) => ask('DELETE', `/tokens/${id}`, { token: process.env.CLIENT_ADMIN });
