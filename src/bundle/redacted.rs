//! Where digests have a meaning in a history: in the payload of `job.created`, and in the inputs of `run.created`, of events
//! that name the event with which their disclosures are kept. Nowhere else.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::domain::canonical::{Value, parse};
use crate::domain::event::{Event, EventBody};
use crate::domain::redaction::{FieldsError, Pointer, RUN_INPUTS_TYPE, references, write_digest};
use crate::domain::{Digest, Seq};

/// Stands in each event with redacted fields, and in few others.
const MARK: &str = "\"disclosures\":";

/// Of an event whose disclosures are kept with itself, as a line of a history: their digests. None for any other.
///
/// # Errors
/// What is wrong with its digests.
pub fn digests_kept_with(seq: Seq, line: &[u8]) -> Result<Option<BTreeSet<Digest>>, String> {
    let redacted = Redacted::read(line)?;
    let own = redacted.filter(|redacted| redacted.with == seq);
    Ok(own.map(|redacted| redacted.digests.into_values().map(|(digest, _)| digest).collect()))
}

/// A line of disclosures, of one of several sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LineAt {
    /// Which source, from 0.
    pub(super) source: usize,
    /// Which of its lines, from 1.
    pub(super) line: u64,
}

/// Why a disclosure shows nothing of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotShown {
    /// No digest of the event is its own.
    NoDigest,
    /// Its field stands in the event.
    InEvent,
    /// Its field was shown by this line.
    Before(LineAt),
}

/// The redacted object of one event.
#[derive(Debug)]
pub(super) struct Redacted {
    /// The event with which its disclosures are kept.
    pub(super) with: Seq,
    /// What rules call it.
    pub(super) type_name: String,
    fields: Value,
    /// Each digest, by its text as it stands in `_sd`, with the place of its object among `ways`.
    digests: BTreeMap<String, (Digest, usize)>,
    ways: Vec<Vec<String>>,
    /// By which line each field was shown, by the place of its object and its name.
    shown: BTreeMap<(usize, String), LineAt>,
}

impl Redacted {
    /// Reads an event. None when it has no redacted fields.
    ///
    /// # Errors
    /// What is wrong with its digests.
    pub(super) fn read(line: &[u8]) -> Result<Option<Self>, String> {
        if !std::str::from_utf8(line).is_ok_and(|text| text.contains(MARK)) {
            return Ok(None);
        }
        let event = Event::from_bytes(line).map_err(|error| error.to_string())?;
        Redacted::of(&event).map_err(|error| error.to_string())
    }

    /// The same, of an event that is read already.
    pub(super) fn of(event: &Event) -> Result<Option<Self>, FieldsError> {
        let (with, type_name, fields) = match &event.body {
            EventBody::JobCreated(created) => {
                let (Some(with), Some(text)) = (created.disclosures, &created.payload) else {
                    return Ok(None);
                };
                let fields = parse(text.as_str().as_bytes()).map_err(|_| FieldsError::Digests)?;
                (with, created.spec.job_type.clone(), fields)
            }
            EventBody::RunCreated(created) => {
                let Some(with) = created.disclosures else {
                    return Ok(None);
                };
                (
                    with,
                    RUN_INPUTS_TYPE.to_owned(),
                    Value::Object(created.inputs.clone()),
                )
            }
            _ => return Ok(None),
        };
        let (mut ways, mut digests) = (Vec::new(), BTreeMap::new());
        for (way, of_object) in references(&fields)? {
            for digest in of_object {
                digests.insert(write_digest(&digest), (digest, ways.len()));
            }
            ways.push(way);
        }
        Ok(Some(Redacted {
            with,
            type_name,
            fields,
            digests,
            ways,
            shown: BTreeMap::new(),
        }))
    }

    /// How many digests it has.
    pub(super) fn count(&self) -> u64 {
        self.digests.len() as u64
    }

    /// Where a digest, as it stands in `_sd`, has its field.
    pub(super) fn pointer(&self, digest: &str, name: &str) -> Option<Pointer> {
        let (_, way) = self.digests.get(digest)?;
        Some(Pointer::below(self.ways.get(*way)?, name))
    }

    /// True for a digest that stands here.
    pub(super) fn has(&self, digest: &str) -> bool {
        self.digests.contains_key(digest)
    }

    /// Takes a disclosure for shown, by this line.
    ///
    /// # Errors
    /// Why it shows nothing here.
    pub(super) fn show(&mut self, digest: &str, name: &str, by: LineAt) -> Result<(), NotShown> {
        let (_, way) = self.digests.get(digest).ok_or(NotShown::NoDigest)?;
        let object = self.ways[*way]
            .iter()
            .try_fold(&self.fields, |at, part| match at {
                Value::Object(members) => members.get(part),
                Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
                Value::Null | Value::Bool(_) | Value::Int(_) | Value::String(_) => None,
            });
        if object.is_some_and(|object| object.get(name).is_some()) {
            return Err(NotShown::InEvent);
        }
        match self.shown.entry((*way, name.to_owned())) {
            Entry::Occupied(before) => Err(NotShown::Before(*before.get())),
            Entry::Vacant(free) => {
                free.insert(by);
                Ok(())
            }
        }
    }
}
