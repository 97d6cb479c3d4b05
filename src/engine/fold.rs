//! Folding ledgers into a projection: after a crash, when it is rebuilt, and for imported ledgers. One way for all.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::graphs::{Graphs, WithGraphs};
use crate::domain::apply::{ApplyError, apply};
use crate::domain::event::{Event, EventError};
use crate::domain::state::{Changes, Kind, Layered, View};
use crate::domain::{Seq, TenantName, Timestamp};
use crate::ledger::{LedgerError, Ledgers, TenantLedger};
use crate::store::{Batch, Commit, Filing, Head, Snapshot, Store, StoreError};

/// Events folded in one batch of the projection.
const CHUNK_EVENTS: usize = 8_192;
/// Bytes of events and of the rows they touch, about, after which a batch ends; one event may go beyond it.
const CHUNK_BYTES: usize = 16 << 20;

/// Why folding stopped.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// A ledger cannot be read: the error names file and offset.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The projection cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event that this program does not know.
    #[error("ledger {tenant}, event {seq}: {source}")]
    Event {
        /// Whose ledger.
        tenant: TenantName,
        /// Which event.
        seq: Seq,
        /// What did not fit.
        source: EventError,
    },
    /// An event that no legal history contains.
    #[error("ledger {tenant}: {source}")]
    Illegal {
        /// Whose ledger.
        tenant: TenantName,
        /// Which event, and why.
        source: ApplyError,
    },
    /// The projection has more of a ledger than the ledger itself.
    #[error("the projection holds {projected} events of ledger {tenant}, the ledger only {held}")]
    Ahead {
        /// Whose ledger.
        tenant: TenantName,
        /// Events folded in.
        projected: u64,
        /// Events in the ledger.
        held: u64,
    },
}

/// Brings a projection up to date with every ledger.
///
/// # Errors
/// [`FoldError`]; what was folded before stays.
pub fn catch_up(store: &Store, ledgers: &Ledgers) -> Result<u64, FoldError> {
    let mut folded = 0;
    for tenant in ledgers.tenants()? {
        folded += catch_up_one(store, &ledgers.ledger(&tenant)?)?;
    }
    Ok(folded)
}

/// Brings a projection up to date with one ledger.
///
/// # Errors
/// [`FoldError`]; what was folded before stays.
pub fn catch_up_one(store: &Store, ledger: &Arc<TenantLedger>) -> Result<u64, FoldError> {
    let tenant = ledger.tenant().clone();
    let from = store.read()?.head(&tenant)?.map_or(0, |head| head.size);
    let to = ledger.size();
    if from > to {
        return Err(FoldError::Ahead {
            tenant,
            projected: from,
            held: to,
        });
    }
    let graphs = Graphs::default();
    let mut at = from;
    while at < to {
        at = fold_chunk(store, ledger, &graphs, at, to)?;
    }
    Ok(to - from)
}

/// Folds one batch of the events from `from` on, and says where the next begins.
fn fold_chunk(
    store: &Store,
    ledger: &TenantLedger,
    graphs: &Graphs,
    from: u64,
    to: u64,
) -> Result<u64, FoldError> {
    let tenant = ledger.tenant();
    let (mut fold, mut next) = (Chunk::default(), from);
    {
        let snapshot = store.read()?;
        let view = WithGraphs {
            tenant,
            graphs,
            below: &snapshot.view(tenant),
        };
        let mut failed = None;
        ledger.scan(Seq(from), Seq(to), &mut |seq, bytes| {
            let taken = parse(tenant, seq, bytes).and_then(|event| fold.apply(tenant, &view, &event, bytes));
            next = seq.0 + 1;
            failed = taken.err();
            if failed.is_some() || fold.is_full() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    fold.write_filed(store, tenant, next)?;
    Ok(next)
}

/// Folds events that come from elsewhere than a ledger held here, a bundle for instance, into a projection.
#[derive(Debug)]
pub struct Folder {
    store: Arc<Store>,
    tenant: TenantName,
    chunk: Chunk,
    graphs: Graphs,
    /// The projection below the chunk; the same until that is written.
    below: Option<Snapshot>,
    next: u64,
}

impl Folder {
    /// Goes on behind what the projection holds of `tenant`. It is to be asked for jobs, runs, throttles and packs by their keys
    /// alone: for what state files hold, and what `apply` reads.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn of_state(store: Arc<Store>, tenant: TenantName) -> Result<Self, StoreError> {
        let next = store.read()?.head(&tenant)?.map_or(0, |head| head.size);
        Ok(Folder {
            store,
            tenant,
            chunk: Chunk::default(),
            graphs: Graphs::default(),
            below: None,
            next,
        })
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// [`FoldError`]; what was folded before stays.
    pub fn event(&mut self, seq: Seq, bytes: &[u8]) -> Result<Event, FoldError> {
        let event = parse(&self.tenant, seq, bytes)?;
        self.apply(&event, bytes)?;
        Ok(event)
    }

    /// Takes the next event from one who has parsed it.
    ///
    /// # Errors
    /// [`FoldError`]; what was folded before stays.
    pub fn parsed(&mut self, event: &Event, bytes: &[u8]) -> Result<(), FoldError> {
        self.apply(event, bytes)
    }

    fn apply(&mut self, event: &Event, bytes: &[u8]) -> Result<(), FoldError> {
        let below = match self.below.take() {
            Some(below) => below,
            None => self.store.read()?,
        };
        let view = WithGraphs {
            tenant: &self.tenant,
            graphs: &self.graphs,
            below: &below.view(&self.tenant),
        };
        self.chunk.apply(&self.tenant, &view, event, bytes)?;
        self.below = Some(below);
        self.next = event.seq.0 + 1;
        if self.chunk.is_full() {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what was taken.
    ///
    /// # Errors
    /// What the projection said.
    pub fn flush(&mut self) -> Result<(), FoldError> {
        let chunk = std::mem::take(&mut self.chunk);
        self.below = None;
        chunk.write_rows(&self.store, &self.tenant, self.next)
    }
}

fn parse(tenant: &TenantName, seq: Seq, bytes: &[u8]) -> Result<Event, FoldError> {
    Event::from_bytes(bytes).map_err(|source| FoldError::Event {
        tenant: tenant.clone(),
        seq,
        source,
    })
}

#[derive(Debug, Default)]
struct Chunk {
    changes: Changes,
    filings: Vec<Filing>,
    at: Option<Timestamp>,
    /// Bytes that it takes, about.
    weight: usize,
}

impl Chunk {
    fn is_full(&self) -> bool {
        self.filings.len() >= CHUNK_EVENTS || self.weight >= CHUNK_BYTES
    }

    fn apply(
        &mut self,
        tenant: &TenantName,
        below: &dyn View,
        event: &Event,
        bytes: &[u8],
    ) -> Result<(), FoldError> {
        let mut changes = Changes::default();
        apply(
            &Layered {
                below,
                changes: &self.changes,
            },
            &mut changes,
            event,
        )
        .map_err(|source| match source {
            // The row may be fine, and the projection alone is not.
            ApplyError::Unavailable(error) => FoldError::Store(StoreError::Damaged(error.0)),
            ApplyError::Illegal { .. } => FoldError::Illegal {
                tenant: tenant.clone(),
                source,
            },
        })?;
        // What an event brings is as long as the event; what it only touches was brought by others. A row that is touched again
        // counts again, which ends a batch sooner where rows are large.
        let touched = changes.iter().filter_map(|(_, row)| Some(row?.weight()));
        self.weight += bytes.len() + touched.sum::<usize>();
        self.changes.merge(changes);
        let named = (event.subject.job, event.subject.run);
        self.filings
            .push(Filing::new(event.seq, named, event.correlation_id.as_deref()));
        self.at = Some(event.at);
        Ok(())
    }

    /// Writes what was taken, with its secondary orders.
    fn write_filed(&self, store: &Store, tenant: &TenantName, size: u64) -> Result<(), FoldError> {
        let mut batch = store.begin()?;
        batch.write(tenant, self.changes.iter())?;
        batch.index_events(tenant, self.filings.iter().copied())?;
        self.commit(batch, tenant, size)
    }

    /// Writes its rows alone, and no payloads: no event looks at them, and no state file holds them.
    fn write_rows(&self, store: &Store, tenant: &TenantName, size: u64) -> Result<(), FoldError> {
        let mut batch = store.begin()?;
        let rows = self.changes.iter();
        batch.write_rows(tenant, rows.filter(|(key, _)| key.kind() != Kind::Payload))?;
        self.commit(batch, tenant, size)
    }

    fn commit(&self, mut batch: Batch, tenant: &TenantName, size: u64) -> Result<(), FoldError> {
        if let Some(at) = self.at {
            batch.set_head(tenant, Head { size, at })?;
        }
        Ok(batch.commit(None, Commit::Visible)?)
    }
}
