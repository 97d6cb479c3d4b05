import { expect, test } from 'vitest';
import { columnsOf, cut, mark, pieces, plainText } from '../src/log/ansi.ts';
import { randomFrom } from './events.ts';

const shown = (line: string): [string, string][] => pieces(line).map(({ text, look }) => [text, look]);

test.each<[string, string, [string, string][]]>([
  ['plain text', 'hello', [['hello', '']]],
  ['a colour and its end', '\x1b[31mred\x1b[0m plain', [['red', 'in-red'], [' plain', '']]],
  ['bright colours are their plain ones', '\x1b[92mok\x1b[39m', [['ok', 'in-green']]],
  ['several at once', '\x1b[1;4;33mx\x1b[22;24my', [['x', 'in-yellow bold underline'], ['y', 'in-yellow']]],
  ['an empty one resets', '\x1b[31ma\x1b[mb', [['a', 'in-red'], ['b', '']]],
  ['a ground takes the whole cell', '\x1b[30;40mhidden?', [['hidden?', 'on-black']]],
  ['inverse', '\x1b[7mx', [['x', 'on-white']]],
  ['the table of 256', '\x1b[38;5;196mx\x1b[38;5;2my\x1b[48;5;21mz', [['x', 'in-red'], ['y', 'in-green'], ['z', 'on-blue']]],
  ['true colour goes to the nearest name', '\x1b[38;2;250;250;250mx', [['x', 'in-white']]],
  ['colons part parameters too', '\x1b[38:5:1mx', [['x', 'in-red']]],
  ['concealed text is shown', '\x1b[8mpassword', [['password', '']]],
  ['cursor and screen', '\x1b[2J\x1b[10;10Hx\x1b[K', [['x', '']]],
  ['links and titles lose their target, not their text', '\x1b]8;;https://evil.example\x07here\x1b]8;;\x1b\\', [['here', '']]],
  ['an open string swallows nothing', '\x1b]0;title without end', [['0;title without end', '']]],
  ['an escape at the end', 'x\x1b', [['x', '']]],
  ['an open control sequence', 'x\x1b[31', [['x', '']]],
  ['the one-character form', '\x9b31mx', [['x', 'in-red']]],
  ['controls are shown', 'a\x00b\x07c\x08', [['a<00>b<07>c<08>', '']]],
  ['text cannot be turned around', 'a\u202Eb\u2066c\u200Bd', [['a<202E>b<2066>c<200B>d', '']]],
  ['a carriage return inside is shown, at the end it is a line end', '10%\r100%\r', [['10%<0D>100%', '']]],
  ['markup is text', '<img src=x onerror=alert(1)>&amp;', [['<img src=x onerror=alert(1)>&amp;', '']]],
  ['tabs are four blanks', 'a\tb', [['a    b', '']]],
])('%s', (_, line, expected) => {
  expect(shown(line)).toEqual(expected);
});

test('the plain text is what the pieces show: 2,000 random lines', () => {
  const alphabet = ['a', ' ', '\x1b', '[', ']', '3', '1', ';', 'm', '\x07', '\\', '\r', '\t', '\u202E', '\x9b', 'K', '<', '漢'];
  for (let seed = 1; seed <= 2_000; seed += 1) {
    const random = randomFrom(seed);
    const line = Array.from({ length: 24 }, () => alphabet[Math.floor(random() * alphabet.length)]).join('');
    const text = shown(line).map(([text]) => text).join('');
    expect(plainText(line), `seed ${seed} ${JSON.stringify(line)}`).toBe(text);
    expect(/[\x00-\x1f\x7f-\x9f\u202E]/.test(text), `seed ${seed}`).toBe(false);
  }
});

test('a long line of escapes is read in time', () => {
  const started = performance.now();
  pieces('\x1b]'.repeat(32_000));
  pieces('\x1b[3'.repeat(20_000));
  pieces('\x1b[31mx'.repeat(8_000));
  expect(performance.now() - started).toBeLessThan(1_500);
});

test.each([
  ['abc', 3],
  ['漢字', 4],
  ['e\u0301', 1],
  ['🚧', 2],
])('%s takes %i columns', (text, columns) => {
  expect(columnsOf(text)).toBe(columns);
});

test('a wrapped row has the columns that are its own', () => {
  const line = pieces('\x1b[31mabcdef\x1b[0mghij');
  expect(cut(line, 4, 8)).toEqual([{ text: 'ef', look: 'in-red' }, { text: 'gh', look: '' }]);
  expect([0, 4, 8].map((from) => cut(line, from, from + 4).map(({ text }) => text).join('')).join('|')).toBe('abcd|efgh|ij');
});

test('a searched text is marked across looks, whatever its case', () => {
  const found = mark(pieces('an \x1b[31mErr\x1b[0mor, error'), 'error');
  expect(found.map(({ text, hit }) => (hit ? `[${text}]` : text)).join('')).toBe('an [Err][or], [error]');
  expect(mark(pieces('nothing'), 'error')).toEqual([{ text: 'nothing', look: '', hit: false }]);
  expect(mark(pieces('x'), '')).toEqual([{ text: 'x', look: '', hit: false }]);
});
