//! The checklist of an order: six checks, in the shape and with the exit codes of a bundle's.

use crate::bundle::report::{Check, Finding, Report, Status};

/// The checks in their order; the number is the position from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CheckName {
    /// Rules of frame and archive.
    Container,
    /// Signature of the manifest, by a key for orders.
    Manifest,
    /// Member set equals subject set, with these digests.
    Members,
    /// Packs and inputs are what the manifest says, and fit each other.
    Content,
    /// It is for this enclave, and in time.
    Addressee,
    /// It contradicts nothing that is held.
    Continuity,
}

const NAMES: [(CheckName, &str); 6] = [
    (CheckName::Container, "container"),
    (CheckName::Manifest, "manifest signature"),
    (CheckName::Members, "members and digests"),
    (CheckName::Content, "packs and runs"),
    (CheckName::Addressee, "addressee and time"),
    (CheckName::Continuity, "continuity"),
];

#[derive(Debug, Default)]
enum Entry {
    #[default]
    Open,
    Passed(Option<String>),
    Failed(Finding),
    Skipped(&'static str),
}

/// The checklist while it is being filled. Of each check the first finding counts.
#[derive(Debug, Default)]
pub(super) struct Checks([Entry; NAMES.len()]);

impl Checks {
    pub(super) fn fail(&mut self, check: CheckName, finding: Finding) {
        let entry = &mut self.0[check as usize];
        if !matches!(entry, Entry::Failed(_)) {
            *entry = Entry::Failed(finding);
        }
    }

    /// Passes a check that nothing was found against.
    pub(super) fn pass(&mut self, check: CheckName, detail: Option<String>) {
        let entry = &mut self.0[check as usize];
        if matches!(entry, Entry::Open) {
            *entry = Entry::Passed(detail);
        }
    }

    pub(super) fn skip(&mut self, check: CheckName, why: &'static str) {
        let entry = &mut self.0[check as usize];
        if matches!(entry, Entry::Open) {
            *entry = Entry::Skipped(why);
        }
    }

    pub(super) fn has_failed(&self, check: CheckName) -> bool {
        matches!(self.0[check as usize], Entry::Failed(_))
    }

    /// Closes the list; what is still open was not reached.
    pub(super) fn report(self) -> Report {
        let mut exit_code = 0;
        let mut checks = Vec::with_capacity(NAMES.len());
        for ((name, title), entry) in NAMES.into_iter().zip(self.0) {
            let (status, member, detail) = match entry {
                Entry::Open => (Status::Skipped, None, Some("not reached".to_owned())),
                Entry::Passed(detail) => (Status::Ok, None, detail),
                Entry::Skipped(why) => (Status::Skipped, None, Some(why.to_owned())),
                Entry::Failed(finding) => {
                    if exit_code == 0 {
                        exit_code = finding.verdict.exit_code();
                    }
                    (Status::Failed, finding.member, Some(finding.detail))
                }
            };
            checks.push(Check {
                n: name as u8 + 1,
                name: title,
                status,
                member,
                line: None,
                seq: None,
                detail,
                meaning: None,
            });
        }
        Report {
            ok: exit_code == 0,
            exit_code,
            checks,
        }
    }
}
