// What a work order is and may become, for the page. Owns the four stages, what they rest on, and which acts are open.
// Pure: the person and the present moment come in. Promises: nothing counts as reached that no event says.

import type { OrderEvidence, OrderMark, ReceivedOrder, WorkOrder } from '../api/types.ts';
import type { Tone } from '../look/states.ts';

export type StageName = 'ordered' | 'imported' | 'started' | 'reported';

export interface Stage {
  name: StageName;
  word: string;
  tone: Tone;
  glyph: string;
  /** In words what glyph and colour say. */
  says: string;
  mark: OrderMark | null;
  reached: boolean;
}

/** Where an order stands at one place: at home, or as one imported ledger tells it. */
export interface Track {
  key: string;
  /** Who tells it; null: this ledger. */
  evidence: OrderEvidence | null;
  received: ReceivedOrder | null;
  stages: Stage[];
}

const WORDS: Record<StageName, string> = { ordered: 'Ordered', imported: 'Imported', started: 'Started', reported: 'Reported' };

/** How the runs of an order ended, as the tone of its last stage. */
function outcomeOf(received: ReceivedOrder): Pick<Stage, 'tone' | 'glyph' | 'says'> {
  const outcomes = received.outcomes ?? [];
  const bad = outcomes.filter(({ status }) => status !== 'completed').length;
  if (bad === 0) return { tone: 'good', glyph: 'check', says: 'done' };
  const says = `${bad} of ${outcomes.length} ${outcomes.length === 1 ? 'run' : 'runs'} did not complete`;
  return bad === outcomes.length ? { tone: 'bad', glyph: 'cross', says } : { tone: 'warn', glyph: 'half', says };
}

function stagesOf(ordered: OrderMark | null, received: ReceivedOrder | null, silent: string): Stage[] {
  const marks: [StageName, OrderMark | null][] = [
    ['ordered', ordered],
    ['imported', received?.imported ?? null],
    ['started', received?.started ?? null],
    ['reported', received?.reported ?? null],
  ];
  let asked = false;
  return marks.map(([name, mark]) => {
    // The order itself is proof that it was ordered, also where its moment is not known.
    const base = { name, word: WORDS[name], mark, reached: mark !== null || name === 'ordered' };
    if (name === 'reported' && received?.reported) return { ...base, ...outcomeOf(received) };
    if (base.reached) return { ...base, tone: 'good', glyph: 'check', says: mark ? 'done' : 'by the hub' };
    // Cancelled before it started, nothing more comes; afterwards its runs still end and are reported.
    if (received?.state === 'cancelled') return { ...base, tone: 'off', glyph: 'slash', says: 'never' };
    const first = !asked;
    asked = true;
    return first ? { ...base, tone: 'queue', glyph: 'clock', says: silent } : { ...base, tone: 'idle', glyph: 'dots', says: silent };
  });
}

/** One track for each place that tells of the order; one that only says it was ordered where none does. */
export function tracksOf(order: WorkOrder): Track[] {
  const tracks: Track[] = [];
  const ordered = order.issued?.issued ?? null;
  if (order.received) tracks.push({ key: 'here', evidence: null, received: order.received, stages: stagesOf(ordered, order.received, 'not yet') });
  for (const evidence of order.evidence ?? []) {
    tracks.push({ key: evidence.origin, evidence, received: evidence.order, stages: stagesOf(ordered, evidence.order, 'no word yet') });
  }
  const known = order.received || (order.evidence ?? []).some(({ matches }) => matches);
  if (!known) tracks.unshift({ key: 'hub', evidence: null, received: null, stages: stagesOf(ordered, null, 'no word yet') });
  return tracks;
}

/** Enclaves that the order is for and of which nothing came back. */
export function silentEnclaves(order: WorkOrder): string[] {
  const heard = new Set((order.evidence ?? []).filter(({ matches }) => matches).map(({ enclave }) => enclave));
  return (order.issued?.enclaves ?? []).filter((enclave) => !heard.has(enclave));
}

/** An act that is open, or why it is not; null: not spoken of. */
export type Open = { why: string | null } | null;

export interface Openings {
  approve: Open;
  start: Open;
  cancel: Open;
}

const NOTHING: Openings = { approve: null, start: null, cancel: null };
const open = (why: string | null): Open => ({ why });

export function persons(count: number): string {
  return count === 1 ? '1 more person' : `${count} more persons`;
}

/** What may be done with an order now, by the rules that the server has; the server decides. */
export function openingsOf(order: WorkOrder, person: string, now: number): Openings {
  const { received, issued } = order;
  const recalled = Boolean(issued?.recalled);
  if (!received) return { ...NOTHING, cancel: issued && !recalled && order.state !== 'reported' ? open(null) : null };
  const cancel = received.state !== 'reported' && received.state !== 'cancelled' && !received.cancelled ? open(null) : null;
  if (received.state !== 'imported') return { ...NOTHING, cancel };
  return { cancel, start: startOf(received, order.approvalsMissing ?? 0, person, now), approve: approveOf(received, order.approvalsMissing ?? 0, person) };
}

function startOf(received: ReceivedOrder, missing: number, person: string, now: number): Open {
  if (received.expiresAt && Date.parse(received.expiresAt) <= now) return open('Its time is over.');
  const named = received.persons ?? [];
  if (named.length > 0 && !named.includes(person)) return open(`Only ${named.join(', ')} may start it.`);
  return missing > 0 ? open(`${persons(missing)} ${missing === 1 ? 'has' : 'have'} to approve first.`) : open(null);
}

function approveOf(received: ReceivedOrder, missing: number, person: string): Open {
  if (missing === 0) return null;
  if (received.imported?.by === person) return open('You imported it: others have to approve.');
  return open((received.approvals ?? []).some((given) => given.person === person) ? 'You have approved.' : null);
}
