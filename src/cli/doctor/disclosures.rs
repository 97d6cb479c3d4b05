//! The look at what redacted fields stand for: every digest of the ledgers has its disclosure, or was erased, and no line of the
//! files is damaged. Values are shown nowhere.
//!
//! Codes, at the beginning of what is found about values and lines: `disclosure_missing`, `disclosure_damaged`; `disclosure_left` for what the next
//! start sees to, which is no damage.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Finding, Status};
use crate::bundle::digests_kept_with;
use crate::cli::style::grouped;
use crate::disclosures::{Disclosures, DisclosuresError};
use crate::disk::Disk;
use crate::domain::event::{Event, EventBody};
use crate::domain::{Digest, Seq, TenantName};
use crate::ledger::{Ledgers, TenantLedger};
use crate::limits;

const ERASED: &str = "\"disclosure.erased\"";

/// Looks at the disclosures of all ledgers.
pub fn all(disk: &Arc<dyn Disk>, data: &Path, ledgers: &Ledgers, found: &mut Vec<Finding>) {
    let kept = Disclosures::new(data.join("disclosures"), disk.clone());
    // The ledgers were looked at before: what is wrong with their list is told there.
    let mut tenants: BTreeSet<TenantName> = ledgers.tenants().unwrap_or_default().into_iter().collect();
    match kept.tenants() {
        Ok(folders) => tenants.extend(folders),
        Err(error) => found.push(of_disclosures("disclosures", &error)),
    }
    for tenant in tenants.into_iter().filter(|tenant| !tenant.is_foreign()) {
        let name = format!("disclosures {tenant}");
        let Ok(ledger) = ledgers.ledger(&tenant) else {
            found.push(Finding::skipped(&name, "their ledger cannot be read"));
            continue;
        };
        let mut look = Look {
            kept: &kept,
            tenant: &tenant,
            ledger: &ledger,
            name: &name,
            findings: Vec::new(),
            more: (0, Status::Skipped),
            values: 0,
        };
        if let Err(finding) = look.all() {
            look.note(*finding);
        }
        look.tell(found);
    }
}

struct Look<'a> {
    kept: &'a Disclosures,
    tenant: &'a TenantName,
    ledger: &'a TenantLedger,
    name: &'a str,
    /// At most [`limits::DOCTOR_FINDINGS_MAX`].
    findings: Vec<Finding>,
    /// How many there are besides, and the worst of them.
    more: (u64, Status),
    values: u64,
}

impl Look<'_> {
    fn all(&mut self) -> Result<(), Box<Finding>> {
        self.lines()?;
        let erased = self.erased()?;
        let (ledger, mut failed) = (self.ledger, None);
        let scanned = ledger.scan(Seq(0), Seq(ledger.size()), &mut |seq, bytes| match self
            .event(seq, bytes, &erased)
        {
            Ok(()) => ControlFlow::Continue(()),
            Err(finding) => {
                failed = Some(finding);
                ControlFlow::Break(())
            }
        });
        scanned.map_err(|_| self.unread())?;
        failed.map_or(Ok(()), Err)
    }

    /// The lines of the files: those that cannot be read, and those behind the end of the ledger.
    fn lines(&mut self) -> Result<(), Box<Finding>> {
        let (size, name) = (self.ledger.size(), self.name);
        let (mut damaged, mut left) = (Vec::new(), None::<(PathBuf, u64)>);
        // What cannot be read behind the last line that counts is cut at the next start.
        let mut behind: Vec<(PathBuf, u64)> = Vec::new();
        let inspected = self.kept.inspect(self.tenant, &mut |path, at, with| match with {
            Some(with) if with.0 < size => {
                damaged.append(&mut behind);
                damaged.truncate(limits::DOCTOR_FINDINGS_MAX + 1);
            }
            Some(_) => {
                left.get_or_insert_with(|| (path.to_owned(), at));
            }
            None if behind.len() <= limits::DOCTOR_FINDINGS_MAX => behind.push((path.to_owned(), at)),
            None => {}
        });
        inspected.map_err(|error| Box::new(of_disclosures(name, &error)))?;
        for (path, at) in damaged {
            let why = "disclosure_damaged: a line that cannot be read";
            self.note(Finding::damaged(name, why).at(&path, Some(at)));
        }
        if let Some((path, at)) = left.or_else(|| behind.into_iter().next()) {
            let why = "disclosure_left: of a batch that was never recorded; the next start cuts it";
            self.note(Finding::skipped(name, why).at(&path, Some(at)));
        }
        let strangers = self.kept.strangers(self.tenant);
        for path in strangers.map_err(|error| Box::new(of_disclosures(name, &error)))? {
            let why = "disclosure_left: no file of disclosures; it is never read";
            self.note(Finding::skipped(name, why).at(&path, None));
        }
        Ok(())
    }

    /// The events whose disclosures were erased.
    fn erased(&self) -> Result<BTreeSet<u64>, Box<Finding>> {
        let mut erased = BTreeSet::new();
        let scanned = self
            .ledger
            .scan(Seq(0), Seq(self.ledger.size()), &mut |_, bytes| {
                let is_one = std::str::from_utf8(bytes).is_ok_and(|text| text.contains(ERASED));
                if is_one
                    && let Ok(event) = Event::from_bytes(bytes)
                    && let EventBody::DisclosureErased(payload) = event.body
                {
                    erased.insert(payload.disclosures.0);
                }
                ControlFlow::Continue(())
            });
        scanned.map_err(|_| self.unread())?;
        Ok(erased)
    }

    fn event(&mut self, seq: Seq, bytes: &[u8], erased: &BTreeSet<u64>) -> Result<(), Box<Finding>> {
        let name = self.name;
        let digests = digests_kept_with(seq, bytes).map_err(|why| {
            Box::new(Finding::damaged(
                name,
                format!("disclosure_damaged: event {seq}: {why}"),
            ))
        })?;
        let Some(digests) = digests else { return Ok(()) };
        let failed = |error: DisclosuresError| Box::new(of_disclosures(name, &error));
        let kept = self.kept.get(self.tenant, seq).map_err(failed)?;
        let there: BTreeSet<Digest> = kept.disclosures.iter().map(|kept| kept.digest()).collect();
        let missing = digests.difference(&there).count();
        self.values += (digests.len() - missing) as u64;
        let path = self.kept.file_of(self.tenant, seq).map_err(failed)?;
        let finding = match (erased.contains(&seq.0), missing) {
            (false, 0) => return Ok(()),
            (true, missing) if missing == digests.len() => return Ok(()),
            (true, _) => {
                let why =
                    format!("disclosure_left: event {seq}: erased, and still there; the next start ends it");
                Finding::skipped(name, why)
            }
            (false, missing) => {
                let of = digests.len();
                let why = format!("disclosure_missing: event {seq}: {missing} of {of} values are not there");
                Finding::damaged(name, why)
            }
        };
        self.note(match path {
            Some(path) => finding.at(&path, None),
            None => finding,
        });
        Ok(())
    }

    fn unread(&self) -> Box<Finding> {
        Box::new(Finding::skipped(
            self.name,
            "their ledger cannot be read to its end",
        ))
    }

    fn note(&mut self, finding: Finding) {
        if self.findings.len() < limits::DOCTOR_FINDINGS_MAX {
            return self.findings.push(finding);
        }
        self.more.0 += 1;
        if finding.status == Status::Damaged {
            self.more.1 = Status::Damaged;
        }
    }

    fn tell(mut self, found: &mut Vec<Finding>) {
        if self.findings.is_empty() && self.values > 0 {
            let detail = format!("{} values", grouped(self.values));
            found.push(Finding::good(self.name, detail));
        }
        found.append(&mut self.findings);
        if self.more.0 > 0 {
            let detail = format!("and {} more", self.more.0);
            found.push(Finding::new(self.name, self.more.1, detail));
        }
    }
}

fn of_disclosures(name: &str, error: &DisclosuresError) -> Finding {
    match error {
        DisclosuresError::Odd { path, .. } | DisclosuresError::Disk { path, .. } => {
            Finding::damaged(name, format!("disclosure_damaged: {error}")).at(path, None)
        }
    }
}
