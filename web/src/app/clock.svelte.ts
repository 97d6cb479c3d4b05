// The present moment, as the server has it, for durations and ages on the page. Owns the ticking.
// Promises: nothing ticks in a hidden tab, where nobody looks, or while the server is out of sight: what is shown stays true; a reader who asked for less motion gets one tick a second.

import { live } from '../live/status.svelte.ts';

const CALM_MS = 1_000;
/** Ten times a second is enough for a bar to grow smoothly, and leaves the frame to the rest. */
const FINE_MS = 100;

class Ticker {
  #now = $state(Date.now());
  #readers = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  readonly #everyMs: number;

  constructor(everyMs: number) {
    this.#everyMs = everyMs;
  }

  get now(): number {
    return this.#now + live.skewMs;
  }

  /** For `$effect`: ticks until the returned function is called. */
  run(): () => void {
    if (this.#readers === 0) {
      this.#now = Date.now();
      this.#timer = setInterval(() => {
        if (!document.hidden && !live.broken) this.#now = Date.now();
      }, this.#everyMs);
    }
    this.#readers += 1;
    return () => {
      this.#readers -= 1;
      if (this.#readers === 0) clearInterval(this.#timer);
    };
  }
}

export const calm = new Ticker(CALM_MS);
export const fine = new Ticker(matchMedia('(prefers-reduced-motion: reduce)').matches ? CALM_MS : FINE_MS);
