// What can go wrong when the server is asked. Owns the two kinds of failure: an answer that refuses, and no answer.
// Promises: each carries what a person needs to act on it. Must never swallow the code or the trace id.

import type { Problem } from './types.ts';

export class Refused extends Error {
  readonly status: number;
  readonly title: string;
  readonly code: string;
  readonly traceId: string | null;
  readonly fields: { pointer: string; detail: string }[];

  constructor(status: number, problem: Problem) {
    super(problem.detail ?? problem.title ?? `The server answered ${status}`);
    this.name = 'Refused';
    this.status = status;
    this.title = problem.title ?? `The server answered ${status}`;
    this.code = problem.code ?? `http_${status}`;
    this.traceId = problem.traceId ?? null;
    this.fields = problem.errors ?? [];
  }
}

export class Unreachable extends Error {
  readonly code = 'unreachable';

  constructor() {
    super('The server did not answer.');
    this.name = 'Unreachable';
  }
}

export type Failure = Refused | Unreachable;

export function failureFrom(cause: unknown): Failure {
  return cause instanceof Refused || cause instanceof Unreachable ? cause : new Unreachable();
}

/** Whatever came as the body of a refusal, read as a problem; a proxy's page becomes one without details. */
export function refusalFrom(status: number, body: unknown): Refused {
  return new Refused(status, typeof body === 'object' && body !== null ? (body as Problem) : {});
}
