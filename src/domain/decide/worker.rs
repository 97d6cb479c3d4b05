//! Decisions about workers: first seen, drained, lost.

use super::bounds::{check_label, check_text, clip};
use super::{Draft, Labels};
use crate::domain::canonical::key_fits;
use crate::domain::command::{DrainWish, Reply};
use crate::domain::event::{EventBody, Subject};
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::report::{WorkerDrained, WorkerLost, WorkerRegistered};
use crate::domain::worker::Worker;
use crate::limits;

impl Draft<'_> {
    /// A name that is known makes no event.
    pub(super) fn register_worker(&mut self, worker: &WorkerRegistered) -> Result<Reply, Refusal> {
        check_label("/worker", &worker.name)?;
        let names = worker.queues.len().max(worker.types.len());
        if names.max(worker.labels.len()) > limits::CLAIM_NAMES_MAX {
            let detail = format!("at most {} of each", limits::CLAIM_NAMES_MAX);
            return Err(Rejection::field(Code::InvalidField, "/queues", detail).into());
        }
        for queue in &worker.queues {
            check_text("/queues", queue, limits::LABEL_BYTES_MAX)?;
        }
        for job_type in &worker.types {
            check_text("/types", job_type, limits::LABEL_BYTES_MAX)?;
        }
        for (name, value) in &worker.labels {
            if !key_fits(name) {
                let detail = format!(
                    "a label is named [A-Za-z0-9_.:-]{{1,{}}}",
                    limits::JSON_KEY_BYTES_MAX
                );
                return Err(Rejection::field(Code::InvalidField, "/labels", detail).into());
            }
            check_text("/labels", value, limits::LABEL_BYTES_MAX)?;
        }
        if self.read(|view| view.worker(&worker.name))?.is_none() {
            let body = EventBody::WorkerRegistered(Box::new(worker.clone()));
            self.emit_worker(&worker.name, body)?;
        }
        self.reply_worker(&worker.name)
    }

    /// A repeat is a no-op.
    pub(super) fn drain_worker(
        &mut self,
        name: &str,
        wish: DrainWish,
        reason: &str,
    ) -> Result<Reply, Refusal> {
        let draining = wish == DrainWish::Drain;
        if self.worker_row(name)?.draining.is_some() != draining {
            let drained = WorkerDrained {
                draining,
                name: name.to_owned(),
                reason: clip(reason),
            };
            self.emit_worker(name, EventBody::WorkerDrained(drained))?;
        }
        self.reply_worker(name)
    }

    /// Noted once until the worker has a lease again.
    pub(super) fn lose_worker(&mut self, name: &str) -> Result<Reply, Refusal> {
        if self.worker_row(name)?.lost_at.is_none() {
            let lost = WorkerLost {
                name: name.to_owned(),
            };
            self.emit_worker(name, EventBody::WorkerLost(lost))?;
        }
        self.reply_worker(name)
    }

    fn emit_worker(&mut self, name: &str, body: EventBody) -> Result<(), Refusal> {
        let subject = Subject {
            worker: Some(name.to_owned()),
            ..Subject::default()
        };
        self.emit(body, subject, Labels::default())?;
        Ok(())
    }

    fn worker_row(&self, name: &str) -> Result<Worker, Refusal> {
        Ok(self
            .read(|view| view.worker(name))?
            .ok_or_else(|| Rejection::not_found("worker"))?)
    }

    fn reply_worker(&self, name: &str) -> Result<Reply, Refusal> {
        Ok(Reply::Worker(Box::new(self.worker_row(name)?)))
    }
}
