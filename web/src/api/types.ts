// The shapes of /api/v1 that the console reads and writes, in the form openapi-typescript gives them.
// Owns nothing else: written by hand until it is generated from the server's own description. No logic may live here.

export type JobStatus = 'pending' | 'scheduled' | 'running' | 'completed' | 'failed' | 'cancelled';
/** A step is as its job is, or `skipped` without one, or `waiting` at a gate. */
export type StepStatus = JobStatus | 'skipped' | 'waiting';
export type RunStatus = 'pending' | 'running' | 'waiting' | 'completed' | 'partially_failed' | 'failed' | 'cancelled';
/** RFC 3339 in UTC, with milliseconds. */
export type Timestamp = string;

export interface Session {
  csrfToken: string;
  /** null where the token has several. */
  tenant: string | null;
  person: string;
  scopes: string[];
}

export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  code?: string;
  traceId?: string;
  errors?: { pointer: string; detail: string }[];
}

export interface Page<Item> {
  items: Item[];
  nextCursor: string | null;
  asOf: number;
}

export interface PackReference {
  name: string;
  version: number;
  planHash: string;
}

export interface Progress {
  done: number;
  total: number;
}

export type Inputs = Record<string, unknown>;

export interface RunSummary {
  id: string;
  pack: PackReference;
  status: RunStatus;
  progress: Progress;
  createdAt: Timestamp;
  startedAt: Timestamp | null;
  endedAt: Timestamp | null;
  correlationId: string | null;
  inputs: Inputs;
  /** Nothing more of it starts until it is resumed. */
  paused: boolean;
  /** Why, while it is paused. */
  pauseReason: string | null;
}

export interface StepError {
  class: string;
  message: string;
}

/** Why a step is not running yet; the server may say it in words or with numbers. */
export type Waiting = string | { reason?: string; detail?: string; for?: string; eligibleAt?: Timestamp } | null;

export interface Step {
  id: string;
  index: number;
  status: StepStatus;
  jobId: string | null;
  attempt: number;
  startedAt: Timestamp | null;
  endedAt: Timestamp | null;
  exitCode: number | null;
  waiting: Waiting;
  error: StepError | null;
  needs: string[];
}

export interface PackRun extends RunSummary {
  steps: Step[];
  asOf: number;
}

export interface GraphNode {
  name: string;
  jobId: string | null;
  status: StepStatus;
  critical: boolean;
}

export interface RunGraph {
  nodes: GraphNode[];
  /** Pairs: from, to. */
  edges: string[][];
  criticalPath: string[];
  asOf: number;
}

export type SpanKind = 'waiting' | 'queued' | 'running';

export interface Span {
  kind: SpanKind;
  from: Timestamp;
  /** null while it lasts. */
  to: Timestamp | null;
  attempt: number;
}

export interface TimelineRow {
  name: string;
  jobId: string | null;
  spans: Span[];
}

export interface Timeline {
  rows: TimelineRow[];
  asOf: number;
}

export interface LogLine {
  pos: number;
  at: Timestamp;
  step: string;
  attempt: number;
  stream: 'stdout' | 'stderr';
  line: string;
}

export interface Artifact {
  name: string;
  step: string;
  sha256: string;
  size: number;
  mime: string;
}

export interface PackInput {
  type: string;
  default?: unknown;
  description?: string;
}

export interface Pack extends PackReference {
  description: string;
  inputs: Record<string, PackInput>;
  createdAt: Timestamp;
}

/** A bundle that was exported here: the events `first` to `size` − 1. */
export interface Bundle {
  bytes: number;
  first: number;
  id: string;
  /** Files that the range names and that are not here any more. */
  missing?: string[];
  name: string;
  origin: string;
  /** By which policy redacted fields are in it, and how many. */
  redaction?: { policy: string; shown: number; withheld: number };
  root: string;
  size: number;
  tarSha256: string;
  tenant: string;
}

/** `intake` says what is taken out of payloads as they come in; any other shows fields in exports. */
export interface RedactionPolicy {
  name: string;
}

export type BundleContent = 'artifacts' | 'logs';

export type ImportStatus = 'held' | 'waiting' | 'rejected' | 'refused' | 'superseded';

export interface Approval {
  at: Timestamp;
  person: string;
  reason: string;
}

/** A foreign ledger on its way in; which members there are depends on where it stands. */
export interface ForeignImport {
  id: string;
  status: ImportStatus;
  approvals?: number;
  approved?: Approval[];
  /** First event, size, SHA-256 of the tar. */
  bundles?: [number, number, string][];
  bytes?: number;
  exitCode?: number;
  exportKeyId?: string;
  first?: number;
  importedAt?: Timestamp;
  kind?: string;
  logKeyId?: string;
  origin?: string;
  reason?: string;
  refusedAt?: Timestamp;
  rejectedBy?: string;
  requestedAt?: Timestamp;
  requestedBy?: string;
  root?: string;
  size?: number;
  tenant?: string;
}

/** Something that happened to a work order: when, by whom, recorded at which event. */
export interface OrderMark {
  at: Timestamp;
  by: string;
  seq: number;
}

export interface OrderStop {
  mark: OrderMark;
  reason: string;
  /** The archive of the hub's signed cancellation. */
  tarSha256?: string;
}

export interface AskedRun {
  name: string;
  pack: string;
  inputs?: string;
}

export interface IssuedOrder {
  enclaves: string[];
  expiresAt?: Timestamp;
  id: string;
  issued: OrderMark;
  packs: { name: string; planHash: string; sha256: string }[];
  persons?: string[];
  recalled?: OrderStop;
  runs: AskedRun[];
  tarSha256: string;
}

export interface ReceivedOrder {
  approvals?: Approval[];
  approvers: number;
  cancelled?: OrderStop;
  expiresAt?: Timestamp;
  hub: string;
  id: string;
  /** Absent where a cancellation came first. */
  imported?: OrderMark;
  origin: string;
  outcomes?: { name: string; run: string; status: RunStatus }[];
  persons?: string[];
  reported?: OrderMark;
  runs: AskedRun[];
  /** The last event about it. */
  seq: number;
  started?: OrderMark;
  startedRuns?: { name: string; run: string }[];
  state: 'imported' | 'started' | 'reported' | 'cancelled';
  tarSha256: string;
}

/** What an imported ledger says about an order that was issued here. */
export interface OrderEvidence {
  enclave: string;
  /** What does not match is another order, or for another enclave, and moves nothing. */
  matches: boolean;
  order: ReceivedOrder;
  origin: string;
  root: string;
  size: number;
  tenant: string;
}

export type OrderState = ReceivedOrder['state'] | 'issued' | 'recalled';

export interface WorkOrder {
  id: string;
  state: OrderState;
  approvalsMissing?: number;
  evidence?: OrderEvidence[];
  issued?: IssuedOrder;
  received?: ReceivedOrder;
}

/** What a stream has lost for good: events by their sequence, or lines of a run by their position. */
export interface Gap {
  from: number;
  of: 'events' | 'lines';
  to: number;
}

/** An event of the ledger, as it comes down a stream. */
export interface Envelope {
  seq: number;
  at: Timestamp;
  type: string;
  subject: { job?: string; run?: string; step?: string; worker?: string };
  payload: Record<string, unknown>;
  correlationId?: string;
}

type Json<Body> = { headers: Record<string, unknown>; content: { 'application/json': Body } };
type Refusal = { headers: Record<string, unknown>; content: { 'application/problem+json': Problem } };
type None = { headers: Record<string, unknown>; content?: never };
type At<Path> = [Path] extends [never] ? { path?: never } : { path: Path };
type Read<Body, Query = never, Path = never> = {
  parameters: { query?: Query; header?: never; cookie?: never } & At<Path>;
  requestBody?: never;
  responses: { 200: Json<Body>; default: Refusal };
};
type Write<Sent, Answer, Path = never> = {
  parameters: { query?: never; header?: { 'Idempotency-Key'?: string }; cookie?: never } & At<Path>;
  requestBody: { content: { 'application/json': Sent } };
  responses: { 200: Json<Answer>; 201: Json<Answer>; 202: Json<Answer>; default: Refusal };
};
type ById = { id: string };

export interface paths {
  '/session': {
    get: Read<Session>;
    post: Write<{ token: string }, Session>;
    delete: { parameters: { query?: never; path?: never }; requestBody?: never; responses: { 204: None; default: Refusal } };
  };
  '/redaction-policies': { get: Read<Page<RedactionPolicy>, { limit?: number }> };
  '/packs': { get: Read<Page<Pack>, { limit?: number; cursor?: string }> };
  '/pack-runs': {
    get: Read<Page<RunSummary>, { status?: string; pack?: string; limit?: number; cursor?: string }>;
    post: Write<{ pack: string; version?: number; inputs: Inputs }, { id: string }>;
  };
  '/pack-runs/{id}': { get: Read<PackRun, never, ById> };
  '/pack-runs/{id}/cancel': { post: Write<{ reason: string }, unknown, ById> };
  '/pack-runs/{id}/pause': { post: Write<{ reason?: string }, unknown, ById> };
  '/pack-runs/{id}/resume': { post: Write<{ reason?: string }, unknown, ById> };
  '/pack-runs/{id}/artifacts': { get: Read<{ items: Artifact[] }, never, ById> };
  '/bundles': { get: Read<{ items: Bundle[] }> };
  '/bundles/export': { post: Write<{ from?: number; to?: number; with: BundleContent[] }, Bundle> };
  '/imports': { get: Read<{ items: ForeignImport[] }> };
  '/imports/{id}/approve': { post: Write<{ reason: string }, ForeignImport, ById> };
  '/imports/{id}/reject': { post: Write<{ reason: string }, ForeignImport, ById> };
  '/work-orders': { get: Read<Page<WorkOrder>, { limit?: number; cursor?: string }> };
  '/work-orders/{id}/approve': { post: Write<{ reason: string; binding: string }, WorkOrder, ById> };
  '/work-orders/{id}/start': { post: Write<Record<string, never>, WorkOrder, ById> };
  '/work-orders/{id}/cancel': { post: Write<{ reason: string }, WorkOrder, ById> };
  '/runs/{id}/graph': { get: Read<RunGraph, never, ById> };
  '/runs/{id}/timeline': { get: Read<Timeline, never, ById> };
}
