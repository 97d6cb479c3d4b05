// The one door to /api/v1. Owns the headers of each request and what each answer says about the server.
// Promises: mutations carry the CSRF token; a refusal is thrown as `Refused`, silence as `Unreachable`.
// Must never ask another origin, nor wait without an end.

import { refusalFrom, Unreachable } from './problem.ts';

export const BASE = '/api/v1';
const ANSWER_MS_MAX = 20_000;

export interface Observer {
  /** Told of every answer, so that version, sealed mode and the loss of a session are seen wherever they show first. */
  answered(response: Response): void;
}

let csrfToken = '';
let observer: Observer = { answered() {} };

export function setCsrfToken(token: string): void {
  csrfToken = token;
}

export function observe(by: Observer): void {
  observer = by;
}

/** Any answer, good or not. A stream passes its own signal and lives as long as that. */
export async function send(request: Request | string, init: RequestInit = {}): Promise<Response> {
  const asked = new Request(request, { credentials: 'same-origin', ...init, signal: init.signal ?? AbortSignal.timeout(ANSWER_MS_MAX) });
  if (asked.method !== 'GET') asked.headers.set('X-Fastness-Csrf', csrfToken);
  let response: Response;
  try {
    response = await fetch(asked);
  } catch (cause) {
    if (init.signal?.aborted) throw cause;
    throw new Unreachable();
  }
  observer.answered(response);
  return response;
}

/** A good answer from a path below the base; a refusal is thrown. */
export async function sendChecked(path: string, init: RequestInit = {}): Promise<Response> {
  const response = await send(BASE + path, init);
  if (response.ok) return response;
  throw refusalFrom(response.status, await response.json().catch(() => null));
}
