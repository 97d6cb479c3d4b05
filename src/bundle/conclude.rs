//! What can be judged only when the whole archive was read: missing members, continuity, replay, the changed event.

use super::locate::first_changed_line;
use super::members::Member;
use super::pass::Pass;
use super::reading::Opener;
use super::report::{CheckName, Finding, Verdict};
use super::verify::VerifyError;

impl Pass<'_> {
    /// Judges what needs the whole archive, and closes the checks.
    pub(super) fn conclude(&mut self) -> Result<(), VerifyError> {
        self.checks.pass(CheckName::Container, None);
        let missing: Vec<Member> = self.expected.keys().copied().collect();
        if let Some(first) = missing.first() {
            let finding = Finding::new(Verdict::Incomplete, "it is missing").of(*first);
            self.checks.fail(CheckName::Members, finding);
        }
        if let Some(finding) = self.files.take().filter(|_| !self.checks.any_failed()) {
            self.checks.fail(CheckName::Members, finding);
        }
        self.checks.pass(CheckName::Members, None);
        let mut needs = |check, members: &[Member], detail: Option<String>| match members
            .iter()
            .find(|member| missing.contains(member))
        {
            Some(member) => self.checks.skip(check, &format!("{member} is missing")),
            None => self.checks.pass(check, detail),
        };
        let counted = format!("{} events", self.events);
        needs(
            CheckName::Checkpoints,
            &[Member::Checkpoint, Member::CheckpointPrev],
            None,
        );
        needs(CheckName::Lines, &[Member::History], Some(counted));
        needs(
            CheckName::Tree,
            &[Member::Frontier, Member::Leaves, Member::History],
            None,
        );
        let disclosed = match self.digests {
            0 => None,
            digests => Some(format!("{} of {digests} redacted fields are shown", self.shown)),
        };
        needs(
            CheckName::Disclosures,
            &[Member::History, Member::Disclosures],
            disclosed,
        );
        self.trust()?;
        self.continuity()?;
        self.replay_end();
        Ok(())
    }

    fn replay_end(&mut self) {
        let first = self
            .statement
            .as_ref()
            .map_or(0, |statement| statement.predicate.first);
        if self.options.replay.is_some() {
            if self.checks.any_failed() {
                self.checks.skip(CheckName::Replay, "an earlier check failed");
            }
            self.checks.pass(CheckName::Replay, None);
            return;
        }
        let why = format!("needs the state at {first}");
        if self.options.require_replay {
            self.checks
                .fail(CheckName::Replay, Finding::new(Verdict::Incomplete, why));
        } else {
            self.checks.skip(CheckName::Replay, &why);
        }
    }

    fn continuity(&mut self) -> Result<(), VerifyError> {
        let (Some(held), Some(statement)) = (self.options.held, &self.statement) else {
            self.checks
                .skip(CheckName::Continuity, "nothing is known of what is held");
            return Ok(());
        };
        // Whose keys do not count says nothing about the ledger: least of all that it was forked.
        if !self.signers_count {
            self.checks
                .skip(CheckName::Continuity, "the keys that signed it do not count");
            return Ok(());
        }
        let predicate = &statement.predicate;
        let Some(tip) = self.tip else {
            if predicate.first > 0 {
                let detail = format!(
                    "nothing is held of this ledger, and the bundle begins at {}",
                    predicate.first
                );
                self.checks
                    .fail(CheckName::Continuity, Finding::new(Verdict::Incomplete, detail));
            }
            self.checks
                .pass(CheckName::Continuity, Some("the first of this ledger".to_owned()));
            return Ok(());
        };
        let mut fail = |verdict, detail: String| {
            self.checks
                .fail(CheckName::Continuity, Finding::new(verdict, detail))
        };
        // Where both know the ledger, they must know the same one.
        let (size, ours, theirs) = if tip.size < predicate.first {
            fail(
                Verdict::Incomplete,
                format!(
                    "held up to {}, the bundle begins at {}",
                    tip.size, predicate.first
                ),
            );
            return Ok(());
        } else if tip.size > predicate.size {
            let ours = held
                .root_at(&predicate.origin, predicate.size)
                .map_err(VerifyError::Held)?;
            (predicate.size, ours, Some(predicate.root))
        } else {
            (tip.size, Some(tip.root), self.root_at_tip)
        };
        match (ours, theirs) {
            (Some(ours), Some(theirs)) if ours == theirs => {
                self.checks
                    .pass(CheckName::Continuity, Some(format!("the ledger held, at {size}")));
            }
            (Some(_), Some(_)) => fail(Verdict::Fork, format!("another root at {size} than the one held")),
            (None, _) | (_, None) => self.checks.skip(CheckName::Continuity, "no root to compare with"),
        }
        Ok(())
    }

    /// Adds line and event where history was found to be another than signed.
    pub(super) fn locate(&mut self, open: Opener<'_>) {
        let first = self
            .statement
            .as_ref()
            .map_or(0, |statement| statement.predicate.first);
        let history = Member::History.to_string();
        let mut place = None;
        for check in [CheckName::Members, CheckName::Tree] {
            let Some(finding) = self.checks.finding_mut(check) else {
                continue;
            };
            if finding.member.as_ref() != Some(&history) || finding.line.is_some() {
                continue;
            }
            if place.is_none() {
                place = Some(first_changed_line(open));
            }
            if let Some(Some(line)) = place {
                let seq = first + line - 1;
                finding.line = Some(line);
                finding.seq = Some(seq);
                finding
                    .detail
                    .push_str(&format!("; the first event that differs is {seq}"));
            }
        }
    }
}
