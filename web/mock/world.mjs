// The mock's world: events, runs, and a simulation that moves them. Owns all state.
// Promises: one order of events; whatever a run's parts show is what its events said, as the real server keeps it.

import { createHash, randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { PACKS, scatter } from './packs.mjs';

const WORKERS = 3;
const RUNS_MAX = 2_000;

export class World extends EventEmitter {
  events = [];
  runs = new Map();
  #speed;

  constructor({ speed = 1 } = {}) {
    super();
    this.setMaxListeners(0);
    this.#speed = speed;
    this.#event('ledger.opened', {}, {}, Date.now() - 3 * 86_400_000);
  }

  get asOf() {
    return this.events.length - 1;
  }

  packs() {
    return PACKS.map(({ name, version, description, inputs }) => ({ name, version, planHash: planHash(name, version), description, inputs, createdAt: new Date(this.events[0].at).toISOString() }));
  }

  /** Starts a run now, or lets one happen that began at `at`. */
  start(name, inputs, { at = null, correlationId = null, until = Number.POSITIVE_INFINITY, cancelAfter = null } = {}) {
    const pack = PACKS.find((one) => one.name === name);
    if (!pack || this.runs.size >= RUNS_MAX) return null;
    const clock = at === null ? liveClock(this.#speed) : pastClock(at);
    const run = newRun(pack, inputs, correlationId, clock.now());
    this.runs.set(run.id, run);
    new Simulation(this, run, pack, clock).begin();
    if (cancelAfter !== null) clock.in(cancelAfter, () => this.cancel(run, 'superseded by a newer image', clock.now()));
    clock.play?.(until);
    return run;
  }

  cancel(run, reason, at = Date.now()) {
    if (ended(run)) return false;
    run.cancelled = reason;
    for (const step of run.steps) {
      if (['completed', 'failed', 'cancelled', 'skipped'].includes(step.status)) continue;
      this.move(run, step, 'job.cancelled', { reason }, at);
    }
    this.finish(run, 'cancelled', at);
    return true;
  }

  pause(run, paused, at = Date.now()) {
    if (ended(run) || run.paused === paused) return false;
    run.paused = paused;
    run.pauseReason = paused ? 'requested' : null;
    this.runEvent(run, paused ? 'run.paused' : 'run.resumed', { reason: 'requested' }, at);
    return true;
  }

  move(run, step, type, payload, at) {
    apply(step, type, payload, iso(at));
    run.progress.done = run.steps.filter(({ status, retrying }) => ['completed', 'cancelled', 'skipped'].includes(status) || (status === 'failed' && !retrying)).length;
    this.#event(type, { job: step.jobId, run: run.id, step: step.id }, payload, at);
  }

  finish(run, status, at) {
    run.status = status;
    run.paused = false;
    run.pauseReason = null;
    run.endedAt = iso(at);
    this.runEvent(run, `run.${status}`, {}, at);
  }

  runEvent(run, type, payload, at) {
    this.#event(type, { run: run.id }, payload, at);
  }

  /** An event that belongs to no run. */
  note(type, subject, payload = {}, at = Date.now()) {
    this.#event(type, subject, payload, at);
  }

  print(run, step, output, at) {
    const { stream, line } = typeof output === 'string' ? { stream: 'stdout', line: output } : output;
    const printed = { pos: run.lines.length, at: iso(at), step: step.id, attempt: step.attempt, stream, line };
    run.lines.push(printed);
    this.emit('line', run, printed);
  }

  #event(type, subject, payload, at) {
    const last = this.events.at(-1);
    const time = last ? Math.max(Date.parse(last.at), at) : at;
    const event = { at: iso(time), payload, schema: 'fastness.event/v1', seq: this.events.length, subject, tenant: 'default', type, version: 1 };
    this.events.push(event);
    this.emit('event', event);
  }
}

export const ended = (run) => ['completed', 'partially_failed', 'failed', 'cancelled'].includes(run.status);
export const planHash = (name, version) => `sha256:${createHash('sha256').update(`${name}@${version}`).digest('hex')}`;
const iso = (at) => new Date(at).toISOString();

export function newId(at) {
  const time = Math.floor(at).toString(16).padStart(12, '0');
  const rest = randomBytes(10).toString('hex');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${rest.slice(0, 3)}-a${rest.slice(3, 6)}-${rest.slice(6, 18)}`;
}

function newRun(pack, inputs, correlationId, at) {
  const defaults = Object.fromEntries(Object.entries(pack.inputs).filter(([, input]) => 'default' in input).map(([name, input]) => [name, input.default]));
  return {
    id: newId(at),
    pack: { name: pack.name, version: pack.version, planHash: planHash(pack.name, pack.version) },
    status: 'pending',
    progress: { done: 0, total: pack.steps.length },
    createdAt: iso(at),
    startedAt: null,
    endedAt: null,
    correlationId,
    paused: false,
    pauseReason: null,
    inputs: { ...defaults, ...inputs },
    steps: pack.steps.map((step, index) => ({
      id: step.id, index, status: 'pending', jobId: step.gate ? null : newId(at), attempt: 0, startedAt: null, endedAt: null, exitCode: null,
      waiting: step.needs.length > 0 ? `${step.needs.length} open ${step.needs.length === 1 ? 'step' : 'steps'}` : null, error: null, needs: step.needs, spans: [], retrying: false,
    })),
    lines: [],
    artifacts: [],
    cancelled: null,
  };
}

/** What an event does to a step and its spans. */
function apply(step, type, payload, at) {
  const close = () => {
    const last = step.spans.at(-1);
    if (last && last.to === null) last.to = at;
  };
  const open = (kind, attempt) => (close(), step.spans.push({ kind, from: at, to: null, attempt }));
  const change = {
    'job.created': () => (open(payload.status === 'scheduled' ? 'queued' : 'waiting', 1), (step.status = payload.status)),
    'job.scheduled': () => (open('queued', step.attempt + 1), Object.assign(step, { status: 'scheduled', waiting: null, retrying: false })),
    'job.started': () => (open('running', payload.attempt), Object.assign(step, { status: 'running', attempt: payload.attempt, startedAt: at, endedAt: null, exitCode: null, error: null, waiting: null })),
    'job.completed': () => (close(), Object.assign(step, { status: 'completed', endedAt: at, exitCode: 0 })),
    'job.failed': () => {
      const retrying = Boolean(payload.nextAttemptAt);
      if (retrying) open('waiting', step.attempt + 1);
      else close();
      Object.assign(step, { status: 'failed', endedAt: at, exitCode: payload.exitCode ?? null, error: payload.error, retrying, waiting: retrying ? { reason: 'next attempt', eligibleAt: payload.nextAttemptAt } : null });
    },
    'job.cancelled': () => (close(), Object.assign(step, { status: 'cancelled', endedAt: at, waiting: null })),
    'gate.started': () => (open('waiting', 0), Object.assign(step, { status: 'waiting', startedAt: at, waiting: '2 approvals' })),
  }[type];
  change?.();
}

function liveClock(speed) {
  return { now: () => Date.now(), in: (ms, act) => void setTimeout(act, ms / speed).unref() };
}

/** A clock of a past: what is due happens at once, at the time it was due. */
function pastClock(start) {
  let now = start;
  const due = [];
  return {
    now: () => now,
    in: (ms, act) => void due.push({ at: now + ms, act }),
    play(until) {
      while (due.length > 0) {
        due.sort((a, b) => a.at - b.at);
        if (due[0].at > until) return;
        const next = due.shift();
        now = next.at;
        next.act();
      }
    },
  };
}

class Simulation {
  constructor(world, run, pack, clock) {
    Object.assign(this, { world, run, pack, clock, running: 0, random: scatter(pack.name.length * 131 + world.runs.size) });
  }

  begin() {
    const { world, run, clock } = this;
    world.runEvent(run, 'run.created', { pack: run.pack }, clock.now());
    for (const step of run.steps) if (step.jobId) world.move(run, step, 'job.created', { status: step.needs.length === 0 ? 'scheduled' : 'pending' }, clock.now());
    clock.in(30, () => {
      run.status = 'running';
      run.startedAt = iso(clock.now());
      world.runEvent(run, 'run.started', {}, clock.now());
      this.dispatch();
    });
  }

  plan(step) {
    return this.pack.steps[step.index];
  }

  dispatch() {
    const { run, clock } = this;
    if (ended(run)) return;
    for (const step of run.steps) {
      if (step.status !== 'scheduled' || step.claimed || this.running >= WORKERS) continue;
      step.claimed = true;
      this.running += 1;
      clock.in(60 + this.random() * 240, () => this.launch(step));
    }
  }

  launch(step) {
    const { world, run, clock } = this;
    if (ended(run)) return;
    const { ms, print } = this.plan(step);
    world.move(run, step, 'job.started', { attempt: step.attempt + 1, epoch: step.attempt + 1, worker: 'local' }, clock.now());
    const lasts = ms * (0.85 + this.random() * 0.3);
    const output = print(this.random);
    const fails = step.attempt <= (this.plan(step).fails ?? 0);
    const shown = fails && !this.plan(step).error ? output.slice(0, Math.ceil(output.length / 3)) : output;
    const length = fails && !this.plan(step).error ? lasts / 3 : lasts;
    // Lines come in bursts, as buffers make them.
    const bursts = Math.max(1, Math.min(shown.length, Math.ceil(length / 120)));
    for (let burst = 0; burst < bursts; burst += 1) {
      const part = shown.slice(Math.floor((burst * shown.length) / bursts), Math.floor(((burst + 1) * shown.length) / bursts));
      clock.in((length * (burst + 0.5)) / bursts, () => {
        if (step.status === 'running') for (const line of part) world.print(run, step, line, clock.now());
      });
    }
    clock.in(length, () => this.settle(step, fails));
  }

  settle(step, fails) {
    const { world, run, clock } = this;
    if (ended(run)) return;
    const plan = this.plan(step);
    this.running -= 1;
    step.claimed = false;
    if (!fails) this.complete(step, plan);
    else {
      const [kind, message] = plan.error ?? ['exit', `sha256sum: ${run.inputs.root ?? '/usr/bin'}/.lock: Resource temporarily unavailable`];
      const again = step.attempt <= (plan.retries ?? 3);
      const delay = 700 + this.random() * 900;
      const payload = { error: { class: kind, message }, exitCode: kind === 'exit' ? 2 : null, ...(again ? { nextAttemptAt: iso(clock.now() + delay) } : {}) };
      world.move(run, step, 'job.failed', payload, clock.now());
      if (again) clock.in(delay, () => ended(run) || (world.move(run, step, 'job.scheduled', {}, clock.now()), this.dispatch()));
      else this.cut(step);
    }
    this.release();
    this.dispatch();
    this.conclude();
  }

  complete(step, plan) {
    const { world, run, clock } = this;
    for (const [name, mime, size] of plan.artifacts ?? []) {
      const sha256 = createHash('sha256').update(`${run.id}/${name}`).digest('hex');
      run.artifacts.push({ name, step: step.id, sha256, size, mime });
      world.runEvent(run, 'artifact.created', { name, sha256 }, clock.now());
    }
    world.move(run, step, 'job.completed', { exitCode: 0 }, clock.now());
  }

  /** Cancels what needs a step that cannot succeed any more. */
  cut(step) {
    const { world, run, clock } = this;
    for (const other of run.steps) {
      if (!other.needs.includes(step.id) || other.status !== 'pending' || this.plan(other).always) continue;
      world.move(run, other, 'job.cancelled', { reason: 'upstream_failed' }, clock.now());
      this.cut(other);
    }
  }

  /** Schedules what has nothing open before it. */
  release() {
    const { world, run, clock } = this;
    const state = new Map(run.steps.map((step) => [step.id, step]));
    for (const step of run.steps) {
      if (step.status !== 'pending') continue;
      const open = step.needs.filter((need) => !['completed', 'skipped', 'cancelled'].includes(state.get(need).status) && !(state.get(need).status === 'failed' && !state.get(need).retrying));
      if (open.length > 0) step.waiting = `${open.length} open ${open.length === 1 ? 'step' : 'steps'}`;
      else if (this.plan(step).gate) world.move(run, step, 'gate.started', { approvers: 2 }, clock.now());
      else world.move(run, step, 'job.scheduled', {}, clock.now());
    }
  }

  conclude() {
    const { world, run, clock } = this;
    const open = run.steps.filter(({ status, retrying }) => ['pending', 'scheduled', 'running'].includes(status) || (status === 'failed' && retrying));
    if (ended(run)) return;
    if (run.steps.some(({ status }) => status === 'waiting')) {
      if (open.every(({ status }) => status === 'pending') && run.status !== 'waiting') {
        run.status = 'waiting';
        world.runEvent(run, 'run.waiting', {}, clock.now());
      }
      return;
    }
    if (open.length > 0) return;
    const failed = run.steps.some(({ status }) => status === 'failed');
    const good = run.steps.some((step) => step.status === 'completed' && !this.plan(step).always);
    world.finish(run, failed ? (good ? 'partially_failed' : 'failed') : 'completed', clock.now());
  }
}

/** The longest chain of steps by time spent so far. */
export function criticalPath(run, now) {
  const spent = new Map();
  const via = new Map();
  for (const step of run.steps) {
    const own = step.spans.filter(({ kind }) => kind === 'running').reduce((sum, { from, to }) => sum + (to ? Date.parse(to) : now) - Date.parse(from), 0);
    let best = 0;
    for (const need of step.needs) if ((spent.get(need) ?? 0) > best) [best, via[step.id]] = [spent.get(need), via.set(step.id, need)];
    spent.set(step.id, best + own);
  }
  let at = run.steps.reduce((longest, { id }) => ((spent.get(id) ?? 0) > (spent.get(longest) ?? -1) ? id : longest), run.steps[0].id);
  const path = [];
  for (; at !== undefined; at = via.get(at)) path.unshift(at);
  return path;
}
