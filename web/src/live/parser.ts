// Server-sent events from text chunks, as the HTML standard's "event stream interpretation" has it.
// Promises: any split of the same text gives the same messages; a message without an end is never given out.
// Must never hold more than MESSAGE_CHARACTERS_MAX of an unfinished message.

export interface Message {
  /** As sent with this very message; null if it carried none. */
  id: string | null;
  event: string;
  data: string;
}

export const MESSAGE_CHARACTERS_MAX = 4 * 1024 * 1024;

export class MessageTooLong extends Error {}

export class Parser {
  /** What the server asked to wait before a reconnect, if it did. */
  retryMs: number | null = null;

  #rest = '';
  #atStart = true;
  #id: string | null = null;
  #event = '';
  #data: string[] = [];
  #dataLength = 0;

  push(chunk: string): Message[] {
    let text = this.#rest + chunk;
    if (this.#atStart && text.length > 0) {
      if (text.startsWith('\uFEFF')) text = text.slice(1);
      this.#atStart = false;
    }
    const messages: Message[] = [];
    let from = 0;
    for (;;) {
      const end = lineEnd(text, from);
      if (end === null) break;
      const message = this.#take(text.slice(from, end.at));
      if (message) messages.push(message);
      from = end.next;
    }
    this.#rest = text.slice(from);
    if (this.#rest.length + this.#dataLength > MESSAGE_CHARACTERS_MAX) throw new MessageTooLong();
    return messages;
  }

  #take(line: string): Message | null {
    if (line === '') return this.#finish();
    if (line.startsWith(':')) return null;
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (field === 'data') {
      this.#data.push(value);
      this.#dataLength += value.length;
    } else if (field === 'event') this.#event = value;
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    else if (field === 'retry' && /^\d+$/.test(value)) this.retryMs = Number(value);
    return null;
  }

  #finish(): Message | null {
    const message = this.#data.length > 0 ? { id: this.#id, event: this.#event || 'message', data: this.#data.join('\n') } : null;
    this.#id = null;
    this.#event = '';
    this.#data = [];
    this.#dataLength = 0;
    return message;
  }
}

/** The end of the line that starts at `from`. A CR at the very end may be half of CRLF: it waits for the next chunk. */
function lineEnd(text: string, from: number): { at: number; next: number } | null {
  for (let at = from; at < text.length; at += 1) {
    const character = text.charCodeAt(at);
    if (character === 10) return { at, next: at + 1 };
    if (character === 13) {
      if (at + 1 === text.length) return null;
      return { at, next: text.charCodeAt(at + 1) === 10 ? at + 2 : at + 1 };
    }
  }
  return null;
}
