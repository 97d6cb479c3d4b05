//! Whether a bundle carries every file that its events name, or says that it is missing.
//!
//! Holds one digest for each file that the manifest lists or calls missing, and nothing for others: what is neither is
//! found at once.

use std::collections::{BTreeMap, BTreeSet};

use super::contents;
use super::manifest::{Contents, Statement};
use super::members::Member;
use super::report::{Finding, Verdict};
use crate::domain::Digest;
use crate::domain::event::Event;

/// The files of a bundle that says which it carries.
#[derive(Debug)]
pub(super) struct NamedFiles {
    with: Contents,
    /// Listed in the manifest: whether an event names it.
    listed: BTreeMap<Member, bool>,
    missing: BTreeMap<Digest, bool>,
}

impl NamedFiles {
    /// Those of a bundle; none where it does not say what it carries.
    pub(super) fn of(statement: &Statement) -> Option<Self> {
        let with = statement.predicate.contents.clone()?;
        let is_file = |member: &Member| matches!(member, Member::Artifact(_) | Member::Log(_));
        let members = statement.members().map(|(member, _, _)| member);
        Some(NamedFiles {
            listed: members.filter(is_file).map(|member| (member, false)).collect(),
            missing: with.missing.iter().map(|digest| (*digest, false)).collect(),
            with,
        })
    }

    /// Looks for what an event names.
    pub(super) fn event(&mut self, event: &Event) -> Result<(), Finding> {
        if self.with.has("artifacts") {
            for (digest, _) in contents::artifacts(&event.body) {
                self.named(Member::Artifact(digest), digest)?;
            }
        }
        if let Some(logs) = contents::logs(&event.body).filter(|_| self.with.has("logs")) {
            for digest in [logs.stdout.sha256, logs.stderr.sha256] {
                self.named(Member::Log(digest), digest)?;
            }
        }
        Ok(())
    }

    fn named(&mut self, member: Member, digest: Digest) -> Result<(), Finding> {
        match (self.listed.get_mut(&member), self.missing.get_mut(&digest)) {
            (Some(seen), _) | (None, Some(seen)) => {
                *seen = true;
                Ok(())
            }
            (None, None) => {
                let detail =
                    format!("an event names {member}, which is neither in the bundle nor said to be missing");
                Err(Finding::new(Verdict::Incomplete, detail))
            }
        }
    }

    /// After the last event: what no event names has no place in the bundle.
    pub(super) fn end(&self) -> Result<(), Finding> {
        if let Some((member, _)) = self.listed.iter().find(|(_, seen)| !**seen) {
            return Err(Finding::new(Verdict::Tampered, "no event names it").of(*member));
        }
        let present: BTreeSet<Digest> = self
            .listed
            .keys()
            .filter_map(|member| match member {
                Member::Artifact(digest) | Member::Log(digest) => Some(*digest),
                _ => None,
            })
            .collect();
        let wrong = self
            .missing
            .iter()
            .find(|(digest, seen)| !**seen || present.contains(*digest));
        wrong.map_or(Ok(()), |(digest, _)| {
            let detail = format!("{digest} is said to be missing, and is there or named by no event");
            Err(Finding::new(Verdict::Tampered, detail).of(Member::Manifest))
        })
    }
}
