//! What a range names, and how that stood at its end.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::contents;
use super::export::ExportError;
use super::redacted::Redacted;
use super::replay::Touched;
use crate::domain::apply::apply;
use crate::domain::event::Event;
use crate::domain::job::AttemptLogs;
use crate::domain::state::{Changes, Model, Row, View, WithPacks};
use crate::domain::{Digest, JobId, RunId, Seq, TenantName};
use crate::engine::Handle;
use crate::ledger::TenantLedger;
use crate::limits;
use crate::output::RunScope;
use crate::store::{Direction, Page, Snapshot, StoreError};

/// What the first pass finds.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) touched: Touched,
    pub(super) artifacts: BTreeMap<Digest, u64>,
    pub(super) logs: Vec<LogsOf>,
    /// The attempt at work of jobs that started within the range.
    attempts: BTreeMap<JobId, u32>,
    bytes: u64,
    /// Digests that stand for redacted fields.
    pub(super) digests: u64,
}

/// The logs of one attempt, as its end names them.
#[derive(Debug)]
pub(super) struct LogsOf {
    pub(super) scope: RunScope,
    pub(super) job: JobId,
    /// None where it began before the range.
    pub(super) attempt: Option<u32>,
    pub(super) seq: Seq,
    pub(super) logs: AttemptLogs,
}

/// Reads the range once: what it names, and whether it fits one bundle.
pub(super) fn survey(ledger: &TenantLedger, from: u64, size: u64) -> Result<Survey, ExportError> {
    let mut survey = Survey::default();
    let mut failed = None;
    ledger.scan(Seq(from), Seq(size), &mut |seq, bytes| {
        survey.bytes += bytes.len() as u64 + 1;
        if survey.bytes > limits::BUNDLE_MEMBER_BYTES_MAX {
            failed = Some(ExportError::RangeTooLarge { split: seq.0 });
            return ControlFlow::Break(());
        }
        match survey.read(bytes) {
            Ok(()) => ControlFlow::Continue(()),
            Err(why) => {
                failed = Some(ExportError::Fold(seq.0, why));
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(survey), Err)
}

impl Survey {
    fn read(&mut self, bytes: &[u8]) -> Result<(), String> {
        let event = Event::from_bytes(bytes).map_err(|error| error.to_string())?;
        let redacted = Redacted::of(&event).map_err(|error| error.to_string())?;
        self.digests += redacted.map_or(0, |redacted| redacted.count());
        self.take(&event);
        Ok(())
    }

    fn take(&mut self, event: &Event) {
        self.touched.take(event);
        self.artifacts.extend(contents::artifacts(&event.body));
        let Some(job) = event.subject.job else { return };
        if let Some(attempt) = contents::attempt(&event.body) {
            self.attempts.insert(job, attempt);
        }
        if let Some(logs) = contents::logs(&event.body) {
            self.logs.push(LogsOf {
                scope: RunScope::of_job(event.tenant.clone(), event.subject.run, job),
                job,
                attempt: self.attempts.get(&job).copied(),
                seq: event.seq,
                logs: logs.clone(),
            });
        }
    }
}

/// The state of single jobs and runs at a size of the ledger.
pub(super) struct StateAt<'a> {
    pub(super) engine: &'a Handle,
    pub(super) ledger: &'a TenantLedger,
    pub(super) tenant: &'a TenantName,
    pub(super) size: u64,
}

impl StateAt<'_> {
    /// A read of the projection, for a few rows or one list.
    pub(super) fn snapshot(&self) -> Result<Snapshot, ExportError> {
        let store = self
            .engine
            .store()
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(store.read()?)
    }

    pub(super) fn job(&self, snapshot: &Snapshot, id: JobId) -> Result<Row, ExportError> {
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

    pub(super) fn run(&self, snapshot: &Snapshot, id: RunId) -> Result<Row, ExportError> {
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

    /// Folds the events of one job or run that lie before the size. They name all that they change, but for packs, which never change.
    fn fold(
        &self,
        mut list: impl FnMut(Page<'_>) -> Result<Vec<Seq>, StoreError>,
    ) -> Result<Model, ExportError> {
        let packs = self.snapshot()?;
        let packs = packs.view(self.tenant);
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
                let below = WithPacks {
                    model: &model,
                    packs: &packs,
                };
                apply(&below, &mut changes, &event)
                    .map_err(|error| ExportError::Fold(seq.0, error.to_string()))?;
                model.absorb(changes);
            }
        }
    }
}
