import { expect, test } from 'vitest';
import type { Envelope } from '../src/api/types.ts';
import { age, bytes, count, duration, growing, shortId } from '../src/app/times.ts';
import { axisOf, percent, tickText } from '../src/run/axis.ts';
import { effectOf, filterFrom, queryOf } from '../src/runs/filter.ts';
import { fieldOf, initialText, readField, readForm } from '../src/runs/inputs.ts';
import { score } from '../src/shell/score.ts';
import { at, event } from './events.ts';

test.each([
  [0, '0 ms'],
  [842.4, '842 ms'],
  [6_780, '6.8 s'],
  [59_949, '59.9 s'],
  [59_950, '1 m 00 s'],
  [123_000, '2 m 03 s'],
  [3_840_000, '1 h 04 m'],
  [180_000_000, '2 d 02 h'],
  [-5, '0 ms'],
])('%i ms is %s', (ms, text) => {
  expect(duration(ms)).toBe(text);
});

test('what grows is written in whole seconds', () => {
  expect([growing(400), growing(8_999), growing(61_000)]).toEqual(['0 s', '8 s', '1 m 01 s']);
});

test.each([
  [3, 'just now'],
  [45, '45 s ago'],
  [720, '12 min ago'],
  [7_200, '2 h ago'],
  [200_000, '2 d ago'],
])('%i seconds ago is %s', (seconds, text) => {
  expect(age(at(0), Date.parse(at(seconds)))).toBe(text);
});

test('sizes, numbers and ids are short', () => {
  expect([bytes(1_023), bytes(1_024), bytes(18_342), bytes(5 * 1024 ** 3)]).toEqual(['1023 B', '1.0 KiB', '18 KiB', '5.0 GiB']);
  expect(count(1_204_000)).toBe('1,204,000');
  expect(shortId('01a1fe2a-1672-70d1-a2aa-1894cf0e9802')).toBe('…cf0e9802');
});

test('ticks stand on round values, few enough, and while a run goes on the end keeps still', () => {
  for (const lasted of [1, 37, 950, 10_400, 61_000, 5_400_000, 400_000_000, 20_000_000_000]) {
    const axis = axisOf(0, lasted, false, 7);
    expect(axis.ticks.length, `${lasted}`).toBeLessThanOrEqual(8);
    expect(axis.lengthMs).toBe(Math.max(10, lasted));
  }
  const lengths = new Set(Array.from({ length: 90 }, (_, index) => axisOf(0, 1_000 + index, true, 7).lengthMs));
  expect(lengths.size).toBeLessThanOrEqual(2);
  expect(percent(axisOf(0, 200, false, 5), 50)).toBe(25);
  expect(percent(axisOf(0, 200, false, 5), 500)).toBe(100);
});

test.each([
  [0, 500, '0'],
  [250, 250, '250 ms'],
  [1_500, 500, '1.5 s'],
  [90_000, 30_000, '1:30'],
  [8_100_000, 900_000, '2 h 15'],
])('the tick at %i, a step of %i, is %s', (ms, step, text) => {
  expect(tickText(ms, step)).toBe(text);
});

test('the filter is in the address and in the question', () => {
  const filter = filterFrom(new URLSearchParams('status=failed&pack=x&cursor=c'));
  expect(queryOf(filter)).toEqual({ limit: 50, status: 'failed', pack: 'x', cursor: 'c' });
  expect(queryOf(filterFrom(new URLSearchParams()))).toEqual({ limit: 50 });
});

test('events touch runs that are listed and announce those that are not', () => {
  const of = (run: string, type: string): Envelope => ({ ...event(1, type, null), subject: { run } });
  expect(effectOf([of('a', 'run.completed'), of('b', 'run.created'), of('b', 'run.started'), of('c', 'run.failed')], new Set(['a']))).toEqual({ touched: true, arrived: ['b'] });
});

test.each([
  [{ type: 'string', default: 'x' }, 'y', { value: 'y' }],
  [{ type: 'string', default: 'x' }, '', { value: '' }],
  [{ type: 'string' }, '', { wrong: 'Needed.' }],
  [{ type: 'list', default: [] }, ' a \n\nb', { value: ['a', 'b'] }],
  [{ type: 'integer', default: 2 }, '07', { value: 7 }],
  [{ type: 'integer', default: 2 }, '1.5', { wrong: 'A whole number.' }],
  [{ type: 'integer', default: 2 }, '9007199254740993', { wrong: 'A whole number.' }],
  [{ type: 'integer', default: 2 }, '', { absent: true }],
  [{ type: 'boolean' }, 'true', { value: true }],
  [{ type: 'object' }, '{"a":1}', { value: { a: 1 } }],
  [{ type: 'object' }, '{a}', { wrong: 'Not valid JSON.' }],
])('a field of %j with %j reads as %j', (input, text, reading) => {
  expect(readField(input, text)).toEqual(reading);
});

test('a form sends what was read and names what is wrong', () => {
  expect(readForm({ root: { type: 'string', default: '/' }, n: { type: 'integer' } }, { root: '/x', n: 'z' })).toEqual({ inputs: { root: '/x' }, wrong: { n: 'A whole number.' } });
  expect(initialText({ type: 'list', default: ['a', 1] })).toBe('a\n1');
  expect([fieldOf('/inputs/root'), fieldOf('/inputs/a~1b/0'), fieldOf('/pack')]).toEqual(['root', 'a/b', null]);
});

test('the palette finds letters in their order, starts of words first', () => {
  expect(score('Show Gantt', 'xyz')).toBeNull();
  expect(score('Go to Runs', 'gr')).not.toBeNull();
  expect(score('Start a run', 'sta') ?? 0).toBeGreaterThan(score('Last attempt', 'sta') ?? 0);
});
