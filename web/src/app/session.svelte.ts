// Who is signed in, and what the server has said about itself. Owns signing in and out.
// Promises: a session that ends anywhere ends in every tab. Must never keep the token: the cookie is the browser's alone.

import { observe, sendChecked, setCsrfToken } from '../api/client.ts';
import { failureFrom, Refused, type Failure } from '../api/problem.ts';
import type { Session } from '../api/types.ts';

type Standing = 'asking' | 'in' | 'out' | 'unknown';

let standing: Standing = $state('asking');
let session: Session | null = $state.raw(null);
let failure: Failure | null = $state.raw(null);
let ended = $state(false);
let version = $state('');
let sealed: boolean | null = $state(null);

export const who = {
  get standing() {
    return standing;
  },
  get session() {
    return session;
  },
  /** Why it is not known who is signed in. */
  get failure() {
    return failure;
  },
  /** A session was there and is not any more. */
  get ended() {
    return ended;
  },
  get version() {
    return version;
  },
  /** null until an answer has said it. */
  get sealed() {
    return sealed;
  },
  /** An imported or replayed ledger: the server refuses whatever would change it. */
  get readOnly(): boolean {
    return session?.tenant?.startsWith('foreign:') ?? false;
  },
  /** Whether the token allows it; for what is read. */
  has(scope: string): boolean {
    return session?.scopes.some((given) => given === scope || given === '*') ?? false;
  },
  /** Whether an act that needs this is offered. */
  may(scope: string): boolean {
    return !who.readOnly && who.has(scope);
  },
};

const channel = 'BroadcastChannel' in globalThis ? new BroadcastChannel('fastness.session') : null;
channel?.addEventListener('message', () => void askWho());

function become(found: Session | null): void {
  setCsrfToken(found?.csrfToken ?? '');
  session = found;
  standing = found ? 'in' : 'out';
}

observe({
  answered(response) {
    version = response.headers.get('X-Fastness-Version') ?? version;
    const seal = response.headers.get('X-Sealed-Mode');
    if (seal) sealed = seal === 'true';
    if (response.status !== 401 || standing !== 'in') return;
    ended = true;
    become(null);
  },
});

export async function askWho(): Promise<void> {
  try {
    become((await (await sendChecked('/session')).json()) as Session);
    failure = null;
  } catch (cause) {
    const found = failureFrom(cause);
    if (found instanceof Refused && found.status === 401) return become(null);
    failure = found;
    standing = 'unknown';
  }
}

/** # Errors: `Refused` for a token that opens nothing, `Unreachable`. */
export async function signIn(token: string): Promise<void> {
  const init = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ token }) };
  const found = await sendChecked('/session', init);
  ended = false;
  become((await found.json()) as Session);
  channel?.postMessage('in');
}

export async function signOut(): Promise<void> {
  await sendChecked('/session', { method: 'DELETE' });
  ended = false;
  become(null);
  channel?.postMessage('out');
}
