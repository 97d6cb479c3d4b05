// How a step spent its time: waiting, queued, running, attempt by attempt. Pure.
// Promises: at most one span of a row is open, and it is the last; spans never overlap.

import type { Envelope, Span, SpanKind, Timeline, TimelineRow } from '../api/types.ts';

export function foldTimeline(timeline: Timeline, event: Envelope): Timeline {
  if (!event.type.startsWith('job.') && !event.type.startsWith('gate.')) return timeline;
  const { subject } = event;
  const at = timeline.rows.findIndex((row) => (subject.step !== undefined ? row.name === subject.step : subject.job !== undefined && row.jobId === subject.job));
  const row = timeline.rows[at];
  if (!row) return timeline;
  const spans = foldSpans(row.spans, event);
  if (spans === row.spans) return timeline;
  return { ...timeline, rows: timeline.rows.with(at, { ...row, jobId: subject.job ?? row.jobId, spans }) };
}

function foldSpans(spans: Span[], event: Envelope): Span[] {
  const attempt = typeof event.payload['attempt'] === 'number' ? event.payload['attempt'] : null;
  const last = spans.at(-1)?.attempt ?? 0;
  switch (event.type) {
    case 'job.created':
      return spans.length > 0 ? spans : change(spans, event.at, event.payload['status'] === 'scheduled' ? 'queued' : 'waiting', 1);
    case 'job.scheduled':
    case 'job.released':
      return change(spans, event.at, 'queued', nextAttempt(spans));
    case 'job.started':
      return change(spans, event.at, 'running', attempt ?? nextAttempt(spans));
    case 'gate.started':
      return change(spans, event.at, 'waiting', last);
    case 'job.failed':
      return typeof event.payload['nextAttemptAt'] === 'string' ? change(spans, event.at, 'waiting', last + 1) : close(spans, event.at);
    case 'job.completed':
    case 'job.cancelled':
    case 'gate.passed':
    case 'gate.failed':
    case 'step.cancelled':
      return close(spans, event.at);
    default:
      return spans;
  }
}

/** The attempt that what begins now belongs to: the one after the last that ran. */
function nextAttempt(spans: Span[]): number {
  return (spans.findLast(({ kind }) => kind === 'running')?.attempt ?? 0) + 1;
}

function close(spans: Span[], at: string): Span[] {
  const last = spans.at(-1);
  return last && last.to === null ? spans.with(-1, { ...last, to: at }) : spans;
}

function change(spans: Span[], at: string, kind: SpanKind, attempt: number): Span[] {
  const last = spans.at(-1);
  if (last?.to === null && last.kind === kind && last.attempt === attempt) return spans;
  return [...close(spans, at), { kind, from: at, to: null, attempt }];
}

export interface Attempt {
  number: number;
  waitedMs: number;
  queuedMs: number;
  ranMs: number;
  startedAt: string | null;
  endedAt: string | null;
  open: boolean;
}

/** A row's spans gathered by attempt, oldest first. */
export function attemptsOf(row: TimelineRow, now: number): Attempt[] {
  const attempts = new Map<number, Attempt>();
  for (const span of row.spans) {
    const number = Math.max(1, span.attempt);
    const found = attempts.get(number) ?? { number, waitedMs: 0, queuedMs: 0, ranMs: 0, startedAt: null, endedAt: null, open: false };
    attempts.set(number, found);
    const lasted = lengthOf(span, now);
    if (span.kind === 'waiting') found.waitedMs += lasted;
    else if (span.kind === 'queued') found.queuedMs += lasted;
    else {
      found.ranMs += lasted;
      found.startedAt ??= span.from;
      found.endedAt = span.to;
    }
    found.open = span.to === null;
  }
  return [...attempts.values()].sort((a, b) => a.number - b.number);
}

export function lengthOf(span: Span, now: number): number {
  return Math.max(0, (span.to === null ? now : Date.parse(span.to)) - Date.parse(span.from));
}
