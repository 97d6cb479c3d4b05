// How this tab stands with the server: the state of its streams and the server's clock. Owns only what is shown of them;
// `follow.ts` does the work and is loaded by the first page that follows something.

export type Connection = 'idle' | 'connecting' | 'live' | 'retrying' | 'limited' | 'offline';

let connection: Connection = $state('idle');
let offline = $state(!navigator.onLine);
let skewMs = $state(0);
let retry = (): void => {};
let stop = (): void => {};

export const live = {
  get connection(): Connection {
    return offline ? 'offline' : connection;
  },
  /** Acts are refused while the tab cannot see what they would do. */
  get broken(): boolean {
    return offline || connection === 'retrying';
  },
  /** How far the server's clock is ahead of this browser's. */
  get skewMs(): number {
    return skewMs;
  },
};

/** For `follow.ts`: how it is reached, and how it tells. */
export function attachStreams(streams: { retry(): void; stop(): void }): { connection(now: Connection): void; skew(ms: number): void } {
  ({ retry, stop } = streams);
  return {
    connection: (now) => (connection = now),
    skew: (ms) => (skewMs = ms),
  };
}

export function retryNow(): void {
  retry();
}

/** Lets go of every stream: the person has signed out. */
export function stopStreams(): void {
  stop();
}

addEventListener('offline', () => (offline = true));
addEventListener('online', () => {
  offline = false;
  retry();
});
