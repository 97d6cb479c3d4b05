// Something read from the server and shown. Owns its four states: not yet, there, failed, there but of an earlier time.
// Promises: a failed refresh keeps the old data; of two answers the later question wins.

import { failureFrom, type Failure } from '../api/problem.ts';

export class Resource<Data> {
  data: Data | null = $state.raw(null);
  failure: Failure | null = $state.raw(null);
  loading = $state(false);
  /** When `data` was true, by this browser's clock. */
  loadedAt = $state(0);

  readonly #ask: () => Promise<Data>;
  #asked = 0;

  constructor(ask: () => Promise<Data>) {
    this.#ask = ask;
  }

  async load(): Promise<Data | null> {
    this.#asked += 1;
    const mine = this.#asked;
    this.loading = true;
    try {
      const data = await this.#ask();
      if (mine !== this.#asked) return null;
      this.data = data;
      this.failure = null;
      this.loadedAt = Date.now();
      return data;
    } catch (cause) {
      if (mine === this.#asked) this.failure = failureFrom(cause);
      return null;
    } finally {
      if (mine === this.#asked) this.loading = false;
    }
  }

  /** Forgets what is shown: it belongs to another question now. */
  clear(): void {
    this.#asked += 1;
    this.data = null;
    this.failure = null;
    this.loading = false;
  }
}
