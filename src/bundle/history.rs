//! The events of a bundle, one line after the other: form, order, tree.
//!
//! Holds the right edge of the tree, the last time, and a digest for each file that the bundle carries; never an event.

use super::manifest::Statement;
use super::members::Member;
use super::named::NamedFiles;
use super::report::{Finding, Verdict};
use crate::domain::canonical::{self, CanonicalError};
use crate::domain::event::Event;
use crate::domain::{Digest, Hasher, Seq, TenantName, Timestamp, leaf_hash};
use crate::ledger::Frontier;

/// Hex digits of each leaf hash that `audit/leaves` holds.
pub const LEAF_DIGITS: usize = 16;

/// The line of `audit/leaves` for an event, with its LF.
pub(super) fn leaf_line(leaf: &Digest) -> [u8; LEAF_DIGITS + 1] {
    let mut line = [b'\n'; LEAF_DIGITS + 1];
    line[..LEAF_DIGITS].copy_from_slice(&leaf.hex()[..LEAF_DIGITS]);
    line
}

/// Checks events in order and folds them into the tree.
#[derive(Debug)]
pub(super) struct HistoryCheck {
    tenant: TenantName,
    next: u64,
    first: u64,
    at: Option<Timestamp>,
    tree: Option<Frontier>,
    leaves: Hasher,
    watched: Option<u64>,
    root_at_watched: Option<Digest>,
    files: Option<NamedFiles>,
    /// The first file that an event names and the bundle is silent about.
    unnamed: Option<Finding>,
}

impl HistoryCheck {
    /// Begins at `frontier`, when that is known to be right. `watched` is a size at which the root is wanted.
    pub(super) fn new(statement: &Statement, frontier: Option<Frontier>, watched: Option<u64>) -> Self {
        let predicate = &statement.predicate;
        let mut check = HistoryCheck {
            tenant: predicate.tenant.clone(),
            next: predicate.first,
            first: predicate.first,
            at: None,
            tree: frontier,
            leaves: Hasher::default(),
            watched,
            root_at_watched: None,
            files: NamedFiles::of(statement),
            unnamed: None,
        };
        check.watch();
        check
    }

    /// Takes the next line, without its LF, and says what is wrong with it. It counts as an event either way.
    pub(super) fn line(&mut self, bytes: &[u8]) -> Result<Event, Finding> {
        let leaf = leaf_hash(bytes);
        self.leaves.update(&leaf_line(&leaf));
        if let Some(tree) = &mut self.tree {
            tree.push(leaf);
        }
        let seq = self.next;
        self.next += 1;
        self.watch();
        let line = seq - self.first + 1;
        self.check_event(bytes, seq)
            .map_err(|finding| finding.at_line(line).at_seq(seq))
    }

    /// What is wrong with the files that the bundle carries, once all events were taken.
    pub(super) fn files(&mut self) -> Result<(), Finding> {
        match (self.unnamed.take(), &self.files) {
            (Some(finding), _) => Err(finding),
            (None, Some(files)) => files.end(),
            (None, None) => Ok(()),
        }
    }

    /// Events taken.
    pub(super) fn count(&self) -> u64 {
        self.next - self.first
    }

    /// Root over everything taken, when the frontier was right.
    pub(super) fn root(&self) -> Option<Digest> {
        self.tree.as_ref().map(Frontier::root)
    }

    /// Root at the watched size, when it was passed.
    pub(super) fn root_at_watched(&self) -> Option<Digest> {
        self.root_at_watched
    }

    /// What the SHA-256 of `audit/leaves` must be for the events taken.
    pub(super) fn leaves_digest(&self) -> Digest {
        self.leaves.clone().finish()
    }

    fn watch(&mut self) {
        if self.watched == Some(self.next) {
            self.root_at_watched = self.root();
        }
    }

    fn check_event(&mut self, bytes: &[u8], seq: u64) -> Result<Event, Finding> {
        let event = read_event(bytes)?;
        let tampered = |detail: String| Err(Finding::new(Verdict::Tampered, detail));
        if event.seq != Seq(seq) {
            return tampered(format!("seq is {} where {seq} belongs", event.seq));
        }
        if event.tenant != self.tenant {
            return tampered(format!("an event of tenant {}", event.tenant));
        }
        if self.at.replace(event.at).is_some_and(|before| before > event.at) {
            return tampered("at is before that of the event before".to_owned());
        }
        if let Some(files) = &mut self.files
            && let Err(finding) = files.event(&event)
        {
            let line = seq - self.first + 1;
            let finding = finding.of(Member::History).at_line(line).at_seq(seq);
            self.unnamed.get_or_insert(finding);
        }
        Ok(event)
    }
}

/// Reads an event that is written as this program writes it: in the one form, and with no member that says nothing.
fn read_event(bytes: &[u8]) -> Result<Event, Finding> {
    check_canonical(bytes)?;
    let malformed = |why: String| Finding::new(Verdict::Malformed, why);
    let event = Event::from_bytes(bytes).map_err(|error| malformed(error.to_string()))?;
    if event.is_written_as(bytes) {
        return Ok(event);
    }
    let right = event.to_canonical();
    let same = right
        .iter()
        .zip(bytes)
        .take_while(|(right, found)| right == found);
    Err(malformed(format!(
        "it is an event, and not as events are written, from byte {} on",
        same.count()
    )))
}

/// Refuses a line that is not canonical JSON, and tells the spot.
pub(super) fn check_canonical(line: &[u8]) -> Result<(), Finding> {
    if canonical::is_canonical(line) {
        return Ok(());
    }
    canonical::check(line)
        .map(drop)
        .map_err(|error| not_canonical(&error))
}

fn not_canonical(error: &CanonicalError) -> Finding {
    let spot = if error.pointer.is_empty() {
        "top level"
    } else {
        &error.pointer
    };
    Finding::new(
        Verdict::Malformed,
        format!("{}, at byte {} ({spot})", error.kind, error.offset),
    )
}
