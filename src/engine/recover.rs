//! Opening a data folder: journal, ledgers, projection, and what is derived from them; in that order.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::active::Active;
use super::floor::read_floor;
use super::fold::{self, FoldError};
use super::own_keys::{self, KeysError};
use super::request::SubmitError;
use super::shared::Shared;
use super::snapshot;
use super::writer::{Fatal, Writer};
use crate::clock::Clock;
use crate::disclosures::{Disclosures, DisclosuresError};
use crate::disk::Disk;
use crate::domain::job::Job;
use crate::domain::{JobId, Seq, TenantName, Timestamp, leaf_hash};
use crate::journal::{self, Floor, Journal, OpenError, Options, Position, ReadError};
use crate::ledger::{LedgerError, Ledgers};
use crate::store::{Commit, Store, StoreError};
use crate::trust::KeyFolder;

/// The worker name under which the built-in runner claims.
pub const LOCAL_WORKER: &str = "local";

/// Where things lie in a data folder.
#[derive(Debug, Clone)]
pub struct Layout(pub PathBuf);

impl Layout {
    /// Journal segments.
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }
    /// Ledgers, a folder per tenant.
    pub fn ledgers(&self) -> PathBuf {
        self.0.join("ledgers")
    }
    /// The projection.
    pub fn store(&self) -> PathBuf {
        self.0.join("state.redb")
    }
    /// Up to which journal position checkpoints were signed.
    pub fn floor(&self) -> PathBuf {
        self.0.join("floor")
    }
    /// What redacted fields stand for.
    pub fn disclosures(&self) -> PathBuf {
        self.0.join("disclosures")
    }
    /// State snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.0.join("snapshots")
    }
}

/// Why a data folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal: names segment and offset.
    #[error("the journal cannot be opened: {0}")]
    Journal(#[from] OpenError),
    /// Reading it back.
    #[error("the journal cannot be read: {0}")]
    Read(#[from] ReadError),
    /// A ledger: names file and offset.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The projection cannot be built.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The projection file cannot even be made anew.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk.
    #[error("{what}: {source}")]
    Disk {
        /// What was attempted, on what.
        what: String,
        /// What the disk said.
        source: std::io::Error,
    },
    /// What redacted fields stand for: names the file.
    #[error(transparent)]
    Disclosures(#[from] DisclosuresError),
    /// The keys folder is not the one that the ledger knows.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The first writes failed.
    #[error(transparent)]
    Writer(#[from] Fatal),
}

/// What recovery did, for the log and for `doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Events folded into the projection at this start.
    pub folded: u64,
    /// Why the projection was built anew, when it was.
    pub rebuilt: Option<String>,
    /// A torn tail that was cut, as file and offset.
    pub cut: Option<(PathBuf, u64)>,
    /// Steps whose process ended with the server.
    pub lost_leases: usize,
}

/// Whether the file of the projection may be opened in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trusted {
    /// It was closed cleanly, or a child process opened it without harm.
    Yes,
    /// A child process could not open it: throw it away.
    No,
}

/// Opens a data folder and brings everything up to date.
pub(super) fn open(
    (disk, clock): (Arc<dyn Disk>, Arc<dyn Clock>),
    layout: &Layout,
    keys: Arc<KeyFolder>,
    trusted: Trusted,
    options: Options,
) -> Result<(Writer, Report), StartError> {
    let (store, mut rebuilt) = open_store(&disk, layout, trusted)?;
    let projected = store.read()?.position()?;
    let checkpointed = read_floor(disk.as_ref(), layout).map_err(|source| StartError::Disk {
        what: format!("reading {}", layout.floor().display()),
        source,
    })?;
    let floor = Floor {
        durable_projection: Position(projected),
        checkpointed,
    };
    let (journal, recovery) = journal::open(disk.clone(), &layout.journal(), floor, options)?;
    let ledgers = Arc::new(Ledgers::open(disk.clone(), layout.ledgers())?);
    push_journal(&journal, &ledgers)?;
    let disclosures = Disclosures::new(layout.disclosures(), disk.clone());
    cut_disclosures(&disclosures, &ledgers)?;
    if projected == 0 && journal.end().0 > 0 {
        rebuilt.get_or_insert_with(|| "it was empty".to_owned());
    }
    let place = Place {
        disk,
        clock,
        layout,
        keys,
        ledgers,
        disclosures,
        end: journal.end(),
    };
    let raised = match place.raise(store) {
        // Whatever a page was read for: the ledgers know it.
        Err(FoldError::Store(error)) => {
            rebuilt = Some(error.to_string());
            place.raise(fresh_store(&place.disk, layout)?)?
        }
        other => other?,
    };
    let Raised {
        shared,
        active,
        running,
        newest,
        folded,
    } = raised;
    own_keys::check(&shared)?;
    erase_again(&shared)?;
    let mut writer = Writer::new(place.clock, Box::new(journal), shared, active, newest);
    let lost = local_leases(running);
    writer.lose_local_leases(&lost)?;
    let report = Report {
        folded,
        rebuilt,
        cut: recovery.cut.map(|cut| (cut.file, cut.offset)),
        lost_leases: lost.values().map(Vec::len).sum(),
    };
    Ok((writer, report))
}

/// The leases of the built-in runner, whose processes ended with the process before this one.
fn local_leases(running: BTreeMap<TenantName, Vec<Job>>) -> BTreeMap<TenantName, Vec<(JobId, u64)>> {
    let is_local = |job: &Job| {
        let lease = job.lease.as_ref();
        lease.is_some_and(|lease| lease.worker == LOCAL_WORKER)
    };
    let of_tenant = |(tenant, mut jobs): (TenantName, Vec<Job>)| {
        jobs.retain(is_local);
        (tenant, jobs.iter().map(|job| (job.id, job.epoch)).collect())
    };
    running.into_iter().map(of_tenant).collect()
}

/// What a projection is raised from.
struct Place<'a> {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    layout: &'a Layout,
    keys: Arc<KeyFolder>,
    ledgers: Arc<Ledgers>,
    disclosures: Arc<Disclosures>,
    /// Of the journal.
    end: Position,
}

/// A projection that is up to date, and what is derived from it.
struct Raised {
    shared: Arc<Shared>,
    active: Active,
    running: BTreeMap<TenantName, Vec<Job>>,
    newest: Option<Timestamp>,
    folded: u64,
}

impl Place<'_> {
    /// Folds what is missing and derives the rest. An error of the store means that it must be built anew.
    fn raise(&self, store: Store) -> Result<Raised, FoldError> {
        if self.end.0 > 0 && store.read()?.position()? == 0 {
            snapshot::load_newest(self.disk.as_ref(), self.layout, &store, &self.ledgers);
        }
        let folded = fold::catch_up(&store, &self.ledgers)?;
        store.begin()?.commit(Some(self.end.0), Commit::Durable)?;
        let store = Arc::new(store);
        let shared = Arc::new(Shared::new(
            (self.disk.clone(), self.clock.clone()),
            self.layout.0.clone(),
            self.ledgers.clone(),
            (self.keys.clone(), self.disclosures.clone()),
            (store.clone(), self.end.0),
        ));
        let (active, running) = shared.derive(&store, self.clock.monotonic_ms())?;
        let newest = shared.newest(&store)?;
        Ok(Raised {
            shared,
            active,
            running,
            newest,
            folded,
        })
    }
}

fn open_store(
    disk: &Arc<dyn Disk>,
    layout: &Layout,
    trusted: Trusted,
) -> Result<(Store, Option<String>), StartError> {
    if trusted == Trusted::No {
        return Ok((
            fresh_store(disk, layout)?,
            Some("a child process could not open it".to_owned()),
        ));
    }
    // Damage shows as an error or, deep inside the library, as a panic; both mean the same here.
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let store = Store::open(disk, &layout.store())?;
        store.read()?.position()?;
        Ok::<_, StoreError>(store)
    }));
    match opened {
        Ok(Ok(store)) => Ok((store, None)),
        Ok(Err(error)) => Ok((fresh_store(disk, layout)?, Some(error.to_string()))),
        Err(_) => Ok((fresh_store(disk, layout)?, Some("opening it panicked".to_owned()))),
    }
}

fn fresh_store(disk: &Arc<dyn Disk>, layout: &Layout) -> Result<Store, StartError> {
    let path = layout.store();
    Store::discard(disk.as_ref(), &path).map_err(|source| StartError::Disk {
        what: format!("removing {}", path.display()),
        source,
    })?;
    Ok(Store::open(disk, &path)?)
}

/// Disclosures whose event was never recorded belong to nothing: the events that come get their numbers.
fn cut_disclosures(disclosures: &Disclosures, ledgers: &Ledgers) -> Result<(), StartError> {
    // To ask for the ledger of a tenant that has none would make one.
    let known = ledgers.tenants()?;
    for tenant in disclosures.tenants()? {
        let size = match known.contains(&tenant) {
            true => ledgers.ledger(&tenant)?.size(),
            false => 0,
        };
        disclosures.cut(&tenant, Seq(size))?;
    }
    Ok(())
}

/// Values whose erasure was recorded and perhaps not done.
fn erase_again(shared: &Shared) -> Result<(), StartError> {
    let unread = |error: SubmitError| StoreError::Failed(error.to_string());
    let snapshot = shared.store().map_err(unread)?.read()?;
    for tenant in shared.disclosures.tenants()? {
        for erased in snapshot.erasures(&tenant)? {
            shared.disclosures.erase(&tenant, erased?.0)?;
        }
    }
    Ok(())
}

/// Events still in the journal go into memory; those already archived are skipped.
fn push_journal(journal: &dyn Journal, ledgers: &Ledgers) -> Result<(), StartError> {
    let mut failed = None;
    journal.read(journal.start(), journal.end(), &mut |batch| {
        for record in batch.records {
            // Copied out: a record must not keep the buffer of its whole batch alive.
            let bytes = bytes::Bytes::copy_from_slice(&record.bytes);
            let leaf = leaf_hash(&bytes);
            let pushed = ledgers
                .ledger(&record.tenant)
                .and_then(|ledger| ledger.push(record.seq, bytes, leaf));
            if let Err(error) = pushed {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}
