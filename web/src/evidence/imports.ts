// What an import is and may become, for the page. Pure.

import type { ForeignImport } from '../api/types.ts';
import { count } from '../app/times.ts';
import { persons, type Open } from './orders.ts';

/** What a refusal comes to, in words. */
const KINDS: Record<string, string> = {
  fork: 'Another history than the one held',
  tampered: 'Changed on its way',
  incomplete: 'Not all of it is there',
  untrusted: 'Signed by a key that is not trusted',
  malformed: 'Not a well-formed bundle',
};

export function kindOf(kind: string | undefined): string {
  return kind === undefined ? 'Refused' : (KINDS[kind] ?? kind);
}

/** `events 0 to 4,711`; of a ledger of one event `event 0`. */
export function rangeText(first: number, size: number): string {
  return size - first === 1 ? `event ${count(first)}` : `events ${count(first)} to ${count(size - 1)}`;
}

export function missingOf(item: ForeignImport): number {
  return Math.max(0, (item.approvals ?? 0) - (item.approved?.length ?? 0));
}

/** Whether this person may approve; null where nobody is asked. */
export function approvalOf(item: ForeignImport, person: string): Open {
  if (item.status !== 'waiting') return null;
  if (item.requestedBy === person) return { why: 'You brought it: others have to approve.' };
  return { why: (item.approved ?? []).some((given) => given.person === person) ? 'You have approved.' : null };
}

/** What is still asked for, and what was said. */
export function waitingText(item: ForeignImport): string {
  const missing = missingOf(item);
  const given = (item.approved ?? []).map(({ person }) => person);
  const asks = `${persons(missing)} ${missing === 1 ? 'has' : 'have'} to approve`;
  return given.length > 0 ? `${asks}; approved by ${given.join(', ')}` : asks;
}

const ORDER = ['waiting', 'refused', 'held', 'rejected', 'superseded'];

/** What a person has to look at comes first; within that, the newest. */
export function sorted(items: ForeignImport[]): ForeignImport[] {
  const at = (item: ForeignImport): string => item.requestedAt ?? item.refusedAt ?? item.importedAt ?? '';
  const rank = (item: ForeignImport): number => (ORDER.indexOf(item.status) + ORDER.length + 1) % (ORDER.length + 1);
  return items.toSorted((a, b) => rank(a) - rank(b) || at(b).localeCompare(at(a)) || (a.id < b.id ? -1 : 1));
}
