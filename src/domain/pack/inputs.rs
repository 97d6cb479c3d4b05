//! Declared inputs, and what a run is given for them.

use std::collections::BTreeMap;

use super::error::{Findings, PackCode};
use super::fields::{Cursor, Fields};
use super::node::Content;
use super::read::read_description;
use super::spec::{InputSpec, InputType, PackSpec};
use crate::domain::canonical::{Value, text_fits, write};
use crate::limits;

pub(super) const INPUT_FIELDS: &[&str] = &["default", "description", "type"];

/// Why inputs are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// No default, and nothing given.
    #[error("the input {name} is missing: {expected}")]
    Missing {
        /// The input.
        name: String,
        /// What it takes.
        expected: &'static str,
    },
    /// The pack declares no such input.
    #[error("there is no input {name}; known: {known}")]
    Unknown {
        /// As given, cut.
        name: String,
        /// The declared names.
        known: String,
    },
    /// A value of another type, or one that no environment can hold.
    #[error("the input {name} takes {expected}")]
    Invalid {
        /// The input.
        name: String,
        /// What it takes.
        expected: &'static str,
    },
    /// All inputs together, or repeated for every step, are beyond their bound.
    #[error("the inputs have {bytes} bytes; {bytes_max} are allowed")]
    TooLarge {
        /// What they come to.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
}

impl InputError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            InputError::Missing { .. } => "missing_input",
            InputError::Unknown { .. } => "unknown_input",
            InputError::Invalid { .. } => "invalid_input",
            InputError::TooLarge { .. } => "too_large",
        }
    }

    /// JSON pointer into the request that carries `inputs`.
    pub fn pointer(&self) -> String {
        match self {
            InputError::Missing { name, .. }
            | InputError::Unknown { name, .. }
            | InputError::Invalid { name, .. } => {
                format!("/inputs/{}", name.replace('~', "~0").replace('/', "~1"))
            }
            InputError::TooLarge { .. } => "/inputs".to_owned(),
        }
    }
}

/// Fills in defaults and checks what is given against what the pack declares.
///
/// # Errors
/// The first input that is unknown, of the wrong type or missing, in the order of names; too many bytes in all.
pub fn resolve_inputs(
    spec: &PackSpec,
    given: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>, InputError> {
    for (name, value) in given {
        let Some(input) = spec.inputs.get(name) else {
            let known: Vec<&str> = spec.inputs.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            return Err(InputError::Unknown {
                name: name.chars().take(limits::JSON_KEY_BYTES_MAX).collect(),
                known,
            });
        };
        if !input.input_type.takes(value) {
            return Err(InputError::Invalid {
                name: name.clone(),
                expected: input.input_type.expected(),
            });
        }
    }
    let mut inputs = BTreeMap::new();
    for (name, input) in &spec.inputs {
        let Some(value) = given.get(name).or(input.default.as_ref()) else {
            return Err(InputError::Missing {
                name: name.clone(),
                expected: input.input_type.expected(),
            });
        };
        inputs.insert(name.clone(), value.clone());
    }
    let bytes: usize = inputs
        .iter()
        .map(|(name, value)| name.len() + write(value).len())
        .sum();
    // Each task carries all inputs; together they have to fit the batch that starts the run.
    let bytes_max = limits::INPUTS_BYTES_MAX.min(limits::RUN_TASKS_BYTES_MAX / spec.steps.len().max(1));
    if bytes > bytes_max {
        return Err(InputError::TooLarge { bytes, bytes_max });
    }
    Ok(inputs)
}

impl InputType {
    const fn expected(self) -> &'static str {
        match self {
            InputType::String => "a string (without U+0000)",
            InputType::Int => "an integer",
            InputType::Bool => "true or false",
            InputType::List => "a list of at most 1000 strings, integers and truth values",
        }
    }

    fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (InputType::String, Value::String(text)) => !text.contains('\0') && text_fits(text),
            (InputType::Int, Value::Int(number)) => {
                number.unsigned_abs() <= limits::JSON_INTEGER_MAX.unsigned_abs()
            }
            (InputType::Bool, Value::Bool(_)) => true,
            (InputType::List, Value::Array(items)) => {
                items.len() <= limits::INPUT_ITEMS_MAX
                    && items.iter().all(|item| {
                        [InputType::String, InputType::Int, InputType::Bool]
                            .iter()
                            .any(|kind| kind.takes(item))
                    })
            }
            (InputType::String | InputType::Int | InputType::Bool | InputType::List, _) => false,
        }
    }
}

pub(super) fn read_inputs(at: &Cursor<'_>, log: &mut Findings) -> Option<BTreeMap<String, InputSpec>> {
    let mut inputs = BTreeMap::new();
    for member in at.members(limits::INPUTS_MAX, log)? {
        if !is_input_name(member.name()) {
            let message = format!(
                "an input is named [a-z0-9][a-z0-9-]{{0,{}}}",
                limits::INPUT_NAME_BYTES_MAX - 1
            );
            log.add(member.error(PackCode::InvalidName, message));
        }
        let Some(input) = read_input(&member.value, log) else {
            continue;
        };
        inputs.insert(member.name().to_owned(), input);
    }
    Some(inputs)
}

/// The alphabet of all names; short enough that `INPUT_` before it is still a key of canonical JSON.
fn is_input_name(name: &str) -> bool {
    (1..=limits::INPUT_NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn read_input(at: &Cursor<'_>, log: &mut Findings) -> Option<InputSpec> {
    let fields: Fields<'_> = at.fields(INPUT_FIELDS, log)?;
    let types = [
        ("string", InputType::String),
        ("int", InputType::Int),
        ("bool", InputType::Bool),
        ("list", InputType::List),
    ];
    fields.need("type", log)?;
    let input_type = fields.word("type", &types, log)?;
    let default = fields.optional("default", log, |at, log| {
        let value = read_value(at.content()).filter(|value| input_type.takes(value));
        if value.is_none() {
            let message = format!("{} is needed here, as the type says", input_type.expected());
            log.add(at.error(PackCode::WrongType, message));
        }
        value
    });
    Some(InputSpec {
        default,
        description: read_description(&fields, log),
        input_type,
    })
}

/// Scalars, and lists of scalars; nothing else is a value of an input.
fn read_value(content: &Content) -> Option<Value> {
    match content {
        Content::Bool(truth) => Some(Value::Bool(*truth)),
        Content::Int(number) => Some(Value::Int(*number)),
        Content::Text(text) => Some(Value::String(text.clone())),
        Content::List(items) => {
            let items: Option<Vec<Value>> = items
                .iter()
                .map(|item| match &item.content {
                    Content::List(_) => None,
                    scalar => read_value(scalar),
                })
                .collect();
            items.map(Value::Array)
        }
        Content::Null | Content::OtherNumber | Content::Map(_) => None,
    }
}
