//! The checklist of a verification: ten checks, each good, failed or skipped, and the exit code that follows.

use serde::Serialize;

use super::meaning::meaning;
use super::members::Member;
use crate::limits;

/// What kind of failure, and with it the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Something was changed.
    Tampered,
    /// A sound container with something missing.
    Incomplete,
    /// Not signed by a key that is trusted here, or no such key was given.
    Untrusted,
    /// Another history than the one held, or an older one.
    Fork,
    /// Not a bundle by its form.
    Malformed,
}

impl Verdict {
    /// Exit code of the program.
    pub const fn exit_code(self) -> u8 {
        match self {
            Verdict::Tampered => 10,
            Verdict::Incomplete => 11,
            Verdict::Untrusted => 12,
            Verdict::Fork => 13,
            Verdict::Malformed => 14,
        }
    }
}

/// The checks in their order; the number is the position from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckName {
    /// Rules of frame and archive.
    Container,
    /// Signature of the manifest, by a key of the right role.
    Manifest,
    /// Member set equals subject set, with these digests.
    Members,
    /// Signatures and contents of both checkpoints.
    Checkpoints,
    /// Lines are canonical, sequence numbers contiguous.
    Lines,
    /// Frontier leads to the previous root and with the leaves to the root.
    Tree,
    /// Disclosures match.
    Disclosures,
    /// It continues what is held.
    Continuity,
    /// The chain of roots of trust.
    Trust,
    /// Applying the history gives the state files.
    Replay,
}

impl CheckName {
    pub(super) const ALL: [CheckName; 10] = [
        CheckName::Container,
        CheckName::Manifest,
        CheckName::Members,
        CheckName::Checkpoints,
        CheckName::Lines,
        CheckName::Tree,
        CheckName::Disclosures,
        CheckName::Continuity,
        CheckName::Trust,
        CheckName::Replay,
    ];

    fn title(self) -> &'static str {
        match self {
            CheckName::Container => "container",
            CheckName::Manifest => "manifest signature",
            CheckName::Members => "members and digests",
            CheckName::Checkpoints => "checkpoints",
            CheckName::Lines => "canonical lines",
            CheckName::Tree => "tree",
            CheckName::Disclosures => "disclosures",
            CheckName::Continuity => "continuity",
            CheckName::Trust => "trust chain",
            CheckName::Replay => "replay",
        }
    }
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It holds.
    Ok,
    /// It does not; the first offence is named.
    Failed,
    /// It was not made; the detail says why.
    Skipped,
}

/// One row of the checklist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// From 1.
    pub n: u8,
    /// For people.
    pub name: &'static str,
    /// How it went.
    pub status: Status,
    /// The first offending member.
    pub member: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u64>,
    /// The event.
    pub seq: Option<u64>,
    /// What was found.
    pub detail: Option<String>,
    /// Of a failed check: what that means, in one sentence for everyone.
    pub meaning: Option<&'static str>,
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)?;
        if let Some(member) = &self.member {
            write!(f, ", {member}")?;
        }
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(seq) = self.seq {
            write!(f, ", event {seq}")?;
        }
        self.detail
            .as_ref()
            .map_or(Ok(()), |detail| write!(f, ": {detail}"))
    }
}

/// The checklist. `ok` means that no check failed; skipped ones are for the reader to judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// No check failed.
    pub ok: bool,
    /// 0, or that of the first failed check.
    pub exit_code: u8,
    /// All ten, in order.
    pub checks: Vec<Check>,
}

impl Report {
    /// Adds a finding that was made after the list was closed. What failed before stays as it is.
    pub(super) fn add(&mut self, check: CheckName, finding: Finding) {
        let verdict = finding.verdict;
        let at = check as usize;
        if self.checks[at].status == Status::Failed {
            return;
        }
        self.checks[at] = row(check, Entry::Failed(finding));
        self.ok = false;
        if self
            .first_failure()
            .is_some_and(|first| usize::from(first.n) == at + 1)
        {
            self.exit_code = verdict.exit_code();
        }
    }

    /// The first failed check.
    pub fn first_failure(&self) -> Option<&Check> {
        self.checks.iter().find(|check| check.status == Status::Failed)
    }

    /// What the exit code comes to, in one word.
    pub const fn kind(&self) -> &'static str {
        match self.exit_code {
            10 => "tampered",
            11 => "incomplete",
            12 => "untrusted",
            13 => "fork",
            _ => "malformed",
        }
    }

    /// A good report, after all, of another history than one that is known here.
    pub(super) fn contradicted(mut self, detail: String) -> Self {
        self.ok = false;
        self.exit_code = Verdict::Fork.exit_code();
        let place = CheckName::ALL
            .iter()
            .position(|name| *name == CheckName::Continuity);
        if let Some(check) = place.and_then(|place| self.checks.get_mut(place)) {
            check.status = Status::Failed;
            check.detail = Some(detail);
        }
        self
    }
}

/// An offence: where and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    pub(super) member: Option<String>,
    pub(super) line: Option<u64>,
    pub(super) seq: Option<u64>,
    pub(super) detail: String,
}

/// Cuts what a bundle says to what a finding holds of it, at a character.
fn clip(mut text: String) -> String {
    if text.len() > limits::FINDING_BYTES_MAX {
        text.truncate(text.floor_char_boundary(limits::FINDING_BYTES_MAX));
        text.push('…');
    }
    text
}

impl Finding {
    /// The detail may quote what the bundle says: here, and nowhere else, it is cut.
    pub(super) fn new(verdict: Verdict, detail: impl Into<String>) -> Self {
        Finding {
            verdict,
            member: None,
            line: None,
            seq: None,
            detail: clip(detail.into()),
        }
    }

    pub(super) fn of(self, member: Member) -> Self {
        Finding {
            member: Some(member.to_string()),
            ..self
        }
    }

    pub(super) fn named(self, member: &str) -> Self {
        Finding {
            member: Some(clip(member.to_owned())),
            ..self
        }
    }

    pub(super) fn at_line(self, line: u64) -> Self {
        Finding {
            line: Some(line),
            ..self
        }
    }

    pub(super) fn at_seq(self, seq: u64) -> Self {
        Finding {
            seq: Some(seq),
            ..self
        }
    }
}

/// The checklist while it is being filled. Of each check the first finding counts.
#[derive(Debug, Default)]
pub(super) struct Checklist([Entry; 10]);

#[derive(Debug, Default)]
enum Entry {
    #[default]
    Open,
    Passed(Option<String>),
    Failed(Finding),
    Skipped(String),
}

impl Checklist {
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

    pub(super) fn skip(&mut self, check: CheckName, why: &str) {
        let entry = &mut self.0[check as usize];
        if matches!(entry, Entry::Open) {
            *entry = Entry::Skipped(why.to_owned());
        }
    }

    pub(super) fn any_failed(&self) -> bool {
        self.0.iter().any(|entry| matches!(entry, Entry::Failed(_)))
    }

    pub(super) fn finding_mut(&mut self, check: CheckName) -> Option<&mut Finding> {
        match &mut self.0[check as usize] {
            Entry::Failed(finding) => Some(finding),
            Entry::Open | Entry::Passed(_) | Entry::Skipped(_) => None,
        }
    }

    /// Closes the list; what is still open was not reached.
    pub(super) fn report(self) -> Report {
        let verdict = self.0.iter().find_map(|entry| match entry {
            Entry::Failed(finding) => Some(finding.verdict),
            Entry::Open | Entry::Passed(_) | Entry::Skipped(_) => None,
        });
        let checks = CheckName::ALL
            .into_iter()
            .zip(self.0)
            .map(|(name, entry)| row(name, entry))
            .collect();
        Report {
            ok: verdict.is_none(),
            exit_code: verdict.map_or(0, Verdict::exit_code),
            checks,
        }
    }
}

fn row(name: CheckName, entry: Entry) -> Check {
    let (status, finding, detail) = match entry {
        Entry::Open => (Status::Skipped, None, Some("not reached".to_owned())),
        Entry::Passed(detail) => (Status::Ok, None, detail),
        Entry::Skipped(why) => (Status::Skipped, None, Some(why)),
        Entry::Failed(finding) => (Status::Failed, Some(finding.clone()), Some(finding.detail)),
    };
    let meaning = finding.as_ref().map(|found| meaning(name, found.verdict));
    let (member, line, seq) = finding.map_or((None, None, None), |f| (f.member, f.line, f.seq));
    Check {
        n: name as u8 + 1,
        name: name.title(),
        status,
        member,
        line,
        seq,
        detail,
        meaning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_bundle_says_is_cut_at_a_character() {
        let long = "é".repeat(limits::FINDING_BYTES_MAX);
        let finding = Finding::new(Verdict::Malformed, long).named(&"x".repeat(70_000));
        assert_eq!(finding.detail.len(), limits::FINDING_BYTES_MAX + '…'.len_utf8());
        assert!(finding.detail.starts_with("éé") && finding.detail.ends_with("é…"));
        assert!(
            finding
                .member
                .is_some_and(|name| name.len() < 2 * limits::FINDING_BYTES_MAX)
        );
        let short = "é".repeat(limits::FINDING_BYTES_MAX / 2);
        assert_eq!(Finding::new(Verdict::Fork, short.clone()).detail, short);
    }
}
