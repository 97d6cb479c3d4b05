// An act that is asked for before it is done. Owns the words of each, so that they say what it will touch.

import { write } from '../api/api.ts';
import type { ForeignImport, WorkOrder } from '../api/types.ts';
import { shortId } from '../app/times.ts';
import { missingOf, rangeText } from './imports.ts';
import { persons } from './orders.ts';

export interface Act {
  title: string;
  /** What will happen, a paragraph each. */
  says: string[];
  /** Shown to be compared before one agrees. */
  compare: { name: string; digest: string }[];
  button: string;
  busy: string;
  /** Of the failure: what was not done. */
  failed: string;
  danger: boolean;
  /** Whether a reason is asked for, which goes into the ledger. */
  reasoned: boolean;
  run(reason: string): Promise<unknown>;
}

export function approveImport(item: ForeignImport): Act {
  const after = missingOf(item) - 1;
  const what = rangeText(item.first ?? 0, item.size ?? 0);
  const keys = [
    ...(item.logKeyId ? [{ name: 'Log key', digest: item.logKeyId }] : []),
    ...(item.exportKeyId ? [{ name: 'Export key', digest: item.exportKeyId }] : []),
  ];
  return {
    title: 'Approve this import?',
    says: [
      after > 0
        ? `${persons(after)} ${after === 1 ? 'has' : 'have'} to approve before ${what} of ${item.origin} are taken in.`
        : `Takes ${what} of ${item.origin} in, as the read-only tenant ${item.tenant}.`,
      ...(keys.length > 0 ? ['These keys are pinned with it. Compare them with what its enclave told you by another way:'] : []),
    ],
    compare: [...keys, ...(item.root ? [{ name: 'Root', digest: item.root }] : [])],
    button: 'Approve',
    busy: 'Approving…',
    failed: 'The import was not approved',
    danger: false,
    reasoned: true,
    run: (reason) => write('/imports/{id}/approve', { path: { id: item.id }, body: { reason } }),
  };
}

export function rejectImport(item: ForeignImport): Act {
  return {
    title: 'Reject this import?',
    says: [`${rangeText(item.first ?? 0, item.size ?? 0)} of ${item.origin} are not taken in and the bundle is thrown away. It can be brought anew.`.replace(/^e/, 'E')],
    compare: [],
    button: 'Reject',
    busy: 'Rejecting…',
    failed: 'The import was not rejected',
    danger: true,
    reasoned: true,
    run: (reason) => write('/imports/{id}/reject', { path: { id: item.id }, body: { reason } }),
  };
}

const runsText = (order: WorkOrder): string => {
  const runs = order.received?.runs ?? order.issued?.runs ?? [];
  return runs.length === 1 ? `its run ${runs[0]?.name}` : `its ${runs.length} runs`;
};

export function approveOrder(order: WorkOrder): Act {
  const digest = order.received?.tarSha256 ?? '';
  const after = (order.approvalsMissing ?? 0) - 1;
  return {
    title: `Approve order ${shortId(order.id)}?`,
    says: [
      after > 0 ? `${persons(after)} ${after === 1 ? 'has' : 'have'} to approve before it may start.` : `Afterwards ${runsText(order)} may be started.`,
      'Your approval is bound to the file of the order:',
    ],
    compare: [{ name: 'SHA-256', digest }],
    button: 'Approve',
    busy: 'Approving…',
    failed: 'The order was not approved',
    danger: false,
    reasoned: true,
    run: (reason) => write('/work-orders/{id}/approve', { path: { id: order.id }, body: { reason, binding: digest } }),
  };
}

export function startOrder(order: WorkOrder): Act {
  const packs = [...new Set((order.received?.runs ?? []).map(({ pack }) => pack))];
  return {
    title: `Start order ${shortId(order.id)}?`,
    says: [`Registers ${packs.length === 1 ? `the pack ${packs[0]}` : `${packs.length} packs`} below order/${order.received?.hub}/ and starts ${runsText(order)}: all of it, or nothing.`],
    compare: [],
    button: 'Start',
    busy: 'Starting…',
    failed: 'The order was not started',
    danger: false,
    reasoned: false,
    run: () => write('/work-orders/{id}/start', { path: { id: order.id }, body: {} }),
  };
}

export function cancelOrder(order: WorkOrder): Act {
  const { received } = order;
  const says: string[] = [];
  if (order.issued) says.push('Signs a cancellation. Nothing stops elsewhere until its file is carried to the enclave and imported there.');
  if (received?.state === 'started') says.push(`Cancels ${runsText(order)} here, as far as they have not ended. This cannot be undone.`);
  else if (received) says.push(`Here ${runsText(order)} will never start. This cannot be undone.`);
  return {
    title: `Cancel order ${shortId(order.id)}?`,
    says,
    compare: [],
    button: 'Cancel order',
    busy: 'Cancelling…',
    failed: 'The order was not cancelled',
    danger: true,
    reasoned: true,
    run: (reason) => write('/work-orders/{id}/cancel', { path: { id: order.id }, body: { reason } }),
  };
}
