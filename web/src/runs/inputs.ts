// A pack's inputs as fields of a form. Owns the reading of what a person typed into what the server takes.
// Promises: a value is sent in the type that the pack names, or the field says why it cannot be.

import type { Inputs, PackInput } from '../api/types.ts';

export type FieldKind = 'text' | 'lines' | 'number' | 'switch' | 'json';

export function kindOf(input: PackInput): FieldKind {
  switch (input.type) {
    case 'string':
      return 'text';
    case 'list':
      return 'lines';
    case 'integer':
    case 'int':
    case 'number':
      return 'number';
    case 'boolean':
    case 'bool':
      return 'switch';
    default:
      return 'json';
  }
}

/** What stands in the field before anyone types. */
export function initialText(input: PackInput): string {
  const value = input.default;
  if (value === undefined || value === null) return '';
  if (kindOf(input) === 'lines' && Array.isArray(value)) return value.map((item) => (typeof item === 'string' ? item : JSON.stringify(item))).join('\n');
  return typeof value === 'string' ? value : JSON.stringify(value);
}

export type Reading = { value: unknown } | { wrong: string } | { absent: true };

/** An empty field sends nothing, so that the pack's default holds; a text that has none is sent empty only on purpose. */
export function readField(input: PackInput, text: string): Reading {
  const kind = kindOf(input);
  if (kind === 'text') return text === '' && input.default === undefined ? { wrong: 'Needed.' } : { value: text };
  if (kind === 'lines') return { value: text.split('\n').map((line) => line.trim()).filter(Boolean) };
  if (kind === 'switch') return { value: text === 'true' };
  if (text.trim() === '') return input.default === undefined ? { wrong: 'Needed.' } : { absent: true };
  if (kind === 'number') return /^-?\d+$/.test(text.trim()) && Number.isSafeInteger(Number(text)) ? { value: Number(text) } : { wrong: 'A whole number.' };
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return { wrong: 'Not valid JSON.' };
  }
}

export interface Form {
  inputs: Inputs;
  wrong: Record<string, string>;
}

export function readForm(fields: Record<string, PackInput>, texts: Record<string, string>): Form {
  const form: Form = { inputs: {}, wrong: {} };
  for (const [name, input] of Object.entries(fields)) {
    const reading = readField(input, texts[name] ?? '');
    if ('wrong' in reading) form.wrong[name] = reading.wrong;
    else if ('value' in reading) form.inputs[name] = reading.value;
  }
  return form;
}

/** `/inputs/root` speaks of the field `root`. */
export function fieldOf(pointer: string): string | null {
  const found = /^\/inputs\/([^/]+)/.exec(pointer);
  return found?.[1]?.replaceAll('~1', '/').replaceAll('~0', '~') ?? null;
}
