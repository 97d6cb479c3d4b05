// Keys. Owns which key does what on the present page, and when a key is only a letter being typed.
// Promises: single keys never act while someone writes, in a dialog, or when they are switched off; `g` waits for a letter.

import { preferences } from './preferences.svelte.ts';

export interface Shortcut {
  /** `j`, `G`, `?`, or `g r` for a sequence. */
  keys: string;
  does: string;
  run(event: KeyboardEvent): void;
}

const SEQUENCE_MS_MAX = 1_200;
const layers: Shortcut[][] = [];
let firstKey: { key: string; at: number } | null = null;

/** Adds keys for as long as a page or part is there; for `$effect`. Later ones go before earlier ones. */
export function keys(shortcuts: Shortcut[]): () => void {
  layers.push(shortcuts);
  return () => void layers.splice(layers.indexOf(shortcuts), 1);
}

export function allShortcuts(): Shortcut[] {
  return [...layers].reverse().flat();
}

function isWriting(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches('input:not([type=checkbox]):not([type=radio]), textarea, select'));
}

function onKey(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (!preferences.singleKeys || isWriting(event.target) || document.querySelector('dialog[open]')) return;
  const sequence = firstKey && event.timeStamp - firstKey.at < SEQUENCE_MS_MAX ? `${firstKey.key} ${event.key}` : null;
  firstKey = null;
  const found = allShortcuts().find(({ keys }) => keys === sequence) ?? allShortcuts().find(({ keys }) => keys === event.key);
  if (found) {
    event.preventDefault();
    found.run(event);
  } else if (event.key === 'g') firstKey = { key: 'g', at: event.timeStamp };
}

export function startShortcuts(): void {
  document.addEventListener('keydown', onKey);
}
