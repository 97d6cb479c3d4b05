// The page's stream: events of work orders, from the moment of the list on. Owns the subscription.
// Imports and bundles are recorded elsewhere, in the ledger of the appliance: they are asked for now and then.

import { follow } from '../live/follow.ts';
import type { Subscription } from '../live/hub.ts';

const TOPIC = '/stream?type=workorder.*';

export function followOrders(changed: () => void): { at(asOf: number): void; close(): void } {
  let subscription: Subscription | null = null;
  let stale = false;

  const subscriber = {
    messages(batch: { event: string }[]) {
      if (batch.some(({ event }) => event === 'gap' || event.startsWith('workorder.'))) changed();
    },
    resync() {
      stale = true;
      changed();
    },
    state() {},
  };

  return {
    /** The list is true at this event. Following begins at the first one, and anew after a pause. */
    at(asOf) {
      if (subscription && stale) subscription.restart({ seq: asOf, pos: -1 });
      stale = false;
      subscription ??= follow(TOPIC, false, { seq: asOf, pos: -1 }, subscriber);
    },
    close() {
      subscription?.close();
    },
  };
}
