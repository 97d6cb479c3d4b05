// Bundles, imports and work orders of the mock. Owns invention only; nothing here is how the real server works.
// READONLY=1: what is shown was replayed from bundles, every act is refused. EMPTY=1: nothing yet. MANY=1: more than a page.

import { createHash } from 'node:crypto';
import { newId } from './world.mjs';

const digest = (text) => createHash('sha256').update(String(text)).digest('hex');
const HOUR = 3_600_000;
export const HUB = 'a1b2c3d4e5f60718';
const NORTH = '0123456789abcdef';
const SOUTH = 'fedcba9876543210';
const origin = (enclave, tenant = 'default') => `fastness/${enclave}/${tenant}`;

export class Evidence {
  bundles = [];
  imports = [];
  orders = [];
  #world;
  #person;

  constructor(world, { empty = false, many = false, readOnly = false, person = 'admin' } = {}) {
    this.#world = world;
    this.#person = person;
    if (empty) return;
    if (readOnly) return this.#seedReplayed();
    this.#seed();
    if (many) for (let index = 0; index < 14; index += 1) this.bundles.push(bundle(20_000 + index * 1_000, 21_000 + index * 1_000, 90_000 + index));
  }

  /** Writes a bundle, as the real one does: the same range gives the same bundle. */
  export({ from = 0, to = null, redaction = 'operational', with: contents = [] }, refuse) {
    const size = this.#world.asOf + 1;
    const end = to ?? size;
    if (from >= end || end > size) throw refuse(422, 'range_invalid', 'The request does not hold', `the range ${from}..${end} is not within the ${size} events of the ledger`);
    const made = bundle(from, end, 1_000 + (end - from) * 41, contents.join('+') + redaction);
    const shown = { operational: 0, auditor: 2, full: 3 }[redaction];
    if (shown === undefined) throw refuse(422, 'invalid_field', 'The request does not hold', `there is no policy ${redaction}`);
    made.redaction = { policy: redaction, shown, withheld: 3 - shown };
    if (!this.bundles.some(({ id }) => id === made.id)) this.bundles.push(made);
    return made;
  }

  decide(id, verdict, reason, refuse) {
    const item = this.imports.find((one) => one.id === id);
    if (!item) throw refuse(404, 'not_found', 'Not found', 'There is no import with this id.');
    if (!reason?.trim()) throw refuse(422, 'missing_field', 'The request does not hold', 'a reason is needed');
    if (item.status !== 'waiting') throw refuse(409, 'illegal_transition', 'That cannot be', `the import is ${item.status}`);
    const said = { at: now(), person: this.#person, reason };
    if (verdict === 'reject') return Object.assign(item, { status: 'rejected', rejectedBy: said.person, reason, refusedAt: said.at });
    if (item.requestedBy === said.person) throw refuse(409, 'self_approval', 'That cannot be', 'whoever brought the bundle does not count');
    if (item.approved.some(({ person }) => person === said.person)) throw refuse(409, 'already_approved', 'That cannot be', `${said.person} has approved; each approval is another person's`);
    item.approved.push(said);
    if (item.approved.length >= item.approvals) Object.assign(item, { status: 'held', importedAt: said.at, bundles: [[item.first, item.size, item.id]] });
    return item;
  }

  order(id, refuse) {
    const order = this.orders.find((one) => one.id === id);
    if (!order) throw refuse(404, 'not_found', 'Not found', 'There is no work order with this id.');
    return order;
  }

  approve(id, { reason, binding }, refuse) {
    const { received } = this.order(id, refuse);
    if (!reason?.trim()) throw refuse(422, 'missing_field', 'The request does not hold', 'a reason is needed');
    if (binding && binding !== received.tarSha256) throw refuse(409, 'order_fork', 'That cannot be', `the order that is held is ${received.tarSha256}`);
    if (received.imported.by === this.#person) throw refuse(409, 'self_approval', 'That cannot be', 'whoever took the order in does not count');
    received.approvals = [...(received.approvals ?? []), { at: now(), person: this.#person, reason }];
    return this.#changed(id, 'workorder.approved', refuse);
  }

  start(id, refuse) {
    const { received, approvalsMissing } = this.order(id, refuse);
    if (received.state !== 'imported') throw refuse(409, 'illegal_transition', 'That cannot be', `the order is ${received.state}`);
    if (approvalsMissing > 0) throw refuse(409, 'approval_missing', 'That cannot be', `${approvalsMissing} more of ${received.approvers} persons have to approve before the order starts`);
    received.startedRuns = received.runs.map(({ name, pack }) => ({ name, run: this.#world.start(pack, {}, { correlationId: id })?.id }));
    Object.assign(received, { state: 'started', started: this.#mark() });
    return this.#changed(id, 'workorder.started', refuse);
  }

  cancel(id, { reason }, refuse) {
    const { issued, received } = this.order(id, refuse);
    if (!reason?.trim()) throw refuse(422, 'missing_field', 'The request does not hold', 'a reason is needed');
    if (issued && !issued.recalled) issued.recalled = { mark: this.#mark(), reason, tarSha256: digest(`cancel ${id}`) };
    if (received) {
      if (received.state === 'reported') throw refuse(409, 'illegal_transition', 'That cannot be', 'the order is reported');
      received.cancelled = { mark: this.#mark(), reason };
      if (received.state === 'imported') received.state = 'cancelled';
    }
    return this.#changed(id, issued ? 'workorder.recalled' : 'workorder.cancelled', refuse);
  }

  #changed(id, type, refuse) {
    const order = this.order(id, refuse);
    const { issued, received, evidence = [] } = order;
    order.state = received?.state ?? evidence.find(({ matches }) => matches)?.order.state ?? (issued.recalled ? 'recalled' : 'issued');
    if (received) {
      order.approvalsMissing = Math.max(0, received.approvers - (received.approvals?.length ?? 0));
      received.seq = this.#world.asOf + 1;
    }
    this.#world.note(type, { order: id });
    return order;
  }

  #mark() {
    return mark(0, this.#person, this.#world.asOf + 1);
  }

  #seed() {
    this.bundles = [bundle(0, 4_712, 188_204), bundle(4_712, 9_310, 151_877, 'artifacts+logs'), { ...bundle(0, 9_310, 3_402_118, 'artifacts'), missing: [digest('gone'), digest('gone too')] }];
    this.imports = [
      { id: digest('held north'), status: 'held', bundles: [[0, 5_000, digest('n1')], [5_000, 7_412, digest('held north')]], first: 0, size: 7_412, importedAt: ago(30), origin: origin(NORTH), root: digest('root north'), tenant: `foreign:${NORTH}/default` },
      { id: digest('waits'), status: 'waiting', approvals: 2, approved: [{ at: ago(3), person: 'mara', reason: 'CHG-17: compared the keys by telephone' }], first: 0, size: 812, origin: origin(SOUTH, 'plant'), requestedAt: ago(5), requestedBy: 'tomas', root: digest('root south'), tenant: `foreign:${SOUTH}/plant`, logKeyId: digest('log key south'), exportKeyId: digest('export key south') },
      { id: digest('own'), status: 'waiting', approvals: 1, approved: [], first: 7_412, size: 7_800, origin: origin(NORTH), requestedAt: ago(1), requestedBy: this.#person, root: digest('root north later'), tenant: `foreign:${NORTH}/default` },
      { id: digest('no'), status: 'rejected', approvals: 2, approved: [], first: 0, size: 90, origin: origin('99aabbccddeeff00'), reason: 'nobody here knows this enclave', refusedAt: ago(40), rejectedBy: 'mara', requestedAt: ago(44), requestedBy: 'tomas', root: digest('root unknown'), tenant: 'foreign:99aabbccddeeff00/default' },
      { id: digest('bad'), status: 'refused', bytes: 84_233, exitCode: 13, first: 0, kind: 'fork', origin: origin(NORTH), reason: 'event 4,096 is another than the one held', refusedAt: ago(8), requestedBy: 'tomas', size: 7_700 },
      { id: digest('worse'), status: 'refused', bytes: 312, exitCode: 14, kind: 'malformed', reason: 'the frame ends too early', refusedAt: ago(70), requestedBy: 'tomas' },
    ];
    this.orders = [this.#waitingForPersons(), this.#ready(), this.#issuedOnly(), this.#evidenced(), this.#recalled(), this.#reported(), this.#cancelledThere()];
  }

  /** What a replayed ledger tells of itself. */
  #seedReplayed() {
    this.imports = [{ id: digest('held north'), status: 'held', bundles: [[0, 7_412, digest('held north')]], first: 0, size: 7_412, importedAt: ago(0), origin: origin(NORTH), root: digest('root north'), tenant: `foreign:${NORTH}/default` }];
    this.orders = [this.#ready()];
  }

  #waitingForPersons() {
    const received = taken('firmware order', { approvers: 2, approvals: [{ at: ago(1), person: 'mara', reason: 'CHG-21' }], imported: mark(2, 'tomas', 5_120), expiresAt: new Date(Date.now() + 46 * HOUR).toISOString(), runs: [{ name: 'firmware-release', pack: 'firmware-release' }, { name: 'inventory-after', pack: 'host-inventory', inputs: digest('inputs') }] });
    return { id: received.id, state: 'imported', approvalsMissing: 1, received };
  }

  #ready() {
    const received = taken('ready order', { imported: mark(3, 'tomas', 5_044), runs: [{ name: 'host-inventory', pack: 'host-inventory' }] });
    return { id: received.id, state: 'imported', approvalsMissing: 0, received };
  }

  #issuedOnly() {
    const issued = signed('silent order', 5, [NORTH], ['host-inventory'], { expiresAt: new Date(Date.now() + 80 * HOUR).toISOString(), persons: ['mara'] });
    return { id: issued.id, state: 'issued', issued };
  }

  #evidenced() {
    const issued = signed('proven order', 60, [NORTH, SOUTH, '99aabbccddeeff00'], ['host-inventory', 'image-scan']);
    const order = there(issued, { state: 'reported', imported: mark(50, 'ilse', 7_101), started: mark(49, 'ilse', 7_104), reported: mark(48, 'engine', 7_390), seq: 7_390, startedRuns: runs(issued), outcomes: runs(issued).map((run, index) => ({ ...run, status: index === 0 ? 'completed' : 'failed' })) });
    const other = there(issued, { state: 'imported', imported: mark(20, 'jon', 640), seq: 640 });
    const wrong = there(issued, { state: 'started', tarSha256: digest('another'), imported: mark(20, 'x', 12), started: mark(20, 'x', 14), seq: 14 });
    return {
      id: issued.id, state: 'reported', issued,
      evidence: [
        { enclave: NORTH, matches: true, order, origin: origin(NORTH), root: digest('root north'), size: 7_412, tenant: `foreign:${NORTH}/default` },
        { enclave: SOUTH, matches: true, order: other, origin: origin(SOUTH, 'plant'), root: digest('root south'), size: 812, tenant: `foreign:${SOUTH}/plant` },
        { enclave: '5566778899aabbcc', matches: false, order: wrong, origin: origin('5566778899aabbcc'), root: digest('root wrong'), size: 40, tenant: 'foreign:5566778899aabbcc/default' },
      ],
    };
  }

  #recalled() {
    const issued = signed('recalled order', 70, [SOUTH], ['image-scan']);
    issued.recalled = { mark: mark(66, 'admin', 4_400), reason: 'the image was withdrawn', tarSha256: digest('cancel') };
    return { id: issued.id, state: 'recalled', issued };
  }

  #reported() {
    const received = taken('reported order', { state: 'reported', imported: mark(90, 'mara', 3_001), started: mark(89, 'admin', 3_004), reported: mark(88, 'engine', 3_077), runs: [{ name: 'host-inventory', pack: 'host-inventory' }] });
    const run = [...this.#world.runs.keys()][0] ?? newId(Date.now());
    Object.assign(received, { startedRuns: [{ name: 'host-inventory', run }], outcomes: [{ name: 'host-inventory', run, status: 'completed' }] });
    return { id: received.id, state: 'reported', approvalsMissing: 0, received };
  }

  #cancelledThere() {
    const received = taken('stopped order', { state: 'cancelled', imported: mark(99, 'mara', 2_900), runs: [{ name: 'wide-scan', pack: 'wide-scan' }] });
    received.cancelled = { mark: mark(97, 'mara', 2_911), reason: 'replaced by another order', tarSha256: digest('hub says no') };
    return { id: received.id, state: 'cancelled', approvalsMissing: 0, received };
  }
}

const now = () => new Date().toISOString();
const ago = (hours) => new Date(Date.now() - hours * HOUR).toISOString();
const mark = (hours, by, seq) => ({ at: ago(hours), by, seq });
const runs = ({ id, runs: asked }) => asked.map(({ name }) => ({ name, run: `${id.slice(0, 24)}${digest(name).slice(0, 12)}` }));

function bundle(first, size, bytes, contents = '') {
  const id = digest(`bundle ${first} ${size} ${contents}`);
  return { bytes, first, id, name: `${HUB}-default-${first}-${size}.audit.tar.zst`, origin: origin(HUB), root: digest(`root ${size}`), size, tarSha256: id, tenant: 'default' };
}

function signed(name, hours, enclaves, packs, more = {}) {
  const id = newId(Date.now() - hours * HOUR);
  return { enclaves, id, issued: mark(hours, 'admin', 5_200 - hours), packs: packs.map((pack) => ({ name: pack, planHash: digest(`plan ${pack}`), sha256: digest(pack) })), runs: packs.map((pack) => ({ name: pack, pack })), tarSha256: digest(name), ...more };
}

function taken(name, more) {
  const id = newId(Date.parse(more.imported.at) - HOUR);
  return { approvers: 0, hub: SOUTH, id, origin: origin(SOUTH), seq: more.imported.seq, state: 'imported', tarSha256: digest(name), ...more };
}

function there({ id, runs: asked, tarSha256 }, more) {
  return { approvers: 0, hub: HUB, id, origin: origin(HUB), runs: asked, tarSha256, ...more };
}
