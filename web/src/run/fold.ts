// What an event does to a run that is shown. Pure: (run, event) -> run, the same object if nothing changed.
// Promises: unknown events and fields change nothing; a step's story is told by its job's events alone.

import type { Envelope, PackRun, RunStatus, Step, StepError, StepStatus } from '../api/types.ts';

const RUN_STATUS: Record<string, RunStatus> = {
  'run.started': 'running',
  'run.waiting': 'waiting',
  'run.continued': 'running',
  'run.completed': 'completed',
  'run.partially_failed': 'partially_failed',
  'run.failed': 'failed',
  'run.cancelled': 'cancelled',
};

const ENDED: RunStatus[] = ['completed', 'partially_failed', 'failed', 'cancelled'];

export function hasEnded(status: RunStatus): boolean {
  return ENDED.includes(status);
}

export function foldRun(run: PackRun, event: Envelope): PackRun {
  if (event.type.startsWith('run.')) return foldRunEvent(run, event);
  if (event.type === 'job.created') run = withItem(run, event);
  const at = stepIndex(run.steps, event);
  const step = run.steps[at];
  if (!step) return run;
  const next = foldStep(step, event);
  if (next === step) return run;
  const steps = run.steps.with(at, next);
  return { ...run, steps, progress: { ...run.progress, done: doneSteps(steps) } };
}

function foldRunEvent(run: PackRun, event: Envelope): PackRun {
  if (hasEnded(run.status) || (event.subject.run !== undefined && event.subject.run !== run.id)) return run;
  if (event.type === 'run.resumed') return { ...run, paused: false, pauseReason: null };
  if (event.type === 'run.paused') {
    const { reason } = event.payload;
    return { ...run, paused: true, pauseReason: typeof reason === 'string' ? reason : null };
  }
  const status = RUN_STATUS[event.type];
  if (!status) return run;
  return {
    ...run,
    status,
    paused: run.paused && !hasEnded(status),
    pauseReason: hasEnded(status) ? null : run.pauseReason,
    startedAt: run.startedAt ?? event.at,
    endedAt: hasEnded(status) ? event.at : null,
  };
}

/** The job of an item of a mapped step takes the step's place, or stands behind the items before it. */
function withItem(run: PackRun, { subject }: Envelope): PackRun {
  const base = /^(.+)\[\d+\]$/.exec(subject.step ?? '')?.[1];
  if (base === undefined || run.steps.some(({ id }) => id === subject.step)) return run;
  const last = run.steps.findLastIndex(({ id }) => id === base || id.startsWith(`${base}[`));
  const step = run.steps[last];
  if (!step) return run;
  const isFirst = step.id === base;
  const item: Step = { ...step, id: subject.step!, jobId: null, attempt: 0, startedAt: null, endedAt: null, exitCode: null, error: null };
  const steps = run.steps.toSpliced(isFirst ? last : last + 1, isFirst ? 1 : 0, item);
  return { ...run, steps, progress: { ...run.progress, total: run.progress.total + (isFirst ? 0 : 1) } };
}

export function stepIndex(steps: { id: string; jobId: string | null }[], { subject }: Envelope): number {
  const byName = subject.step === undefined ? -1 : steps.findIndex(({ id }) => id === subject.step);
  return byName >= 0 || subject.job === undefined ? byName : steps.findIndex(({ jobId }) => jobId === subject.job);
}

/** For good: a failed step that waits for something has attempts left. */
export function hasFailed({ status, waiting }: Step): boolean {
  return status === 'failed' && waiting === null;
}

/** Steps that will not move any more. */
function doneSteps(steps: Step[]): number {
  return steps.filter((step) => ['completed', 'skipped', 'cancelled'].includes(step.status) || hasFailed(step)).length;
}

function foldStep(step: Step, event: Envelope): Step {
  const { payload, at } = event;
  const jobId = event.subject.job ?? step.jobId;
  switch (event.type) {
    case 'job.created':
      return { ...step, jobId, status: payload['status'] === 'scheduled' ? 'scheduled' : 'pending' };
    case 'job.scheduled':
    case 'job.released':
      return { ...step, jobId, status: 'scheduled', waiting: null };
    case 'job.started':
      return {
        ...step,
        jobId,
        status: 'running',
        attempt: typeof payload['attempt'] === 'number' ? payload['attempt'] : step.attempt + 1,
        startedAt: at,
        endedAt: null,
        exitCode: null,
        error: null,
        waiting: null,
      };
    case 'job.completed':
      return { ...end(step, event, 'completed'), exitCode: exitCodeOf(payload) ?? 0, error: null };
    case 'job.failed':
      return {
        ...end(step, event, 'failed'),
        exitCode: exitCodeOf(payload),
        error: errorOf(payload) ?? step.error,
        waiting: typeof payload['nextAttemptAt'] === 'string' ? { reason: 'next attempt', eligibleAt: payload['nextAttemptAt'] } : null,
      };
    case 'job.cancelled':
      return end(step, event, 'cancelled');
    case 'gate.started':
      return { ...step, status: 'waiting', startedAt: at };
    case 'gate.passed':
      return end(step, event, 'completed');
    case 'gate.failed':
      return { ...end(step, event, 'failed'), error: { class: 'gate', message: String(payload['detail'] ?? '') } };
    case 'step.skipped':
      return end(step, event, 'skipped');
    case 'step.cancelled':
      return end(step, event, 'cancelled');
    case 'step.unresolved':
      return { ...end(step, event, 'failed'), error: { class: 'unresolved', message: String(payload['detail'] ?? '') } };
    default:
      return step;
  }
}

function end(step: Step, event: Envelope, status: StepStatus): Step {
  return { ...step, jobId: event.subject.job ?? step.jobId, status, endedAt: event.at, waiting: null };
}

function exitCodeOf(payload: Record<string, unknown>): number | null {
  return typeof payload['exitCode'] === 'number' ? payload['exitCode'] : null;
}

function errorOf(payload: Record<string, unknown>): StepError | null {
  const error = payload['error'];
  if (typeof error !== 'object' || error === null) return null;
  const { class: kind, message } = error as Record<string, unknown>;
  return { class: String(kind ?? 'other'), message: String(message ?? '') };
}
