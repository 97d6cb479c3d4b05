// How times, durations, sizes and names are written. Owns every format, so that they are the same everywhere.
// Pure: the zone and the present moment come in.

import type { Zone } from './preferences.svelte.ts';

const formats = new Map<string, Intl.DateTimeFormat>();

function format(zone: Zone, key: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const name = `${zone} ${key}`;
  let found = formats.get(name);
  if (!found) {
    found = new Intl.DateTimeFormat('en-GB', { ...options, hourCycle: 'h23', ...(zone === 'utc' ? { timeZone: 'UTC' } : {}) });
    formats.set(name, found);
  }
  return found;
}

function parts(zone: Zone, at: Date): Record<string, string> {
  const options = { year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 } as const;
  return Object.fromEntries(format(zone, 'full', options).formatToParts(at).map(({ type, value }) => [type, value]));
}

/** `12:00:03` */
export function clockTime(iso: string, zone: Zone): string {
  const p = parts(zone, new Date(iso));
  return `${p['hour']}:${p['minute']}:${p['second']}`;
}

/** `12:00:03.120` */
export function preciseTime(iso: string, zone: Zone): string {
  return `${clockTime(iso, zone)}.${parts(zone, new Date(iso))['fractionalSecond']}`;
}

/** `2026-01-31 12:00:03` */
export function dateTime(iso: string, zone: Zone): string {
  const p = parts(zone, new Date(iso));
  return `${p['year']}-${p['month']}-${p['day']} ${clockTime(iso, zone)}`;
}

/** `842 ms`, `6.8 s`, `2 m 03 s`, `1 h 04 m`, `3 d 02 h` */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  const pair = (big: number, bigUnit: string, small: number, smallUnit: string) =>
    `${big} ${bigUnit} ${String(small).padStart(2, '0')} ${smallUnit}`;
  if (seconds < 3600) return pair(Math.floor(seconds / 60), 'm', seconds % 60, 's');
  if (seconds < 86_400) return pair(Math.floor(seconds / 3600), 'h', Math.floor((seconds % 3600) / 60), 'm');
  return pair(Math.floor(seconds / 86_400), 'd', Math.floor((seconds % 86_400) / 3600), 'h');
}

/** Like `duration`, in whole seconds: for what still grows, so that its width stays calm. */
export function growing(ms: number): string {
  return ms < 59_950 ? `${Math.max(0, Math.floor(ms / 1000))} s` : duration(ms);
}

/** `just now`, `4 min ago`, `3 h ago`, `12 d ago` */
export function age(iso: string, now: number): string {
  const seconds = Math.floor((now - Date.parse(iso)) / 1000);
  if (seconds < 10) return 'just now';
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** `1,204 B`, `4.7 KiB`, `1.2 GiB` */
export function bytes(count: number): string {
  if (count < 1024) return `${count} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let value = count / 1024;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

const integers = new Intl.NumberFormat('en-US');

export function count(value: number): string {
  return integers.format(value);
}

/** UUIDv7 shares its first digits with its neighbours in time: its last ones tell runs apart. */
export function shortId(id: string): string {
  return id.length > 12 ? `…${id.slice(-8)}` : id;
}
