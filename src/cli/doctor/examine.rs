//! The looks at a data folder, in the order in which one leads to the next: keys, projection, journal, ledgers,
//! disclosures.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use super::Finding;
use super::disclosures;
use super::ledgers;
use crate::cli::style::grouped;
use crate::disk::{Access, Disk};
use crate::domain::leaf_hash;
use crate::engine::{Layout, read_floor};
use crate::journal::{self, Batch, CheckError, Floor, OpenError, Position, ReadError};
use crate::ledger::{LedgerError, Ledgers};
use crate::store::{Snapshot, Store, StoreError};
use crate::trust::{Inspected, KeyFolder, TrustError};

/// Everything that is found. `opens` says whether the projection can be opened without harm to whoever does.
pub fn all(disk: &Arc<dyn Disk>, data: &Path, opens: &dyn Fn(&Path) -> bool) -> Vec<Finding> {
    let layout = Layout(data.to_owned());
    let mut found = Vec::new();
    let keys = keys(disk.as_ref(), data, &mut found);
    let projection = projection(disk, &layout, opens, &mut found);
    let projected = projection.as_ref().and_then(|snapshot| snapshot.position().ok());
    let floor = Floor {
        durable_projection: Position(projected.unwrap_or(0)),
        checkpointed: checkpointed(disk.as_ref(), &layout, &mut found),
    };
    let ledgers = match Ledgers::open(disk.clone(), layout.ledgers()) {
        Ok(ledgers) => ledgers,
        Err(error) => {
            found.push(of_ledger("ledgers", &error));
            return found;
        }
    };
    journal(disk.clone(), &layout, floor, &ledgers, &mut found);
    ledgers::all(&ledgers, keys.as_ref(), projection.as_ref(), &mut found);
    disclosures::all(disk, data, &ledgers, &mut found);
    found
}

/// The keys. Looking never makes new ones, and never ends a replacement that a crash cut short.
fn keys(disk: &dyn Disk, data: &Path, found: &mut Vec<Finding>) -> Option<Inspected> {
    let dir = data.join("keys");
    for name in ["log.pem", "export.pem", "log.pub.pem", "export.pub.pem"] {
        let path = dir.join(name);
        if let Err(error) = disk.open_plain(&path) {
            found.push(Finding::damaged("keys", error.to_string()).at(&path, None));
            return None;
        }
    }
    match KeyFolder::inspect(disk, &dir) {
        Ok(keys) => {
            let log = keys.log_keys.last().map(|log| log.id().to_string());
            let detail = format!("log key {}", log.unwrap_or_default());
            found.push(Finding::good("keys", detail));
            if keys.lacks_orders {
                found.push(Finding::skipped(
                    "orders key",
                    "not there: the next start makes it",
                ));
            }
            Some(keys)
        }
        Err(error) => {
            let finding = Finding::damaged("keys", error.to_string());
            found.push(match &error {
                TrustError::BrokenFile { path, .. } | TrustError::Io { path, .. } => finding.at(path, None),
                TrustError::LooseMode { path, .. } => finding.at(path, None),
                TrustError::MismatchedKeys { public, .. } => finding.at(public, None),
                TrustError::MissingPrivateKey { missing, .. } => finding.at(missing, None),
                TrustError::OtherRetiredKey(path) => finding.at(path, None),
                TrustError::RetiredKeyInPlace { private, .. } => finding.at(private, None),
                _ => finding,
            });
            None
        }
    }
}

/// The projection. A damaged one may abort whoever opens it, so a child goes first.
fn projection(
    disk: &Arc<dyn Disk>,
    layout: &Layout,
    opens: &dyn Fn(&Path) -> bool,
    found: &mut Vec<Finding>,
) -> Option<Snapshot> {
    let path = layout.store();
    if disk.open(&path, Access::Read).is_err() {
        found.push(Finding::skipped(
            "projection",
            "not there: the next start builds it",
        ));
        return None;
    }
    let damaged = |why: String| {
        Finding::damaged("projection", format!("{why}; --rebuild throws it away")).at(&path, None)
    };
    if !opens(&path) {
        found.push(damaged("it cannot be opened".to_owned()));
        return None;
    }
    let looked = catch_unwind(AssertUnwindSafe(|| {
        let mut store = Store::open(disk, &path)?;
        store.verify_pages()?;
        let rows = store.verify()?;
        Ok::<_, StoreError>((rows, store.read()?))
    }));
    match looked {
        Ok(Ok((rows, snapshot))) => {
            found.push(Finding::good("projection", format!("{} rows", grouped(rows))));
            Some(snapshot)
        }
        Ok(Err(error)) => {
            found.push(damaged(error.to_string()));
            None
        }
        Err(_) => {
            found.push(damaged("reading it fails within the library".to_owned()));
            None
        }
    }
}

/// Up to which position checkpoints were signed.
fn checkpointed(disk: &dyn Disk, layout: &Layout, found: &mut Vec<Finding>) -> Position {
    read_floor(disk, layout).unwrap_or_else(|error| {
        let offset = (error.kind() == std::io::ErrorKind::InvalidData).then_some(0);
        found.push(Finding::damaged("checkpoint floor", error.to_string()).at(&layout.floor(), offset));
        Position(0)
    })
}

/// The journal; what it holds goes into the ledgers in memory, as at a start.
fn journal(disk: Arc<dyn Disk>, layout: &Layout, floor: Floor, ledgers: &Ledgers, found: &mut Vec<Finding>) {
    let mut failed = None;
    let checked = journal::check(disk, &layout.journal(), floor, &mut |batch: Batch| match push(
        ledgers, batch,
    ) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    });
    match checked {
        Ok(recovery) => {
            let records = grouped(recovery.end.0 - recovery.start.0);
            let torn = match &recovery.cut {
                Some(cut) => format!(
                    "; a torn batch at byte {} of {} will be cut",
                    cut.offset,
                    cut.file.display()
                ),
                None => String::new(),
            };
            found.push(Finding::good("journal", format!("{records} records{torn}")));
        }
        Err(error) => found.push(of_journal(&error)),
    }
    if let Some(error) = failed {
        found.push(of_ledger("journal after history", &error));
    }
}

fn push(ledgers: &Ledgers, batch: Batch) -> Result<(), LedgerError> {
    for record in batch.records {
        // Copied out: a record must not keep the buffer of its whole batch alive.
        let bytes = bytes::Bytes::copy_from_slice(&record.bytes);
        let leaf = leaf_hash(&bytes);
        ledgers.ledger(&record.tenant)?.push(record.seq, bytes, leaf)?;
    }
    Ok(())
}

fn of_journal(error: &CheckError) -> Finding {
    let finding = |detail: &dyn std::fmt::Display| Finding::damaged("journal", detail.to_string());
    match error {
        CheckError::Open(OpenError::Damaged { file, offset, damage })
        | CheckError::Read(ReadError::Damaged { file, offset, damage }) => {
            finding(damage).at(file, Some(*offset))
        }
        CheckError::Open(OpenError::Missing { file } | OpenError::Version { file, .. }) => {
            finding(error).at(file, None)
        }
        CheckError::Open(OpenError::Failed(disk)) | CheckError::Read(ReadError::Failed(disk)) => {
            finding(&disk.source).at(&disk.path, None)
        }
        CheckError::Open(OpenError::Empty { dir, .. }) => finding(error).at(dir, None),
        CheckError::Read(ReadError::OutOfRange { .. } | ReadError::Poisoned) => finding(error),
    }
}

/// A finding about a ledger, with its place where the error names one.
pub fn of_ledger(name: &str, error: &LedgerError) -> Finding {
    match error {
        LedgerError::Damaged { path, offset, what } => Finding::damaged(name, *what).at(path, Some(*offset)),
        LedgerError::Io { path, source, .. } => Finding::damaged(name, source.to_string()).at(path, None),
        LedgerError::BeyondEnd { .. }
        | LedgerError::Pruned { .. }
        | LedgerError::NotContiguous { .. }
        | LedgerError::EventTooLarge { .. }
        | LedgerError::Archiving { .. }
        | LedgerError::Stopped { .. }
        | LedgerError::Proof(_) => Finding::damaged(name, error.to_string()),
    }
}
