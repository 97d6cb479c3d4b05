// Small makers of what the server sends, for the tests.

import type { Envelope, PackRun, RunGraph, Step, Timeline } from '../src/api/types.ts';

export const at = (seconds: number): string => new Date(Date.UTC(2026, 0, 31, 12, 0, 0) + seconds * 1000).toISOString();

export function step(id: string, change: Partial<Step> = {}): Step {
  return { id, index: 0, status: 'pending', jobId: `job-${id}`, attempt: 0, startedAt: null, endedAt: null, exitCode: null, waiting: null, error: null, needs: [], ...change };
}

export function run(steps: Step[], change: Partial<PackRun> = {}): PackRun {
  return {
    id: 'run-1',
    pack: { name: 'p', version: 1, planHash: 'sha256:00' },
    status: 'running',
    inputs: {},
    progress: { done: 0, total: steps.length },
    steps,
    createdAt: at(0),
    startedAt: at(0),
    endedAt: null,
    correlationId: null,
    paused: false,
    pauseReason: null,
    asOf: 10,
    ...change,
  };
}

export function event(seq: number, type: string, stepId: string | null, payload: Record<string, unknown> = {}): Envelope {
  const subject = stepId === null ? { run: 'run-1' } : { run: 'run-1', step: stepId, job: `job-${stepId}` };
  return { seq, at: at(seq), type, subject, payload };
}

export const graph = (asOf = 10): RunGraph => ({ nodes: [], edges: [], criticalPath: [], asOf });
export const timeline = (names: string[], asOf = 10): Timeline => ({ rows: names.map((name) => ({ name, jobId: `job-${name}`, spans: [] })), asOf });

/** The same numbers for the same seed; a failing random test prints it. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
