import { expect, test } from 'vitest';
import { formatCursor, furthest, isBehind, nearest, parseCursor } from '../src/live/cursor.ts';

test.each([
  ['4711', { seq: 4711, pos: -1 }],
  ['4711.12', { seq: 4711, pos: 12 }],
  ['-1', { seq: -1, pos: -1 }],
  ['3.-1', { seq: 3, pos: -1 }],
  ['', null],
  ['a.b', null],
  ['1.2.3', null],
  ['1e3', null],
])('%s is read', (id, cursor) => {
  expect(parseCursor(id)).toEqual(cursor);
});

test('a cursor is written with its line only where a stream has lines', () => {
  expect(formatCursor({ seq: 5, pos: 7 }, true)).toBe('5.7');
  expect(formatCursor({ seq: 5, pos: 7 }, false)).toBe('5');
});

test('each half counts by itself', () => {
  expect(furthest({ seq: 1, pos: 9 }, { seq: 4, pos: 2 })).toEqual({ seq: 4, pos: 9 });
  expect(nearest({ seq: 1, pos: 9 }, { seq: 4, pos: 2 })).toEqual({ seq: 1, pos: 2 });
  expect(isBehind({ seq: 4, pos: 9 }, { seq: 4, pos: 9 })).toBe(false);
  expect(isBehind({ seq: 5, pos: 8 }, { seq: 4, pos: 9 })).toBe(true);
});
