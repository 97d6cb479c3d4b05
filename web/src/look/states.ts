// How each state looks and reads. Owns the one table of glyph, word and tone, so that a state is never colour alone.

import type { ImportStatus, OrderState, RunStatus, StepStatus } from '../api/types.ts';

export type Tone = 'run' | 'good' | 'bad' | 'warn' | 'queue' | 'idle' | 'off';
export type AnyStatus = RunStatus | StepStatus | ImportStatus | OrderState;

export interface Look {
  word: string;
  tone: Tone;
  glyph: string;
  means: string;
}

const LOOKS: Record<AnyStatus, Look> = {
  pending: { word: 'Pending', tone: 'idle', glyph: 'dots', means: 'Its own preconditions are still open.' },
  scheduled: { word: 'Scheduled', tone: 'queue', glyph: 'clock', means: 'Ready, and waiting for its turn.' },
  running: { word: 'Running', tone: 'run', glyph: 'play', means: 'A worker holds it and works.' },
  waiting: { word: 'Waiting', tone: 'warn', glyph: 'pause', means: 'Only a person or a gate can move it on.' },
  completed: { word: 'Completed', tone: 'good', glyph: 'check', means: 'Ended well.' },
  partially_failed: { word: 'Partly failed', tone: 'warn', glyph: 'half', means: 'Some steps failed, others completed.' },
  failed: { word: 'Failed', tone: 'bad', glyph: 'cross', means: 'Ended badly, or waits for its next attempt.' },
  cancelled: { word: 'Cancelled', tone: 'off', glyph: 'slash', means: 'Ended by request, or because what it needs failed.' },
  skipped: { word: 'Skipped', tone: 'idle', glyph: 'skip', means: 'Not needed this time.' },
  held: { word: 'Held', tone: 'good', glyph: 'check', means: 'A foreign ledger that was verified and taken in.' },
  rejected: { word: 'Rejected', tone: 'off', glyph: 'slash', means: 'A person said no to the import.' },
  superseded: { word: 'Superseded', tone: 'off', glyph: 'slash', means: 'Another bundle of this ledger came in before it was approved.' },
  refused: { word: 'Refused', tone: 'bad', glyph: 'cross', means: 'A bundle that was found bad; it lies in quarantine.' },
  issued: { word: 'Ordered', tone: 'idle', glyph: 'dots', means: 'A work order that was signed here; no word of it came back.' },
  recalled: { word: 'Recalled', tone: 'off', glyph: 'slash', means: 'Its cancellation was signed here, and has to be carried.' },
  imported: { word: 'Imported', tone: 'queue', glyph: 'clock', means: 'A work order that was taken in and has not started.' },
  started: { word: 'Started', tone: 'run', glyph: 'play', means: 'The runs of a work order were made.' },
  reported: { word: 'Reported', tone: 'good', glyph: 'check', means: 'All runs of a work order have ended.' },
};

export const RUN_STATUSES: RunStatus[] = ['running', 'waiting', 'pending', 'completed', 'partially_failed', 'failed', 'cancelled'];
export const STATUSES = Object.keys(LOOKS) as AnyStatus[];

/** A state that this console does not know is shown by its own name. */
export function lookOf(status: string): Look {
  return LOOKS[status as AnyStatus] ?? { word: status, tone: 'idle', glyph: 'dots', means: 'This console does not know this state.' };
}

export function isActive(status: string): boolean {
  return status === 'pending' || status === 'scheduled' || status === 'running' || status === 'waiting';
}
