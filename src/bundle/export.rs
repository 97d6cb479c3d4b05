//! Export: a range of one of our own ledgers as a bundle. A pure function of range, policy and keys.
//!
//! Two passes over immutable history; no read of the projection is held while it streams. The state of a touched job
//! or run at the end of the range is its row, when its last event is before that, else the fold of its events.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::manifest::Redaction;
use super::members::Member;
use super::replay::{ScratchFolder, Touched};
use super::write::{BundleWriter, Measure, Range, WriteError, Written};
use crate::domain::apply::apply;
use crate::domain::event::{Event, EventBody};
use crate::domain::job::AttemptLogs;
use crate::domain::state::{Changes, Model, Row, View};
use crate::domain::{Digest, JobId, RunId, Seq, TenantName};
use crate::engine::{CheckpointError, Handle};
use crate::ledger::{LedgerError, TenantLedger};
use crate::limits;
use crate::output::{AttemptKey, Output, RunScope, Stream};
use crate::store::{Direction, Page, Snapshot, StoreError};

/// Rules from history to state that this program follows.
const STATE_VERSION: u32 = 1;
/// The published schema of events, whose digest the manifest names.
pub const EVENT_SCHEMA: &str = include_str!("../../bundles/schemas/event.v1.schema.json");

/// What is put in besides the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum With {
    /// The artifacts that the range names.
    Artifacts,
    /// The logs that the range names.
    Logs,
}

/// What to export.
#[derive(Debug, Clone)]
pub struct ExportAsk {
    /// Whose ledger.
    pub tenant: TenantName,
    /// First event.
    pub from: u64,
    /// One more than the last; the ledger's size when none is given.
    pub to: Option<u64>,
    /// What is put in besides the history.
    pub with: Vec<With>,
}

/// A bundle that was written. Kept beside it as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exported {
    /// Length of the file.
    pub bytes: u64,
    /// First event.
    pub first: u64,
    /// The SHA-256 of the tar: equal ranges have equal ids.
    pub id: Digest,
    /// The name under which the file should travel.
    pub name: String,
    /// Origin of the ledger.
    pub origin: String,
    /// Root at `size`.
    pub root: Digest,
    /// One more than the last event.
    pub size: u64,
    /// SHA-256 of the tar.
    pub tar_sha256: Digest,
    /// Whose ledger.
    pub tenant: TenantName,
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The range is empty, or reaches beyond the ledger.
    #[error("the range {from}..{to} is not within the {size} events of the ledger")]
    Range {
        /// First event.
        from: u64,
        /// One more than the last.
        to: u64,
        /// Events in the ledger.
        size: u64,
    },
    /// A member would pass what an archive can hold; the caller must split the range.
    #[error("the range is too large for one bundle; split it at event {split}")]
    RangeTooLarge {
        /// Where to split.
        split: u64,
    },
    /// An imported ledger is re-emitted as it came.
    #[error("ledger {0} is not ours to export")]
    Foreign(TenantName),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A checkpoint cannot be signed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The projection cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event of our own ledger cannot be folded.
    #[error("event {0} of the ledger cannot be folded: {1}")]
    Fold(u64, String),
    /// The bundle cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file.
    #[error("{0}: {1}")]
    Disk(String, #[source] io::Error),
}

/// Where bundles lie.
pub fn bundle_path(dir: &Path, id: Digest) -> PathBuf {
    dir.join("bundles").join(format!("{id}.audit.tar.zst"))
}

/// Writes the bundle of a range. Blocks; call it from a thread that may.
///
/// # Errors
/// [`ExportError`]; nothing is left behind then.
pub fn export(engine: &Handle, output: &Output, ask: &ExportAsk) -> Result<Exported, ExportError> {
    let origin = engine
        .origin(&ask.tenant)
        .ok_or_else(|| ExportError::Foreign(ask.tenant.clone()))?
        .to_string();
    let ledger = engine.ledger(&ask.tenant)?;
    let size = ask.to.unwrap_or_else(|| ledger.size());
    if size > ledger.size() || ask.from >= size {
        return Err(ExportError::Range {
            from: ask.from,
            to: size,
            size: ledger.size(),
        });
    }
    let dir = engine.dir().join("bundles");
    let disk = engine.disk().as_ref();
    disk.create_dir_all(&dir)
        .map_err(|error| ExportError::Disk(dir.display().to_string(), error))?;
    let scratch = ScratchFolder::new(&dir, engine.clock().entropy())
        .map_err(|error| ExportError::Disk(dir.display().to_string(), error))?;
    let survey = survey(&ledger, ask.from, size)?;
    let range = Range {
        first: ask.from,
        origin: origin.clone(),
        prev_root: ledger.root_at(ask.from)?,
        redaction: Redaction::none(),
        root: ledger.root_at(size)?,
        schema_sha256: Digest::of(EVENT_SCHEMA.as_bytes()),
        size,
        state_version: STATE_VERSION,
        tenant: ask.tenant.clone(),
        trust_version: 0,
    };
    let root = range.root;
    let mut writer = BundleWriter::new(range);
    writer.add_bytes(
        Member::Checkpoint,
        engine.checkpoint(&ask.tenant, size)?.text().as_bytes().to_vec(),
    );
    writer.add_bytes(
        Member::CheckpointPrev,
        engine
            .checkpoint(&ask.tenant, ask.from)?
            .text()
            .as_bytes()
            .to_vec(),
    );
    writer.add_bytes(
        Member::Frontier,
        super::frontier::write(&ledger.frontier_at(ask.from)?),
    );
    let from = ask.from;
    let history = ledger.clone();
    writer.add_history(Box::new(move || {
        Ok(Box::new(HistoryReader::new(history.clone(), from, size)) as Box<dyn Read>)
    }))?;
    add_state(
        &mut writer,
        engine,
        &ledger,
        &ask.tenant,
        size,
        &survey.touched,
        scratch.path(),
    )?;
    if ask.with.contains(&With::Artifacts) {
        add_artifacts(&mut writer, output, &survey)?;
    }
    if ask.with.contains(&With::Logs) {
        add_logs(&mut writer, output, &ask.tenant, &survey)?;
    }
    let path = scratch.path().join("bundle");
    let written = writer.write_file(engine.keys().export(), disk, &path)?;
    keep(engine, &dir, &path, &written, (ask, origin, root, size))
}

fn keep(
    engine: &Handle,
    dir: &Path,
    path: &Path,
    written: &Written,
    (ask, origin, root, size): (&ExportAsk, String, Digest, u64),
) -> Result<Exported, ExportError> {
    let disk_error = |error| ExportError::Disk(dir.display().to_string(), error);
    let id = written.tar_sha256;
    let slug = origin.replace('/', "-");
    let exported = Exported {
        bytes: fs::metadata(path).map_err(disk_error)?.len(),
        first: ask.from,
        id,
        name: format!("{slug}-{}-{size}.audit.tar.zst", ask.from),
        origin,
        root,
        size,
        tar_sha256: id,
        tenant: ask.tenant.clone(),
    };
    let disk = engine.disk().as_ref();
    disk.rename(path, &bundle_path(engine.dir(), id))
        .map_err(disk_error)?;
    let note = crate::domain::canonical::to_canonical(&exported);
    crate::disk::replace_file(disk, &dir.join(format!("{id}.json")), &note).map_err(disk_error)?;
    Ok(exported)
}

/// What was exported of a tenant, by id.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(engine: &Handle, tenant: &TenantName) -> io::Result<Vec<Exported>> {
    let dir = engine.dir().join("bundles");
    let mut found = Vec::new();
    for name in engine.disk().list(&dir)? {
        if !name.ends_with(".json") {
            continue;
        }
        let bytes = crate::disk::read_file(engine.disk().as_ref(), &dir.join(&name), 1 << 16)?;
        if let Ok(exported) = serde_json::from_slice::<Exported>(&bytes)
            && exported.tenant == *tenant
        {
            found.push(exported);
        }
    }
    Ok(found)
}

/// What the first pass finds.
#[derive(Debug, Default)]
struct Survey {
    touched: Touched,
    artifacts: BTreeMap<Digest, u64>,
    logs: Vec<(RunScope, JobId, u32, AttemptLogs)>,
    bytes: u64,
}

fn survey(ledger: &TenantLedger, from: u64, size: u64) -> Result<Survey, ExportError> {
    let mut survey = Survey::default();
    let mut failed = None;
    ledger.scan(Seq(from), Seq(size), &mut |seq, bytes| {
        survey.bytes += bytes.len() as u64 + 1;
        if survey.bytes > limits::BUNDLE_MEMBER_BYTES_MAX {
            failed = Some(ExportError::RangeTooLarge { split: seq.0 });
            return ControlFlow::Break(());
        }
        match Event::from_bytes(bytes) {
            Ok(event) => {
                survey.take(&event);
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(ExportError::Fold(seq.0, error.to_string()));
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(survey), Err)
}

impl Survey {
    fn take(&mut self, event: &Event) {
        self.touched.take(event);
        let logs = match &event.body {
            EventBody::ArtifactCreated(created) => {
                self.artifacts
                    .insert(created.artifact.sha256, created.artifact.size);
                return;
            }
            EventBody::JobCompleted(ended) => ended.logs.clone().map(|logs| (ended.attempt, logs)),
            EventBody::JobFailed(ended) => ended.logs.clone().map(|logs| (ended.attempt, logs)),
            _ => None,
        };
        if let (Some((attempt, logs)), Some(job)) = (logs, event.subject.job) {
            let scope = RunScope::of_job(event.tenant.clone(), event.subject.run, job);
            self.logs.push((scope, job, attempt, logs));
        }
    }
}

fn add_state(
    writer: &mut BundleWriter<'_>,
    engine: &Handle,
    ledger: &Arc<TenantLedger>,
    tenant: &TenantName,
    size: u64,
    touched: &Touched,
    scratch: &Path,
) -> Result<(), ExportError> {
    let state = StateAt {
        engine,
        ledger,
        tenant,
        size,
    };
    let files = [
        (Member::Jobs, "jobs"),
        (Member::Runs, "runs"),
        (Member::Packs, "packs"),
    ];
    for (member, name) in files {
        let path = scratch.join(name);
        let disk_error = |error| ExportError::Disk(path.display().to_string(), error);
        let mut out = BufWriter::new(fs::File::create(&path).map_err(disk_error)?);
        let mut line = |row: &Row| {
            out.write_all(&row.to_canonical())?;
            out.write_all(b"\n")
        };
        match member {
            Member::Jobs => {
                for job in &touched.jobs {
                    line(&state.job(*job)?).map_err(disk_error)?;
                }
            }
            Member::Runs => {
                for run in &touched.runs {
                    line(&state.run(*run)?).map_err(disk_error)?;
                }
            }
            _ => {
                for (name, version) in &touched.packs {
                    let snapshot = state.snapshot()?;
                    let view = snapshot.view(tenant);
                    let view: &dyn View = &view;
                    let pack = view
                        .pack(name, *version)
                        .map_err(|error| StoreError::Damaged(error.0))?;
                    let pack =
                        pack.ok_or_else(|| StoreError::Damaged(format!("no pack {name}@{version}")))?;
                    line(&Row::Pack(pack)).map_err(disk_error)?;
                }
            }
        }
        out.flush().map_err(disk_error)?;
        writer.add(
            member,
            Box::new(move || Ok(Box::new(io::BufReader::new(fs::File::open(&path)?)) as Box<dyn Read>)),
        )?;
    }
    Ok(())
}

/// The state of single jobs and runs at a size of the ledger.
struct StateAt<'a> {
    engine: &'a Handle,
    ledger: &'a TenantLedger,
    tenant: &'a TenantName,
    size: u64,
}

impl StateAt<'_> {
    /// A read of the projection, for one row or one list.
    fn snapshot(&self) -> Result<Snapshot, ExportError> {
        let store = self
            .engine
            .store()
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(store.read()?)
    }

    fn job(&self, id: JobId) -> Result<Row, ExportError> {
        let snapshot = self.snapshot()?;
        let view = snapshot.view(self.tenant);
        let view: &dyn View = &view;
        let job = view.job(id).map_err(|error| StoreError::Damaged(error.0))?;
        let job = job.ok_or_else(|| StoreError::Damaged(format!("no job {id}")))?;
        if job.seq.0 < self.size {
            return Ok(Row::Job(job));
        }
        let model = match job.run {
            Some(run) => self.fold(|page| snapshot.events_of_run(self.tenant, run, page))?,
            None => self.fold(|page| snapshot.events_of_job(self.tenant, id, page))?,
        };
        let view: &dyn View = &model;
        let job = view.job(id).map_err(|error| StoreError::Damaged(error.0))?;
        Ok(Row::Job(job.ok_or_else(|| {
            ExportError::Fold(self.size, format!("no job {id}"))
        })?))
    }

    fn run(&self, id: RunId) -> Result<Row, ExportError> {
        let snapshot = self.snapshot()?;
        let view = snapshot.view(self.tenant);
        let view: &dyn View = &view;
        let run = view.run(id).map_err(|error| StoreError::Damaged(error.0))?;
        let run = run.ok_or_else(|| StoreError::Damaged(format!("no run {id}")))?;
        if run.seq.0 < self.size {
            return Ok(Row::Run(run));
        }
        let model = self.fold(|page| snapshot.events_of_run(self.tenant, id, page))?;
        let view: &dyn View = &model;
        let run = view.run(id).map_err(|error| StoreError::Damaged(error.0))?;
        Ok(Row::Run(run.ok_or_else(|| {
            ExportError::Fold(self.size, format!("no run {id}"))
        })?))
    }

    /// Folds the events of one job or run that lie before the size. They name all that they change.
    fn fold(
        &self,
        mut list: impl FnMut(Page<'_>) -> Result<Vec<Seq>, StoreError>,
    ) -> Result<Model, ExportError> {
        let mut model = Model::default();
        let mut after: Option<[u8; 8]> = None;
        loop {
            let page = Page {
                after: after.as_ref().map(|tail| tail.as_slice()),
                direction: Direction::Forward,
                limit: limits::PAGE_ITEMS_MAX,
            };
            let seqs = list(page)?;
            let Some(last) = seqs.last() else { return Ok(model) };
            after = Some(last.0.to_be_bytes());
            for seq in seqs {
                if seq.0 >= self.size {
                    return Ok(model);
                }
                let bytes = self.ledger.event(seq)?;
                let event =
                    Event::from_bytes(&bytes).map_err(|error| ExportError::Fold(seq.0, error.to_string()))?;
                let mut changes = Changes::default();
                apply(&model, &mut changes, &event)
                    .map_err(|error| ExportError::Fold(seq.0, error.to_string()))?;
                model.absorb(changes);
            }
        }
    }
}

fn add_artifacts<'a>(
    writer: &mut BundleWriter<'a>,
    output: &'a Output,
    survey: &Survey,
) -> Result<(), ExportError> {
    for (sha256, size) in &survey.artifacts {
        let sha256 = *sha256;
        let measure = Measure {
            size: *size,
            sha256,
            lines: 0,
        };
        writer.add_measured(
            Member::Artifact(sha256),
            measure,
            Box::new(move || {
                let reader = output.blobs().reader(&sha256).map_err(io::Error::other)?;
                Ok(Box::new(BlobStream { reader, at: 0 }) as Box<dyn Read>)
            }),
        );
    }
    Ok(())
}

fn add_logs<'a>(
    writer: &mut BundleWriter<'a>,
    output: &'a Output,
    tenant: &TenantName,
    survey: &Survey,
) -> Result<(), ExportError> {
    for (scope, job, attempt, logs) in &survey.logs {
        debug_assert_eq!(scope.tenant, *tenant);
        for (stream, digest) in [(Stream::Stdout, &logs.stdout), (Stream::Stderr, &logs.stderr)] {
            let key = AttemptKey {
                scope: scope.clone(),
                job: *job,
                attempt: *attempt,
            };
            let measure = Measure {
                size: digest.bytes,
                sha256: digest.sha256,
                lines: 0,
            };
            writer.add_measured(
                Member::Log(digest.sha256),
                measure,
                Box::new(move || {
                    let key = key.clone();
                    Ok(Box::new(LogStream {
                        output,
                        key,
                        stream,
                        at: 0,
                    }) as Box<dyn Read>)
                }),
            );
        }
    }
    Ok(())
}

/// The events of a range as lines, read a few at a time.
struct HistoryReader {
    ledger: Arc<TenantLedger>,
    next: u64,
    end: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl HistoryReader {
    fn new(ledger: Arc<TenantLedger>, next: u64, end: u64) -> Self {
        HistoryReader {
            ledger,
            next,
            end,
            buffer: Vec::new(),
            at: 0,
        }
    }
}

impl Read for HistoryReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buffer.len() {
            if self.next == self.end {
                return Ok(0);
            }
            self.buffer.clear();
            self.at = 0;
            let to = self
                .end
                .min((self.next / limits::TILE_LEAVES + 1) * limits::TILE_LEAVES);
            let buffer = &mut self.buffer;
            self.ledger
                .scan(Seq(self.next), Seq(to), &mut |_, bytes| {
                    buffer.extend_from_slice(bytes);
                    buffer.push(b'\n');
                    ControlFlow::Continue(())
                })
                .map_err(io::Error::other)?;
            self.next = to;
        }
        let taken = out.len().min(self.buffer.len() - self.at);
        out[..taken].copy_from_slice(&self.buffer[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

struct BlobStream {
    reader: crate::output::BlobReader,
    at: u64,
}

impl Read for BlobStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read_at(out, self.at).map_err(io::Error::other)?;
        self.at += read as u64;
        Ok(read)
    }
}

struct LogStream<'a> {
    output: &'a Output,
    key: AttemptKey,
    stream: Stream,
    at: u64,
}

impl Read for LogStream<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let range = self.at..self.at + out.len() as u64;
        let bytes = self
            .output
            .read_raw(&self.key, self.stream, range)
            .map_err(io::Error::other)?;
        let taken = bytes.len().min(out.len());
        out[..taken].copy_from_slice(&bytes[..taken]);
        self.at += taken as u64;
        Ok(taken)
    }
}
