//! Verification of a bundle: one streaming pass, ten checks, the first offence of each by member, line and event.
//!
//! Promises: memory bounded by the zstd window, the manifest and one line; nothing is written anywhere; the order of
//! the checks and the exit codes are those of [`super::report`]; outside input never panics. Work is bounded by the
//! manifest: an archive whose manifest is not signed by the given key is not read further, and a member much longer
//! than its manifest says ends the pass. Must never use a key that the bundle itself brings.

use std::collections::BTreeMap;
use std::io;

use super::dsse::Envelope;
use super::history::HistoryCheck;
use super::locate::first_changed_line;
use super::manifest::{FileEntry, ManifestError, Statement};
use super::members::{Member, StateFile};
use super::note::{Checkpoint, NoteError};
use super::reading::{Archive, Content, Line, Opener, container_fault};
use super::report::{CheckName, Checklist, Finding, Report, Verdict};
use super::state::{StateLines, compare_with_replay};
use super::tar::{Entry, TarError};
use crate::domain::Digest;
use crate::ledger::Frontier;
use crate::limits;
use crate::trust::PublicKey;

/// What a verification may rely on.
#[derive(Default)]
pub struct Options<'a> {
    /// The key that signs the ledger's checkpoints.
    pub log_key: Option<PublicKey>,
    /// The key that signs its bundles.
    pub export_key: Option<PublicKey>,
    /// What is already held of foreign ledgers.
    pub held: Option<&'a dyn Held>,
    /// A state machine at the state before the first event.
    pub replay: Option<&'a mut dyn Replay>,
    /// Whether a replay that cannot be made is a failure.
    pub require_replay: bool,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("log_key", &self.log_key).field("export_key", &self.export_key).finish_non_exhaustive()
    }
}

/// What is held of a foreign ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldTip {
    /// Events held.
    pub size: u64,
    /// Root at that size.
    pub root: Digest,
    /// Newest version of its root of trust seen.
    pub trust_version: u64,
}

/// The foreign ledgers already held here: the defence against roll-back and forks.
pub trait Held {
    /// The end of what is held under `origin`.
    ///
    /// # Errors
    /// When it could not be looked up; the verification then fails as a whole.
    fn tip(&self, origin: &str) -> Result<Option<HeldTip>, String>;

    /// Root of what is held under `origin` at an earlier size.
    ///
    /// # Errors
    /// When it could not be looked up; the verification then fails as a whole.
    fn root_at(&self, origin: &str, size: u64) -> Result<Option<Digest>, String>;
}

/// A state machine that events are applied to.
pub trait Replay {
    /// Applies the next event, whose form and place are already checked.
    ///
    /// # Errors
    /// What no legal history contains.
    fn event(&mut self, seq: u64, bytes: &[u8]) -> Result<(), String>;

    /// Gives the lines that `file` must hold, without LF, in order. Called once for each file, after all events,
    /// in the order of [`StateFile`]. Stops when `visit` says so.
    ///
    /// # Errors
    /// What `visit` said, or why the lines cannot be given.
    fn finish(&mut self, file: StateFile, visit: LineVisitor<'_>) -> Result<(), String>;
}

/// Takes a line; an error ends the visit.
pub type LineVisitor<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), String>;

/// Result of a verification.
#[derive(Debug)]
pub struct Outcome {
    /// The checklist.
    pub report: Report,
    /// What the bundle says of itself, once it could be read; worth as much as the report says.
    pub statement: Option<Statement>,
    /// SHA-256 of the archive, when all of it was read.
    pub tar_sha256: Option<Digest>,
}

/// Why there is no verdict: not the bundle's fault.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file could not be read.
    #[error("reading the bundle: {0}")]
    Read(#[source] io::Error),
    /// What is held could not be looked up.
    #[error("looking up what is held of this ledger: {0}")]
    Held(String),
}

/// Verifies the bundle that `open` opens.
///
/// # Errors
/// Only when there is no verdict; every fault of the bundle is in the report.
pub fn verify(open: Opener<'_>, options: Options<'_>) -> Result<Outcome, VerifyError> {
    let mut archive = Archive::open(open).map_err(VerifyError::Read)?;
    let mut pass = Pass::new(options);
    let mut tar_sha256 = None;
    match pass.run(&mut archive) {
        Ok(()) => {
            tar_sha256 = Some(archive.digest());
            pass.conclude()?;
            pass.locate(open);
        }
        // Damage on the way is told from tampering by the frame's checksum, which stands at the end.
        Err(Stop::Found) => {
            if let Err(error) = archive.drain(limits::BUNDLE_DRAIN_BYTES_MAX) {
                pass.fault(TarError::Read(error))?;
            }
        }
        Err(Stop::Local(error)) => return Err(error),
        Err(Stop::Archive(error)) => pass.fault(error)?,
    }
    Ok(Outcome { report: pass.checks.report(), statement: pass.statement, tar_sha256 })
}

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
struct Pass<'a> {
    options: Options<'a>,
    checks: Checklist,
    /// The name in the last header read, for faults of the container.
    current: String,
    statement: Option<Statement>,
    /// Members that have not come yet.
    expected: BTreeMap<Member, (Digest, FileEntry)>,
    frontier: Option<Frontier>,
    tip: Option<HeldTip>,
    root_at_tip: Option<Digest>,
    events: u64,
}

impl<'a> Pass<'a> {
    fn new(options: Options<'a>) -> Self {
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

    fn run(&mut self, archive: &mut Archive) -> Result<(), Stop> {
        let statement = self.manifest(archive)?;
        self.expected = statement.members().map(|(m, digest, file)| (m, (digest, file.clone()))).collect();
        let mut previous = Member::Manifest;
        while let Some(entry) = archive.next_entry()? {
            self.current.clone_from(&entry.name);
            previous = self.place(&entry, previous)?;
            self.member(archive, previous, &entry, &statement)?;
        }
        Ok(())
    }

    /// Reads the first member. A manifest that the given key did not sign ends the pass.
    fn manifest(&mut self, archive: &mut Archive) -> Result<Statement, Stop> {
        let entry = archive.next_entry()?;
        let name = entry.as_ref().map_or("", |entry| entry.name.as_str());
        if name != Member::Manifest.to_string() {
            let known = entry.is_none() || Member::from_name(name).is_some();
            let verdict = if known { Verdict::Incomplete } else { Verdict::Malformed };
            return self.stop(CheckName::Manifest, verdict, "the first member is not the manifest");
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
                let verdict = if missing { Verdict::Incomplete } else { Verdict::Malformed };
                return self.stop(CheckName::Manifest, verdict, &error.to_string());
            }
        };
        self.checks.pass(CheckName::Manifest, Some(format!("signed by {}", envelope.key_id)));
        self.look_up(&statement)?;
        self.statement = Some(statement.clone());
        Ok(statement)
    }

    fn signature(&mut self, envelope: &Envelope) -> Result<(), Stop> {
        let fail = |pass: &mut Self, verdict, detail: &str| {
            pass.checks.fail(CheckName::Manifest, Finding::new(verdict, detail).of(Member::Manifest));
        };
        let Some(key) = self.options.export_key else {
            fail(self, Verdict::Untrusted, "no export key was given");
            return Ok(());
        };
        let right = key.id().digest();
        if envelope.is_signed_by(&key) {
            if envelope.key_id != right {
                fail(self, Verdict::Tampered, "keyid is not that of the key that signed");
            }
            return Ok(());
        }
        if envelope.key_id == right {
            fail(self, Verdict::Tampered, "the signature does not hold");
        } else if self.options.log_key.is_some_and(|log| log.id().digest() == envelope.key_id) {
            fail(self, Verdict::Untrusted, "signed by the log key, which does not sign bundles");
        } else {
            fail(self, Verdict::Untrusted, &format!("signed by {}, not by the given {right}", envelope.key_id));
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
            return self.stop(CheckName::Container, Verdict::Malformed, "a second member of this name");
        }
        if member < previous {
            let detail = format!("stands behind {previous}: wrong order or a second member of this name");
            return self.stop(CheckName::Container, Verdict::Malformed, &detail);
        }
        let Some((_, file)) = self.expected.get(&member) else {
            return self.stop(CheckName::Members, Verdict::Tampered, "not among the subjects of the manifest");
        };
        if entry.size != file.size {
            let detail = format!("{} bytes where the manifest says {}", entry.size, file.size);
            let readable = entry.size <= file.size.saturating_mul(2).saturating_add(limits::BUNDLE_EXCESS_BYTES_MAX);
            self.checks.fail(CheckName::Members, Finding::new(Verdict::Tampered, detail).of(member));
            if !readable {
                return Err(Stop::Found);
            }
        }
        Ok(member)
    }

    fn member(&mut self, archive: &mut Archive, member: Member, entry: &Entry, of: &Statement) -> Result<(), Stop> {
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
                self.checks.fail(CheckName::Disclosures, Finding::new(Verdict::Tampered, detail).of(member));
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
            self.checks.fail(CheckName::Members, tampered(format!("its SHA-256 is {found}, unlike its name")));
        }
        Ok(())
    }

    fn checkpoint(&mut self, member: Member, content: &mut Content<'_>, of: &Statement) -> Result<(), Stop> {
        let predicate = &of.predicate;
        let (size, root) = match member {
            Member::CheckpointPrev => (predicate.first, predicate.prev_root),
            _ => (predicate.size, predicate.root),
        };
        let mut fail = |verdict, detail: &str| {
            self.checks.fail(CheckName::Checkpoints, Finding::new(verdict, detail).of(member));
        };
        let Some(bytes) = content.whole(limits::BUNDLE_NOTE_BYTES_MAX)? else {
            fail(Verdict::Malformed, "a checkpoint over 64 KiB");
            return Ok(());
        };
        let note = match Checkpoint::parse(&bytes) {
            Ok(note) => note,
            Err(error) => {
                fail(Verdict::Malformed, &error.to_string());
                return Ok(());
            }
        };
        match self.options.log_key.map(|key| note.check_signature(key)) {
            None => fail(Verdict::Untrusted, "no log key was given"),
            Some(Ok(())) => {}
            Some(Err(error @ NoteError::OtherKey(_))) => fail(Verdict::Untrusted, &error.to_string()),
            Some(Err(error @ NoteError::BadSignature)) => fail(Verdict::Tampered, &error.to_string()),
            Some(Err(error @ NoteError::Malformed(_))) => fail(Verdict::Malformed, &error.to_string()),
        }
        if note.origin != predicate.origin {
            fail(Verdict::Tampered, "its origin is not that of the manifest");
        }
        if (note.size, note.root) != (size, root) {
            fail(Verdict::Tampered, "its size and root are not those of the manifest");
        }
        Ok(())
    }

    fn frontier(&mut self, content: &mut Content<'_>, of: &Statement) -> Result<(), Stop> {
        let bytes = content.whole(limits::BUNDLE_NOTE_BYTES_MAX)?.unwrap_or_default();
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
                let why = if read == Line::Unended { "no LF at its end" } else { "longer than an event may be" };
                let finding = Finding::new(Verdict::Malformed, why).at_line(history.count());
                result = Err(finding.at_seq(of.predicate.first + history.count() - 1));
            }
            match result {
                Err(finding) => self.checks.fail(CheckName::Lines, finding.of(Member::History)),
                Ok(seq) => self.apply(seq, &line, history.count()),
            }
            if read == Line::TooLong {
                break;
            }
        }
        self.history_end(&history, file, of);
        Ok(())
    }

    fn apply(&mut self, seq: u64, bytes: &[u8], line: u64) {
        if self.checks.any_failed() {
            return;
        }
        if let Some(replay) = &mut self.options.replay
            && let Err(why) = replay.event(seq, bytes)
        {
            let finding = Finding::new(Verdict::Tampered, why).of(Member::History);
            self.checks.fail(CheckName::Replay, finding.at_line(line).at_seq(seq));
        }
    }

    fn history_end(&mut self, history: &HistoryCheck, file: &FileEntry, of: &Statement) {
        let predicate = &of.predicate;
        let mut fail = |check, verdict, member, detail: String| {
            self.checks.fail(check, Finding::new(verdict, detail).of(member));
        };
        let (found, right) = (history.count(), predicate.size - predicate.first);
        if found != right {
            let verdict = if found < right { Verdict::Incomplete } else { Verdict::Tampered };
            fail(CheckName::Lines, verdict, Member::History, format!("{found} events where the range has {right}"));
        } else if file.lines != Some(found) {
            let detail = "the manifest counts other lines".to_owned();
            fail(CheckName::Lines, Verdict::Malformed, Member::History, detail);
        }
        if history.root().is_some_and(|root| root != predicate.root) {
            let detail = "frontier and leaves do not lead to the root".to_owned();
            fail(CheckName::Tree, Verdict::Tampered, Member::History, detail);
        }
        let leaves = of.members().find(|(member, _, _)| *member == Member::Leaves).map(|(_, digest, _)| digest);
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

    /// Judges what needs the whole archive, and closes the checks.
    fn conclude(&mut self) -> Result<(), VerifyError> {
        self.checks.pass(CheckName::Container, None);
        let missing: Vec<Member> = self.expected.keys().copied().collect();
        if let Some(first) = missing.first() {
            let finding = Finding::new(Verdict::Incomplete, "it is missing").of(*first);
            self.checks.fail(CheckName::Members, finding);
        }
        self.checks.pass(CheckName::Members, None);
        let mut needs = |check, members: &[Member], detail: Option<String>| {
            match members.iter().find(|member| missing.contains(member)) {
                Some(member) => self.checks.skip(check, &format!("{member} is missing")),
                None => self.checks.pass(check, detail),
            }
        };
        let counted = format!("{} events", self.events);
        needs(CheckName::Checkpoints, &[Member::Checkpoint, Member::CheckpointPrev], None);
        needs(CheckName::Lines, &[Member::History], Some(counted));
        needs(CheckName::Tree, &[Member::Frontier, Member::Leaves, Member::History], None);
        needs(CheckName::Disclosures, &[Member::Disclosures], None);
        self.continuity()?;
        self.checks.skip(CheckName::Trust, "this format carries no roots of trust; the keys were given by hand");
        self.replay_end();
        Ok(())
    }

    fn replay_end(&mut self) {
        let first = self.statement.as_ref().map_or(0, |statement| statement.predicate.first);
        if self.options.replay.is_some() {
            if self.checks.any_failed() {
                self.checks.skip(CheckName::Replay, "an earlier check failed");
            }
            self.checks.pass(CheckName::Replay, None);
            return;
        }
        let why = format!("needs the state at {first}");
        if self.options.require_replay {
            self.checks.fail(CheckName::Replay, Finding::new(Verdict::Incomplete, why));
        } else {
            self.checks.skip(CheckName::Replay, &why);
        }
    }

    fn continuity(&mut self) -> Result<(), VerifyError> {
        let (Some(held), Some(statement)) = (self.options.held, &self.statement) else {
            self.checks.skip(CheckName::Continuity, "nothing is known of what is held");
            return Ok(());
        };
        let predicate = &statement.predicate;
        let Some(tip) = self.tip else {
            if predicate.first > 0 {
                let detail = format!("nothing is held of this ledger, and the bundle begins at {}", predicate.first);
                self.checks.fail(CheckName::Continuity, Finding::new(Verdict::Incomplete, detail));
            }
            self.checks.pass(CheckName::Continuity, Some("the first of this ledger".to_owned()));
            return Ok(());
        };
        let mut fail = |verdict, detail: String| self.checks.fail(CheckName::Continuity, Finding::new(verdict, detail));
        if predicate.trust_version < tip.trust_version {
            fail(Verdict::Fork, format!("trust version {} after {}", predicate.trust_version, tip.trust_version));
        }
        // Where both know the ledger, they must know the same one.
        let (size, ours, theirs) = if tip.size < predicate.first {
            fail(Verdict::Incomplete, format!("held up to {}, the bundle begins at {}", tip.size, predicate.first));
            return Ok(());
        } else if tip.size > predicate.size {
            let ours = held.root_at(&predicate.origin, predicate.size).map_err(VerifyError::Held)?;
            (predicate.size, ours, Some(predicate.root))
        } else {
            (tip.size, Some(tip.root), self.root_at_tip)
        };
        match (ours, theirs) {
            (Some(ours), Some(theirs)) if ours == theirs => {
                self.checks.pass(CheckName::Continuity, Some(format!("the ledger held, at {size}")));
            }
            (Some(_), Some(_)) => fail(Verdict::Fork, format!("another root at {size} than the one held")),
            (None, _) | (_, None) => self.checks.skip(CheckName::Continuity, "no root to compare with"),
        }
        Ok(())
    }

    fn fault(&mut self, error: TarError) -> Result<(), VerifyError> {
        let fault = container_fault(error).map_err(VerifyError::Read)?;
        self.checks.fail(CheckName::Container, Finding::new(Verdict::Malformed, fault).named(&self.current));
        Ok(())
    }

    /// Adds line and event where history was found to be another than signed.
    fn locate(&mut self, open: Opener<'_>) {
        let first = self.statement.as_ref().map_or(0, |statement| statement.predicate.first);
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
                finding.detail.push_str(&format!("; the first event that differs is {seq}"));
            }
        }
    }

    fn stop<T>(&mut self, check: CheckName, verdict: Verdict, detail: &str) -> Result<T, Stop> {
        self.checks.fail(check, Finding::new(verdict, detail).named(&self.current));
        Err(Stop::Found)
    }
}
