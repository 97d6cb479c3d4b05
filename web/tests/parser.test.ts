import { expect, test } from 'vitest';
import { MESSAGE_CHARACTERS_MAX, MessageTooLong, Parser, type Message } from '../src/live/parser.ts';
import { randomFrom } from './events.ts';

const parse = (...chunks: string[]): Message[] => {
  const parser = new Parser();
  return chunks.flatMap((chunk) => parser.push(chunk));
};

test.each<[string, string, Message[]]>([
  ['id, event and data', 'id: 4.1\nevent: job.started\ndata: {"a":1}\n\n', [{ id: '4.1', event: 'job.started', data: '{"a":1}' }]],
  ['data alone', 'data: x\n\n', [{ id: null, event: 'message', data: 'x' }]],
  ['data of several lines', 'data: a\ndata:b\ndata\n\n', [{ id: null, event: 'message', data: 'a\nb\n' }]],
  ['only one blank is taken off', 'data:  a\n\n', [{ id: null, event: 'message', data: ' a' }]],
  ['comments and unknown fields', ': hello\nfoo: bar\ndata: x\n\n', [{ id: null, event: 'message', data: 'x' }]],
  ['an event without data is none', 'event: x\nid: 3\n\n', []],
  ['an id is of its own message', 'id: 1\ndata: a\n\ndata: b\n\n', [{ id: '1', event: 'message', data: 'a' }, { id: null, event: 'message', data: 'b' }]],
  ['an id with NUL is ignored', 'id: a\0b\ndata: x\n\n', [{ id: null, event: 'message', data: 'x' }]],
  ['a byte order mark at the start', '\uFEFFdata: x\n\n', [{ id: null, event: 'message', data: 'x' }]],
  ['CR and CRLF end lines too', 'data: a\r\ndata: b\r\r\ndata: c\n\n', [{ id: null, event: 'message', data: 'a\nb' }, { id: null, event: 'message', data: 'c' }]],
  ['an unfinished message is never given out', 'data: a\n\ndata: b\n', [{ id: null, event: 'message', data: 'a' }]],
])('%s', (_, text, messages) => {
  expect(parse(text)).toEqual(messages);
});

test('any split of the same text gives the same messages', () => {
  const text = '\uFEFFretry: 1500\r\nid: 7.2\r\nevent: step.output\r\ndata: {"line":"ä\u2028"}\r\n\r\n: beat\rdata: a\rdata: b\r\rid: 8\ndata:\n\n';
  const whole = parse(text);
  expect(whole).toHaveLength(3);
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = randomFrom(seed);
    const chunks: string[] = [];
    for (let from = 0; from < text.length; ) {
      const to = from + 1 + Math.floor(random() * 6);
      chunks.push(text.slice(from, to));
      from = to;
    }
    expect(parse(...chunks), `seed ${seed}`).toEqual(whole);
  }
});

test('the time to wait before a reconnect is kept', () => {
  const parser = new Parser();
  parser.push('retry: 2500\n\nretry: soon\n\n');
  expect(parser.retryMs).toBe(2500);
});

test('a message may be as long as the bound and not one character longer', () => {
  const fits = new Parser();
  expect(fits.push(`data: ${'x'.repeat(MESSAGE_CHARACTERS_MAX - 6)}`)).toEqual([]);
  expect(() => fits.push('x')).toThrow(MessageTooLong);
});
