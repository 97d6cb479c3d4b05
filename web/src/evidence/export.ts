// The form of an export. Owns the reading of what a person typed into the range that the server takes. Pure.

import type { Bundle, BundleContent } from '../api/types.ts';
import { count } from '../app/times.ts';

export interface ExportForm {
  from: string;
  to: string;
  artifacts: boolean;
  logs: boolean;
  /** The policy that says which redacted fields are shown. */
  redaction: string;
}

/** Shows nothing of redacted fields: what is exported unless something else is asked for. */
export const SHOWS_NOTHING = 'operational';

export interface ExportBody {
  from?: number;
  to?: number;
  redaction?: string;
  with: BundleContent[];
}

export type ExportReading = { body: ExportBody } | { wrong: { from?: string; to?: string } };

/** An event's number as it may be typed: `4711` or `4,711`. null: empty. */
function read(text: string): number | null | 'wrong' {
  const plain = text.trim().replaceAll(/(?<=\d),(?=\d{3})/g, '');
  if (plain === '') return null;
  return /^\d+$/.test(plain) && Number.isSafeInteger(Number(plain)) ? Number(plain) : 'wrong';
}

/** The form names the last event; the server takes one more than it. */
export function readExport(form: ExportForm): ExportReading {
  const [from, last] = [read(form.from), read(form.to)];
  const wrong: { from?: string; to?: string } = {};
  if (from === 'wrong') wrong.from = 'A whole number, or nothing.';
  if (last === 'wrong') wrong.to = 'A whole number, or nothing.';
  if (typeof from === 'number' && typeof last === 'number' && last < from) wrong.to = 'Not before the first event.';
  if (wrong.from || wrong.to) return { wrong };
  const contents: BundleContent[] = [...(form.artifacts ? (['artifacts'] as const) : []), ...(form.logs ? (['logs'] as const) : [])];
  const redaction = form.redaction === SHOWS_NOTHING ? {} : { redaction: form.redaction };
  return { body: { with: contents, ...redaction, ...(typeof from === 'number' ? { from } : {}), ...(typeof last === 'number' ? { to: last + 1 } : {}) } };
}

/** The command that does the same. */
export function commandOf({ from, to, redaction, with: contents }: ExportBody): string {
  const range = [...(from === undefined ? [] : [`--from ${from}`]), ...(to === undefined ? [] : [`--to ${to}`])];
  const shown = redaction === undefined ? [] : [`--redaction ${redaction}`];
  return ['fastness export', ...range, ...(contents.length > 0 ? [`--with ${contents.join(',')}`] : []), ...shown].join(' ');
}

/** What a bundle holds of redacted fields; empty where its events have none. */
export function shownText({ redaction }: Pick<Bundle, 'redaction'>): string {
  const { shown = 0, withheld = 0 } = redaction ?? {};
  if (shown + withheld === 0) return '';
  if (shown === 0) return withheld === 1 ? 'withholds 1 redacted field' : `withholds ${count(withheld)} redacted fields`;
  return `shows ${count(shown)} of ${shown + withheld === 1 ? '1 redacted field' : `${count(shown + withheld)} redacted fields`}`;
}

/** Where the next bundle begins, so that it extends the others; 0 where there is none. */
export function nextFirst(bundles: Bundle[]): number {
  return bundles.reduce((most, { size }) => Math.max(most, size), 0);
}

/** The newest range first; of two that end alike, the longer. */
export function sortedBundles(bundles: Bundle[]): Bundle[] {
  return bundles.toSorted((a, b) => b.size - a.size || a.first - b.first || (a.id < b.id ? -1 : 1));
}
