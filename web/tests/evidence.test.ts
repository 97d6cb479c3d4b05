import { afterEach, expect, test, vi } from 'vitest';
import type { Bundle, ForeignImport, OrderEvidence, ReceivedOrder, WorkOrder } from '../src/api/types.ts';
import { approveImport, approveOrder, cancelOrder, rejectImport, startOrder } from '../src/evidence/act.ts';
import { commandOf, nextFirst, readExport, shownText, sortedBundles } from '../src/evidence/export.ts';
import { approvalOf, kindOf, missingOf, rangeText, sorted, waitingText } from '../src/evidence/imports.ts';
import { openingsOf, silentEnclaves, tracksOf } from '../src/evidence/orders.ts';
import { lookOf, STATUSES } from '../src/look/states.ts';
import { at } from './events.ts';

const mark = (seconds: number, by = 'tomas') => ({ at: at(seconds), by, seq: seconds });
const NOW = Date.parse(at(100));

function received(change: Partial<ReceivedOrder> = {}): ReceivedOrder {
  return { approvers: 0, hub: 'ab', id: 'o', imported: mark(2), origin: 'fastness/ab/default', runs: [{ name: 'r', pack: 'p' }], seq: 2, state: 'imported', tarSha256: 't', ...change };
}

const atEnclave = (change: Partial<ReceivedOrder> = {}, approvalsMissing = 0): WorkOrder => {
  const order = received(change);
  return { id: 'o', state: order.state, approvalsMissing, received: order };
};

function atHub(evidence: OrderEvidence[] = [], change: Partial<WorkOrder> = {}): WorkOrder {
  const issued = { enclaves: ['n', 's'], id: 'o', issued: mark(1, 'admin'), packs: [], runs: [{ name: 'r', pack: 'p' }], tarSha256: 't' };
  return { id: 'o', state: 'issued', issued, ...(evidence.length > 0 ? { evidence } : {}), ...change };
}

const told = (enclave: string, order: Partial<ReceivedOrder>, matches = true): OrderEvidence => ({ enclave, matches, order: received(order), origin: `fastness/${enclave}/default`, root: 'r', size: 9, tenant: `foreign:${enclave}/default` });
const words = (order: WorkOrder) => tracksOf(order).map(({ stages }) => stages.map(({ glyph, says }) => `${glyph} ${says}`));

test.each([
  ['imported', {}, ['check by the hub', 'check done', 'clock not yet', 'dots not yet']],
  ['started', { state: 'started', started: mark(3) }, ['check by the hub', 'check done', 'check done', 'clock not yet']],
  ['reported', { state: 'reported', started: mark(3), reported: mark(4), outcomes: [{ name: 'r', run: 'x', status: 'completed' }] }, ['check by the hub', 'check done', 'check done', 'check done']],
  ['cancelled before it started', { state: 'cancelled', cancelled: { mark: mark(3), reason: 'no' } }, ['check by the hub', 'check done', 'slash never', 'slash never']],
  ['cancelled before it came', { state: 'cancelled', imported: undefined, cancelled: { mark: mark(3), reason: 'no' } }, ['check by the hub', 'slash never', 'slash never', 'slash never']],
  ['cancelled while it ran', { state: 'started', started: mark(3), cancelled: { mark: mark(4), reason: 'no' } }, ['check by the hub', 'check done', 'check done', 'clock not yet']],
] as [string, Partial<ReceivedOrder>, string[]][])('the stages of an order at the enclave: %s', (_, change, stages) => {
  expect(words(atEnclave(change))).toEqual([stages]);
});

test.each([
  [['failed'], 'cross', 'bad', '1 of 1 run did not complete'],
  [['completed', 'failed', 'cancelled'], 'half', 'warn', '2 of 3 runs did not complete'],
] as const)('a report of %j is not shown as good', (statuses, glyph, tone, says) => {
  const outcomes = statuses.map((status, index) => ({ name: `r${index}`, run: `x${index}`, status }));
  const last = tracksOf(atEnclave({ state: 'reported', started: mark(3), reported: mark(4), outcomes }))[0]?.stages[3];
  expect(last).toMatchObject({ glyph, tone, says, mark: mark(4) });
});

test('a hub without word knows that it ordered, and nothing more', () => {
  expect(words(atHub())).toEqual([['check done', 'clock no word yet', 'dots no word yet', 'dots no word yet']]);
  expect(silentEnclaves(atHub())).toEqual(['n', 's']);
});

test('evidence makes a track each; what does not match counts for nothing', () => {
  const order = atHub([told('n', { state: 'started', started: mark(3) }), told('x', { state: 'reported', started: mark(3), reported: mark(4) }, false)]);
  expect(tracksOf(order).map(({ key }) => key)).toEqual(['fastness/n/default', 'fastness/x/default']);
  expect(silentEnclaves(order)).toEqual(['s']);
  const wrong = atHub([told('s', { state: 'reported', reported: mark(4) }, false)]);
  expect(words(wrong)[0]).toEqual(['check done', 'clock no word yet', 'dots no word yet', 'dots no word yet']);
  expect(silentEnclaves(wrong)).toEqual(['n', 's']);
});

test.each([
  ['one that is ready', atEnclave(), 'mara', { start: { why: null }, approve: null, cancel: { why: null } }],
  ['one that is over', atEnclave({ expiresAt: at(100) }), 'mara', { start: { why: 'Its time is over.' }, approve: null, cancel: { why: null } }],
  ['one that is nearly over', atEnclave({ expiresAt: at(101) }), 'mara', { start: { why: null }, approve: null, cancel: { why: null } }],
  ['one for others', atEnclave({ persons: ['ilse', 'jon'] }), 'mara', { start: { why: 'Only ilse, jon may start it.' }, approve: null, cancel: { why: null } }],
  ['one that waits', atEnclave({ approvers: 1 }, 1), 'mara', { start: { why: '1 more person has to approve first.' }, approve: { why: null }, cancel: { why: null } }],
  ['one that I imported', atEnclave({ approvers: 2 }, 2), 'tomas', { start: { why: '2 more persons have to approve first.' }, approve: { why: 'You imported it: others have to approve.' }, cancel: { why: null } }],
  ['one that I approved', atEnclave({ approvers: 2, approvals: [{ at: at(3), person: 'mara', reason: 'x' }] }, 1), 'mara', { start: { why: '1 more person has to approve first.' }, approve: { why: 'You have approved.' }, cancel: { why: null } }],
  ['one that runs', atEnclave({ state: 'started', started: mark(3) }), 'mara', { start: null, approve: null, cancel: { why: null } }],
  ['one whose runs are being cancelled', atEnclave({ state: 'started', started: mark(3), cancelled: { mark: mark(4), reason: 'no' } }), 'mara', { start: null, approve: null, cancel: null }],
  ['one that is reported', atEnclave({ state: 'reported', started: mark(3), reported: mark(4) }), 'mara', { start: null, approve: null, cancel: null }],
  ['one that is cancelled', atEnclave({ state: 'cancelled' }), 'mara', { start: null, approve: null, cancel: null }],
  ['one of the hub', atHub(), 'admin', { start: null, approve: null, cancel: { why: null } }],
  ['one of the hub that is reported', atHub([], { state: 'reported' }), 'admin', { start: null, approve: null, cancel: null }],
])('what may be done with %s', (_, order, person, openings) => {
  expect(openingsOf(order, person, NOW)).toEqual(openings);
});

test('an order of the hub is cancelled once', () => {
  const order = atHub();
  const issued = { ...(order.issued as NonNullable<WorkOrder['issued']>), recalled: { mark: mark(5), reason: 'x' } };
  expect(openingsOf({ ...order, state: 'recalled', issued }, 'admin', NOW).cancel).toBeNull();
});

const item = (change: Partial<ForeignImport> = {}): ForeignImport => ({ id: 'i', status: 'waiting', approvals: 2, approved: [], first: 0, size: 10, origin: 'fastness/n/default', requestedBy: 'tomas', requestedAt: at(1), ...change });

test('who may approve an import, and how many are still asked for', () => {
  expect(approvalOf(item(), 'mara')).toEqual({ why: null });
  expect(approvalOf(item(), 'tomas')?.why).toMatch(/^You brought it/);
  const once = item({ approved: [{ at: at(2), person: 'mara', reason: 'x' }] });
  expect(approvalOf(once, 'mara')?.why).toBe('You have approved.');
  expect([approvalOf(item({ status: 'held' }), 'mara'), approvalOf(item({ status: 'rejected' }), 'mara'), approvalOf(item({ status: 'refused' }), 'mara')]).toEqual([null, null, null]);
  expect([missingOf(item()), missingOf(once), missingOf(item({ approvals: 0 }))]).toEqual([2, 1, 0]);
  expect([waitingText(item()), waitingText(once)]).toEqual(['2 more persons have to approve', '1 more person has to approve; approved by mara']);
});

test('what waits for a person comes first, then what was refused, then the newest', () => {
  const list = [item({ id: 'r', status: 'rejected' }), item({ id: 'h1', status: 'held', importedAt: at(1), requestedAt: undefined as never }), item({ id: 'w' }), item({ id: 'h2', status: 'held', importedAt: at(2), requestedAt: undefined as never }), item({ id: 'f', status: 'refused' })];
  expect(sorted(list).map(({ id }) => id)).toEqual(['w', 'f', 'h2', 'h1', 'r']);
});

test('ranges and refusals are words', () => {
  expect([rangeText(0, 1), rangeText(4_711, 9_310)]).toEqual(['event 0', 'events 4,711 to 9,309']);
  expect([kindOf('fork'), kindOf('something new'), kindOf(undefined)]).toEqual(['Another history than the one held', 'something new', 'Refused']);
});

test.each([
  [{ from: '', to: '' }, { body: { with: [] } }],
  [{ from: '0', to: '0' }, { body: { with: [], from: 0, to: 1 } }],
  [{ from: ' 4,711 ', to: '9309', artifacts: true, logs: true }, { body: { with: ['artifacts', 'logs'], from: 4_711, to: 9_310 } }],
  [{ from: '5', to: '4' }, { wrong: { to: 'Not before the first event.' } }],
  [{ from: '-1', to: '1.5' }, { wrong: { from: 'A whole number, or nothing.', to: 'A whole number, or nothing.' } }],
  [{ from: '1,2', to: '' }, { wrong: { from: 'A whole number, or nothing.' } }],
  [{ from: '9007199254740993', to: '' }, { wrong: { from: 'A whole number, or nothing.' } }],
])('an export of %j reads as %j', (form, reading) => {
  expect(readExport({ artifacts: false, logs: false, redaction: 'operational', ...form })).toEqual(reading);
});

test('the command of an export does the same, and the next begins where the newest ends', () => {
  expect(commandOf({ with: [] })).toBe('fastness export');
  expect(commandOf({ from: 0, to: 10, with: ['artifacts', 'logs'] })).toBe('fastness export --from 0 --to 10 --with artifacts,logs');
  expect(commandOf({ from: 3, redaction: 'auditor', with: [] })).toBe('fastness export --from 3 --redaction auditor');
  const of = (id: string, first: number, size: number) => ({ id, first, size }) as Bundle;
  const list = [of('a', 0, 5), of('b', 5, 9), of('c', 0, 9)];
  expect([nextFirst(list), nextFirst([])]).toEqual([9, 0]);
  expect(sortedBundles(list).map(({ id }) => id)).toEqual(['c', 'b', 'a']);
});

test('a bundle says what it holds of redacted fields', () => {
  const text = (shown: number, withheld: number) => shownText({ redaction: { policy: 'p', shown, withheld } });
  expect([shownText({}), text(0, 0), text(0, 1), text(0, 1_200), text(1, 0), text(3, 2)]).toEqual([
    '', '', 'withholds 1 redacted field', 'withholds 1,200 redacted fields', 'shows 1 of 1 redacted field', 'shows 3 of 5 redacted fields',
  ]);
});

afterEach(() => vi.unstubAllGlobals());

test('each act sends what it says to its own route', async () => {
  const sent: [string, unknown][] = [];
  vi.stubGlobal('Request', class { url; method; headers = new Headers(); constructor(url: string, init: RequestInit) { this.url = url; this.method = init.method; sent.push([url, JSON.parse(String(init.body))]); } });
  vi.stubGlobal('fetch', async () => new Response('{}', { status: 200 }));
  const digest = 'd'.repeat(64);
  const order = atEnclave({ tarSha256: digest });
  await approveImport(item()).run('seen');
  await rejectImport(item()).run('no');
  await approveOrder(order).run('seen');
  await startOrder(order).run('');
  await cancelOrder(order).run('no');
  expect(sent).toEqual([
    ['/api/v1/imports/i/approve', { reason: 'seen' }],
    ['/api/v1/imports/i/reject', { reason: 'no' }],
    ['/api/v1/work-orders/o/approve', { reason: 'seen', binding: digest }],
    ['/api/v1/work-orders/o/start', {}],
    ['/api/v1/work-orders/o/cancel', { reason: 'no' }],
  ]);
});

test('acts say what they will touch, and show the digests that are to be compared', () => {
  const keyed = item({ approvals: 1, logKeyId: 'l', exportKeyId: 'e', root: 'r', tenant: 'foreign:n/default' });
  expect(approveImport(keyed).says.join(' ')).toMatch(/^Takes events 0 to 9 of fastness\/n\/default in, as the read-only tenant foreign:n\/default\. These keys are pinned/);
  expect(approveImport(keyed).compare.map(({ digest }) => digest)).toEqual(['l', 'e', 'r']);
  expect(approveImport(item()).says).toEqual(['1 more person has to approve before events 0 to 9 of fastness/n/default are taken in.']);
  expect(cancelOrder(atHub()).says).toEqual([expect.stringMatching(/^Signs a cancellation\. Nothing stops elsewhere until/)]);
  expect(cancelOrder(atEnclave()).says).toEqual([expect.stringMatching(/will never start/)]);
  expect(cancelOrder(atEnclave({ state: 'started' })).says).toEqual([expect.stringMatching(/^Cancels its run r here/)]);
});

test('every state has a word, a glyph and a meaning of its own', () => {
  for (const status of ['held', 'waiting', 'rejected', 'refused', 'issued', 'recalled', 'imported', 'started', 'reported', 'cancelled'] as const) {
    expect(STATUSES).toContain(status);
    expect(lookOf(status).means).not.toMatch(/does not know/);
  }
  const words = STATUSES.map((status) => lookOf(status).word);
  expect(new Set(words).size).toBe(words.length);
});
