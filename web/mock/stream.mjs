// The mock's server-sent events: catch-up from a cursor, then live, with heartbeats. Owns open streams.

import { ended } from './world.mjs';

const open = new Set();

/** Cuts every stream, as a network does: without a word. */
export function cutAll() {
  for (const response of open) response.destroy();
}

export function gapAll(from, of, to) {
  for (const response of open) response.write(`event: gap\ndata: ${JSON.stringify({ from: Number(from), of, to: Number(to) })}\n\n`);
}

function begin(request, response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store', 'X-Accel-Buffering': 'no', 'X-Fastness-Version': '0.1.0-mock', 'X-Sealed-Mode': 'false' });
  response.write('retry: 1000\n\n');
  open.add(response);
  response.on('close', () => open.delete(response));
}

function cursorOf(request, url, asOf) {
  const given = request.headers['last-event-id'] ?? url.searchParams.get('after');
  const found = /^(-?\d+)(?:\.(-?\d+))?$/.exec(given ?? '');
  return found ? { seq: Number(found[1]), pos: Number(found[2] ?? -1) } : { seq: asOf, pos: Number.MAX_SAFE_INTEGER };
}

function beat(response, url, id, world) {
  const every = Math.min(60_000, Math.max(1_000, Number(url.searchParams.get('heartbeatMs') ?? 15_000)));
  const send = () => response.write(`event: heartbeat\nid: ${id()}\ndata: ${JSON.stringify({ asOf: world.asOf, at: new Date().toISOString() })}\n\n`);
  send();
  const timer = setInterval(send, every);
  response.on('close', () => clearInterval(timer));
}

export function streamRun(world, run, request, response, url) {
  begin(request, response);
  const at = cursorOf(request, url, world.asOf);
  const send = (event, data) => response.write(`id: ${at.seq}.${at.pos}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  const onLine = (of, line) => {
    if (of !== run || line.pos <= at.pos) return;
    at.pos = line.pos;
    send('step.output', line);
  };
  const onEvent = (event) => {
    if (event.seq <= at.seq) return;
    at.seq = event.seq;
    if (event.subject.run === run.id) send(event.type, event);
    if (ended(run) && event.subject.run === run.id && event.type === `run.${run.status}`) finish();
  };
  const finish = () => {
    for (const line of run.lines.slice(at.pos + 1)) onLine(run, line);
    send('end', { status: run.status, seq: at.seq });
    response.end();
  };
  for (const line of run.lines.slice(at.pos + 1)) onLine(run, line);
  for (const event of world.events.slice(at.seq + 1)) if (!response.writableEnded) onEvent(event);
  if (response.writableEnded) return;
  if (ended(run)) return finish();
  world.on('line', onLine);
  world.on('event', onEvent);
  response.on('close', () => (world.off('line', onLine), world.off('event', onEvent)));
  beat(response, url, () => `${at.seq}.${at.pos}`, world);
}

export function streamAll(world, request, response, url) {
  begin(request, response);
  const at = cursorOf(request, url, world.asOf);
  const types = url.searchParams.getAll('type').map((glob) => new RegExp(`^${glob.replaceAll('.', '\\.').replaceAll('*', '.*')}$`));
  const onEvent = (event) => {
    if (event.seq <= at.seq) return;
    at.seq = event.seq;
    if (types.length === 0 || types.some((type) => type.test(event.type))) response.write(`id: ${at.seq}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
  };
  for (const event of world.events.slice(at.seq + 1)) onEvent(event);
  world.on('event', onEvent);
  response.on('close', () => world.off('event', onEvent));
  beat(response, url, () => world.asOf, world);
}
