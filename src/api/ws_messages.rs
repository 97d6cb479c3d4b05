//! What is said over a WebSocket, in both directions: the shapes, the names of events, the names of rooms.

use std::borrow::Cow;
use std::io::Write as _;
use std::str::FromStr;

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::request::parse_json;
use crate::domain::{Digest, JobId, RunId, Seq, TenantName};
use crate::limits;
use crate::stream::{Cursor, Filter, Watched};

/// What a client asks.
#[derive(Debug)]
pub struct Asked {
    /// Given back with the answer.
    pub id: Value,
    /// What it wants.
    pub verb: Verb,
    /// Of which room.
    pub place: Place,
}

/// What a client wants of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Its events, perhaps from an earlier one on.
    Subscribe(Option<Cursor>),
    /// No more of them.
    Unsubscribe,
}

/// A message that is not acted upon.
#[derive(Debug)]
pub struct Refusal {
    /// As far as it could be read.
    pub id: Value,
    /// Why.
    pub error: ApiError,
}

impl Refusal {
    /// Of a message whose id was not read.
    pub fn of_none(code: &str, detail: &str) -> Self {
        Refusal {
            id: Value::Null,
            error: ApiError::invalid(code, detail),
        }
    }
}

/// What a room is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The events of a job, and its progress.
    Job(JobId),
    /// The events of all jobs of the tenant.
    Jobs,
    /// The events of a run.
    Run(RunId),
    /// The same, and what its steps write.
    PackRun(RunId),
    /// Whatever a filter lets through.
    Events(Filter),
}

impl Place {
    /// As the client knows it.
    pub fn name(&self, tenant: &TenantName) -> String {
        match self {
            Place::Job(id) => format!("job:{id}"),
            Place::Jobs => format!("workspace:{tenant}:jobs"),
            Place::Run(id) => format!("run:{id}"),
            Place::PackRun(id) => format!("pack-run:{id}"),
            Place::Events(filter) if filter.is_open() => "events".to_owned(),
            Place::Events(filter) => {
                let mut name = format!("events:{}", Digest::of(format!("{filter:?}").as_bytes()));
                name.truncate("events:".len() + 16);
                name
            }
        }
    }

    /// Which events belong to it.
    pub fn filter(&self) -> Filter {
        let watching = |watched| Filter {
            watched: Some(watched),
            ..Filter::default()
        };
        match self {
            Place::Job(id) => watching(Watched::Job(*id)),
            Place::Run(id) | Place::PackRun(id) => watching(Watched::Run(*id)),
            Place::Jobs => Filter {
                types: vec!["job.*".to_owned()],
                ..Filter::default()
            },
            Place::Events(filter) => filter.clone(),
        }
    }
}

/// Reads a client's message.
///
/// # Errors
/// [`Refusal`] names what does not fit. An id that nothing can have is told as one that nothing has.
pub fn read(text: &str) -> Result<Asked, Refusal> {
    let refuse = |id: &Value, error| Refusal {
        id: id.clone(),
        error,
    };
    let members: Map<String, Value> =
        parse_json(text.as_bytes()).map_err(|error| refuse(&Value::Null, error))?;
    let mut fields = Fields(members);
    let id = fields.id().map_err(|error| refuse(&Value::Null, error))?;
    let (verb, place) = read_fields(&mut fields).map_err(|error| refuse(&id, error))?;
    fields.finish().map_err(|error| refuse(&id, error))?;
    Ok(Asked { id, verb, place })
}

/// The id of a message that is not acted upon, as far as it can be read.
pub fn id_of(text: &str) -> Value {
    match read(text) {
        Ok(asked) => asked.id,
        Err(refusal) => refusal.id,
    }
}

fn read_fields(fields: &mut Fields) -> Result<(Verb, Place), ApiError> {
    let kind = fields.text("type")?.ok_or_else(|| missing("type"))?;
    let unknown = || {
        let detail = "type is subscribe: or unsubscribe: with job, workspace:jobs, run, pack-run or events";
        ApiError::field("unknown_type", "/type", detail)
    };
    let (verb, place) = kind.split_once(':').ok_or_else(unknown)?;
    let verb = match verb {
        "subscribe" => Verb::Subscribe(fields.cursor("after")?),
        "unsubscribe" => Verb::Unsubscribe,
        _ => return Err(unknown()),
    };
    let place = match place {
        "job" => Place::Job(fields.thing("jobId", "job")?),
        "workspace:jobs" => Place::Jobs,
        "run" => Place::Run(fields.thing("runId", "run")?),
        "pack-run" => Place::PackRun(fields.thing("packRunId", "run")?),
        "events" => Place::Events(fields.filter()?),
        _ => return Err(unknown()),
    };
    Ok((verb, place))
}

/// The members of a message. Each is taken by name; what is left over at the end is an error.
struct Fields(Map<String, Value>);

impl Fields {
    fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(bad(name, "a string is expected")),
        }
    }

    fn id(&mut self) -> Result<Value, ApiError> {
        match self.0.remove("id") {
            None => Err(missing("id")),
            Some(Value::String(text)) if text.len() > limits::LABEL_BYTES_MAX => Err(bad("id", "too long")),
            Some(id @ Value::String(_)) => Ok(id),
            Some(Value::Number(id)) if id.is_i64() || id.is_u64() => Ok(Value::Number(id)),
            Some(_) => Err(bad("id", "an integer or a string is expected")),
        }
    }

    /// The id of a thing that must be named. What cannot be such an id does not exist.
    fn thing<T: FromStr>(&mut self, name: &str, what: &str) -> Result<T, ApiError> {
        let text = self.text(name)?.ok_or_else(|| missing(name))?;
        text.parse().map_err(|_| ApiError::not_found(what))
    }

    fn parsed<T: FromStr<Err: std::fmt::Display>>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        let text = self.text(name)?;
        text.map(|text| text.parse().map_err(|error: T::Err| bad(name, error.to_string())))
            .transpose()
    }

    /// As text, or a sequence as a number.
    fn cursor(&mut self, name: &str) -> Result<Option<Cursor>, ApiError> {
        if let Some(Value::Number(number)) = self.0.get(name) {
            let text = number.to_string();
            self.0.insert(name.to_owned(), Value::String(text));
        }
        self.parsed(name)
    }

    fn filter(&mut self) -> Result<Filter, ApiError> {
        let types = match self.0.remove("types") {
            None => Vec::new(),
            Some(types) => serde_json::from_value::<Vec<String>>(types)
                .map_err(|_| bad("types", "an array of strings is expected"))?,
        };
        if types.len() > limits::CLAIM_NAMES_MAX {
            return Err(bad("types", format!("at most {} globs", limits::CLAIM_NAMES_MAX)));
        }
        let job = self.parsed("job")?.map(Watched::Job);
        let run = self.parsed("run")?.map(Watched::Run);
        let pack_run = self.parsed("packRun")?.map(Watched::Run);
        let watched = Watched::one_of([job, run, pack_run]).map_err(|error| bad("job", error.to_string()))?;
        Ok(Filter {
            types,
            correlation_id: self.text("correlationId")?,
            project: self.text("project")?,
            watched,
        })
    }

    fn finish(&self) -> Result<(), ApiError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(limits::LABEL_BYTES_MAX).collect();
                let detail = format!("there is no field {name:?} here");
                Err(ApiError::field("unknown_field", format!("/{name}"), detail))
            }
        }
    }
}

fn missing(name: &str) -> ApiError {
    ApiError::field(
        "missing_field",
        format!("/{name}"),
        format!("missing field `{name}`"),
    )
}

fn bad(name: &str, detail: impl Into<String>) -> ApiError {
    let detail = detail.into();
    ApiError::field("invalid_field", format!("/{name}"), format!("{name}: {detail}"))
}

/// What the server says of its own accord or in answer, but for events.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Said<'a> {
    /// A room was opened or closed.
    Ack {
        id: &'a Value,
        room: &'a str,
        /// The last event there is, or for a closed room the last one that was looked at; −1 before the first.
        as_of: i64,
    },
    /// A message was not acted upon.
    Error {
        id: &'a Value,
        code: &'a str,
        detail: &'a str,
    },
    /// Events or lines that are gone for good.
    Gap {
        rooms: &'a [&'a str],
        of: &'static str,
        from: u64,
        to: u64,
    },
}

impl Said<'_> {
    /// As JSON.
    pub fn text(&self) -> String {
        // Our own shapes always can be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What stands before the part of an event that all its readers share: only the rooms differ. Names of events and rooms
/// hold nothing that JSON escapes.
pub fn event_head(rooms: &[&str]) -> String {
    format!("{{\"type\":\"event\",\"rooms\":[\"{}\"],", rooms.join("\",\""))
}

/// A whole message with a signal that no ledger keeps.
pub fn signal(name: &str, rooms: &[&str], body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    format!(
        "{}\"name\":\"{name}\",\"live\":true,\"event\":{body}}}",
        event_head(rooms)
    )
}

/// The part of an event's message that all its readers share: the exact canonical bytes, and their leaf hash.
pub fn encode_part(seq: Seq, type_name: &str, event: &[u8], leaf: &Digest, out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = write!(
        out,
        "\"name\":\"{}\",\"cursor\":\"{seq}\",\"event\":",
        name_of(type_name)
    );
    out.extend_from_slice(event);
    let _ = write!(out, ",\"hash\":\"{leaf}\"}}");
}

/// The name under which events of a type are sent.
pub fn name_of(type_name: &str) -> Cow<'static, str> {
    match type_name {
        "job.created" => Cow::Borrowed("job:created"),
        "job.scheduled" | "job.started" | "job.completed" | "job.failed" | "job.cancelled"
        | "job.released" => Cow::Borrowed("job:status"),
        other => Cow::Owned(other.replace('.', ":")),
    }
}
