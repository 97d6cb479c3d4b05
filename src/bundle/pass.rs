//! The one pass over a bundle: each member in turn, its order, digest and content.
//!
//! Says what a member shows by itself; [`super::conclude`] judges what needs all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::anchor::{Documents, Resolved};
use super::dsse::Envelope;
use super::history::HistoryCheck;
use super::manifest::{FileEntry, ManifestError, Statement};
use super::members::{Member, StateFile};
use super::reading::{Archive, Content, Line, container_fault};
use super::report::{CheckName, Checklist, Finding, Verdict};
use super::state::{StateLines, compare_with_replay};
use super::tar::{Entry, TarError};
use super::verify::{HeldTip, Options, Outcome, ReplayError, VerifyError};
use crate::domain::event::Event;
use crate::domain::{Digest, OrderId};
use crate::ledger::Frontier;
use crate::limits;
use crate::trust::{PublicKey, Role};

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
    /// Keys that may have signed the checkpoints, and the manifest.
    pub(super) log_keys: Vec<PublicKey>,
    pub(super) export_keys: Vec<PublicKey>,
    /// The one that did sign the manifest.
    pub(super) exporter: Option<PublicKey>,
    /// What the anchor made of the roots.
    pub(super) resolved: Resolved,
    /// Who signed what: role, key, and the size of the ledger that it vouches for.
    pub(super) used: Vec<(Role, PublicKey, u64)>,
    /// Whether keys that count signed manifest and checkpoint; known once trust was judged.
    pub(super) signers_count: bool,
    pub(super) documents: Documents,
    pub(super) policy: Vec<u8>,
    pub(super) tip: Option<HeldTip>,
    pub(super) root_at_tip: Option<Digest>,
    pub(super) events: u64,
    /// What is wrong with the files that the bundle carries; says something only of a history that is sound.
    pub(super) files: Option<Finding>,
    /// Digests that stand for redacted fields, and how many of them are disclosed.
    pub(super) digests: u64,
    pub(super) shown: u64,
}

impl<'a> Pass<'a> {
    pub(super) fn new(options: Options<'a>, mut resolved: Resolved) -> Self {
        let anchored = options.anchor.is_some();
        let keys = |given: Option<PublicKey>, role| match given {
            Some(key) if anchored => resolved
                .keys(role)
                .into_iter()
                .filter(|led| *led == key)
                .collect(),
            Some(key) => vec![key],
            None => resolved.keys(role),
        };
        let (log_keys, export_keys) = (
            keys(options.log_key, Role::Log),
            keys(options.export_key, Role::Export),
        );
        let led_nowhere = |given: Option<PublicKey>, led: &[PublicKey]| given.is_some() && led.is_empty();
        if anchored
            && (led_nowhere(options.export_key, &export_keys) || led_nowhere(options.log_key, &log_keys))
        {
            let why = "the root of trust does not lead to the keys given";
            resolved
                .finding
                .get_or_insert_with(|| Finding::new(Verdict::Untrusted, why));
        }
        Pass {
            log_keys,
            export_keys,
            exporter: None,
            resolved,
            used: Vec::new(),
            signers_count: false,
            documents: Documents::new(),
            policy: Vec::new(),
            options,
            checks: Checklist::default(),
            current: Member::Manifest.to_string(),
            statement: None,
            expected: BTreeMap::new(),
            frontier: None,
            tip: None,
            root_at_tip: None,
            events: 0,
            files: None,
            digests: 0,
            shown: 0,
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
            self.member(archive, previous, &statement)?;
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
        if let Some(key) = self.exporter {
            self.used.push((Role::Export, key, statement.predicate.size));
        }
        self.look_up(&statement)?;
        self.statement = Some(statement.clone());
        Ok(statement)
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

    fn member(&mut self, archive: &mut Archive, member: Member, of: &Statement) -> Result<(), Stop> {
        let Some((digest, file)) = self.expected.remove(&member) else {
            return Ok(());
        };
        let mut content = archive.content();
        match member {
            Member::Checkpoint | Member::CheckpointPrev => self.checkpoint(member, &mut content, of)?,
            Member::Frontier => self.frontier(&mut content, of)?,
            Member::History => self.history(&mut content, &file, of)?,
            Member::Jobs => self.state(StateFile::Jobs, member, &mut content, &file, None)?,
            Member::Runs => {
                let orders = of.predicate.orders();
                self.state(StateFile::Runs, member, &mut content, &file, Some(&orders))?;
            }
            Member::Throttles => self.state(StateFile::Throttles, member, &mut content, &file, None)?,
            Member::Packs => self.state(StateFile::Packs, member, &mut content, &file, None)?,
            Member::Root(version) => {
                // One that is longer is no root of trust, and nothing is parsed as none.
                let document = content.whole(limits::ROOT_BYTES_MAX as u64)?;
                self.documents.insert(version, document.unwrap_or_default());
            }
            Member::Policy => {
                // One that is longer is no policy, and neither is this.
                let policy = content.whole(limits::NOTE_BYTES_MAX as u64)?;
                self.policy = policy.unwrap_or_else(|| b"too long".to_vec());
            }
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

    fn frontier(&mut self, content: &mut Content<'_>, of: &Statement) -> Result<(), Stop> {
        let Some(bytes) = content.whole(limits::NOTE_BYTES_MAX as u64)? else {
            // Longer than that of any tree.
            let finding = Finding::new(Verdict::Tampered, "it does not lead to prevRoot");
            self.checks.fail(CheckName::Tree, finding.of(Member::Frontier));
            return Ok(());
        };
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
        let mut history = HistoryCheck::new(of, self.frontier.take(), watched);
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
                Ok(event) => {
                    self.count_digests(&event, history.count());
                    self.apply(&event, &line, history.count())?;
                }
            }
            if read == Line::TooLong {
                break;
            }
        }
        self.files = history.files().err();
        self.history_end(&history, file, of);
        Ok(())
    }

    fn apply(&mut self, event: &Event, bytes: &[u8], line: u64) -> Result<(), Stop> {
        if self.checks.any_failed() {
            return Ok(());
        }
        let Some(replay) = &mut self.options.replay else {
            return Ok(());
        };
        match replay.parsed(event, bytes) {
            Ok(()) => Ok(()),
            Err(ReplayError::Illegal(why)) => {
                let finding = Finding::new(Verdict::Tampered, why).of(Member::History);
                self.checks
                    .fail(CheckName::Replay, finding.at_line(line).at_seq(event.seq.0));
                Ok(())
            }
            Err(ReplayError::Local(why)) => Err(Stop::Local(VerifyError::Replay(why))),
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
        orders: Option<&BTreeSet<OrderId>>,
    ) -> Result<(), Stop> {
        let replaying = !self.checks.any_failed();
        let mut lines = StateLines::new(content, member, &mut self.checks);
        if let Some(replay) = &mut self.options.replay
            && replaying
        {
            compare_with_replay(&mut lines, *replay, file)?;
        }
        while lines.next()?.is_some() {}
        if let Some(orders) = orders {
            lines.check_orders(orders);
        }
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

    /// How long the archive can be at most, by the manifest that a known key signed; without one little is believed.
    pub(super) fn bytes_declared(&self) -> u64 {
        let Some(statement) = self.statement.as_ref().filter(|_| self.exporter.is_some()) else {
            return limits::BUNDLE_DRAIN_BYTES_MAX;
        };
        let members = statement.members();
        let declared = members.fold(0_u64, |sum, (_, _, file)| {
            // Header and padding.
            sum.saturating_add(file.size).saturating_add(1_024)
        });
        declared
            .saturating_add(limits::BUNDLE_MANIFEST_BYTES_MAX)
            .saturating_add(limits::BUNDLE_DRAIN_BYTES_MAX)
    }

    /// Closes the checklist.
    pub(super) fn finish(self, tar_sha256: Option<Digest>) -> Outcome {
        Outcome {
            report: self.checks.report(),
            statement: self.statement,
            tar_sha256,
            roots: self.documents.into_values().collect(),
        }
    }

    fn stop<T>(&mut self, check: CheckName, verdict: Verdict, detail: &str) -> Result<T, Stop> {
        self.checks
            .fail(check, Finding::new(verdict, detail).named(&self.current));
        Err(Stop::Found)
    }
}
