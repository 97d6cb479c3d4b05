//! Typed access to the tree: each wrong value becomes a finding with its place, and reading goes on.

use super::error::{Findings, PackCode, PackError};
use super::node::{Content, Key, Node};
use crate::limits;

/// A value and how it is reached.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    node: &'a Node,
    pointer: String,
}

impl<'a> Cursor<'a> {
    pub(super) fn root(node: &'a Node) -> Self {
        Cursor {
            node,
            pointer: String::new(),
        }
    }

    pub(super) fn content(&self) -> &'a Content {
        &self.node.content
    }

    /// A finding at this value.
    pub(super) fn error(&self, code: PackCode, message: impl Into<String>) -> PackError {
        PackError {
            code,
            message: message.into(),
            line: self.node.line,
            column: self.node.column,
            pointer: self.pointer.clone(),
        }
    }

    /// A finding that this version cannot run `what` yet.
    pub(super) fn not_supported(&self, what: &str, log: &mut Findings) {
        log.add(self.error(
            PackCode::NotSupported,
            format!("{what} cannot be run by this version yet"),
        ));
    }

    fn wrong_type<T>(&self, expected: &str, log: &mut Findings) -> Option<T> {
        let message = format!(
            "{expected} is needed here, this is {}",
            self.node.content.type_name()
        );
        log.add(self.error(PackCode::WrongType, message));
        None
    }

    pub(super) fn text(&self, log: &mut Findings) -> Option<&'a str> {
        match &self.node.content {
            Content::Text(text) => Some(text),
            Content::Null | Content::Bool(_) | Content::Int(_) | Content::OtherNumber => {
                self.wrong_type("text (in quotes)", log)
            }
            Content::List(_) | Content::Map(_) => self.wrong_type("text", log),
        }
    }

    /// Text of at most `bytes_max` bytes.
    pub(super) fn bounded_text(&self, bytes_max: usize, log: &mut Findings) -> Option<&'a str> {
        let text = self.text(log)?;
        if text.len() > bytes_max {
            log.add(self.error(PackCode::TooLarge, format!("this has at most {bytes_max} bytes")));
            return None;
        }
        Some(text)
    }

    pub(super) fn truth(&self, log: &mut Findings) -> Option<bool> {
        match &self.node.content {
            Content::Bool(truth) => Some(*truth),
            _ => self.wrong_type("true or false", log),
        }
    }

    /// An integer within bounds, both included.
    pub(super) fn integer(&self, min: u32, max: u32, log: &mut Findings) -> Option<u32> {
        let Content::Int(number) = self.node.content else {
            return self.wrong_type("an integer", log);
        };
        match u32::try_from(number)
            .ok()
            .filter(|number| (min..=max).contains(number))
        {
            Some(number) => Some(number),
            None => {
                log.add(self.error(PackCode::OutOfRange, format!("this lies between {min} and {max}")));
                None
            }
        }
    }

    /// The items of a list with at most `items_max`.
    pub(super) fn items(&self, items_max: usize, log: &mut Findings) -> Option<Vec<Cursor<'a>>> {
        let Content::List(items) = &self.node.content else {
            return self.wrong_type("a list", log);
        };
        if items.len() > items_max {
            log.add(self.error(
                PackCode::TooLarge,
                format!("this list has at most {items_max} items"),
            ));
            return None;
        }
        Some(
            items
                .iter()
                .enumerate()
                .map(|(index, node)| Cursor {
                    node,
                    pointer: format!("{}/{index}", self.pointer),
                })
                .collect(),
        )
    }

    /// A mapping whose keys are names that the author chooses, with at most `items_max` of them.
    pub(super) fn members(&self, items_max: usize, log: &mut Findings) -> Option<Vec<Member<'a>>> {
        let Content::Map(members) = &self.node.content else {
            return self.wrong_type("a mapping", log);
        };
        if members.len() > items_max {
            log.add(self.error(
                PackCode::TooLarge,
                format!("this mapping has at most {items_max} entries"),
            ));
            return None;
        }
        Some(
            members
                .iter()
                .map(|(key, node)| Member {
                    key,
                    value: self.child(&key.name, node),
                })
                .collect(),
        )
    }

    /// A mapping whose keys are all among `known`; the others become findings, with a suggestion where one is near.
    pub(super) fn fields(&self, known: &[&str], log: &mut Findings) -> Option<Fields<'a>> {
        let Content::Map(members) = &self.node.content else {
            return self.wrong_type("a mapping", log);
        };
        for (key, node) in members {
            if log.is_full() {
                break;
            }
            if !known.contains(&key.name.as_str()) {
                let hint = match nearest(&key.name, known) {
                    Some(name) => format!("; did you mean {name}?"),
                    None => format!("; known here: {}", known.join(", ")),
                };
                let shown: String = key.name.chars().take(limits::JSON_KEY_BYTES_MAX).collect();
                let message = format!("there is no field {shown}{hint}");
                log.add(
                    Member {
                        key,
                        value: self.child(&key.name, node),
                    }
                    .error(PackCode::UnknownField, message),
                );
            }
        }
        Some(Fields {
            members,
            at: self.clone(),
        })
    }

    fn child(&self, name: &str, node: &'a Node) -> Cursor<'a> {
        let cut: String = name.chars().take(limits::JSON_KEY_BYTES_MAX).collect();
        let segment = cut.replace('~', "~0").replace('/', "~1");
        Cursor {
            node,
            pointer: format!("{}/{segment}", self.pointer),
        }
    }
}

/// An entry of a mapping.
#[derive(Debug)]
pub(super) struct Member<'a> {
    key: &'a Key,
    pub(super) value: Cursor<'a>,
}

impl<'a> Member<'a> {
    pub(super) fn name(&self) -> &'a str {
        &self.key.name
    }

    /// A finding at the key.
    pub(super) fn error(&self, code: PackCode, message: impl Into<String>) -> PackError {
        PackError {
            code,
            message: message.into(),
            line: self.key.line,
            column: self.key.column,
            pointer: self.value.pointer.clone(),
        }
    }
}

/// A mapping with known fields.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    members: &'a [(Key, Node)],
    pub(super) at: Cursor<'a>,
}

impl<'a> Fields<'a> {
    pub(super) fn get(&self, name: &str) -> Option<Cursor<'a>> {
        let (_, node) = self.members.iter().find(|(key, _)| key.name == name)?;
        Some(self.at.child(name, node))
    }

    pub(super) fn need(&self, name: &str, log: &mut Findings) -> Option<Cursor<'a>> {
        let found = self.get(name);
        if found.is_none() {
            log.add(
                self.at
                    .error(PackCode::MissingField, format!("{name} is missing here")),
            );
        }
        found
    }

    /// Refuses a field of a later version, whatever it says.
    pub(super) fn not_yet(&self, name: &str, what: &str, log: &mut Findings) {
        if let Some(field) = self.get(name) {
            field.not_supported(what, log);
        }
    }

    /// The value of an optional field; `None` both when it is absent and when it is wrong (which is then a finding).
    pub(super) fn optional<T>(
        &self,
        name: &str,
        log: &mut Findings,
        read: impl FnOnce(&Cursor<'a>, &mut Findings) -> Option<T>,
    ) -> Option<T> {
        self.get(name).and_then(|field| read(&field, log))
    }

    /// One of a set of words.
    pub(super) fn word<T: Copy>(&self, name: &str, words: &[(&str, T)], log: &mut Findings) -> Option<T> {
        let field = self.get(name)?;
        let text = field.text(log)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            log.add(field.error(
                PackCode::InvalidValue,
                format!("{name} is one of {}", known.join(", ")),
            ));
        }
        found.map(|(_, value)| *value)
    }
}

/// The known name that `given` was probably meant to be.
fn nearest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    if given.len() > limits::JSON_KEY_BYTES_MAX {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    known
        .iter()
        .map(|name| (distance(&plain(given), &plain(name)), *name))
        .min()
        .filter(|(distance, name)| *distance <= 2 && *distance * 2 < name.len())
        .map(|(_, name)| name)
}

/// Edit distance with neighbours swapped as one edit.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    // rows[i][j]: edits from the first i characters of the one to the first j of the other.
    let mut rows: Vec<Vec<usize>> = (0..=left.len())
        .map(|i| (i..=i + right.len()).collect())
        .collect();
    for i in 1..=left.len() {
        for j in 1..=right.len() {
            let replace = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[left.len()][right.len()]
}
