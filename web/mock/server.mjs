// A stand-in for the server, for looking at the console and for its tests: node alone, no dependency.
// Serves dist/ as the binary does (headers, compressed twins, one page for all addresses) and the routes that the console uses.
// Environment: PORT (8421), TOKEN (mock-token), SPEED (1), EMPTY=1 no runs, LIVE=0 no running one, READONLY=1 a replayed
// ledger, MANY=1 more bundles than are shown at once, SCOPES what the token allows.

import { randomBytes, timingSafeEqual } from 'node:crypto';
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { Evidence } from './evidence.mjs';
import { seed } from './seed.mjs';
import { cutAll, gapAll, streamAll, streamRun } from './stream.mjs';
import { criticalPath, ended, World } from './world.mjs';

const ALL_SCOPES = 'orch:read orch:submit orch:operate orch:approve orch:admin audit:export audit:import';
const { PORT = '8421', TOKEN = 'mock-token', SPEED = '1', EMPTY = '', LIVE = '1', READONLY = '', MANY = '', SCOPES = ALL_SCOPES } = process.env;
const DIST = join(import.meta.dirname, '../dist');
const BODY_BYTES_MAX = 1 << 20;
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types svelte-trusted-html";
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };

const world = new World({ speed: Number(SPEED) });
seed(world, { empty: EMPTY !== '', live: LIVE !== '0' });
const evidence = new Evidence(world, { empty: EMPTY !== '', many: MANY !== '', readOnly: READONLY !== '' });
const refuse = (...told) => new Refusal(...told);
const sessions = new Map();
let downUntil = 0;

class Refusal extends Error {
  constructor(status, code, title, detail, errors) {
    super(detail ?? title);
    Object.assign(this, { status, code, title, detail, errors });
  }
}

const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://mock');
  const traceId = randomBytes(16).toString('hex');
  if (url.pathname.startsWith('/__mock/')) return control(url, response);
  if (Date.now() < downUntil) return request.socket.destroy();
  if (!url.pathname.startsWith('/api/')) return file(url, request, response);
  answerApi(request, response, url).catch((cause) => {
    const { status = 500, code = 'internal', title = 'The mock failed', detail, errors } = cause;
    if (status === 500) console.error(cause);
    response.writeHead(status, { ...headers(), 'Content-Type': 'application/problem+json' });
    response.end(JSON.stringify({ type: `/problems/${code}`, title, status, detail, code, traceId, errors }));
  });
});

const headers = () => ({ 'X-Fastness-Version': '0.1.0-mock', 'X-Sealed-Mode': 'false', 'Cache-Control': 'no-store' });

function json(response, status, body, more = {}) {
  response.writeHead(status, { ...headers(), 'Content-Type': 'application/json', ...more });
  response.end(body === undefined ? undefined : JSON.stringify(body));
}

async function body(request) {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > BODY_BYTES_MAX) throw new Refusal(413, 'body_too_large', 'Too large');
  }
  try {
    return JSON.parse(text || '{}');
  } catch {
    throw new Refusal(422, 'invalid_json', 'Not valid JSON');
  }
}

function sessionOf(request) {
  const cookie = /(?:^|; )fastness_mock=([0-9a-f]+)/.exec(request.headers.cookie ?? '')?.[1];
  const bearer = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
  const session = sessions.get(cookie);
  if (session) return { ...session, cookie };
  if (bearer === TOKEN) return { csrfToken: null };
  throw new Refusal(401, 'unauthenticated', 'Not signed in', 'Send a token or sign in.');
}

const ROUTES = [
  ['POST', /^\/session$/, signIn],
  ['GET', /^\/session$/, (request, response) => json(response, 200, view(sessionOf(request)))],
  ['DELETE', /^\/session$/, (request, response) => (sessions.delete(sessionOf(request).cookie), json(response, 204, undefined, { 'Set-Cookie': 'fastness_mock=; Path=/; Max-Age=0' }))],
  ['GET', /^\/packs$/, (_, response) => json(response, 200, { items: world.packs(), nextCursor: null, asOf: world.asOf })],
  ['GET', /^\/pack-runs$/, listRuns],
  ['POST', /^\/pack-runs$/, startRun],
  ['GET', /^\/pack-runs\/([^/]+)$/, (_, response, __, id) => json(response, 200, { ...summary(found(id)), steps: found(id).steps.map(stepView), asOf: world.asOf })],
  ['POST', /^\/pack-runs\/([^/]+)\/cancel$/, cancelRun],
  ['POST', /^\/pack-runs\/([^/]+)\/(pause|resume)$/, pauseRun],
  ['GET', /^\/pack-runs\/([^/]+)\/logs$/, logs],
  ['GET', /^\/pack-runs\/([^/]+)\/artifacts$/, (_, response, __, id) => json(response, 200, { items: found(id).artifacts })],
  ['GET', /^\/artifacts\/([0-9a-f]{64})$/, (_, response) => (response.writeHead(200, { ...headers(), 'Content-Type': 'application/octet-stream' }), response.end('artifact of the mock\n'))],
  ['GET', /^\/runs\/([^/]+)\/graph$/, graph],
  ['GET', /^\/runs\/([^/]+)\/timeline$/, (_, response, __, id) => json(response, 200, { rows: found(id).steps.map(({ id: name, jobId, spans }) => ({ name, jobId, spans })), asOf: world.asOf })],
  ['GET', /^\/redaction-policies$/, (_, response) => json(response, 200, { items: [{ name: 'intake' }, { name: 'auditor' }] })],
  ['GET', /^\/bundles$/, (_, response) => json(response, 200, { items: evidence.bundles })],
  ['POST', /^\/bundles\/export$/, act((given) => evidence.export(given, refuse), 201)],
  ['GET', /^\/bundles\/([0-9a-f]{64})\/content$/, (_, response, __, id) => bundleFile(response, evidence.bundles.find((one) => one.id === id)?.name)],
  ['GET', /^\/imports$/, (_, response) => json(response, 200, { items: evidence.imports })],
  ['POST', /^\/imports\/([0-9a-f]{64})\/(approve|reject)$/, act(({ reason }, id, verdict) => evidence.decide(id, verdict, reason, refuse))],
  ['GET', /^\/work-orders$/, listOrders],
  ['GET', /^\/work-orders\/([^/]+)\/(?:content|cancellation)$/, (_, response, __, id) => bundleFile(response, `${id}.tar.zst`)],
  ['POST', /^\/work-orders\/([^/]+)\/approve$/, act((given, id) => evidence.approve(id, given, refuse))],
  ['POST', /^\/work-orders\/([^/]+)\/start$/, act((_, id) => evidence.start(id, refuse))],
  ['POST', /^\/work-orders\/([^/]+)\/cancel$/, act((given, id) => evidence.cancel(id, given, refuse))],
  ['GET', /^\/stream\/pack-runs\/([^/]+)$/, (request, response, url, id) => streamRun(world, found(id), request, response, url)],
  ['GET', /^\/stream$/, (request, response, url) => streamAll(world, request, response, url)],
];

async function answerApi(request, response, url) {
  const path = url.pathname.replace(/^\/api\/v1/, '');
  for (const [method, pattern, handler] of ROUTES) {
    const match = method === request.method && pattern.exec(path);
    if (!match) continue;
    if (path !== '/session' || method !== 'POST') {
      const session = sessionOf(request);
      if (method !== 'GET' && session.csrfToken !== null && request.headers['x-fastness-csrf'] !== session.csrfToken) throw new Refusal(403, 'csrf', 'The CSRF token is missing or wrong');
    }
    if (READONLY && method === 'POST' && path !== '/session') throw new Refusal(409, 'foreign_read_only', 'That cannot be', 'this server shows bundles that were replayed: it can only be read');
    return handler(request, response, url, ...match.slice(1));
  }
  throw new Refusal(404, 'not_found', 'Not found');
}

async function signIn(request, response) {
  const { token = '' } = await body(request);
  const [given, right] = [Buffer.from(String(token)), Buffer.from(TOKEN)];
  if (given.length !== right.length || !timingSafeEqual(given, right)) throw new Refusal(401, 'unauthenticated', 'Not signed in', 'The token is not valid.');
  const id = randomBytes(16).toString('hex');
  const session = { csrfToken: randomBytes(16).toString('hex'), tenant: READONLY ? 'foreign:0123456789abcdef/default' : 'default', person: 'admin', scopes: SCOPES.split(' ') };
  sessions.set(id, session);
  json(response, 200, session, { 'Set-Cookie': `fastness_mock=${id}; Path=/; HttpOnly; SameSite=Strict` });
}

const view = ({ csrfToken, tenant, person, scopes }) => ({ csrfToken, tenant, person, scopes });
const summary = ({ id, pack, status, progress, createdAt, startedAt, endedAt, correlationId, inputs, paused, pauseReason }) => ({ id, pack, status, progress, createdAt, startedAt, endedAt, correlationId, inputs, paused, pauseReason });
const stepView = ({ spans, retrying, claimed, ...step }) => step;

function found(id) {
  const run = world.runs.get(id);
  if (!run) throw new Refusal(404, 'not_found', 'Not found', 'There is no run with this id.');
  return run;
}

function listRuns(_, response, url) {
  const [status, pack, cursor] = ['status', 'pack', 'cursor'].map((name) => url.searchParams.get(name));
  const limit = Math.min(500, Number(url.searchParams.get('limit') ?? 50));
  const all = [...world.runs.values()].reverse().filter((run) => (!status || run.status === status) && (!pack || run.pack.name === pack));
  const from = cursor ? all.findIndex(({ id }) => id === cursor) + 1 : 0;
  const items = all.slice(from, from + limit);
  json(response, 200, { items: items.map(summary), nextCursor: from + limit < all.length ? items.at(-1).id : null, asOf: world.asOf });
}

async function startRun(request, response) {
  const { pack, inputs = {} } = await body(request);
  const known = world.packs().find(({ name }) => name === pack);
  if (!known) throw new Refusal(404, 'pack_not_found', 'No such pack', `There is no pack named ${pack}.`);
  const missing = Object.entries(known.inputs).filter(([name, input]) => !('default' in input) && !inputs[name]);
  if (missing.length > 0) throw new Refusal(422, 'invalid_inputs', 'Inputs do not fit the pack', undefined, missing.map(([name]) => ({ pointer: `/inputs/${name}`, detail: 'Needed, and has no default.' })));
  const run = world.start(pack, inputs);
  json(response, 201, { id: run.id }, { Location: `/api/v1/pack-runs/${run.id}` });
}

async function cancelRun(request, response, _, id) {
  const { reason } = await body(request);
  const run = found(id);
  if (!reason) throw new Refusal(422, 'reason_required', 'A reason is needed');
  if (!world.cancel(run, reason)) throw new Refusal(409, 'illegal_transition', 'This run has ended', `It is ${run.status}.`);
  json(response, 200, { id });
}

/** Only the flag: what the mock plays goes on. */
async function pauseRun(request, response, url, id) {
  await body(request);
  const run = found(id);
  const paused = url.pathname.endsWith('/pause');
  if (!world.pause(run, paused)) throw new Refusal(409, paused ? 'run_paused' : 'run_not_paused', 'That cannot be', `It is ${run.status}.`);
  json(response, 200, { id });
}

/** A route that does something with its body and answers with what then is. */
function act(does, status = 200) {
  return async (request, response, _, ...parameters) => json(response, status, does(await body(request), ...parameters));
}

function bundleFile(response, name) {
  if (!name) throw new Refusal(404, 'not_found', 'Not found', 'There is no bundle with this id.');
  response.writeHead(200, { ...headers(), 'Content-Type': 'application/zstd', 'Content-Disposition': `attachment; filename="${name}"` });
  response.end('bundle of the mock\n');
}

function listOrders(_, response, url) {
  const limit = Math.min(500, Number(url.searchParams.get('limit') ?? 50));
  const all = evidence.orders.toSorted((a, b) => (a.id < b.id ? 1 : -1));
  const cursor = url.searchParams.get('cursor');
  const from = cursor ? all.findIndex(({ id }) => id === cursor) + 1 : 0;
  const items = all.slice(from, from + limit);
  json(response, 200, { items, nextCursor: from + limit < all.length ? items.at(-1).id : null, asOf: world.asOf });
}

function logs(_, response, url, id) {
  const run = found(id);
  const after = Number(url.searchParams.get('after') ?? -1);
  const limit = Math.min(10_000, Number(url.searchParams.get('limit') ?? 10_000));
  const step = url.searchParams.get('step');
  response.writeHead(200, { ...headers(), 'Content-Type': 'application/x-ndjson' });
  const lines = run.lines.slice(after + 1).filter((line) => !step || line.step === step);
  response.end(lines.slice(0, limit).map((line) => `${JSON.stringify(line)}\n`).join(''));
}

function graph(_, response, __, id) {
  const run = found(id);
  const path = criticalPath(run, Date.now());
  const nodes = run.steps.map(({ id: name, jobId, status }) => ({ name, jobId, status, critical: path.includes(name) }));
  json(response, 200, { nodes, edges: run.steps.flatMap((step) => step.needs.map((need) => [need, step.id])), criticalPath: path, asOf: world.asOf });
}

/** For tests: break things on purpose. */
function control(url, response) {
  const act = {
    '/__mock/cut': () => cutAll(),
    '/__mock/down': () => ((downUntil = Date.now() + Number(url.searchParams.get('ms') ?? 3_000)), cutAll()),
    '/__mock/gap': () => gapAll(url.searchParams.get('from'), url.searchParams.get('of'), url.searchParams.get('to')),
    '/__mock/forget': () => sessions.clear(),
    '/__mock/start': () => world.start(url.searchParams.get('pack') ?? 'host-inventory', {})?.id,
    '/__mock/active': () => [...world.runs.values()].filter((run) => !ended(run)).map(({ id, pack }) => ({ id, pack: pack.name })),
  }[url.pathname];
  json(response, act ? 200 : 404, { done: act?.() ?? null });
}

function file(url, request, response) {
  const asked = normalize(decodeURIComponent(url.pathname)).replace(/^(\.\.[/\\])+/, '');
  const isAsset = asked.startsWith('/assets/');
  const path = join(DIST, isAsset ? asked : 'index.html');
  if (!existsSync(path) || !statSync(path).isFile()) return response.writeHead(404).end('not found');
  const accepted = request.headers['accept-encoding'] ?? '';
  const coding = [['br', '.br'], ['gzip', '.gz']].find(([name, ending]) => accepted.includes(name) && existsSync(path + ending));
  response.writeHead(200, {
    'Content-Type': TYPES[extname(path)] ?? 'application/octet-stream',
    'Content-Security-Policy': CSP,
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': isAsset ? 'public, max-age=31536000, immutable' : 'no-cache',
    Vary: 'Accept-Encoding',
    ...(coding ? { 'Content-Encoding': coding[0] } : {}),
  });
  createReadStream(path + (coding ? coding[1] : '')).pipe(response);
}

server.listen(Number(PORT), '127.0.0.1', () => console.log(`ready http://127.0.0.1:${server.address().port}`));
process.on('SIGTERM', () => (cutAll(), server.close(), process.exit(0)));
