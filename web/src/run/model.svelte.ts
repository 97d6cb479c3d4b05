// A run as the page shows it: its parts, its log, its artifacts, kept true by the stream. Owns their loading and following.
// Promises: snapshot first, then the stream from it on; one change of the view a frame; a gap is answered by a new snapshot.

import { read } from '../api/api.ts';
import { failureFrom, Refused, type Failure } from '../api/problem.ts';
import type { Artifact, Envelope, Gap, LogLine, PackRun } from '../api/types.ts';
import { Resource } from '../app/resource.svelte.ts';
import type { Subscription } from '../live/hub.ts';
import { follow } from '../live/follow.ts';
import type { Message } from '../live/parser.ts';
import { LogLines } from '../log/lines.ts';
import { loadLog } from '../log/load.ts';
import { graphOf, timelineOf } from './derive.ts';
import { hasEnded } from './fold.ts';
import { type Parts, RunParts } from './parts.ts';

/** After a step ended, server-made facts (critical path, exit of a gate) are asked for anew, this much later at most. */
const REFRESH_MS = 1_500;
/** The log is read page by page this long; what is left of a living run's comes down the stream. */
const LOG_MS_MAX = 2_000;

export class RunModel {
  parts: Parts | null = $state.raw(null);
  failure: Failure | null = $state.raw(null);
  loadedAt = $state(0);
  /** Grows whenever the log has new lines. */
  logVersion = $state(0);
  logFailure: Failure | null = $state.raw(null);
  logLoading = $state(true);

  readonly id: string;
  readonly log = new LogLines();
  readonly artifacts: Resource<Artifact[]>;

  #folded: RunParts | null = null;
  #subscription: Subscription | null = null;
  #refresh: ReturnType<typeof setTimeout> | null = null;
  readonly #closing = new AbortController();

  constructor(id: string) {
    this.id = id;
    const path = { id };
    this.artifacts = new Resource(async () => (await read('/pack-runs/{id}/artifacts', { path })).items);
  }

  async open(): Promise<void> {
    if (!(await this.load())) return;
    await this.#readLog();
    this.#follow();
  }

  close(): void {
    this.#closing.abort();
    this.#subscription?.close();
    if (this.#refresh) clearTimeout(this.#refresh);
  }

  /** Takes a snapshot and puts it under what has happened since. */
  async load(): Promise<boolean> {
    try {
      const parts = await this.#ask();
      if (this.#closing.signal.aborted) return false;
      if (!this.#folded) this.#folded = new RunParts(parts);
      else if (!this.#folded.rebase(parts)) this.#folded = new RunParts(parts);
      this.parts = this.#folded.parts;
      this.failure = null;
      this.loadedAt = Date.now();
      return true;
    } catch (cause) {
      if (!this.#closing.signal.aborted) this.failure = failureFrom(cause);
      return false;
    }
  }

  /** The same as at first, after a failure or a pause. */
  async reopen(): Promise<void> {
    if (!(await this.load())) return;
    await this.#readLog();
    this.#follow();
    if (this.artifacts.data) void this.artifacts.load();
  }

  async #ask(): Promise<Parts> {
    const asked = { path: { id: this.id } };
    const run = read('/pack-runs/{id}', asked);
    const orElse = async <Part>(asked: Promise<Part>, derive: (run: PackRun) => Part): Promise<Part> => {
      try {
        return await asked;
      } catch (cause) {
        if (cause instanceof Refused && (cause.status === 404 || cause.status === 501)) return derive(await run);
        throw cause;
      }
    };
    const [found, graph, timeline] = await Promise.all([
      run,
      orElse(read('/runs/{id}/graph', asked), graphOf),
      orElse(read('/runs/{id}/timeline', asked), timelineOf),
    ]);
    return { run: found, graph, timeline };
  }

  async #readLog(): Promise<void> {
    const ended = this.parts !== null && hasEnded(this.parts.run.status);
    this.logLoading = true;
    try {
      await loadLog({
        run: this.id,
        after: this.log.lastPos,
        untilMs: ended ? Number.POSITIVE_INFINITY : LOG_MS_MAX,
        signal: this.#closing.signal,
        take: (lines) => this.#takeLines(lines),
      });
      this.logFailure = null;
    } catch (cause) {
      if (!this.#closing.signal.aborted) this.logFailure = failureFrom(cause);
    } finally {
      this.logLoading = false;
    }
  }

  #takeLines(lines: LogLine[]): void {
    if (lines.length === 0) return;
    this.log.append(lines);
    this.logVersion += 1;
  }

  #follow(): void {
    if (!this.#folded || this.#closing.signal.aborted || hasEnded(this.#folded.parts.run.status)) return;
    const after = { seq: this.#folded.seq, pos: this.log.lastPos };
    if (this.#subscription) return this.#subscription.restart(after);
    this.#subscription = follow(`/stream/pack-runs/${this.id}`, true, after, {
      messages: (batch) => this.#take(batch),
      resync: () => void this.reopen(),
      state() {},
    });
  }

  #take(batch: Message[]): void {
    const events: Envelope[] = [];
    const lines: LogLine[] = [];
    let ended = false;
    for (const { event, data } of batch) {
      if (event === 'step.output') lines.push(JSON.parse(data) as LogLine);
      else if (event === 'gap') {
        // What came before it stands before it.
        this.#takeLines(lines.splice(0));
        this.#gap(JSON.parse(data) as Gap);
      }
      else if (event === 'end') ended = true;
      else if (event !== 'heartbeat' && event.includes('.')) events.push(JSON.parse(data) as Envelope);
    }
    this.#takeLines(lines);
    this.#takeEvents(events.filter(({ seq }) => Number.isSafeInteger(seq)));
    if (ended) void this.#end();
  }

  #takeEvents(events: Envelope[]): void {
    if (events.length === 0 || !this.#folded) return;
    this.#folded.apply(events);
    this.parts = this.#folded.parts;
    if (events.some(({ type }) => /^(job\.(completed|failed|cancelled)|gate\.|run\.)/.test(type))) this.#refreshSoon();
    if (this.artifacts.data && events.some(({ type }) => type === 'artifact.created')) void this.artifacts.load();
  }

  #gap({ of, to }: Gap): void {
    if (of === 'lines') {
      this.log.lost(to);
      this.logVersion += 1;
    }
    this.#refreshSoon(0);
  }

  #refreshSoon(delayMs = REFRESH_MS): void {
    this.#refresh ??= setTimeout(() => {
      this.#refresh = null;
      void this.load();
      if (this.artifacts.data) void this.artifacts.load();
    }, delayMs);
  }

  /** The run is over: nothing more will come, and the last snapshot stays. */
  async #end(): Promise<void> {
    this.#subscription?.close();
    this.#subscription = null;
    await this.load();
    await this.#readLog();
    if (this.artifacts.data) void this.artifacts.load();
  }
}
