// How far a reader has come in a stream: the sequence of the last event and the position of the last log line.
// Promises: both halves only grow, and each is judged by itself, since events and lines have no order between them.

export interface Cursor {
  /** -1 is before the first event. */
  seq: number;
  /** -1 is before the first line; streams without lines never move it. */
  pos: number;
}

export const BEFORE_ALL: Cursor = { seq: -1, pos: -1 };

export function parseCursor(id: string): Cursor | null {
  const found = /^(-1|\d{1,16})(?:\.(-1|\d{1,16}))?$/.exec(id);
  if (!found) return null;
  return { seq: Number(found[1]), pos: found[2] === undefined ? -1 : Number(found[2]) };
}

/** What `after=` takes: streams that carry log lines have two halves, the others one. */
export function formatCursor(cursor: Cursor, hasLines: boolean): string {
  return hasLines ? `${cursor.seq}.${cursor.pos}` : String(cursor.seq);
}

export function furthest(a: Cursor, b: Cursor): Cursor {
  return { seq: Math.max(a.seq, b.seq), pos: Math.max(a.pos, b.pos) };
}

export function nearest(a: Cursor, b: Cursor): Cursor {
  return { seq: Math.min(a.seq, b.seq), pos: Math.min(a.pos, b.pos) };
}

/** Whether a reader at `cursor` still lacks something that a stream at `position` has already passed. */
export function isBehind(cursor: Cursor, position: Cursor): boolean {
  return cursor.seq < position.seq || cursor.pos < position.pos;
}
