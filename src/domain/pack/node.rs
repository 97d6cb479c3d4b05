//! The source as a tree of values that know where they stand.
//!
//! One reader for YAML and JSON (YAML 1.2 holds JSON). Anchors and aliases are expanded within bounds; merge keys, foreign
//! tags, several documents and duplicate keys are refused. Numbers with a leading zero or underscores stay text.

use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Error, Location, Options, Spanned};

use super::error::{PackCode, PackError};
use crate::domain::canonical::text_fits;
use crate::limits;

/// A value and its place. For an alias the place is where the alias stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// A key and its place.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) line: u32,
    pub(super) column: u32,
}

#[derive(Debug)]
pub(super) enum Content {
    Null,
    Bool(bool),
    Int(i64),
    /// Any number that is not an integer of 64 bits; packs have none.
    OtherNumber,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

impl Content {
    /// The type, as messages name it.
    pub(super) const fn type_name(&self) -> &'static str {
        match self {
            Content::Null => "nothing",
            Content::Bool(_) => "a truth value",
            Content::Int(_) => "an integer",
            Content::OtherNumber => "a number with a fraction",
            Content::Text(_) => "text",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }
}

/// Reads the source.
pub(super) fn read_source(source: &[u8]) -> Result<Node, PackError> {
    let refuse = |code, line, column, message: String| PackError {
        code,
        message,
        line,
        column,
        pointer: String::new(),
    };
    if source.len() > limits::PACK_BYTES_MAX {
        let message = format!("a pack has at most {} bytes", limits::PACK_BYTES_MAX);
        return Err(refuse(PackCode::TooLarge, 1, 1, message));
    }
    let text = std::str::from_utf8(source).map_err(|error| {
        let before = &source[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() as u32 + 1;
        refuse(PackCode::Syntax, line, 1, "a pack is written in UTF-8".to_owned())
    })?;
    let spanned: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let error = error.without_snippet();
        let (line, column) = error.location().map_or((1, 1), place);
        let (code, message) = explain(error);
        refuse(code, line, column, message)
    })?;
    Ok(Node::from(spanned))
}

fn options() -> Options {
    let mut budget = serde_saphyr::Budget::default();
    budget.max_reader_input_bytes = Some(limits::PACK_BYTES_MAX);
    budget.max_events = limits::PACK_NODES_MAX * 2;
    budget.max_nodes = limits::PACK_NODES_MAX;
    budget.max_depth = limits::PACK_DEPTH_MAX;
    budget.flow_nesting_limit = limits::PACK_DEPTH_MAX;
    // The second one is refused in our own words.
    budget.max_documents = 2;
    budget.max_aliases = limits::PACK_ALIASES_MAX;
    budget.max_anchors = limits::PACK_ALIASES_MAX;
    budget.max_recorded_anchor_events = limits::PACK_NODES_MAX * 2;
    budget.max_recorded_anchor_bytes = limits::PACK_BYTES_MAX * 2;
    budget.max_total_scalar_bytes = limits::PACK_BYTES_MAX;
    budget.enforce_alias_anchor_ratio = false;
    let mut options = Options::default();
    options.budget = Some(budget);
    options.alias_limits.max_total_replayed_events = limits::PACK_ALIAS_EVENTS_MAX;
    options.alias_limits.max_replay_stack_depth = limits::PACK_DEPTH_MAX;
    options.duplicate_keys = DuplicateKeyPolicy::Error;
    options.merge_keys = MergeKeyPolicy::Error;
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.underscored_numbers_as_strings = true;
    options.reject_unsupported_tags = true;
    options.with_snippet = false;
    options
}

/// Our words for what the reader refuses by our settings; its own words for what is no YAML.
fn explain(error: &Error) -> (PackCode, String) {
    match error {
        Error::AliasError { error, .. } => explain(error),
        Error::DuplicateMappingKey { key, .. } => {
            let name = key.as_deref().unwrap_or("a key");
            (
                PackCode::DuplicateKey,
                format!("{name} stands twice in one mapping"),
            )
        }
        Error::MultipleDocuments { .. } => (PackCode::Syntax, "a pack is one document".to_owned()),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => too_large(),
        Error::MergeKeyNotAllowed { .. } => (
            PackCode::Syntax,
            "merge keys (<<) are not used in packs; write the fields out".to_owned(),
        ),
        Error::UnsupportedTag { .. } => (PackCode::Syntax, "tags (!name) are not used in packs".to_owned()),
        other => {
            let full = other.render();
            let message = full.split(" at line ").next().unwrap_or(&full);
            // The scanner looks ahead and meets brackets that nest too deep before the count of levels does.
            if message == "recursion limit exceeded" {
                too_large()
            } else {
                (PackCode::Syntax, message.to_owned())
            }
        }
    }
}

fn too_large() -> (PackCode, String) {
    let (values, levels, aliases) = (
        limits::PACK_NODES_MAX,
        limits::PACK_DEPTH_MAX,
        limits::PACK_ALIASES_MAX,
    );
    let message = format!("a pack has at most {values} values, {levels} levels and {aliases} aliases");
    (PackCode::TooLarge, message)
}

fn place(location: Location) -> (u32, u32) {
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    (narrow(location.line()), narrow(location.column()))
}

/// The tree as serde builds it, before places are taken over.
enum Raw {
    Scalar(Content),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl From<Spanned<Raw>> for Node {
    /// Recursion is bounded by [`limits::PACK_DEPTH_MAX`].
    fn from(spanned: Spanned<Raw>) -> Self {
        let (line, column) = place(spanned.referenced);
        let content = match spanned.value {
            Raw::Scalar(content) => content,
            Raw::List(items) => Content::List(items.into_iter().map(Node::from).collect()),
            Raw::Map(members) => Content::Map(
                members
                    .into_iter()
                    .map(|(key, value)| {
                        let (line, column) = place(key.referenced);
                        (
                            Key {
                                name: key.value,
                                line,
                                column,
                            },
                            Node::from(value),
                        )
                    })
                    .collect(),
            ),
        };
        Node {
            content,
            line,
            column,
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Content::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Content::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Content::Bool(truth)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Content::Int(number)))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(
            i64::try_from(number).map_or(Content::OtherNumber, Content::Int),
        ))
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Scalar(Content::OtherNumber))
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Scalar(Content::OtherNumber))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Content::OtherNumber))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Raw, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Raw, E> {
        if text.contains('\0') || !text_fits(&text) {
            return Err(E::custom(
                "the characters U+0000 and U+007F have no place in a pack",
            ));
        }
        Ok(Raw::Scalar(Content::Text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut members: Vec<(Spanned<String>, Spanned<Raw>)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Spanned<Raw>>()? {
            if key.value.contains('\0') || !text_fits(&key.value) {
                return Err(A::Error::custom(
                    "the characters U+0000 and U+007F have no place in a pack",
                ));
            }
            members.push((key, value));
        }
        Ok(Raw::Map(members))
    }
}
