// The list's stream: events of runs, from the moment of the list on. Owns the subscription.

import type { Envelope } from '../api/types.ts';
import { follow } from '../live/follow.ts';
import type { Subscription } from '../live/hub.ts';
import { effectOf } from './filter.ts';

const TOPIC = '/stream?type=run.*';

export interface Follower {
  touched(): void;
  arrived(runs: string[]): void;
  resync(): void;
}

export function followRuns(follower: Follower): { known(runs: Set<string>, asOf: number): void; close(): void } {
  let subscription: Subscription | null = null;
  let known: Set<string> = new Set();
  let stale = false;
  const seen = new Set<string>();

  const subscriber = {
    messages(batch: { event: string; data: string }[]) {
      if (batch.some(({ event }) => event === 'gap')) return follower.resync();
      const events = batch.filter(({ event }) => event.startsWith('run.')).map(({ data }) => JSON.parse(data) as Envelope);
      const effect = effectOf(events, known);
      const arrived = effect.arrived.filter((run) => !seen.has(run));
      for (const run of arrived) seen.add(run);
      if (effect.touched) follower.touched();
      if (arrived.length > 0) follower.arrived(arrived);
    },
    resync() {
      stale = true;
      follower.resync();
    },
    state() {},
  };

  return {
    /** The list as it now is. Following begins at the moment of the first one, and anew after a pause. */
    known(runs, asOf) {
      known = runs;
      seen.clear();
      if (subscription && stale) subscription.restart({ seq: asOf, pos: -1 });
      stale = false;
      subscription ??= follow(TOPIC, false, { seq: asOf, pos: -1 }, subscriber);
    },
    close() {
      subscription?.close();
    },
  };
}
