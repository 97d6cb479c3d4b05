//! The one pass over a bundle: each member in turn, its order, digest and content.
//!
//! Says what a member shows by itself; [`super::conclude`] judges what needs all of them.

use std::collections::BTreeMap;

use super::dsse::Envelope;
use super::history::HistoryCheck;
use super::manifest::{FileEntry, ManifestError, Statement};
use super::members::{Member, StateFile};
use super::reading::{Archive, Content, Line, container_fault};
use super::report::{CheckName, Checklist, Finding, Report, Verdict};
use super::state::{StateLines, compare_with_replay};
use super::tar::{Entry, TarError};
use super::verify::{HeldTip, Options, VerifyError};
use crate::domain::Digest;
use crate::domain::event::Event;
use crate::ledger::{Frontier, NoteError, SignedCheckpoint, TreeHead};
use crate::limits;

/// Why a pass ends before the end of the archive.
#[derive(Debug)]
pub(super) enum Stop {
    /// The archive broke a rule, or could not be read.
    Archive(TarError),
    /// A finding after which reading on is pointless; it is in the checklist.
    Found,
    /// There can be no verdict.
    Local(VerifyError),
}

impl From<TarError> for Stop {
    fn from(error: TarError) -> Self {
        Stop::Archive(error)
    }
}

#[derive(Debug)]
pub(super) struct Pass<'a> {
    pub(super) options: Options<'a>,
    pub(super) checks: Checklist,
    /// The name in the last header read, for faults of the container.
    pub(super) current: String,
    pub(super) statement: Option<Statement>,
    /// Members that have not come yet.
    pub(super) expected: BTreeMap<Member, (Digest, FileEntry)>,
    frontier: Option<Frontier>,
    pub(super) tip: Option<HeldTip>,
    pub(super) root_at_tip: Option<Digest>,
    pub(super) events: u64,
}

impl<'a> Pass<'a> {
    pub(super) fn new(options: Options<'a>) -> Self {
        Pass {
            options,
            checks: Checklist::default(),
            current: Member::Manifest.to_string(),
            statement: None,
            expected: BTreeMap::new(),
            frontier: None,
            tip: None,
            root_at_tip: None,
            events: 0,
        }
    }

    /// Reads the archive from beginning to end and fills in every check that its members settle.
    pub(super) fn run(&mut self, archive: &mut Archive) -> Result<(), Stop> {
        let statement = self.manifest(archive)?;
        self.expected = statement
            .members()
            .map(|(m, digest, file)| (m, (digest, file.clone())))
            .collect();
        let mut previous = Member::Manifest;
        while let Some(entry) = archive.next_entry()? {
            self.current.clone_from(&entry.name);
            previous = self.place(&entry, previous)?;
            self.member(archive, previous, &entry, &statement)?;
        }
        Ok(())
    }

    /// Reads the first member. A manifest that the given key did not sign ends the pass.
    pub(super) fn manifest(&mut self, archive: &mut Archive) -> Result<Statement, Stop> {
        let entry = archive.next_entry()?;
        let name = entry.as_ref().map_or("", |entry| entry.name.as_str());
        if name != Member::Manifest.to_string() {
            let known = entry.is_none() || Member::from_name(name).is_some();
            let verdict = if known {
                Verdict::Incomplete
            } else {
                Verdict::Malformed
            };
            return self.stop(
                CheckName::Manifest,
                verdict,
                "the first member is not the manifest",
            );
        }
        let Some(bytes) = archive.content().whole(limits::BUNDLE_MANIFEST_BYTES_MAX)? else {
            return self.stop(CheckName::Manifest, Verdict::Malformed, "a manifest over 64 MiB");
        };
        let envelope = match Envelope::parse(&bytes) {
            Ok(envelope) => envelope,
            Err(error) => return self.stop(CheckName::Manifest, Verdict::Malformed, &error.to_string()),
        };
        self.signature(&envelope)?;
        let statement = match Statement::parse(&envelope.payload) {
            Ok(statement) => statement,
            Err(error) => {
                let missing = matches!(error, ManifestError::Missing(_));
                let verdict = if missing {
                    Verdict::Incomplete
                } else {
                    Verdict::Malformed
                };
                return self.stop(CheckName::Manifest, verdict, &error.to_string());
            }
        };
        self.checks.pass(
            CheckName::Manifest,
            Some(format!("signed by {}", envelope.key_id)),
        );
        self.look_up(&statement)?;
        self.statement = Some(statement.clone());
        Ok(statement)
    }

    fn signature(&mut self, envelope: &Envelope) -> Result<(), Stop> {
        let fail = |pass: &mut Self, verdict, detail: &str| {
            pass.checks.fail(
                CheckName::Manifest,
                Finding::new(verdict, detail).of(Member::Manifest),
            );
        };
        let Some(key) = self.options.export_key else {
            fail(self, Verdict::Untrusted, "no export key was given");
            return Ok(());
        };
        let right = key.id().digest();
        if envelope.is_signed_by(&key) {
            if envelope.key_id != right {
                fail(
                    self,
                    Verdict::Tampered,
                    "keyid is not that of the key that signed",
                );
            }
            return Ok(());
        }
        if envelope.key_id == right {
            fail(self, Verdict::Tampered, "the signature does not hold");
        } else if self
            .options
            .log_key
            .is_some_and(|log| log.id().digest() == envelope.key_id)
        {
            fail(
                self,
                Verdict::Untrusted,
                "signed by the log key, which does not sign bundles",
            );
        } else {
            fail(
                self,
                Verdict::Untrusted,
                &format!("signed by {}, not by the given {right}", envelope.key_id),
            );
        }
        Err(Stop::Found)
    }

    fn look_up(&mut self, statement: &Statement) -> Result<(), Stop> {
        if let Some(held) = self.options.held {
            let tip = held.tip(&statement.predicate.origin);
            self.tip = tip.map_err(|error| Stop::Local(VerifyError::Held(error)))?;
        }
        Ok(())
    }

    /// Holds a header against order and manifest.
    fn place(&mut self, entry: &Entry, previous: Member) -> Result<Member, Stop> {
        let Some(member) = Member::from_name(&entry.name) else {
            return self.stop(CheckName::Members, Verdict::Tampered, "no member of a bundle");
        };
        if member == previous {
            return self.stop(
                CheckName::Container,
                Verdict::Malformed,
                "a second member of this name",
            );
        }
        if member < previous {
            let detail = format!("stands behind {previous}: wrong order or a second member of this name");
            return self.stop(CheckName::Container, Verdict::Malformed, &detail);
        }
        let Some((_, file)) = self.expected.get(&member) else {
            return self.stop(
                CheckName::Members,
                Verdict::Tampered,
                "not among the subjects of the manifest",
            );
        };
        if entry.size != file.size {
            let detail = format!("{} bytes where the manifest says {}", entry.size, file.size);
            let readable = entry.size
                <= file
                    .size
                    .saturating_mul(2)
                    .saturating_add(limits::BUNDLE_EXCESS_BYTES_MAX);
            self.checks.fail(
                CheckName::Members,
                Finding::new(Verdict::Tampered, detail).of(member),
            );
            if !readable {
                return Err(Stop::Found);
            }
        }
        Ok(member)
    }

    fn member(
        &mut self,
        archive: &mut Archive,
        member: Member,
        entry: &Entry,
        of: &Statement,
    ) -> Result<(), Stop> {
        let Some((digest, file)) = self.expected.remove(&member) else {
            return Ok(());
        };
        let mut content = archive.content();
        match member {
            Member::Checkpoint | Member::CheckpointPrev => self.checkpoint(member, &mut content, of)?,
            Member::Frontier => self.frontier(&mut content, of)?,
            Member::History => self.history(&mut content, &file, of)?,
            Member::Disclosures if entry.size > 0 => {
                let detail = "no event of this format has redacted fields to disclose";
                self.checks.fail(
                    CheckName::Disclosures,
                    Finding::new(Verdict::Tampered, detail).of(member),
                );
            }
            Member::Jobs => self.state(StateFile::Jobs, member, &mut content, &file)?,
            Member::Runs => self.state(StateFile::Runs, member, &mut content, &file)?,
            Member::Throttles => self.state(StateFile::Throttles, member, &mut content, &file)?,
            Member::Packs => self.state(StateFile::Packs, member, &mut content, &file)?,
            Member::Manifest
            | Member::Leaves
            | Member::Disclosures
            | Member::Artifact(_)
            | Member::Log(_)
            | Member::VerifyText => {}
        }
        let found = content.digest()?;
        let tampered = |detail: String| Finding::new(Verdict::Tampered, detail).of(member);
        if found != digest {
            let detail = format!("its SHA-256 is {found}, the manifest says {digest}");
            self.checks.fail(CheckName::Members, tampered(detail));
        }
        if let Member::Artifact(name) | Member::Log(name) = member
            && name != found
        {
            self.checks.fail(
                CheckName::Members,
                tampered(format!("its SHA-256 is {found}, unlike its name")),
            );
        }
        Ok(())
    }

    fn checkpoint(&mut self, member: Member, content: &mut Content<'_>, of: &Statement) -> Result<(), Stop> {
        let predicate = &of.predicate;
        let head = match member {
            Member::CheckpointPrev => TreeHead {
                size: predicate.first,
                root: predicate.prev_root,
            },
            _ => TreeHead {
                size: predicate.size,
                root: predicate.root,
            },
        };
        let mut fail = |verdict, detail: &str| {
            self.checks
                .fail(CheckName::Checkpoints, Finding::new(verdict, detail).of(member));
        };
        let Some(bytes) = content.whole(limits::NOTE_BYTES_MAX as u64)? else {
            fail(Verdict::Malformed, "longer than a checkpoint may be");
            return Ok(());
        };
        let signed = match SignedCheckpoint::parse(&bytes) {
            Ok(signed) => signed,
            Err(error) => {
                fail(Verdict::Malformed, &error.to_string());
                return Ok(());
            }
        };
        match self
            .options
            .log_key
            .map(|key| signed.verify(&signed.checkpoint().origin, &key))
        {
            None => fail(Verdict::Untrusted, "no log key was given"),
            Some(Ok(_)) => {}
            Some(Err(error @ NoteError::NotSignedBy { .. })) => fail(Verdict::Untrusted, &error.to_string()),
            Some(Err(error)) => fail(Verdict::Tampered, &error.to_string()),
        }
        if signed.checkpoint().origin.to_string() != predicate.origin {
            fail(Verdict::Tampered, "its origin is not that of the manifest");
        }
        if signed.checkpoint().head != head {
            fail(
                Verdict::Tampered,
                "its size and root are not those of the manifest",
            );
        }
        Ok(())
    }

    fn frontier(&mut self, content: &mut Content<'_>, of: &Statement) -> Result<(), Stop> {
        let bytes = content.whole(limits::NOTE_BYTES_MAX as u64)?.unwrap_or_default();
        match super::frontier::read(&bytes, of.predicate.first) {
            Ok(frontier) if frontier.root() == of.predicate.prev_root => self.frontier = Some(frontier),
            Ok(_) => {
                let finding = Finding::new(Verdict::Tampered, "it does not lead to prevRoot");
                self.checks.fail(CheckName::Tree, finding.of(Member::Frontier));
            }
            Err(why) => {
                let finding = Finding::new(Verdict::Malformed, why);
                self.checks.fail(CheckName::Tree, finding.of(Member::Frontier));
            }
        }
        Ok(())
    }

    fn history(&mut self, content: &mut Content<'_>, file: &FileEntry, of: &Statement) -> Result<(), Stop> {
        let watched = self.tip.map(|tip| tip.size);
        let mut history = HistoryCheck::new(&of.predicate, self.frontier.take(), watched);
        let mut line = Vec::new();
        loop {
            let read = content.line(&mut line, limits::EVENT_BYTES_MAX)?;
            if read == Line::End {
                break;
            }
            let mut result = history.line(&line);
            if read != Line::Whole {
                let why = if read == Line::Unended {
                    "no LF at its end"
                } else {
                    "longer than an event may be"
                };
                let finding = Finding::new(Verdict::Malformed, why).at_line(history.count());
                result = Err(finding.at_seq(of.predicate.first + history.count() - 1));
            }
            match result {
                Err(finding) => self.checks.fail(CheckName::Lines, finding.of(Member::History)),
                Ok(event) => self.apply(event, &line, history.count()),
            }
            if read == Line::TooLong {
                break;
            }
        }
        self.history_end(&history, file, of);
        Ok(())
    }

    fn apply(&mut self, event: Event, bytes: &[u8], line: u64) {
        if self.checks.any_failed() {
            return;
        }
        let seq = event.seq.0;
        if let Some(replay) = &mut self.options.replay
            && let Err(why) = replay.parsed(event, bytes)
        {
            let finding = Finding::new(Verdict::Tampered, why).of(Member::History);
            self.checks
                .fail(CheckName::Replay, finding.at_line(line).at_seq(seq));
        }
    }

    fn history_end(&mut self, history: &HistoryCheck, file: &FileEntry, of: &Statement) {
        let predicate = &of.predicate;
        let mut fail = |check, verdict, member, detail: String| {
            self.checks.fail(check, Finding::new(verdict, detail).of(member));
        };
        let (found, right) = (history.count(), predicate.size - predicate.first);
        if found != right {
            let verdict = if found < right {
                Verdict::Incomplete
            } else {
                Verdict::Tampered
            };
            fail(
                CheckName::Lines,
                verdict,
                Member::History,
                format!("{found} events where the range has {right}"),
            );
        } else if file.lines != Some(found) {
            let detail = "the manifest counts other lines".to_owned();
            fail(CheckName::Lines, Verdict::Malformed, Member::History, detail);
        }
        if history.root().is_some_and(|root| root != predicate.root) {
            let detail = "frontier and leaves do not lead to the root".to_owned();
            fail(CheckName::Tree, Verdict::Tampered, Member::History, detail);
        }
        let leaves = of
            .members()
            .find(|(member, _, _)| *member == Member::Leaves)
            .map(|(_, digest, _)| digest);
        if leaves != Some(history.leaves_digest()) {
            let detail = "these are not the leaves of this history".to_owned();
            fail(CheckName::Tree, Verdict::Tampered, Member::Leaves, detail);
        }
        self.events = found;
        self.root_at_tip = history.root_at_watched();
    }

    fn state(
        &mut self,
        file: StateFile,
        member: Member,
        content: &mut Content<'_>,
        entry: &FileEntry,
    ) -> Result<(), Stop> {
        let replaying = !self.checks.any_failed();
        let mut lines = StateLines::new(content, member, &mut self.checks);
        if let Some(replay) = &mut self.options.replay
            && replaying
        {
            compare_with_replay(&mut lines, *replay, file)?;
        }
        while lines.next()?.is_some() {}
        lines.end(entry.lines);
        Ok(())
    }

    /// Books a fault of the container.
    pub(super) fn fault(&mut self, error: TarError) -> Result<(), VerifyError> {
        let fault = container_fault(error).map_err(VerifyError::Read)?;
        self.checks.fail(
            CheckName::Container,
            Finding::new(Verdict::Malformed, fault).named(&self.current),
        );
        Ok(())
    }

    /// Closes the checklist.
    pub(super) fn finish(self) -> (Report, Option<Statement>) {
        (self.checks.report(), self.statement)
    }

    fn stop<T>(&mut self, check: CheckName, verdict: Verdict, detail: &str) -> Result<T, Stop> {
        self.checks
            .fail(check, Finding::new(verdict, detail).named(&self.current));
        Err(Stop::Found)
    }
}
