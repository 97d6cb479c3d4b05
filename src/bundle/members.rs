//! Which members a bundle may have, what they are called and in which order they stand.

use std::fmt;

use crate::domain::Digest;
use crate::limits;

/// A member. The order of the variants is the order in the archive; equal kinds are ordered by version or digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// The signed in-toto statement; the only member that it does not name itself.
    Manifest,
    /// Signed checkpoint at the end of the range.
    Checkpoint,
    /// Signed checkpoint at its beginning.
    CheckpointPrev,
    /// Right edge of the tree at the beginning.
    Frontier,
    /// The beginning of each event's leaf hash: names the event when history was changed.
    Leaves,
    /// A root of trust, by its version.
    Root(u64),
    /// The policies in force where the bundle was made.
    Policy,
    /// The events.
    History,
    /// What of the redacted may be shown.
    Disclosures,
    /// Jobs that the range touched, at its end.
    Jobs,
    /// Runs likewise.
    Runs,
    /// Throttles likewise.
    Throttles,
    /// Packs likewise.
    Packs,
    /// An artifact that history names.
    Artifact(Digest),
    /// A log that history names.
    Log(Digest),
    /// How to check all this by hand.
    VerifyText,
}

impl Member {
    /// What each bundle holds besides the manifest, in order.
    pub const REQUIRED: [Member; 12] = [
        Member::Checkpoint,
        Member::CheckpointPrev,
        Member::Frontier,
        Member::Leaves,
        Member::Policy,
        Member::History,
        Member::Disclosures,
        Member::Jobs,
        Member::Runs,
        Member::Throttles,
        Member::Packs,
        Member::VerifyText,
    ];

    /// The member called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.strip_prefix("audit/")?;
        if let Some(digest) = name.strip_prefix("artifacts/") {
            return digest.parse().ok().map(Member::Artifact);
        }
        if let Some(digest) = name.strip_prefix("logs/") {
            return digest.parse().ok().map(Member::Log);
        }
        if let Some(version) = name
            .strip_prefix("trust/")
            .and_then(|name| name.strip_suffix(".root.dsse.json"))
        {
            let number: u64 = version.parse().ok()?;
            let possible = (1..=limits::ROOT_VERSIONS_MAX).contains(&number);
            return (possible && number.to_string() == version).then_some(Member::Root(number));
        }
        let mut fixed = Member::REQUIRED.into_iter().chain([Member::Manifest]);
        fixed.find(|member| member.fixed_name() == Some(name))
    }

    /// True for members made of lines, whose number the manifest states.
    pub fn has_lines(self) -> bool {
        match self {
            Member::History
            | Member::Disclosures
            | Member::Jobs
            | Member::Runs
            | Member::Throttles
            | Member::Packs => true,
            Member::Manifest
            | Member::Checkpoint
            | Member::CheckpointPrev
            | Member::Frontier
            | Member::Leaves
            | Member::Root(_)
            | Member::Policy
            | Member::Artifact(_)
            | Member::Log(_)
            | Member::VerifyText => false,
        }
    }

    fn fixed_name(self) -> Option<&'static str> {
        Some(match self {
            Member::Manifest => "manifest.dsse.json",
            Member::Checkpoint => "checkpoint",
            Member::CheckpointPrev => "checkpoint.prev",
            Member::Frontier => "frontier",
            Member::Leaves => "leaves",
            Member::Policy => "trust/policy",
            Member::History => "history.jsonl",
            Member::Disclosures => "disclosures.jsonl",
            Member::Jobs => "jobs.jsonl",
            Member::Runs => "runs.jsonl",
            Member::Throttles => "throttles.jsonl",
            Member::Packs => "packs.jsonl",
            Member::VerifyText => "verify.txt",
            Member::Root(_) | Member::Artifact(_) | Member::Log(_) => return None,
        })
    }
}

impl fmt::Display for Member {
    /// The path in the archive.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Member::Artifact(digest) => write!(f, "audit/artifacts/{digest}"),
            Member::Log(digest) => write!(f, "audit/logs/{digest}"),
            Member::Root(version) => write!(f, "audit/trust/{version}.root.dsse.json"),
            fixed => write!(f, "audit/{}", fixed.fixed_name().unwrap_or_default()),
        }
    }
}

/// A file with one line per record of the state at the end of the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateFile {
    /// `jobs.jsonl`, by id.
    Jobs,
    /// `runs.jsonl`, by id.
    Runs,
    /// `throttles.jsonl`, by id.
    Throttles,
    /// `packs.jsonl`, by name and version.
    Packs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_members_are_each_others_inverse() {
        let digest = Digest::of(b"x");
        let all = Member::REQUIRED.into_iter().chain([
            Member::Manifest,
            Member::Artifact(digest),
            Member::Log(digest),
            Member::Root(1),
            Member::Root(10),
        ]);
        for member in all {
            assert_eq!(Member::from_name(&member.to_string()), Some(member));
            super::super::tar::check_name(&member.to_string()).unwrap();
        }
        for name in [
            "checkpoint",
            "audit/",
            "audit/other",
            "audit/artifacts/abc",
            "audit/artifacts/",
            "audit/trust/0.root.dsse.json",
            "audit/trust/01.root.dsse.json",
            "audit/trust/+1.root.dsse.json",
            "audit/trust/1000.root.dsse.json",
            "audit/trust/1.root",
        ] {
            assert_eq!(Member::from_name(name), None, "{name}");
        }
        assert_eq!(
            Member::from_name(&format!("audit/logs/{}", digest.to_string().to_uppercase())),
            None
        );
    }

    #[test]
    fn required_members_are_listed_in_the_order_of_the_archive() {
        assert!(Member::REQUIRED.is_sorted());
        assert!(Member::Leaves < Member::Root(2) && Member::Root(2) < Member::Root(10));
        assert!(Member::Root(10) < Member::Policy && Member::Policy < Member::History);
        assert!(Member::Packs < Member::Artifact(Digest::of(b"x")));
        assert!(Member::Log(Digest::of(b"x")) < Member::VerifyText);
    }
}
