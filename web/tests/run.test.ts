import { expect, test } from 'vitest';
import type { Envelope, Timeline } from '../src/api/types.ts';
import { graphOf, timelineOf } from '../src/run/derive.ts';
import { foldRun } from '../src/run/fold.ts';
import { EVENTS_MAX, RunParts, type Parts } from '../src/run/parts.ts';
import { attemptsOf, foldTimeline } from '../src/run/spans.ts';
import { at, event, graph, randomFrom, run, step, timeline } from './events.ts';

const fold = (events: Envelope[], steps = [step('a'), step('b', { needs: ['a'] })]) => events.reduce(foldRun, run(steps));

test('a step goes through its states, and the run counts it', () => {
  const states: unknown[] = [];
  let now = run([step('a')]);
  for (const one of [event(11, 'job.scheduled', 'a'), event(12, 'job.started', 'a', { attempt: 1 }), event(13, 'job.completed', 'a', { exitCode: 0 })]) {
    now = foldRun(now, one);
    states.push([now.steps[0]?.status, now.steps[0]?.attempt, now.progress.done]);
  }
  expect(states).toEqual([['scheduled', 0, 0], ['running', 1, 0], ['completed', 1, 1]]);
  expect(now.steps[0]).toMatchObject({ startedAt: at(12), endedAt: at(13), exitCode: 0, error: null });
});

test('a failure that will be tried again is not done, the last one is', () => {
  const again = { exitCode: 2, error: { class: 'exit', message: 'no' }, nextAttemptAt: at(20) };
  const first = fold([event(11, 'job.started', 'a'), event(12, 'job.failed', 'a', again)]);
  expect(first.progress.done).toBe(0);
  expect(first.steps[0]).toMatchObject({ status: 'failed', exitCode: 2, error: { class: 'exit', message: 'no' }, waiting: { eligibleAt: at(20) } });
  const last = foldRun(foldRun(first, event(13, 'job.started', 'a', { attempt: 2 })), event(14, 'job.failed', 'a', { error: { class: 'timeout', message: 'late' } }));
  expect(last.progress.done).toBe(1);
  expect(last.steps[0]).toMatchObject({ attempt: 2, exitCode: null, error: { class: 'timeout' }, waiting: null });
});

test('what is not known changes nothing, not even the object', () => {
  const before = run([step('a')]);
  for (const one of [event(11, 'job.imagined', 'a'), event(11, 'job.completed', 'nobody'), event(11, 'artifact.created', null), { ...event(11, 'run.failed', null), subject: { run: 'another' } }]) {
    expect(foldRun(before, one)).toBe(before);
  }
});

test('a run that has ended stays ended', () => {
  const ended = fold([event(11, 'run.failed', null), event(12, 'run.waiting', null)]);
  expect(ended).toMatchObject({ status: 'failed', endedAt: at(11) });
});

test('a pause is a flag, which ends with the run', () => {
  const paused = fold([event(11, 'run.started', null), event(12, 'run.paused', null, { reason: 'a look' })]);
  expect(paused).toMatchObject({ status: 'running', paused: true, pauseReason: 'a look' });
  const free = { paused: false, pauseReason: null };
  expect(foldRun(paused, event(13, 'run.resumed', null))).toMatchObject({ status: 'running', ...free });
  expect(foldRun(paused, event(13, 'run.failed', null))).toMatchObject({ status: 'failed', ...free });
});

test('a step is found by its job where its name is not given', () => {
  const one = { ...event(11, 'job.started', 'b'), subject: { run: 'run-1', job: 'job-b' } };
  expect(fold([one]).steps[1]?.status).toBe('running');
});

const spans = (events: Envelope[], from: Timeline = timeline(['a'])) =>
  events.reduce(foldTimeline, from).rows[0]?.spans.map(({ kind, from, to, attempt }) => [kind, Date.parse(from) / 1000 - Date.parse(at(0)) / 1000, to === null ? null : Date.parse(to) / 1000 - Date.parse(at(0)) / 1000, attempt]);

test('time is split into waiting, queued and running, attempt by attempt', () => {
  const story = [
    event(1, 'job.created', 'a', { status: 'pending' }),
    event(3, 'job.scheduled', 'a'),
    event(4, 'job.started', 'a', { attempt: 1 }),
    event(6, 'job.failed', 'a', { nextAttemptAt: at(8) }),
    event(8, 'job.scheduled', 'a'),
    event(9, 'job.started', 'a', { attempt: 2 }),
    event(12, 'job.completed', 'a'),
  ];
  expect(spans(story, { ...timeline(['a']), asOf: 0 })).toEqual([
    ['waiting', 1, 3, 1],
    ['queued', 3, 4, 1],
    ['running', 4, 6, 1],
    ['waiting', 6, 8, 2],
    ['queued', 8, 9, 2],
    ['running', 9, 12, 2],
  ]);
});

test('a released job is queued again', () => {
  expect(spans([event(1, 'job.started', 'a', { attempt: 1 }), event(5, 'job.released', 'a')])).toEqual([['running', 1, 5, 1], ['queued', 5, null, 2]]);
});

test('at most one span is open, it is the last, and none overlap: 400 random stories', () => {
  const types = ['job.created', 'job.scheduled', 'job.started', 'job.failed', 'job.completed', 'job.cancelled', 'job.released', 'gate.started', 'gate.passed'];
  for (let seed = 1; seed <= 400; seed += 1) {
    const random = randomFrom(seed);
    let line = timeline(['a'], 0);
    for (let seq = 1; seq < 25; seq += 1) {
      const type = types[Math.floor(random() * types.length)] ?? '';
      line = foldTimeline(line, event(seq, type, 'a', random() < 0.5 ? { nextAttemptAt: at(seq + 1) } : {}));
    }
    const found = line.rows[0]?.spans ?? [];
    found.forEach((span, index) => {
      const next = found[index + 1];
      if (next) expect(Date.parse(span.to ?? 'open'), `seed ${seed}`).toBeLessThanOrEqual(Date.parse(next.from));
    });
  }
});

test('attempts are summed from their spans', () => {
  const row = { name: 'a', jobId: null, spans: [
    { kind: 'waiting' as const, from: at(0), to: at(2), attempt: 0 },
    { kind: 'queued' as const, from: at(2), to: at(3), attempt: 1 },
    { kind: 'running' as const, from: at(3), to: at(7), attempt: 1 },
    { kind: 'running' as const, from: at(9), to: null, attempt: 2 },
  ] };
  expect(attemptsOf(row, Date.parse(at(15)))).toEqual([
    { number: 1, waitedMs: 2000, queuedMs: 1000, ranMs: 4000, startedAt: at(3), endedAt: at(7), open: false },
    { number: 2, waitedMs: 0, queuedMs: 0, ranMs: 6000, startedAt: at(9), endedAt: null, open: true },
  ]);
});

const parts = (asOf: number, change: Partial<Parts> = {}): Parts => ({ run: run([step('a')], { asOf }), graph: graph(asOf), timeline: timeline(['a'], asOf), ...change });
const story = (to: number): Envelope[] => [event(11, 'job.scheduled', 'a'), event(12, 'job.started', 'a', { attempt: 1 }), event(13, 'job.completed', 'a', { exitCode: 0 }), event(14, 'run.completed', null)].filter(({ seq }) => seq <= to);

test('each event counts once: those in the snapshot and those seen before do not', () => {
  const model = new RunParts(parts(12));
  model.apply([...story(13), ...story(13)]);
  expect(model.parts.run.steps[0]).toMatchObject({ status: 'completed', attempt: 0 });
  expect(model.seq).toBe(13);
});

test('a snapshot taken before the last events goes under them', () => {
  const model = new RunParts(parts(10));
  model.apply(story(14));
  const older = run([step('a', { status: 'scheduled' })], { asOf: 11 });
  expect(model.rebase(parts(11, { run: older }))).toBe(true);
  expect(model.parts.run).toMatchObject({ status: 'completed', steps: [{ status: 'completed', attempt: 1 }] });
});

test('a snapshot taken after events that are still to come is not changed by them', () => {
  const model = new RunParts(parts(10));
  model.apply(story(11));
  const newer = run([step('a', { status: 'completed', attempt: 1, exitCode: 0 })], { asOf: 13 });
  model.rebase(parts(13, { run: newer }));
  model.apply(story(13));
  expect(model.parts.run.steps[0]).toMatchObject({ status: 'completed', attempt: 1 });
});

test('parts of different moments each take what they lack', () => {
  const model = new RunParts(parts(10, { timeline: { ...timeline(['a']), asOf: 12 } }));
  model.apply(story(13));
  expect(model.parts.run.steps[0]?.status).toBe('completed');
  expect(model.parts.timeline.rows[0]?.spans).toEqual([]);
});

test('when the events since a snapshot are forgotten it is refused', () => {
  const model = new RunParts(parts(10));
  const many = Array.from({ length: EVENTS_MAX }, (_, index) => event(11 + index, 'run.paused', null));
  model.apply(many);
  expect(model.rebase(parts(10))).toBe(true);
  model.apply([event(11 + EVENTS_MAX, 'run.paused', null)]);
  expect(model.rebase(parts(10))).toBe(false);
  expect(model.rebase(parts(11))).toBe(true);
});

test('graph and timeline come from the steps where the server has none', () => {
  const now = run([step('a', { status: 'completed', startedAt: at(1), endedAt: at(4), attempt: 1 }), step('b', { needs: ['a'] })]);
  expect(graphOf(now).edges).toEqual([['a', 'b']]);
  expect(timelineOf(now).rows.map(({ spans }) => spans.length)).toEqual([2, 0]);
});
