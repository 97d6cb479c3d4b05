//! What the events of workers change: the worker's own row.
//!
//! Promises: a worker is registered before anything else is told of it, and lost at most once until it has a lease again.

use super::{ApplyError, Fold};
use crate::domain::event::EventBody;
use crate::domain::report::{WorkerDrained, WorkerLost, WorkerRegistered};
use crate::domain::state::{Key, Row};
use crate::domain::worker::Worker;

impl Fold<'_> {
    /// One line an event, as in the table that leads here.
    pub(super) fn worker_event(&mut self) -> Result<(), ApplyError> {
        let event = self.event;
        match &event.body {
            EventBody::WorkerRegistered(payload) => self.worker_registered(payload),
            EventBody::WorkerDrained(payload) => self.worker_drained(payload),
            EventBody::WorkerLost(payload) => self.worker_lost(payload),
            _ => Err(self.illegal("it is no event of a worker")),
        }
    }

    fn worker_registered(&mut self, payload: &WorkerRegistered) -> Result<(), ApplyError> {
        let key = Key::Worker(payload.name.clone());
        self.refuse_existing(&key)?;
        if let Some(replaced) = &payload.replaces {
            self.worker(replaced)?;
            self.changes.remove(Key::Worker(replaced.clone()));
        }
        let worker = Worker {
            draining: None,
            first_seen_at: self.event.at,
            labels: payload.labels.clone(),
            lost_at: None,
            name: payload.name.clone(),
            queues: payload.queues.clone(),
            seq: self.event.seq,
            types: payload.types.clone(),
        };
        self.put_worker(worker);
        Ok(())
    }

    fn worker_drained(&mut self, payload: &WorkerDrained) -> Result<(), ApplyError> {
        let mut worker = self.worker(&payload.name)?;
        worker.draining = payload.draining.then(|| payload.reason.clone());
        self.put_worker(worker);
        Ok(())
    }

    fn worker_lost(&mut self, payload: &WorkerLost) -> Result<(), ApplyError> {
        let mut worker = self.worker(&payload.name)?;
        if worker.lost_at.is_some() {
            return Err(self.illegal("it was lost before, and has had no lease since"));
        }
        worker.lost_at = Some(self.event.at);
        self.put_worker(worker);
        Ok(())
    }

    /// A lease was granted: who was lost is found. A worker that was never registered is the built-in runner.
    pub(super) fn worker_leased(&mut self, name: &str) -> Result<(), ApplyError> {
        if let Some(mut worker) = self.with(|view| view.worker(name))?
            && worker.lost_at.is_some()
        {
            worker.lost_at = None;
            self.put_worker(worker);
        }
        Ok(())
    }

    fn worker(&self, name: &str) -> Result<Worker, ApplyError> {
        self.with(|view| view.worker(name))?
            .ok_or_else(|| self.illegal("no such worker"))
    }

    fn put_worker(&mut self, mut worker: Worker) {
        worker.seq = self.event.seq;
        let key = Key::Worker(worker.name.clone());
        self.changes.put(key, Row::Worker(worker));
    }
}
