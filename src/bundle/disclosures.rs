//! Which disclosures of a range are shown: those that a policy names. In a bundle, or later in a file of their own.
//!
//! The lines are a function of range, policy and what has been erased; history, root and state files know nothing of them.

use std::io::Write;
use std::ops::ControlFlow;

use super::export::ExportError;
use super::redacted::Redacted;
use crate::domain::canonical::to_canonical;
use crate::domain::redaction::{Disclosure, FULL, OPERATIONAL, Policy, write_digest};
use crate::domain::state::View;
use crate::domain::{PolicyName, Seq, TenantName};
use crate::engine::Handle;
use crate::store::StoreError;

use serde::Serialize;

/// What an export shows of redacted fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Showing {
    /// Nothing.
    Nothing,
    /// All that there is.
    Everything,
    /// What the rules of a policy name.
    Named(Policy),
}

impl Showing {
    /// The policy of this name; that which shows nothing when no name is given.
    ///
    /// # Errors
    /// [`ExportError::NoPolicy`].
    pub fn find(engine: &Handle, tenant: &TenantName, name: Option<&str>) -> Result<Self, ExportError> {
        let missing = || ExportError::NoPolicy(name.unwrap_or_default().to_owned());
        match name {
            None | Some(OPERATIONAL) => Ok(Showing::Nothing),
            Some(FULL) => Ok(Showing::Everything),
            Some(name) => {
                let name: PolicyName = name.parse().map_err(|_| missing())?;
                let store = engine
                    .read()
                    .map_err(|error| StoreError::Failed(error.to_string()))?;
                let view: &dyn View = &store.view(tenant);
                let policy = view.policy(&name).map_err(|error| StoreError::Damaged(error.0))?;
                policy.map(Showing::Named).ok_or_else(missing)
            }
        }
    }

    /// Its name, as the manifest has it.
    pub fn name(&self) -> &str {
        match self {
            Showing::Nothing => OPERATIONAL,
            Showing::Everything => FULL,
            Showing::Named(policy) => policy.name.as_str(),
        }
    }
}

/// How much is shown, and how much is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines.
    pub shown: u64,
    /// Digests without a line.
    pub withheld: u64,
}

/// One line.
#[derive(Serialize)]
struct Shown<'a> {
    d: &'a str,
    seq: u64,
}

/// Writes the lines of a range of one of our own ledgers, by event and digest. Blocks.
///
/// # Errors
/// [`ExportError`]; [`ExportError::Missing`] for a disclosure that is not there and was not erased.
pub fn write_lines(
    engine: &Handle,
    tenant: &TenantName,
    (from, size): (u64, u64),
    showing: &Showing,
    out: &mut dyn Write,
) -> Result<Counts, ExportError> {
    let ledger = engine.ledger(tenant)?;
    let (mut counts, mut failed) = (Counts::default(), None);
    ledger.scan(Seq(from), Seq(size), &mut |seq, bytes| {
        let of_event = Redacted::read(bytes)
            .map_err(|why| ExportError::Fold(seq.0, why))
            .and_then(|redacted| match redacted {
                None => Ok(Counts::default()),
                Some(redacted) => write_event(engine, tenant, (seq, &redacted), showing, out),
            });
        match of_event {
            Ok(of_event) => {
                counts.shown += of_event.shown;
                counts.withheld += of_event.withheld;
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(counts), Err)
}

/// Whether an erasure is recorded: of lines that were damaged nothing is left to tell it.
fn is_erased(engine: &Handle, tenant: &TenantName, with: Seq) -> Result<bool, ExportError> {
    let store = engine
        .read()
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    let view: &dyn View = &store.view(tenant);
    let erasure = view.erasure(with).map_err(|error| StoreError::Damaged(error.0))?;
    Ok(erasure.is_some())
}

fn write_event(
    engine: &Handle,
    tenant: &TenantName,
    (seq, redacted): (Seq, &Redacted),
    showing: &Showing,
    out: &mut dyn Write,
) -> Result<Counts, ExportError> {
    if *showing == Showing::Nothing {
        return Ok(Counts {
            shown: 0,
            withheld: redacted.count(),
        });
    }
    let found = engine.disclosures().get(tenant, redacted.with)?;
    let with_digest = |disclosure: Disclosure| (write_digest(&disclosure.digest()), disclosure);
    let mut there: Vec<(String, Disclosure)> = found.disclosures.into_iter().map(with_digest).collect();
    there.retain(|(digest, _)| redacted.has(digest));
    // An erasure takes all that is kept with one event.
    if (there.len() as u64) < redacted.count()
        && found.erased == 0
        && !is_erased(engine, tenant, redacted.with)?
    {
        return Err(ExportError::Missing(seq.0));
    }
    there.sort_by(|a, b| a.0.cmp(&b.0));
    let mut shown = 0;
    for (digest, disclosure) in &there {
        let is_shown = match showing {
            Showing::Nothing => false,
            Showing::Everything => true,
            Showing::Named(policy) => {
                let opened = disclosure.open().map_err(|_| ExportError::Missing(seq.0))?;
                let pointer = redacted.pointer(digest, &opened.name);
                pointer.is_some_and(|pointer| policy.names(&redacted.type_name, &pointer))
            }
        };
        if is_shown {
            let line = Shown {
                d: disclosure.as_str(),
                seq: seq.0,
            };
            let failed = |error| ExportError::Disk("disclosures".to_owned(), error);
            out.write_all(&to_canonical(&line)).map_err(failed)?;
            out.write_all(b"\n").map_err(failed)?;
            shown += 1;
        }
    }
    Ok(Counts {
        shown,
        withheld: redacted.count() - shown,
    })
}
