// Escape sequences of a line of output, read as runs of text with a look. Pure.
// Promises: nothing a process prints can do more than look different: no link, no cursor, no reordered text; and nothing is
// left out but whole escape sequences, which the raw log still has.
// Colours are names of the theme's palette, so that each keeps its contrast; 256 and true colours go to the nearest name.

export interface Piece {
  text: string;
  /** Class names; empty for plain text. */
  look: string;
}

const COLOURS = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'] as const;
const RGB: [number, number, number][] = [
  [0, 0, 0],
  [205, 49, 49],
  [13, 188, 121],
  [229, 229, 16],
  [36, 114, 200],
  [188, 63, 188],
  [17, 168, 205],
  [229, 229, 229],
];

// CSI; OSC, DCS, SOS, PM, APC up to their own end, so that an open one swallows nothing; character sets; the two-byte rest.
const ESCAPE = /(?:\x1b\[|\x9b)([0-?]*)[ -/]*([@-~])?|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)|\x1b[ -/]+[0-~]?|\x1b[0-~]?/g;
// Controls, and the characters that turn text around: shown, since what is hidden may be meant to deceive.
const UNSAFE = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

export function plainText(line: string): string {
  if (!/[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/.test(line)) return line;
  return shown(unended(line).replace(ESCAPE, ''));
}

/** Without the carriage return of a line end; any other is content. */
function unended(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line;
}

function shown(text: string): string {
  return text
    .replaceAll('\t', '    ')
    .replace(UNSAFE, (character) => {
      const code = character.charCodeAt(0).toString(16).toUpperCase();
      return `<${code.padStart(code.length > 2 ? 4 : 2, '0')}>`;
    });
}

interface Look {
  ink: string | null;
  ground: string | null;
  bold: boolean;
  dim: boolean;
  italic: boolean;
  underline: boolean;
  inverse: boolean;
  struck: boolean;
}

const PLAIN: Look = { ink: null, ground: null, bold: false, dim: false, italic: false, underline: false, inverse: false, struck: false };

export function pieces(raw: string): Piece[] {
  const line = unended(raw);
  const found: Piece[] = [];
  let look = PLAIN;
  let from = 0;
  const push = (text: string): void => {
    if (text !== '') found.push({ text: shown(text), look: classes(look) });
  };
  for (const match of line.matchAll(ESCAPE)) {
    push(line.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[2] === 'm') look = restyle(look, match[1] ?? '');
  }
  push(line.slice(from));
  return found.filter(({ text }) => text !== '');
}

function classes(look: Look): string {
  const names: string[] = [];
  // A ground takes the whole cell: its text has one colour that goes with it, whatever was asked for.
  const ground = look.inverse ? (look.ink ?? 'white') : look.ground;
  if (ground) names.push(`on-${ground}`);
  else if (look.ink) names.push(`in-${look.ink}`);
  for (const name of ['bold', 'dim', 'italic', 'underline', 'struck'] as const) if (look[name]) names.push(name);
  return names.join(' ');
}

function restyle(look: Look, parameters: string): Look {
  if (!/^[\d;:]*$/.test(parameters)) return look;
  const codes = parameters.split(/[;:]/).map((code) => Number(code || 0));
  let next = { ...look };
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at] ?? 0;
    if (code === 38 || code === 48) {
      const { colour, used } = extended(codes.slice(at + 1));
      if (code === 38) next.ink = colour;
      else next.ground = colour;
      at += used;
    } else next = simple(next, code);
  }
  return next;
}

function simple(look: Look, code: number): Look {
  if (code >= 30 && code <= 37) return { ...look, ink: COLOURS[code - 30] ?? null };
  if (code >= 90 && code <= 97) return { ...look, ink: COLOURS[code - 90] ?? null };
  if (code >= 40 && code <= 47) return { ...look, ground: COLOURS[code - 40] ?? null };
  if (code >= 100 && code <= 107) return { ...look, ground: COLOURS[code - 100] ?? null };
  switch (code) {
    case 0:
      return PLAIN;
    case 1:
      return { ...look, bold: true };
    case 2:
      return { ...look, dim: true };
    case 3:
      return { ...look, italic: true };
    case 4:
      return { ...look, underline: true };
    case 7:
      return { ...look, inverse: true };
    case 9:
      return { ...look, struck: true };
    case 22:
      return { ...look, bold: false, dim: false };
    case 23:
      return { ...look, italic: false };
    case 24:
      return { ...look, underline: false };
    case 27:
      return { ...look, inverse: false };
    case 29:
      return { ...look, struck: false };
    case 39:
      return { ...look, ink: null };
    case 49:
      return { ...look, ground: null };
    default:
      return look;
  }
}

/** What follows 38 or 48: `5;n` or `2;r;g;b`. */
function extended(codes: number[]): { colour: string | null; used: number } {
  if (codes[0] === 5) return { colour: ofTable(codes[1] ?? 0), used: 2 };
  if (codes[0] === 2) return { colour: nearest(codes[1] ?? 0, codes[2] ?? 0, codes[3] ?? 0), used: 4 };
  return { colour: null, used: 1 };
}

function ofTable(index: number): string | null {
  if (index < 16) return COLOURS[index % 8] ?? null;
  if (index >= 232) return nearest(8 + (index - 232) * 10, 8 + (index - 232) * 10, 8 + (index - 232) * 10);
  const level = (value: number): number => (value === 0 ? 0 : 55 + value * 40);
  const cube = index - 16;
  return nearest(level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6));
}

function nearest(red: number, green: number, blue: number): string | null {
  const distances = RGB.map(([r, g, b]) => (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2);
  return COLOURS[distances.indexOf(Math.min(...distances))] ?? null;
}

// East Asian wide and full-width forms, and emoji: two columns of a fixed-width face.
const WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;

export function columnsOf(plain: string): number {
  // Most lines have nothing but ASCII: their length is their width.
  if (/^[\x20-\x7e]*$/.test(plain)) return plain.length;
  let columns = 0;
  for (const character of plain) columns += WIDE.test(character) ? 2 : /\p{M}/u.test(character) ? 0 : 1;
  return columns;
}

/** The pieces of one wrapped row: columns [from, to). */
export function cut(line: Piece[], from: number, to: number): Piece[] {
  const kept: Piece[] = [];
  let at = 0;
  for (const piece of line) {
    let text = '';
    for (const character of piece.text) {
      if (at >= from && at < to) text += character;
      at += columnsOf(character);
    }
    if (text) kept.push({ text, look: piece.look });
    if (at >= to) break;
  }
  return kept;
}

export interface Found extends Piece {
  hit: boolean;
}

/** The pieces, cut where a searched text stands, so that it can be marked across looks. `query` is in lower case. */
export function mark(line: Piece[], query: string): Found[] {
  const whole = line.map(({ text }) => text).join('').toLowerCase();
  const edges: [number, number][] = [];
  for (let at = query ? whole.indexOf(query) : -1; at >= 0; at = whole.indexOf(query, at + query.length)) edges.push([at, at + query.length]);
  if (edges.length === 0) return line.map((piece) => ({ ...piece, hit: false }));
  const marked: Found[] = [];
  let start = 0;
  for (const { text, look } of line) {
    let from = 0;
    for (const [begin, end] of edges) {
      const [a, b] = [Math.max(begin - start, from), Math.min(end - start, text.length)];
      if (a >= b) continue;
      if (a > from) marked.push({ text: text.slice(from, a), look, hit: false });
      marked.push({ text: text.slice(a, b), look, hit: true });
      from = b;
    }
    if (from < text.length) marked.push({ text: text.slice(from), look, hit: false });
    start += text.length;
  }
  return marked;
}
