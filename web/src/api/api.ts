// The routes of /api/v1 with their types. Owns how a route, its parameters and its body become a request.
// Promises: a path, parameter or body that the description does not know fails to compile; a refusal is thrown as `Refused`.
// A library for this would weigh a tenth of the core's budget; what the console needs of it is below.

import { sendChecked } from './client.ts';
import type { paths } from './types.ts';

type Method = 'get' | 'post';
type PathWith<M extends Method> = { [Path in keyof paths]: paths[Path] extends Record<M, unknown> ? Path : never }[keyof paths];
type Operation<Path extends keyof paths, M extends Method> = paths[Path] extends Record<M, infer Found> ? Found : never;
type Part<From, Name extends string> = From extends { [Key in Name]?: infer Found } ? Exclude<Found, undefined> : never;
type Parameter<Asked, Name extends string> = Part<Part<Asked, 'parameters'>, Name>;
type Json<From> = From extends { content: { 'application/json': infer Body } } ? Body : never;
type Responses<Asked> = Part<Asked, 'responses'>;

export type Answer<Path extends keyof paths, M extends Method> = Json<Responses<Operation<Path, M>>[keyof Responses<Operation<Path, M>>]>;

type InPath<Asked> = [Parameter<Asked, 'path'>] extends [never] ? { path?: never } : { path: Parameter<Asked, 'path'> };
type Reading<Asked> = InPath<Asked> & { query?: Parameter<Asked, 'query'> };
type Writing<Asked> = InPath<Asked> & { body: Json<Part<Asked, 'requestBody'>>; idempotencyKey?: string; /** For what takes longer than answers usually do. */ patienceMs?: number };

export async function read<Path extends PathWith<'get'>>(path: Path, asked: Reading<Operation<Path, 'get'>>): Promise<Answer<Path, 'get'>> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(asked.query ?? {})) if (value !== undefined) query.set(name, String(value));
  const response = await sendChecked(filled(path, asked.path) + (query.size > 0 ? `?${query}` : ''));
  return (await response.json()) as Answer<Path, 'get'>;
}

export async function write<Path extends PathWith<'post'>>(path: Path, asked: Writing<Operation<Path, 'post'>>): Promise<Answer<Path, 'post'>> {
  const headers = new Headers({ 'Content-Type': 'application/json' });
  if (asked.idempotencyKey) headers.set('Idempotency-Key', asked.idempotencyKey);
  const response = await sendChecked(filled(path, asked.path), {
    method: 'POST',
    headers,
    body: JSON.stringify(asked.body),
    ...(asked.patienceMs ? { signal: AbortSignal.timeout(asked.patienceMs) } : {}),
  });
  return (await response.json().catch(() => undefined)) as Answer<Path, 'post'>;
}

function filled(path: string, parameters: unknown): string {
  const values = (parameters ?? {}) as Record<string, string>;
  return path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(values[name] ?? ''));
}

/** One key per attempt of a person to create something: a repeat after silence creates nothing twice. */
export function newIdempotencyKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
