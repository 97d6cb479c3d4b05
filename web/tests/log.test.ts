import { expect, test } from 'vitest';
import type { LogLine } from '../src/api/types.ts';
import { LINES_MAX, LogLines } from '../src/log/lines.ts';
import { LogView, WRAPPED_ROWS_MAX } from '../src/log/view.ts';
import { RowIndex, ROWS_MAX, SCROLL_PIXELS_MAX, scrollTopFor, windowOf } from '../src/log/window.ts';
import { at, randomFrom } from './events.ts';

const line = (pos: number, change: Partial<LogLine> = {}): LogLine => ({ pos, at: at(pos), step: pos % 2 ? 'odd' : 'even', attempt: 1, stream: 'stdout', line: `line ${pos}`, ...change });
const lines = (from: number, to: number): LogLine[] => Array.from({ length: to - from }, (_, index) => line(from + index));
const ALL = { step: '', stream: '' } as const;

test('no size makes more rows than the bound, and what is in view is always among them', () => {
  for (let seed = 1; seed <= 2_000; seed += 1) {
    const random = randomFrom(seed);
    const rows = Math.floor(random() ** 3 * 5_000_000);
    const viewport = 40 + Math.floor(random() * 2_000);
    const rowHeight = 20;
    const height = Math.min(rows * rowHeight, SCROLL_PIXELS_MAX);
    const scrollTop = random() * Math.max(0, height - viewport);
    const found = windowOf({ rows, rowHeight, viewport, scrollTop, overscan: 8 });
    const note = `seed ${seed}`;
    expect(found.end - found.first, note).toBeLessThanOrEqual(ROWS_MAX);
    expect(found.first, note).toBeGreaterThanOrEqual(0);
    expect(found.end, note).toBeLessThanOrEqual(rows);
    expect(found.spacer, note).toBeLessThanOrEqual(SCROLL_PIXELS_MAX);
    if (rows * rowHeight > viewport) {
      expect(found.offset, note).toBeLessThanOrEqual(0.001);
      expect(found.offset + (found.end - found.first) * rowHeight, note).toBeGreaterThanOrEqual(viewport - 0.001);
    }
  }
});

test('at the end of a list the last row is at the bottom', () => {
  for (const rows of [100, 100_000, 5_000_000]) {
    const sizes = { rows, rowHeight: 20, viewport: 600, overscan: 8 };
    const spacer = Math.min(rows * 20, SCROLL_PIXELS_MAX);
    const found = windowOf({ ...sizes, scrollTop: spacer - 600 });
    expect(found.end).toBe(rows);
    expect(found.offset + (found.end - found.first) * 20).toBeCloseTo(600, 3);
  }
});

test('what is beyond the end is the end', () => {
  for (const rows of [0, 3, 100, 5_000_000]) {
    const sizes = { rows, rowHeight: 20, viewport: 600, overscan: 8 };
    const end = windowOf({ ...sizes, scrollTop: Math.max(0, Math.min(rows * 20, SCROLL_PIXELS_MAX) - 600) });
    expect(windowOf({ ...sizes, scrollTop: Number.POSITIVE_INFINITY })).toEqual(end);
  }
});

test('scrolling to a row brings it into view', () => {
  for (const rows of [50, 100_000, 5_000_000]) {
    for (const row of [0, Math.floor(rows / 3), rows - 1]) {
      const found = windowOf({ rows, rowHeight: 20, viewport: 600, scrollTop: scrollTopFor(row, rows, 20, 600), overscan: 0 });
      const top = found.offset + (row - found.first) * 20;
      expect(top, `${row} of ${rows}`).toBeGreaterThanOrEqual(-0.01);
      expect(top + 20, `${row} of ${rows}`).toBeLessThanOrEqual(600.01);
    }
  }
});

test('rows of wrapped lines are found both ways', () => {
  const index = new RowIndex();
  for (const rows of [1, 3, 1, 2]) index.push(rows);
  expect(index.rows).toBe(7);
  expect([0, 1, 2, 3, 4, 5, 6].map((row) => index.lineAt(row))).toEqual([0, 1, 1, 1, 2, 3, 3]);
  expect([0, 1, 2, 3].map((at) => index.rowOf(at))).toEqual([0, 1, 4, 5]);
});

test('lines stand in order, none twice', () => {
  const log = new LogLines();
  log.append(lines(0, 5));
  log.append(lines(3, 8));
  expect(log.end).toBe(8);
  expect(log.lastPos).toBe(7);
});

test('beyond the bound the oldest lines go, and their number is known', () => {
  const log = new LogLines();
  log.append(lines(0, LINES_MAX));
  expect(log.forgotten).toBe(0);
  log.append([line(LINES_MAX)]);
  expect(log.forgotten).toBeGreaterThan(0);
  expect(log.at(log.forgotten - 1)).toBeUndefined();
  expect(log.at(log.forgotten)?.pos).toBe(log.forgotten);
  expect(log.at(log.end - 1)?.pos).toBe(LINES_MAX);
});

test('lost lines leave a mark in their place', () => {
  const log = new LogLines();
  log.append(lines(0, 3));
  log.lost(9);
  log.append(lines(5, 12));
  const view = new LogView(log);
  view.update({ step: 'even', stream: '' }, '', 0);
  expect(view.shown.map((index) => log.at(index)?.stream)).toEqual(['stdout', 'stdout', 'gap', 'stdout']);
  expect(log.at(3)?.plain).toMatch(/may have been lost here/);
});

test('missing positions leave one mark, told by a stream or seen between lines', () => {
  const log = new LogLines();
  log.append([line(2), line(3), line(7)]);
  log.lost(6);
  log.append([line(8)]);
  log.lost(9);
  log.append([line(10)]);
  const held = Array.from({ length: log.end }, (_, index) => log.at(index));
  const told = held.map((one) => [one?.stream, one?.pos]);
  expect(told).toEqual([['gap', 1], ['stdout', 2], ['stdout', 3], ['gap', 6], ['stdout', 7], ['stdout', 8], ['gap', 9], ['stdout', 10]]);
});

test('the tail of a step is its last lines', () => {
  const log = new LogLines();
  log.append(lines(0, 20));
  expect(log.tail('odd', 3).map(({ pos }) => pos)).toEqual([15, 17, 19]);
  expect(log.tail('nobody', 3)).toEqual([]);
});

test('a filter shows what passes, also of what comes later', () => {
  const log = new LogLines();
  const view = new LogView(log);
  log.append([...lines(0, 4), line(4, { stream: 'stderr' })]);
  view.update({ step: 'even', stream: '' }, '', 0);
  expect(view.shown).toEqual([0, 2, 4]);
  log.append(lines(5, 9));
  view.update({ step: 'even', stream: '' }, '', 0);
  expect(view.shown).toEqual([0, 2, 4, 6, 8]);
  view.update({ step: '', stream: 'stderr' }, '', 0);
  expect(view.shown).toEqual([4]);
});

test('a search counts what is there and what comes, and goes round', () => {
  const log = new LogLines();
  const view = new LogView(log);
  log.append([line(0, { line: 'an Error' }), line(1), line(2, { line: '\x1b[31mer\x1b[0mror' })]);
  view.update(ALL, 'ERROR', 0);
  expect(view.hits).toEqual([0, 2]);
  log.append([line(3, { line: 'error again' })]);
  view.update(ALL, 'ERROR', 0);
  expect(view.hits).toEqual([0, 2, 3]);
  expect([view.hitFrom(0, 1), view.hitFrom(3, 1), view.hitFrom(0, -1)]).toEqual([2, 0, 3]);
  view.update(ALL, 'nowhere', 0);
  expect(view.hitFrom(0, 1)).toBeNull();
});

test('wrapped lines take the rows they need, up to a bound', () => {
  const log = new LogLines();
  const view = new LogView(log);
  log.append([line(0, { line: 'x'.repeat(25) }), line(1, { line: '' }), line(2, { line: 'x'.repeat(10 * WRAPPED_ROWS_MAX + 1) })]);
  view.update(ALL, '', 10);
  expect([view.rows.rowOf(1), view.rows.rowOf(2), view.rows.rows]).toEqual([3, 4, 4 + WRAPPED_ROWS_MAX]);
  view.update(ALL, '', 0);
  expect(view.rows.rows).toBe(3);
});

test('a linked line is found, or the next one where it was filtered away', () => {
  const log = new LogLines();
  const view = new LogView(log);
  log.append(lines(0, 10));
  view.update({ step: 'even', stream: '' }, '', 0);
  expect([view.placeOf(4), view.placeOf(5), view.placeOf(9)]).toEqual([2, 3, null]);
});

test('100,000 lines come in, are filtered and searched within a frame or few', () => {
  const log = new LogLines();
  const view = new LogView(log);
  const all = lines(0, 100_000);
  const started = performance.now();
  log.append(all);
  view.update(ALL, '', 0);
  view.update(ALL, 'line 99999', 0);
  view.update({ step: 'odd', stream: '' }, 'line 99999', 120);
  expect(performance.now() - started).toBeLessThan(2_000);
  expect(view.hits).toHaveLength(1);
});
