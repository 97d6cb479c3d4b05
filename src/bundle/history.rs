//! The events of a bundle, one line after the other: form, order, tree.
//!
//! Holds the right edge of the tree, the last time, and a digest for each file that the bundle carries; never an event.

use super::manifest::Statement;
use super::members::Member;
use super::named::NamedFiles;
use super::report::{Finding, Verdict};
use crate::domain::canonical::{self, CanonicalError, Value};
use crate::domain::event::Event;
use crate::domain::{Digest, Hasher, Seq, TenantName, Timestamp, leaf_hash};
use crate::ledger::Frontier;

/// Hex digits of each leaf hash that `audit/leaves` holds.
pub const LEAF_DIGITS: usize = 16;

/// The line of `audit/leaves` for an event, with its LF.
pub(super) fn leaf_line(leaf: &Digest) -> String {
    let mut text = leaf.to_string();
    text.truncate(LEAF_DIGITS);
    text.push('\n');
    text
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
    pub(super) fn line(&mut self, bytes: &[u8]) -> Result<u64, Finding> {
        let leaf = leaf_hash(bytes);
        self.leaves.update(leaf_line(&leaf).as_bytes());
        if let Some(tree) = &mut self.tree {
            tree.push(leaf);
        }
        let seq = self.next;
        self.next += 1;
        self.watch();
        let line = seq - self.first + 1;
        self.check_event(bytes, seq)
            .map_err(|finding| finding.at_line(line).at_seq(seq))?;
        Ok(seq)
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

    fn check_event(&mut self, bytes: &[u8], seq: u64) -> Result<(), Finding> {
        let value = canonical::check(bytes).map_err(|error| not_canonical(&error))?;
        let event =
            Event::from_bytes(bytes).map_err(|error| Finding::new(Verdict::Malformed, error.to_string()))?;
        // The parser of times accepts more forms than the one that is written.
        if value.get("at").and_then(Value::as_str) != Some(&event.at.to_string()) {
            return Err(Finding::new(
                Verdict::Malformed,
                "at is not written with milliseconds and Z",
            ));
        }
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
        Ok(())
    }
}

/// A line that is not canonical JSON.
pub(super) fn not_canonical(error: &CanonicalError) -> Finding {
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

/// The key by which a line of a state file is sorted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SortKey {
    /// `id`.
    Id(String),
    /// `name`, `version`.
    NameVersion(String, i64),
}

impl SortKey {
    /// The key of a record.
    pub(super) fn of(record: &Value) -> Option<Self> {
        let text = |key: &str| record.get(key).and_then(Value::as_str).map(str::to_owned);
        match text("id") {
            Some(id) => Some(SortKey::Id(id)),
            None => Some(SortKey::NameVersion(
                text("name")?,
                record.get("version").and_then(Value::as_int)?,
            )),
        }
    }
}
