// A run as it is shown: snapshot and the events since, for each of its three parts. Owns their meeting.
// Promises: each event counts once in each part, whichever came first, the event or a newer snapshot.
// Must never keep more than EVENTS_MAX events; what was forgotten makes a snapshot older than it useless, and says so.

import type { Envelope, PackRun, RunGraph, Timeline } from '../api/types.ts';
import { foldRun } from './fold.ts';
import { foldTimeline } from './spans.ts';

export const EVENTS_MAX = 4_096;

export interface Parts {
  run: PackRun;
  graph: RunGraph;
  timeline: Timeline;
}

type Fold<Part> = (part: Part, event: Envelope) => Part;
const FOLDS: { [Name in keyof Parts]: Fold<Parts[Name]> } = {
  run: foldRun,
  // Shape and critical path are the server's; the states of its nodes are read from the steps.
  graph: (graph) => graph,
  timeline: foldTimeline,
};

export class RunParts {
  parts: Parts;
  /** The last event that the parts know of. */
  seq: number;

  #recent: Envelope[] = [];
  #forgotten = -1;

  constructor(parts: Parts) {
    this.parts = parts;
    this.seq = Math.min(parts.run.asOf, parts.graph.asOf, parts.timeline.asOf);
  }

  apply(events: Envelope[]): void {
    for (const event of events) {
      if (event.seq <= this.seq) continue;
      this.seq = event.seq;
      this.#recent.push(event);
      this.parts = {
        run: advance(this.parts.run, event, FOLDS.run),
        graph: advance(this.parts.graph, event, FOLDS.graph),
        timeline: advance(this.parts.timeline, event, FOLDS.timeline),
      };
    }
    const over = this.#recent.length - EVENTS_MAX;
    if (over > 0) this.#forgotten = this.#recent.splice(0, over).at(-1)?.seq ?? this.#forgotten;
  }

  /** Puts newer snapshots under what has happened since. False: events between were forgotten, take a later snapshot. */
  rebase(parts: Parts): boolean {
    const oldest = Math.min(parts.run.asOf, parts.graph.asOf, parts.timeline.asOf);
    if (oldest < this.#forgotten) return false;
    this.parts = {
      run: this.#replay(parts.run, FOLDS.run),
      graph: this.#replay(parts.graph, FOLDS.graph),
      timeline: this.#replay(parts.timeline, FOLDS.timeline),
    };
    this.#recent = this.#recent.filter(({ seq }) => seq > oldest);
    this.seq = Math.max(this.seq, oldest);
    return true;
  }

  #replay<Part extends { asOf: number }>(part: Part, fold: Fold<Part>): Part {
    return this.#recent.reduce((folded, event) => advance(folded, event, fold), part);
  }
}

function advance<Part extends { asOf: number }>(part: Part, event: Envelope, fold: Fold<Part>): Part {
  if (event.seq <= part.asOf) return part;
  const next = fold(part, event);
  return next === part ? part : { ...next, asOf: event.seq };
}
