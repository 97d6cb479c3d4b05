// Which runs are asked for. Owns the filter as it stands in the address, and what an event means for a list so filtered.

import type { Envelope } from '../api/types.ts';

export interface RunFilter {
  status: string;
  pack: string;
  /** Where the shown page begins; empty is the newest. */
  cursor: string;
}

export const PAGE_RUNS = 50;

export function filterFrom(query: URLSearchParams): RunFilter {
  return { status: query.get('status') ?? '', pack: query.get('pack') ?? '', cursor: query.get('cursor') ?? '' };
}

export function queryOf(filter: RunFilter): { status?: string; pack?: string; cursor?: string; limit: number } {
  return {
    limit: PAGE_RUNS,
    ...(filter.status ? { status: filter.status } : {}),
    ...(filter.pack ? { pack: filter.pack } : {}),
    ...(filter.cursor ? { cursor: filter.cursor } : {}),
  };
}

export interface Effect {
  /** Runs of the list that an event speaks of: they are asked for anew. */
  touched: boolean;
  /** Runs that the list does not have yet. */
  arrived: string[];
}

/** What a batch of events means for a list that shows `known`. */
export function effectOf(events: Envelope[], known: ReadonlySet<string>): Effect {
  const arrived = new Set<string>();
  let touched = false;
  for (const { type, subject } of events) {
    if (!subject.run) continue;
    if (known.has(subject.run)) touched = true;
    else if (type === 'run.created') arrived.add(subject.run);
  }
  return { touched, arrived: [...arrived] };
}
