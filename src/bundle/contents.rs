//! The artifacts and logs that the events of a range name: carried by a bundle where asked for, or said to be missing.
//!
//! Promises: what is asked for and named is in the bundle or in the manifest's list of what is missing, never neither.
//! Streams: of each file its size and digest are known from the ledger, its bytes pass once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use super::export::{ExportAsk, ExportError, With};
use super::manifest::Contents;
use super::members::Member;
use super::sources::{BlobStream, LogStream};
use super::survey::{LogsOf, Survey};
use super::write::{BundleWriter, Measure};
use crate::domain::event::{Event, EventBody};
use crate::domain::job::{Artifact, AttemptLogs};
use crate::domain::{Digest, JobId, Seq};
use crate::engine::Handle;
use crate::output::{AttemptKey, Output, OutputError, Stream};
use crate::store::{Direction, Page, StoreError};

/// The artifacts that an event names, with their sizes.
pub(super) fn artifacts(body: &EventBody) -> Vec<(Digest, u64)> {
    let of = |artifacts: &[Artifact]| artifacts.iter().map(|one| (one.sha256, one.size)).collect();
    match body {
        EventBody::ArtifactCreated(created) => of(std::slice::from_ref(&created.artifact)),
        EventBody::JobCompleted(ended) => of(&ended.artifacts),
        EventBody::JobFailed(ended) => of(&ended.artifacts),
        EventBody::JobCancelled(ended) => of(&ended.artifacts),
        EventBody::JobReleased(ended) => of(&ended.artifacts),
        _ => Vec::new(),
    }
}

/// The logs that an event names.
pub(super) fn logs(body: &EventBody) -> Option<&AttemptLogs> {
    match body {
        EventBody::JobCompleted(ended) => ended.logs.as_ref(),
        EventBody::JobFailed(ended) => ended.logs.as_ref(),
        EventBody::JobCancelled(ended) => ended.logs.as_ref(),
        EventBody::JobReleased(ended) => ended.logs.as_ref(),
        _ => None,
    }
}

/// The number of the attempt that an event begins or ends, where it says so.
pub(super) fn attempt(body: &EventBody) -> Option<u32> {
    match body {
        EventBody::JobStarted(started) => Some(started.attempt),
        EventBody::JobCompleted(ended) => Some(ended.attempt),
        EventBody::JobFailed(ended) => Some(ended.attempt),
        _ => None,
    }
}

/// What a bundle carries besides the history, and what it should and cannot.
#[derive(Debug)]
pub(super) struct Carried {
    with: Vec<With>,
    artifacts: BTreeMap<Digest, u64>,
    logs: BTreeMap<Digest, (AttemptKey, Stream, u64)>,
    /// Named, asked for, and not here any more.
    pub(super) missing: BTreeSet<Digest>,
}

impl Carried {
    /// Looks which of what the range names is here.
    pub(super) fn of(
        engine: &Handle,
        output: &Output,
        survey: &Survey,
        ask: &ExportAsk,
    ) -> Result<Self, ExportError> {
        let mut carried = Carried {
            with: ask.with.clone(),
            artifacts: BTreeMap::new(),
            logs: BTreeMap::new(),
            missing: BTreeSet::new(),
        };
        if ask.with.contains(&With::Artifacts) {
            for (sha256, size) in &survey.artifacts {
                match output.blobs().reader(sha256) {
                    Ok(_) => {
                        carried.artifacts.insert(*sha256, *size);
                    }
                    Err(OutputError::Missing { .. }) => {
                        carried.missing.insert(*sha256);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        if ask.with.contains(&With::Logs) {
            for logs in &survey.logs {
                carried.take_logs(engine, output, logs, ask)?;
            }
        }
        // The same bytes may have been written by several attempts, of which one is still here.
        let Carried {
            artifacts,
            logs,
            missing,
            ..
        } = &mut carried;
        missing.retain(|digest| !artifacts.contains_key(digest) && !logs.contains_key(digest));
        Ok(carried)
    }

    fn take_logs(
        &mut self,
        engine: &Handle,
        output: &Output,
        of: &LogsOf,
        ask: &ExportAsk,
    ) -> Result<(), ExportError> {
        let attempt = match of.attempt {
            Some(attempt) => attempt,
            None => attempt_before(engine, ask, of.job, of.seq)?,
        };
        let key = AttemptKey {
            scope: of.scope.clone(),
            job: of.job,
            attempt,
        };
        for (stream, digest) in [
            (Stream::Stdout, &of.logs.stdout),
            (Stream::Stderr, &of.logs.stderr),
        ] {
            if self.logs.contains_key(&digest.sha256) {
                continue;
            }
            match output.read_raw(&key, stream, 0..digest.bytes.min(1)) {
                Ok(found) if found.len() as u64 == digest.bytes.min(1) => {
                    self.logs
                        .insert(digest.sha256, (key.clone(), stream, digest.bytes));
                }
                Ok(_) | Err(OutputError::Missing { .. }) => {
                    self.missing.insert(digest.sha256);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// As the manifest says it; nothing where nothing was asked for.
    pub(super) fn contents(&self) -> Option<Contents> {
        (!self.with.is_empty()).then(|| Contents {
            missing: self.missing.iter().copied().collect(),
            with: self.with.iter().map(|with| with.as_str().to_owned()).collect(),
        })
    }

    /// Adds the files to a bundle.
    pub(super) fn add_to<'a>(&self, writer: &mut BundleWriter<'a>, output: &'a Output) {
        let measure = |sha256: &Digest, size: u64| Measure {
            size,
            sha256: *sha256,
            lines: 0,
        };
        for (sha256, size) in &self.artifacts {
            let digest = *sha256;
            let open = move || {
                let reader = output.blobs().reader(&digest).map_err(io::Error::other)?;
                Ok(Box::new(BlobStream { reader, at: 0 }) as Box<dyn Read>)
            };
            writer.add_measured(Member::Artifact(digest), measure(sha256, *size), Box::new(open));
        }
        for (sha256, (key, stream, size)) in &self.logs {
            let (key, stream) = (key.clone(), *stream);
            let open = move || {
                let key = key.clone();
                Ok(Box::new(LogStream {
                    output,
                    key,
                    stream,
                    at: 0,
                }) as Box<dyn Read>)
            };
            writer.add_measured(Member::Log(*sha256), measure(sha256, *size), Box::new(open));
        }
    }
}

/// The attempt of a job that an event at `seq` ended, where its beginning lies before the range.
fn attempt_before(engine: &Handle, ask: &ExportAsk, job: JobId, seq: Seq) -> Result<u32, ExportError> {
    let store = engine
        .store()
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    let ledger = engine.ledger(&ask.tenant)?;
    let mut before = seq.0.to_be_bytes();
    loop {
        let page = Page {
            after: Some(&before),
            direction: Direction::Backward,
            limit: crate::limits::PAGE_ITEMS_MAX,
        };
        let seqs = store.read()?.events_of_job(&ask.tenant, job, page)?;
        for seq in &seqs {
            let event = Event::from_bytes(&ledger.event(*seq)?)
                .map_err(|error| ExportError::Fold(seq.0, error.to_string()))?;
            if let Some(attempt) = attempt(&event.body) {
                return Ok(attempt);
            }
        }
        match seqs.last() {
            Some(last) => before = last.0.to_be_bytes(),
            None => return Err(ExportError::Fold(seq.0, format!("job {job} never started"))),
        }
    }
}
