//! What was committed, handed to subscribers by reference. The writer never waits for one of them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast;

use crate::domain::event::Event;
use crate::domain::{Digest, JobId, RunId, Seq, TenantName};
use crate::limits;

/// One committed event: its bytes once, and what filters look at.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Canonical bytes.
    pub bytes: Bytes,
    /// Ties what belongs together.
    pub correlation_id: Option<String>,
    /// The job it names.
    pub job: Option<JobId>,
    /// Its hash.
    pub leaf: Digest,
    /// The label inside the tenant.
    pub project: Option<String>,
    /// The run it names.
    pub run: Option<RunId>,
    /// Its sequence.
    pub seq: Seq,
    /// Whose ledger.
    pub tenant: TenantName,
    /// Its type.
    pub type_name: &'static str,
}

impl Committed {
    /// Takes out what filters look at.
    pub fn new(event: &Event, bytes: Bytes, leaf: Digest) -> Self {
        Committed {
            bytes,
            correlation_id: event.correlation_id.clone(),
            job: event.subject.job,
            leaf,
            project: event.project.clone(),
            run: event.subject.run,
            seq: event.seq,
            tenant: event.tenant.clone(),
            type_name: event.body.type_name(),
        }
    }
}

/// One batch of committed events, of all tenants, in order; an empty one says that a foreign ledger grew.
pub type CommittedBatch = Arc<Vec<Committed>>;

/// The sending side, held by the writer.
#[derive(Debug, Clone)]
pub struct Feed(broadcast::Sender<CommittedBatch>);

impl Default for Feed {
    fn default() -> Self {
        Feed(broadcast::Sender::new(limits::FEED_BATCHES_MAX))
    }
}

impl Feed {
    /// Hands a batch to whoever listens; those too far behind find a gap and read the ledger instead.
    pub(super) fn publish(&self, batch: CommittedBatch) {
        // No subscriber is no error.
        let _ = self.0.send(batch);
    }

    /// Says that a foreign ledger grew: the writer commits none of its events, so its readers must look for themselves.
    pub fn foreign_grew(&self) {
        self.publish(CommittedBatch::default());
    }

    /// Everything committed from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<CommittedBatch> {
        self.0.subscribe()
    }

    /// Number of subscribers.
    pub fn subscribers(&self) -> usize {
        self.0.receiver_count()
    }
}
