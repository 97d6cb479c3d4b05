// Graph and timeline worked out of a run's steps, for a server that does not give them (yet). Pure.

import type { PackRun, RunGraph, Span, Timeline } from '../api/types.ts';

export function graphOf(run: PackRun): RunGraph {
  return {
    nodes: run.steps.map(({ id, jobId, status }) => ({ name: id, jobId, status, critical: false })),
    edges: run.steps.flatMap(({ id, needs }) => needs.map((need): [string, string] => [need, id])),
    criticalPath: [],
    asOf: run.asOf,
  };
}

export function timelineOf(run: PackRun): Timeline {
  const rows = run.steps.map(({ id, jobId, startedAt, endedAt, attempt }) => {
    const spans: Span[] = [];
    if (startedAt) {
      spans.push({ kind: 'waiting', from: run.createdAt, to: startedAt, attempt });
      spans.push({ kind: 'running', from: startedAt, to: endedAt, attempt });
    }
    return { name: id, jobId, spans };
  });
  return { rows, asOf: run.asOf };
}
