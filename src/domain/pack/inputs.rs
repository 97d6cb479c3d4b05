//! Declared inputs, and what a run is given for them.

use std::collections::BTreeMap;

use super::error::{Findings, PackCode};
use super::fields::{Cursor, Fields};
use super::node::Content;
use super::read::read_description;
use super::spec::{InputSpec, InputType, PackSpec};
use crate::domain::canonical::{Value, text_fits, write};
use crate::domain::rejection::{Code, Rejection};
use crate::limits;

pub(super) const INPUT_FIELDS: &[&str] = &["default", "description", "sensitive", "type"];

/// Fills in defaults and checks what is given against what the pack declares.
///
/// # Errors
/// The first input that is unknown, of the wrong type or missing, in the order of names; too many bytes in all. Pointers go
/// into the request that carries `inputs`.
pub fn resolve_inputs(
    spec: &PackSpec,
    given: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>, Rejection> {
    for (name, value) in given {
        let Some(input) = spec.inputs.get(name) else {
            return Err(refuse_unknown(spec, name));
        };
        if !input.input_type.takes(value) {
            let detail = format!("the input {name} takes {}", input.input_type.expected());
            return Err(Rejection::field(
                Code::InvalidInput,
                format!("/inputs/{name}"),
                detail,
            ));
        }
    }
    let mut inputs = BTreeMap::new();
    for (name, input) in &spec.inputs {
        let Some(value) = given.get(name).or(input.default.as_ref()) else {
            let detail = format!(
                "the input {name} is missing; it takes {}",
                input.input_type.expected()
            );
            return Err(Rejection::field(
                Code::MissingInput,
                format!("/inputs/{name}"),
                detail,
            ));
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
        let detail = format!("the inputs have {bytes} bytes; a run of this pack takes {bytes_max}");
        return Err(Rejection::field(Code::TooLarge, "/inputs", detail));
    }
    Ok(inputs)
}

fn refuse_unknown(spec: &PackSpec, name: &str) -> Rejection {
    let known: Vec<&str> = spec.inputs.keys().map(String::as_str).collect();
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    let cut: String = name.chars().take(limits::JSON_KEY_BYTES_MAX).collect();
    let pointer = format!("/inputs/{}", cut.replace('~', "~0").replace('/', "~1"));
    Rejection::field(
        Code::UnknownInput,
        pointer,
        format!("there is no input {cut}; known: {known}"),
    )
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
    let sensitive = fields
        .optional("sensitive", log, |at, log| at.truth(log))
        .unwrap_or(false);
    if let (true, Some(at)) = (sensitive, fields.get("default")) {
        let message = "a sensitive input has no default: everybody who reads the pack would see it";
        log.add(at.error(PackCode::InvalidValue, message));
    }
    Some(InputSpec {
        default,
        description: read_description(&fields, log),
        sensitive,
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
