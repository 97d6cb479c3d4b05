//! `fastness run`: starts a run of a pack, and with `--wait` shows it until it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::{Answer, Ask, Client, Server, escaped, online};
use super::exit::{Exit, Failure};
use super::follow::{Follow, Patience};
use super::pack::PackChoice;
use super::print::{self, Format};
use super::progress::Board;
use super::run_view::RunView;
use super::style::{Look, duration, paint, shown, state};
use crate::clock::{Clock, SystemClock};
use crate::domain::Timestamp;

/// Between two drawings of a board on which things move.
const FRAME: Duration = Duration::from_millis(100);
/// What happens within this time is shown at once.
const GATHER: Duration = Duration::from_millis(40);

/// What to run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// NAME or NAME@VERSION
    pack: PackChoice,
    /// An input as KEY=VALUE; repeatable
    #[arg(short, long = "input", value_name = "KEY=VALUE", value_parser = key_value)]
    input: Vec<(String, String)>,
    /// Ties runs together that belong together
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Wait until the run has ended; exit code 1 unless it completed
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: Server,
}

/// Splits `KEY=VALUE`.
///
/// # Errors
/// There is no `=`.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Starts the run.
///
/// # Errors
/// What stood in the way.
pub fn run(arguments: Arguments, format: Format) -> Result<Exit> {
    let server = arguments.server.clone();
    online(&server, async move |mut client: Client| {
        let order = Order {
            correlation_id: arguments.correlation_id,
            inputs: typed_inputs(&mut client, &arguments.pack, arguments.input).await?,
            pack: arguments.pack.name,
            version: arguments.pack.version,
        };
        let answer = client.ask(start_request(&order)?).await?;
        if arguments.wait {
            let id = answer.json::<RunView>()?.id;
            return wait_and_tell(client, &id, format).await;
        }
        tell(&answer, format)?;
        Ok(Exit::Good)
    })
}

/// The body of `POST /pack-runs`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Ties what belongs together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Inputs, typed.
    pub inputs: BTreeMap<String, Value>,
    /// The pack.
    pub pack: String,
    /// Its version; the latest when none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// The request that starts a run.
///
/// # Errors
/// Never, with what a command line can hold.
pub fn start_request(order: &Order) -> Result<Ask> {
    Ask::post("/api/v1/pack-runs", order)
}

/// Gives each input the type that the pack declares. What it does not declare stays text: the server names it.
///
/// # Errors
/// A text that is not of the declared type; what stood in the way of asking.
pub async fn typed_inputs(
    client: &mut Client,
    pack: &PackChoice,
    given: Vec<(String, String)>,
) -> Result<BTreeMap<String, Value>> {
    if given.is_empty() {
        return Ok(BTreeMap::new());
    }
    #[derive(Deserialize)]
    struct Declared {
        #[serde(rename = "type")]
        input_type: String,
    }
    #[derive(Deserialize)]
    struct Pack {
        inputs: BTreeMap<String, Declared>,
    }
    #[derive(Deserialize)]
    struct Versions {
        latest: Pack,
    }
    let name = escaped(&pack.name);
    let declared = match pack.version {
        Some(version) => {
            client
                .get::<Pack>(format!("/api/v1/packs/{name}/versions/{version}"))
                .await?
        }
        None => {
            client
                .get::<Versions>(format!("/api/v1/packs/{name}"))
                .await?
                .latest
        }
    };
    let mut inputs = BTreeMap::new();
    for (key, text) in given {
        let input_type = declared
            .inputs
            .get(&key)
            .map_or("string", |declared| declared.input_type.as_str());
        let value = typed(&key, text, input_type)?;
        if inputs.insert(key.clone(), value).is_some() {
            return Err(Failure::usage(format!("the input {key} is given twice")).into());
        }
    }
    Ok(inputs)
}

/// An input as the type that a pack declares: `string`, `int`, `bool`, `list`.
///
/// # Errors
/// Usage: the text is not of the type.
pub fn typed(key: &str, text: String, input_type: &str) -> Result<Value> {
    let expected = |what: &str| Failure::usage(format!("the input {key} takes {what}, not {text:?}")).into();
    match input_type {
        "int" => text
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| expected("a whole number")),
        "bool" => text
            .parse::<bool>()
            .map(Value::from)
            .map_err(|_| expected("true or false")),
        "list" => match serde_json::from_str(&text) {
            Ok(Value::Array(items)) => Ok(Value::Array(items)),
            _ if text.trim_start().starts_with('[') => {
                Err(expected("a JSON array, or items with commas between"))
            }
            _ => Ok(text
                .split(',')
                .filter(|item| !item.is_empty())
                .map(Value::from)
                .collect()),
        },
        _ => Ok(Value::from(text)),
    }
}

/// Waits for the end of a run, showing it, and prints it then. The exit code says how it ended.
///
/// # Errors
/// What stood in the way.
pub async fn wait_and_tell(client: Client, id: &str, format: Format) -> Result<Exit> {
    let (answer, run) = watch(client, id, Board::new("")).await?;
    tell(&answer, format)?;
    Ok(if run.is_completed() {
        Exit::Good
    } else {
        Exit::Failed
    })
}

/// Shows a run on a board until it ends.
///
/// # Errors
/// What stood in the way.
pub async fn watch(mut client: Client, id: &str, mut board: Board) -> Result<(Answer, RunView)> {
    let path = format!("/api/v1/pack-runs/{}", escaped(id));
    let clock = SystemClock::default();
    let mut answer = client.ask(Ask::get(&path)).await?;
    let mut run: RunView = answer.json()?;
    let stream = format!("/api/v1/stream/runs/{}", escaped(id));
    let mut events = Follow::open(
        client.another(),
        &stream,
        Some(run.as_of.to_string()),
        Patience::Bounded,
    )
    .await?;
    loop {
        board.show(&run, Timestamp::from_ms(clock.wall_ms()));
        if run.is_over() {
            return Ok((answer, run));
        }
        {
            let mut next = std::pin::pin!(events.next());
            loop {
                tokio::select! {
                    message = &mut next => break message?,
                    () = tokio::time::sleep(FRAME), if board.is_moving() => {
                        board.show(&run, Timestamp::from_ms(clock.wall_ms()));
                    }
                }
            }
        };
        tokio::time::sleep(GATHER).await;
        events.ready();
        answer = read_again(&mut client, &path).await?;
        run = answer.json()?;
    }
}

/// Reads the run; a server that restarts just now is waited for by the stream.
async fn read_again(client: &mut Client, path: &str) -> Result<Answer> {
    for _ in 0..20 {
        match client.ask(Ask::get(path)).await {
            Err(error) if matches!(super::exit::exit_of(&error), Exit::Unreachable | Exit::Busy) => {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            answered => return answered,
        }
    }
    client.ask(Ask::get(path)).await
}

fn tell(answer: &Answer, format: Format) -> Result<()> {
    if format.is_json() {
        return print::raw_line(&answer.0);
    }
    let run: RunView = answer.json()?;
    let (glyph, look) = state(&run.status);
    let pack = format!("{}@{}", run.pack.name, run.pack.version);
    let took = match run.ended_at {
        Some(end) => format!(" in {}", duration(end.since_ms(run.created_at))),
        None => String::new(),
    };
    let status = run.status.replace('_', " ");
    print::line(format_args!(
        "{} {} {} {status}{took}",
        paint(look, glyph),
        run.id,
        paint(Look::Bold, shown(&pack))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_take_the_declared_type() {
        let typed = |text: &str, input_type| typed("k", text.to_owned(), input_type);
        assert_eq!(typed("7", "int").unwrap(), serde_json::json!(7));
        assert_eq!(typed("7", "string").unwrap(), serde_json::json!("7"));
        assert_eq!(typed("true", "bool").unwrap(), serde_json::json!(true));
        assert_eq!(typed("a,b", "list").unwrap(), serde_json::json!(["a", "b"]));
        assert_eq!(typed("[1,\"x\"]", "list").unwrap(), serde_json::json!([1, "x"]));
        for (text, input_type) in [("x", "int"), ("1.5", "int"), ("yes", "bool"), ("[1", "list")] {
            let error = typed(text, input_type).unwrap_err();
            assert_eq!(super::super::exit::exit_of(&error), Exit::Usage, "{text}");
        }
    }
}
