//! The look at each ledger: every event against its leaf hash, the leaf hashes against the tree, the tree against the newest
//! checkpoint, the projection against the size.

use std::ops::ControlFlow;

use super::Finding;
use super::examine::of_ledger;
use crate::cli::style::grouped;
use crate::domain::{Seq, TenantName, leaf_hash};
use crate::ledger::{Frontier, LedgerError, Ledgers, Origin, TenantLedger};
use crate::limits;
use crate::store::Snapshot;
use crate::trust::Inspected;

/// Looks at all ledgers.
pub fn all(
    ledgers: &Ledgers,
    keys: Option<&Inspected>,
    projection: Option<&Snapshot>,
    found: &mut Vec<Finding>,
) {
    let tenants = match ledgers.tenants() {
        Ok(tenants) => tenants,
        Err(error) => return found.push(of_ledger("ledgers", &error)),
    };
    if tenants.is_empty() {
        found.push(Finding::skipped("ledgers", "there are none yet"));
    }
    for tenant in tenants {
        let name = format!("ledger {tenant}");
        match ledgers.ledger(&tenant) {
            Err(error) => found.push(of_ledger(&name, &error)),
            Ok(ledger) => {
                events(&name, &ledger, found);
                checkpoint(&tenant, &ledger, keys, found);
                projected(&tenant, &ledger, projection, found);
            }
        }
    }
}

/// Every event and the tree over them, frame by frame: behind a damaged one it goes on.
fn events(name: &str, ledger: &TenantLedger, found: &mut Vec<Finding>) {
    let size = ledger.size();
    let (mut tree, mut damage) = (Frontier::default(), Vec::new());
    let mut from = 0;
    while from < size {
        let to = size.min(from + limits::TILE_LEAVES);
        if let Err(error) = frame(ledger, from, to, &mut tree) {
            damage.push(of_ledger(name, &error));
        } else if tree.size() == to {
            // The tiles above the leaves.
            match ledger.frontier_at(to) {
                Ok(stored) if stored == tree => {}
                Ok(_) => damage.push(Finding::damaged(
                    name,
                    format!("its tree at {to} is not that of its events"),
                )),
                Err(error) => damage.push(of_ledger(name, &error)),
            }
        }
        from = to;
    }
    if damage.is_empty() {
        found.push(Finding::good(
            name,
            format!("{} events, root {}", grouped(size), tree.root()),
        ));
        return;
    }
    let more = damage.len().saturating_sub(limits::DOCTOR_FINDINGS_MAX);
    damage.truncate(limits::DOCTOR_FINDINGS_MAX);
    found.extend(damage);
    if more > 0 {
        found.push(Finding::damaged(name, format!("and {more} more")));
    }
}

fn frame(ledger: &TenantLedger, from: u64, to: u64, tree: &mut Frontier) -> Result<(), LedgerError> {
    let mut failed = None;
    ledger.scan(Seq(from), Seq(to), &mut |seq, bytes| {
        let leaf = leaf_hash(bytes);
        match ledger.leaf(seq) {
            Ok(stored) if stored == leaf => {
                tree.push(leaf);
                return ControlFlow::Continue(());
            }
            // Says in which file and where.
            Ok(_) => failed = ledger.checked_event(seq).err(),
            Err(error) => failed = Some(error),
        }
        ControlFlow::Break(())
    })?;
    failed.map_or(Ok(()), Err)
}

/// The newest checkpoint: ours by our own key; that of an imported ledger was checked when it came.
fn checkpoint(
    tenant: &TenantName,
    ledger: &TenantLedger,
    keys: Option<&Inspected>,
    found: &mut Vec<Finding>,
) {
    let name = format!("checkpoint {tenant}");
    let path = ledger.dir().join("checkpoint");
    let signed = match ledger.stored_checkpoint() {
        Ok(Some(signed)) => signed,
        Ok(None) => return found.push(Finding::skipped(&name, "none is stored yet")),
        Err(error) => return found.push(of_ledger(&name, &error)),
    };
    let damaged = |why: String| Finding::damaged(&name, why).at(&path, Some(0));
    if let Some(keys) = keys {
        // What was stored before the log key was replaced is signed by the one before.
        if let Some(origin) = Origin::new(keys.enclave.clone(), tenant.clone()) {
            let checked = keys.log_keys.iter().rev().map(|log| signed.verify(&origin, log));
            let mut failures = Vec::new();
            if !checked
                .into_iter()
                .any(|checked| checked.map_err(|error| failures.push(error)).is_ok())
            {
                let why = failures.first().map(ToString::to_string);
                return found.push(damaged(why.unwrap_or_default()));
            }
        }
    }
    let head = signed.checkpoint().head;
    if head.size > ledger.size() {
        let size = ledger.size();
        return found.push(damaged(format!(
            "{} events are signed, {size} are there",
            head.size
        )));
    }
    match ledger.root_at(head.size) {
        Ok(root) if root == head.root => {
            found.push(Finding::good(&name, format!("at {}", grouped(head.size))));
        }
        Ok(root) => found.push(damaged(format!(
            "signed is root {}, the events give {root}",
            head.root
        ))),
        Err(error) => found.push(of_ledger(&name, &error)),
    }
}

/// The projection may lag behind, never be ahead.
fn projected(
    tenant: &TenantName,
    ledger: &TenantLedger,
    projection: Option<&Snapshot>,
    found: &mut Vec<Finding>,
) {
    let Some(snapshot) = projection else { return };
    let name = format!("projection {tenant}");
    match snapshot.head(tenant) {
        Ok(Some(head)) if head.size > ledger.size() => {
            let (ahead, held) = (head.size, ledger.size());
            found.push(Finding::damaged(
                &name,
                format!("it holds {ahead} events, the ledger {held}"),
            ));
        }
        Ok(_) => {}
        Err(error) => found.push(Finding::damaged(&name, error.to_string())),
    }
}
