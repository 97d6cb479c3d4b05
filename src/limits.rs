//! Every bound of the appliance, in one place, with the relations between them asserted when compiling.
//!
//! A bound that is not here does not exist. Units come last in each name.

mod relations;

/// Most persons that a gate may ask for.
pub const APPROVERS_MAX: u32 = 10;
/// Largest integer that every JSON implementation represents exactly (2^53 - 1).
pub const JSON_INTEGER_MAX: i64 = (1 << 53) - 1;
/// Deepest nesting of a canonical JSON document.
pub const JSON_DEPTH_MAX: usize = 32;
/// Deepest user payload that is kept as a value: room for the envelope around it, and for what a reader wraps it in.
pub const PAYLOAD_DEPTH_MAX: usize = 24;
/// Deepest user payload that is kept as text.
pub const PAYLOAD_TEXT_DEPTH_MAX: usize = 128;
/// Longest object key in canonical JSON.
pub const JSON_KEY_BYTES_MAX: usize = 64;

/// Largest JSON request body.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Largest pack source.
pub const PACK_BYTES_MAX: usize = 1 << 20;
/// Most items in one batch request.
pub const BATCH_ITEMS_MAX: usize = 1_000;
/// Most values in a pack source, and its deepest nesting.
pub const PACK_NODES_MAX: usize = 250_000;
pub const PACK_DEPTH_MAX: usize = 16;
/// Most aliases in a pack source, and most values they expand to.
pub const PACK_ALIASES_MAX: usize = 1_000;
pub const PACK_ALIAS_EVENTS_MAX: usize = 100_000;
/// Findings reported about one pack source.
pub const PACK_ERRORS_MAX: usize = 50;
/// Most inputs of a pack, and the longest name of one: `INPUT_` before it still is a key of canonical JSON.
pub const INPUTS_MAX: usize = 64;
pub const INPUT_NAME_BYTES_MAX: usize = JSON_KEY_BYTES_MAX - 6;
/// Most items of an input that is a list.
pub const INPUT_ITEMS_MAX: usize = 1_000;
/// All inputs of one run together.
pub const INPUTS_BYTES_MAX: usize = 64 * 1024;
/// What the tasks of one run repeat for every step: the pack's environment, and again the inputs.
pub const RUN_TASKS_BYTES_MAX: usize = 2 << 20;
/// Most variables of an environment in a pack.
pub const ENV_VARIABLES_MAX: usize = 128;
/// Most arguments of a step.
pub const ARGV_ITEMS_MAX: usize = 1_024;
/// Longest argument, shell text, or variable with its name: what Linux passes to a program (128 KiB with the final zero).
pub const ARGUMENT_BYTES_MAX: usize = 128 * 1024 - 1;
/// Longest path in a pack.
pub const PATH_BYTES_MAX: usize = 4_095;
/// Longest expression in a pack, most nodes of its tree, and most items of a list that it makes.
pub const EXPRESSION_BYTES_MAX: usize = 4_096;
pub const EXPRESSION_NODES_MAX: usize = 256;
pub const EXPRESSION_ITEMS_MAX: usize = 1_000;
/// What an expression can look at, and what it can come to.
pub const EXPRESSION_FACTS_BYTES_MAX: usize = 1 << 20;
pub const EXPRESSION_RESULT_BYTES_MAX: usize = 64 * 1024;
/// Events of one command beyond which no further step is worked out: it fails instead, so that what happened before it
/// is always recorded.
pub const RESOLVED_BYTES_MAX: usize = 3 << 20;
/// Most paths a pack reads and facts it asks for, and most secrets that it, or one of its steps, names.
pub const READS_MAX: usize = 64;
/// Largest canonical envelope of one event. Holds a full request body and what surrounds it.
pub const EVENT_BYTES_MAX: usize = 2 << 20;

/// What the graph of a run may grow by for each job when the run is replayed: the mark of a job whose work is kept.
pub const REUSED_MARK_BYTES_MAX: usize = 16;
/// Jobs of all runs that one request replays, unless it is one run.
pub const REPLAY_JOBS_MAX: u64 = 20_000;
/// Most steps in a pack, and most jobs in a run.
pub const RUN_JOBS_MAX: usize = 10_000;
/// Longest name of a pack, step, tenant, queue, project.
pub const NAME_BYTES_MAX: usize = 63;
/// Longest job type, correlation id, worker name, label.
pub const LABEL_BYTES_MAX: usize = 128;
/// Most labels or requirements on one job.
pub const LABELS_MAX: usize = 32;
/// Longest free text recorded in an event (reason, failure message).
pub const TEXT_BYTES_MAX: usize = 4_096;

/// Default and largest page of a list.
pub const PAGE_ITEMS_DEFAULT: usize = 50;
pub const PAGE_ITEMS_MAX: usize = 500;

/// Largest sequence, size or epoch that is asked for: what an `int64` holds.
pub const COUNT_MAX: u64 = i64::MAX as u64;
/// Largest attempt that is asked for: what an `int32` holds.
pub const ATTEMPT_MAX: u64 = i32::MAX as u64;

/// Priorities run from 0 to this, higher first.
pub const PRIORITY_MAX: u8 = 9;
pub const PRIORITY_DEFAULT: u8 = 5;

/// Most jobs that a concurrency key lets run at once.
pub const CONCURRENCY_MAX: u32 = 1_000_000;
/// Longest idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// Longest pattern of an error cluster.
pub const PATTERN_BYTES_MAX: usize = 256;

/// Lease length asked for by a worker.
pub const LEASE_MS_MIN: u64 = 1_000;
pub const LEASE_MS_MAX: u64 = 3_600_000;
pub const LEASE_MS_DEFAULT: u64 = 30_000;
/// How often the local runner renews.
pub const HEARTBEAT_MS: u64 = 10_000;
/// Longest wait of a claim for work.
pub const CLAIM_WAIT_MS_MAX: u64 = 30_000;
/// Claims that wait for work at once: in all, and for work of one tenant.
pub const CLAIMS_WAITING_MAX: usize = 4_096;
pub const CLAIMS_WAITING_PER_TENANT_MAX: usize = 1_024;

/// Retries.
pub const RETRIES_DEFAULT: u32 = 3;
pub const RETRIES_MAX: u32 = 100;
pub const RETRY_INITIAL_MS_DEFAULT: u64 = 1_000;
pub const RETRY_CAP_MS_DEFAULT: u64 = 300_000;
pub const RETRY_DELAY_MS_MIN: u64 = 10;
pub const RETRY_DELAY_MS_MAX: u64 = 86_400_000;

/// Step and job timeouts.
pub const TIMEOUT_MS_DEFAULT: u64 = 3_600_000;
pub const TIMEOUT_MS_MIN: u64 = 100;
pub const TIMEOUT_MS_MAX: u64 = 30 * 86_400_000;
/// Time between TERM and KILL.
pub const CANCEL_GRACE_MS: u64 = 10_000;

/// Steps that one runner runs at once; each keeps a thread for its log.
pub const RUNNER_SLOTS_MAX: usize = 256;

/// Between two tries of the runner to report an end.
pub const REPORT_AGAIN_MS_MIN: u64 = 100;
pub const REPORT_AGAIN_MS_MAX: u64 = 5_000;
/// Pieces of a step's output that may wait for the disk.
pub const OUTPUT_CHUNKS_WAITING_MAX: usize = 16;
/// How long output is read on after the step has ended. All its processes are dead then, so this is only reached when
/// a process outside the step was handed the pipe.
pub const OUTPUT_DRAIN_MS_MAX: u64 = 5_000;
/// How long killed steps may take to be reported before they are given up.
pub const KILLED_WAIT_MS_MAX: u64 = 10_000;
/// Looks for processes that a killed supervisor left behind, each after killing what the one before found.
pub const KILL_PASSES_MAX: usize = 100;
/// A claim of the built-in runner that waits is answered at least this often, so that stopping never waits longer.
pub const RUNNER_CLAIM_WAIT_MS_MAX: u64 = 1_000;
/// Largest launch order. Holds the largest command and environment of a pack.
pub const LAUNCH_BYTES_MAX: usize = 4 * PACK_BYTES_MAX;
/// Largest report of a supervisor.
pub const LAUNCH_REPORT_BYTES_MAX: u64 = 16 * 1024;

/// Bytes of one attempt's output, after which it is cut with a recorded marker.
pub const STEP_LOG_BYTES_MAX: u64 = 1 << 30;
/// Smallest such bound that a pack can ask for.
pub const STEP_LOG_BYTES_MIN: u64 = 1 << 10;
/// Longest output line; the rest of a longer line is a line of its own.
pub const LOG_LINE_BYTES_MAX: usize = 64 * 1024;
/// Short lines of one stream that came together share an entry of the index, as far as they have so many bytes together.
pub const LOG_BLOCK_BYTES_MAX: usize = 4 * 1024;
/// Index of one attempt beyond which it counts against the bound of its output like the output itself.
pub const LOG_INDEX_FREE_BYTES: u64 = 1 << 20;
/// Text of the lines that are read of a log at once, about.
pub const LOG_PIECE_BYTES_MAX: usize = 256 * 1024;
/// Text in one page of a list of events or lines, about.
pub const LOG_PAGE_BYTES_MAX: usize = 4 << 20;
/// Runs whose log catalogue is kept in memory before those are dropped that nobody needs; where more are needed, about twice
/// as many as these.
pub const OUTPUT_RUNS_OPEN_MAX: usize = 256;
/// Largest artifact.
pub const ARTIFACT_BYTES_MAX: u64 = 4 << 30;
/// Most artifacts of one step.
pub const ARTIFACTS_PER_STEP_MAX: usize = 64;
/// Largest `$FASTNESS_OUTPUT` file, and most keys in it.
pub const STEP_OUTPUT_BYTES_MAX: usize = 64 * 1024;
pub const STEP_OUTPUTS_MAX: usize = 256;

/// Largest chunk of a log that a worker sends at once.
pub const LOG_CHUNK_BYTES_MAX: usize = 1 << 20;
/// Logs of workers that are held open at once; the one used longest ago is closed, and opened again when more comes.
pub const WORKER_LOGS_OPEN_MAX: usize = 256;
/// Artifacts of workers that are on their way at once: in all, and of one tenant.
pub const WORKER_UPLOADS_MAX: usize = 256;
pub const WORKER_UPLOADS_PER_TENANT_MAX: usize = 128;
/// Steps and own events that a worker reports under one lease.
pub const LEASE_REPORTS_MAX: u32 = 1_000;
/// Largest payload of a worker's own event, in canonical form or as text.
pub const REPORT_BYTES_MAX: usize = 64 * 1024;
/// Longest message of a progress signal.
pub const PROGRESS_MESSAGE_BYTES_MAX: usize = 512;
/// Workers that a tenant knows; one more takes the place of the one that claimed longest ago.
pub const WORKERS_MAX: usize = 1_000;
/// Leases that have run out and wait for their logs to be closed, and how long one waits at most.
pub const LEASE_ENDS_MAX: usize = 1_024;
pub const LEASE_CLOSE_MS_MAX: u64 = 60_000;

/// Commands waiting for the writer. One more is answered 503 `busy`.
pub const QUEUE_COMMANDS_MAX: usize = 4_096;
/// Commands decided in one batch.
pub const BATCH_COMMANDS_MAX: usize = 1_024;
/// Journal bytes of one batch, unless it holds a command that follows from something large.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// Bytes of events that the projection may be behind; then the writer waits for it.
pub const BACKLOG_BYTES_MAX: usize = 8 << 20;
/// Event bytes of one command: of one that brings something new, and of one that follows from what is there (ends, cancels,
/// replays), so that whatever could come into being can be ended and done again.
pub const COMMAND_BYTES_MAX: usize = 6 << 20;
pub const FOLLOW_UP_BYTES_MAX: usize = 10 << 20;
/// A batch that holds this many bytes takes no further command.
pub const BATCH_GATHER_BYTES_MAX: usize = 2 << 20;
/// Timers and expired leases handled in one batch.
pub const DUE_ITEMS_MAX: usize = 512;
/// Rows kept in memory from batch to batch, and the bytes of the events that wrote them, in each of two generations: when
/// the young one is full it becomes the old one.
pub const CACHE_ROWS_MAX: usize = 16_384;
pub const CACHE_BYTES_MAX: usize = BACKLOG_BYTES_MAX;
/// Nodes of graphs kept in memory, in two generations as well. At least one graph always fits.
pub const GRAPH_NODES_KEPT_MAX: usize = 200_000;
/// Largest snapshot file read back, and largest key or value in it.
pub const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;
pub const SNAPSHOT_ITEM_BYTES_MAX: usize = 8 << 20;
/// Longest look of the child process at a projection.
pub const PROBE_MS_MAX: u64 = 60_000;
/// Size of a journal segment.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// Segments kept ready for reuse.
pub const SEGMENTS_SPARE_MAX: usize = 2;

/// Leaves in a Merkle tile and events in a history frame.
pub const TILE_LEAVES: u64 = 256;

/// Size at which a history data file is followed by a new one; one file may exceed it by one frame.
pub const HISTORY_FILE_BYTES: u64 = 1 << 30;
/// Events packed together in a history frame, unless one alone is larger: what is unpacked to read one of them.
pub const FRAME_BLOCK_BYTES: usize = 1 << 20;
/// Unpacked blocks of history frames kept in memory, over all tenants.
pub const FRAME_CACHE_BYTES_MAX: usize = 32 << 20;
/// Unpacked blocks of history frames kept in memory, over all tenants.
pub const FRAME_CACHE_BLOCKS_MAX: usize = 128;
/// Largest decoded content of a history frame: its events and four bytes of length for each.
pub const FRAME_BYTES_MAX: usize = (TILE_LEAVES as usize) * (EVENT_BYTES_MAX + 4);
/// Records copied or dropped in one hold of a ledger's lock.
pub const LEDGER_LOCK_RECORDS_MAX: usize = 1_024;

/// Largest signed note, and most signature lines in it (C2SP asks for at least 16).
pub const NOTE_BYTES_MAX: usize = 128 * 1024;
pub const NOTE_SIGNATURES_MAX: usize = 16;
/// Longest Merkle proof: one hash for each level of a tree of up to 2^64 leaves, and one for where a consistency proof begins.
pub const PROOF_HASHES_MAX: usize = 65;
/// Largest key file.
pub const KEY_FILE_BYTES_MAX: u64 = 4_096;
/// Keys that a role of the enclave may have had before its present one.
pub const KEYS_RETIRED_MAX: usize = 256;
/// Versions that a root of trust can have, its largest document, the most keys of a role in it, and revocations.
pub const ROOT_VERSIONS_MAX: u64 = 256;
pub const ROOT_BYTES_MAX: usize = 1 << 20;
pub const ROOT_KEYS_MAX: usize = 32;
pub const ROOT_REVOCATIONS_MAX: usize = 4_096;

/// Batches a subscriber may lag behind before it is moved to the ledger.
pub const FEED_BATCHES_MAX: usize = 1_024;
/// Server-sent events: heartbeat.
pub const HEARTBEAT_STREAM_MS_DEFAULT: u64 = 15_000;
pub const HEARTBEAT_STREAM_MS_MIN: u64 = 1_000;
pub const HEARTBEAT_STREAM_MS_MAX: u64 = 60_000;
/// Server-sent events: reconnect hint.
pub const STREAM_RETRY_MS: u64 = 2_000;
/// A stream reader that takes nothing for this long is closed; it can resume.
pub const STREAM_STALL_MS: u64 = 30_000;

/// WebSocket: rooms of one connection.
pub const WS_ROOMS_MAX: usize = 100;
/// Largest message of a client.
pub const WS_MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Messages of a client in one second that are acted upon; frames and bytes of any kind after which it is cut off.
pub const WS_MESSAGES_PER_SECOND_MAX: u32 = 50;
pub const WS_FRAMES_PER_SECOND_MAX: u32 = 500;
pub const WS_BYTES_PER_SECOND_MAX: u64 = 2 << 20;
/// Buffers of one connection: what is read at once, and what is gathered before it is written. A longer message is sent in
/// several frames, so that no connection holds more than about twice that.
pub const WS_READ_BYTES: usize = 1024;
pub const WS_WRITE_BYTES: usize = STREAM_CHUNK_BYTES_MAX;
/// Rooms whose frames of a batch are made once for all their readers; for readers of further rooms they are not shared.
pub const WS_SHARED_ROOMS_MAX: usize = 8;
/// Bytes of such frames of a batch, beyond which no further room gets its own.
pub const WS_SHARED_BYTES_MAX: usize = 256 * 1024;
/// How long the end of a connection may take once it was begun.
pub const WS_CLOSE_MS_MAX: u64 = 2_000;
/// Live signals that a reader may be behind; what is older it does not see.
pub const LIVE_SIGNALS_MAX: usize = 256;

/// How long running steps may go on after the server's end was asked for.
pub const DRAIN_MS_DEFAULT: u64 = 10_000;
pub const DRAIN_MS_MAX: u64 = 3_600_000;
/// Connections held at once, as far as the system lets a process have so many files; and files kept back.
pub const CONNECTIONS_MAX: usize = 12_288;
pub const FILES_RESERVED: usize = 1_024;
/// What the system holds of an answer for a peer that does not take it; the kernel gives about twice that.
pub const SOCKET_SEND_BYTES: usize = 128 * 1024;
/// Time to send the request head.
pub const HEAD_READ_MS_MAX: u64 = 10_000;
/// Time to send a JSON body.
pub const BODY_READ_MS_MAX: u64 = 30_000;

/// Longest path and query of a request.
pub const URI_BYTES_MAX: usize = 8 * 1024;
/// Most bytes of header fields in a request, and most fields.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;
pub const HEADER_FIELDS_MAX: usize = 100;
/// Buffer of one connection: holds a request head. A head beyond it is refused before it is parsed.
pub const CONNECTION_BUFFER_BYTES: usize = 64 * 1024;
/// Console sessions held at once; the oldest one goes when there is another. And how long one lasts.
pub const SESSIONS_MAX: usize = 1_024;
pub const SESSION_MS_MAX: i64 = 12 * 3_600_000;
/// Rows looked at for one page of a filtered list; a page may then be short, with a cursor to go on from.
pub const LIST_ROWS_SCANNED_MAX: usize = 5_000;
/// Jobs of one state that a summary counts.
pub const SUMMARY_JOBS_MAX: usize = 100_000;
/// Jobs granted to one claim.
pub const CLAIM_JOBS_MAX: usize = 256;
/// Payloads granted to one claim, about: a claim that has so many bytes gets no further job.
pub const CLAIM_BYTES_MAX: usize = 8 << 20;
/// Queues, types or labels in one claim, and filters of one stream.
pub const CLAIM_NAMES_MAX: usize = 64;
/// What is handed to a stream's subscribers at once, or one event that is longer. The slowest holds one such batch.
pub const STREAM_BATCH_BYTES_MAX: usize = 128 * 1024;
/// Batches that a stream's subscriber may lag behind before it reads the ledger.
pub const STREAM_BATCHES_MAX: usize = 128;
/// The same for one who watches a single job or run.
pub const STREAM_BATCHES_WATCHED_MAX: usize = 16;
/// What waits for readers of streams in memory: batches of all tenants together, with every form that was made of them. The
/// oldest are let go beyond it, and whoever has not taken one reads the ledger. Without this bound 128 batches would hold
/// about 220 MB where each form is asked for, and 1.6 GB where each event is as long as one may be.
pub const STREAM_HELD_BYTES_MAX: usize = 32 << 20;
/// What a stream writes at once, about.
pub const STREAM_CHUNK_BYTES_MAX: usize = 64 * 1024;
/// Events looked at in one read of the ledger for a stream or a list, and their bytes, about: one event more at most.
pub const STREAM_SCAN_EVENTS_MAX: u64 = 4_096;
pub const STREAM_SCAN_BYTES_MAX: usize = 8 << 20;
/// Log lines in one read.
pub const LOG_PAGE_LINES_MAX: usize = 1_000;
/// Events replayed to find the digest of an earlier state.
pub const STATE_EVENTS_MAX: u64 = 1_000_000;
/// Bytes of one read of an artifact.
pub const ARTIFACT_CHUNK_BYTES: usize = 256 * 1024;
/// Longest wait of the command line for a connection.
pub const CONNECT_MS_MAX: u64 = 10_000;
/// Largest answer that the command line holds in memory; bundles, logs and streams are read as they come.
pub const CLIENT_ANSWER_BYTES_MAX: usize = 256 << 20;
/// Largest message of a stream: the longest event or log line, and what stands around it.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = EVENT_BYTES_MAX + (64 << 10);
/// How long the command line tries to reach a server again that was there before.
pub const CLIENT_PATIENCE_MS_MAX: u64 = 60_000;
/// Tries without progress before a transfer is given up, and the pause before the first of them, which doubles.
pub const CLIENT_TRIES_MAX: u32 = 7;
pub const CLIENT_PAUSE_MS: u64 = 250;
/// Largest document that the command line canonicalises or hashes.
pub const CANON_BYTES_MAX: u64 = 64 << 20;

/// Largest member of a bundle (a ustar size field holds less than 8 GiB).
pub const BUNDLE_MEMBER_BYTES_MAX: u64 = (8 << 30) - 1;
/// Longest name of a bundle's member: what the name field of a ustar header holds.
pub const BUNDLE_NAME_BYTES_MAX: usize = 100;
/// Most members of a bundle.
pub const BUNDLE_MEMBERS_MAX: usize = 100_000;
/// Largest signed manifest of a bundle; holds the most members.
pub const BUNDLE_MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// Longest line of a state file in a bundle.
pub const BUNDLE_LINE_BYTES_MAX: usize = 16 << 20;
/// How far a member may be longer than its manifest says and still be read on, to name the place.
pub const BUNDLE_EXCESS_BYTES_MAX: u64 = 1 << 20;
/// How much of an archive that nobody known signed is still decompressed, to tell damage on the way from tampering.
pub const BUNDLE_DRAIN_BYTES_MAX: u64 = 64 << 20;
/// Most bundles verified at a time for callers who only ask.
pub const BUNDLE_VERIFICATIONS_MAX: usize = 2;
/// Longest text that a finding holds, or quotes of a bundle.
pub const FINDING_BYTES_MAX: usize = 1_024;
/// Largest bundle file taken in.
pub const BUNDLE_BYTES_MAX: u64 = 64 << 30;
/// Largest zstd window accepted.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Most enclaves that a work order names, persons, packs, and runs.
pub const ORDER_ENCLAVES_MAX: usize = 256;
pub const ORDER_PERSONS_MAX: usize = 64;
pub const ORDER_PACKS_MAX: usize = 64;
pub const ORDER_RUNS_MAX: usize = 64;
/// All packs of a work order together, its archive, and its file.
pub const ORDER_PACKS_BYTES_MAX: usize = PACK_BYTES_MAX;
pub const ORDER_MEMBER_BYTES_MAX: u64 = PACK_BYTES_MAX as u64;
pub const ORDER_MANIFEST_BYTES_MAX: u64 = 256 * 1024;
pub const ORDER_TAR_BYTES_MAX: u64 = 6 << 20;
pub const ORDER_FILE_BYTES_MAX: usize = 6 << 20;
/// Events that the start of a work order may make: a little less than a command may, so that what was taken in also starts.
pub const ORDER_EVENTS_BYTES_MAX: usize = COMMAND_BYTES_MAX - (64 << 10);
/// Work orders whose runs one bundle may hold: as many as its manifest names.
pub const BUNDLE_ORDERS_MAX: usize = 10_000;

/// Most secrets of a tenant, and the longest value of one.
pub const SECRETS_MAX: usize = 1_000;
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// How often a value is looked for that is set anew meanwhile.
pub const SECRET_LOOKS_MAX: usize = 64;

/// Bytes of one disclosure: a whole payload in base64url, with its salt and name.
pub const DISCLOSURE_BYTES_MAX: usize = EVENT_BYTES_MAX;
/// Bytes of a JSON pointer to a sensitive field.
pub const POINTER_BYTES_MAX: usize = 1_024;
/// Sensitive fields that one job names.
pub const SENSITIVE_MAX: usize = 256;
/// Redaction policies of one tenant.
pub const POLICIES_MAX: usize = 64;
/// Rules of one policy.
pub const POLICY_RULES_MAX: usize = 64;
/// Globs, and pointers, of one rule.
pub const RULE_ITEMS_MAX: usize = 64;
/// Bytes of a file of disclosures, after which the next one begins.
pub const DISCLOSURE_FILE_BYTES: u64 = 16 << 20;
/// Bytes read at once while the place of a disclosure is looked for.
pub const DISCLOSURE_READ_BYTES: usize = 4 * 1024;
/// Files of disclosures that are held against one bundle at a time: each holds a line in memory.
pub const DISCLOSURE_FILES_MAX: usize = 64;
/// Disclosures kept with one event.
pub const DISCLOSURES_PER_EVENT_MAX: usize = 1_024;

/// Most webhooks of a tenant, and of all; each has at most one request on its way.
pub const WEBHOOKS_PER_TENANT_MAX: usize = 16;
pub const WEBHOOKS_MAX: usize = 64;
/// Longest address of a webhook.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2_048;
/// Bytes of a webhook's shared secret.
pub const WEBHOOK_SECRET_BYTES_MIN: usize = 24;
pub const WEBHOOK_SECRET_BYTES_MAX: usize = 64;
/// How long the key before the present one may sign too, and how long it does when nothing else is said.
pub const WEBHOOK_OVERLAP_MS_MAX: u64 = 30 * 86_400_000;
pub const WEBHOOK_OVERLAP_MS_DEFAULT: u64 = 86_400_000;
/// From the request to the end of its answer; how much of one is read.
pub const WEBHOOK_ANSWER_MS_MAX: u64 = 15_000;
pub const WEBHOOK_ANSWER_BYTES_MAX: u64 = 32 * 1024;
pub const WEBHOOK_BODY_MS_MAX: u64 = 1_000;
/// How long what is on its way may still be taken when a webhook stops or changes.
pub const WEBHOOK_STOP_MS_MAX: u64 = 2_000;
/// Pause after the first failure, which doubles with each, and the longest.
pub const WEBHOOK_RETRY_MS_MIN: u64 = 5_000;
pub const WEBHOOK_RETRY_MS_MAX: u64 = 3_600_000;
/// Failures in a row after which a webhook is given up.
pub const WEBHOOK_FAILURES_MAX: u32 = 20;
/// Tests of webhooks that are on their way at once.
pub const WEBHOOK_TESTS_MAX: usize = 4;
/// How often a cursor that moved is written, and how often one is looked at that moves past what nobody asked for.
pub const WEBHOOK_SAVE_MS: u64 = 1_000;
pub const WEBHOOK_IDLE_SAVE_MS: u64 = 60_000;
/// Largest file of a cursor.
pub const WEBHOOK_CURSOR_BYTES_MAX: u64 = 4_096;
/// What is kept of an error's text. Escaped it may be six times as long, and must fit into a cursor's file.
pub const WEBHOOK_ERROR_BYTES_MAX: usize = 512;
/// Addresses of one name that are tried.
pub const LOOKUP_ADDRESSES_MAX: usize = 8;

/// Foreign ledgers, held or only known by their keys; and bundles for which persons are asked at a time.
pub const IMPORTS_MAX: usize = 10_000;
pub const IMPORTS_WAITING_MAX: usize = 64;
/// Refused bundles that are kept, and their bytes; the oldest go first.
pub const QUARANTINE_FILES_MAX: usize = 64;
pub const QUARANTINE_BYTES_MAX: u64 = BUNDLE_BYTES_MAX;
/// Exported bundles that are kept, and their bytes; the oldest go first, the newest stays however large it is.
pub const EXPORTS_KEPT_MAX: usize = 64;
pub const EXPORTS_BYTES_MAX: u64 = BUNDLE_BYTES_MAX;
/// Bytes of the files of work orders, those issued and those taken in.
pub const ORDERS_BYTES_MAX: u64 = 4 << 30;
const _: () = assert!(ORDERS_BYTES_MAX >= ORDER_FILE_BYTES_MAX as u64);
/// Bundles on their way in by ranges, and how long one may stand still before it is given up.
pub const BUNDLE_UPLOADS_MAX: usize = 16;
pub const BUNDLE_UPLOAD_IDLE_MS_MAX: u64 = 24 * 3_600_000;
/// Different failures about bundles that are noted in one minute.
pub const ATTEMPTS_NOTED_MAX: usize = 1_024;

/// Names shown of a cycle in a graph, and in a pack.
pub const CYCLE_NAMES_MAX: usize = 50;
pub const PACK_CYCLE_NAMES_MAX: usize = 20;
/// Bundles of an imported ledger that a message names.
pub const SHOWN_BUNDLES_MAX: usize = 20;
/// Findings about one ledger that `doctor` tells one by one.
pub const DOCTOR_FINDINGS_MAX: usize = 20;
/// A meter of the command line is drawn so often, and tells a rate from then on.
pub const METER_DRAW_MS: u64 = 100;
/// Steps that the board of the command line shows at once.
pub const BOARD_STEPS_MAX: usize = 24;
/// Longest part of a source line that is shown.
pub const SHOWN_CHARACTERS_MAX: usize = 160;
