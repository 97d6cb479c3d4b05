//! The events of a bundle, one line after the other: form, order, tree.
//!
//! Holds the right edge of the tree and the last time, never an event.

use super::manifest::Predicate;
use super::report::{Finding, Verdict};
use crate::domain::canonical::{self, CanonicalError, Value};
use crate::domain::{Digest, Hasher, Timestamp, leaf_hash};
use crate::ledger::Frontier;

/// Hex digits of each leaf hash that `audit/leaves` holds.
pub const LEAF_DIGITS: usize = 16;

const SCHEMA: &str = "fastness.event/v1";

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
    tenant: String,
    next: u64,
    first: u64,
    at: Option<Timestamp>,
    tree: Option<Frontier>,
    leaves: Hasher,
    watched: Option<u64>,
    root_at_watched: Option<Digest>,
}

impl HistoryCheck {
    /// Begins at `frontier`, when that is known to be right. `watched` is a size at which the root is wanted.
    pub(super) fn new(predicate: &Predicate, frontier: Option<Frontier>, watched: Option<u64>) -> Self {
        let mut check = HistoryCheck {
            tenant: predicate.tenant.as_str().to_owned(),
            next: predicate.first,
            first: predicate.first,
            at: None,
            tree: frontier,
            leaves: Hasher::default(),
            watched,
            root_at_watched: None,
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
        let event = canonical::check(bytes).map_err(|error| not_canonical(&error))?;
        let shape = |what: &str| Finding::new(Verdict::Malformed, format!("not an event: {what}"));
        let Value::Object(fields) = &event else {
            return Err(shape("no object"));
        };
        let known =
            |key: &String| REQUIRED_FIELDS.contains(&key.as_str()) || OPTIONAL_FIELDS.contains(&key.as_str());
        if let Some(key) = fields.keys().find(|key| !known(key)) {
            return Err(shape(&format!("unknown field {key}")));
        }
        if let Some(key) = REQUIRED_FIELDS.iter().find(|key| !fields.contains_key(**key)) {
            return Err(shape(&format!("no field {key}")));
        }
        let text = |key: &str| event.get(key).and_then(Value::as_str);
        if text("schema") != Some(SCHEMA) {
            return Err(shape("another schema"));
        }
        if text("type").is_none() || event.get("version").and_then(Value::as_int).is_none_or(|v| v < 1) {
            return Err(shape("type or version"));
        }
        let written = text("at").unwrap_or_default();
        let at: Timestamp = written.parse().map_err(|_| shape("at"))?;
        if at.to_string() != written {
            return Err(shape("at is not written with milliseconds and Z"));
        }
        self.check_place(&event, seq)?;
        if self.at.replace(at).is_some_and(|before| before > at) {
            return Err(Finding::new(
                Verdict::Tampered,
                "at is before that of the event before",
            ));
        }
        Ok(())
    }

    fn check_place(&self, event: &Value, seq: u64) -> Result<(), Finding> {
        let found = event.get("seq").and_then(Value::as_int);
        if found.and_then(|number| u64::try_from(number).ok()) != Some(seq) {
            let found = found.map_or("none".to_owned(), |number| number.to_string());
            return Err(Finding::new(
                Verdict::Tampered,
                format!("seq is {found} where {seq} belongs"),
            ));
        }
        if event.get("tenant").and_then(Value::as_str) != Some(&self.tenant) {
            return Err(Finding::new(Verdict::Tampered, "an event of another tenant"));
        }
        Ok(())
    }
}

const REQUIRED_FIELDS: [&str; 9] = [
    "actor", "at", "payload", "schema", "seq", "subject", "tenant", "type", "version",
];
const OPTIONAL_FIELDS: [&str; 2] = ["correlationId", "project"];

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
