//! `fastness work-order`: issue an order at the hub, take care of one at the enclave, look how far it is at either.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Answer, Ask, Client, Server, escaped, online};
use super::exit::{Exit, Failure};
use super::listing::{self, Listing};
use super::print::{self, Format};
use super::read;
use super::run::{self as run_verb, key_value};
use super::target;
use super::work_order_view::tell;
use crate::clock::{Clock, SystemClock};
use crate::disk::{self, OsDisk};
use crate::domain::Timestamp;
use crate::domain::pack::{InputType, PackSpec};
use crate::limits;

/// What to do with work orders.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Sign an order for other enclaves and write its file, to be carried there
    Issue(Box<Issue>),
    /// List the orders issued or imported here
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        server: Server,
    },
    /// Tell how far an order is, and what that rests on
    Status(Named),
    /// Write the file of an issued order once more
    Fetch(Fetch),
    /// Approve that an imported order starts; whoever imported it may not
    Approve(Approve),
    /// Start the runs of an imported order
    Start(Named),
    /// Cancel an order: an imported one does not start or stops; of an issued one a signed cancellation is made
    Cancel(Cancel),
}

/// An order to issue.
#[derive(Debug, Args)]
pub struct Issue {
    /// A pack file that the order brings, byte for byte; may be given several times
    #[arg(long = "pack", value_name = "FILE", required = true)]
    packs: Vec<PathBuf>,
    /// A run to ask for: PACK, or NAME=PACK where a pack runs several times; may be given several times
    #[arg(long = "run", value_name = "NAME", required = true)]
    runs: Vec<String>,
    /// An input as KEY=VALUE, or RUN:KEY=VALUE where there are several runs; repeatable
    #[arg(short, long = "input", value_name = "KEY=VALUE", value_parser = key_value)]
    input: Vec<(String, String)>,
    /// An enclave that may run it, by its 16 hex digits; may be given several times
    #[arg(long = "for", value_name = "ENCLAVE", required = true, value_delimiter = ',')]
    enclaves: Vec<String>,
    /// A person there who may start it; whoever may start runs, when not given; may be given several times
    #[arg(long = "person", value_name = "NAME")]
    persons: Vec<String>,
    /// It may not start any more after this time, for example 72h
    #[arg(long, value_name = "TIME", value_parser = read::duration)]
    expires_in: Option<Duration>,
    /// File to write; - is standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    server: Server,
}

/// Which order.
#[derive(Debug, Args)]
pub struct Named {
    /// Id of the order
    id: String,
    #[command(flatten)]
    server: Server,
}

/// Which file.
#[derive(Debug, Args)]
pub struct Fetch {
    /// Id of the order
    id: String,
    /// The cancellation instead of the order
    #[arg(long)]
    cancellation: bool,
    /// File to write; - is standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    server: Server,
}

/// What to approve.
#[derive(Debug, Args)]
pub struct Approve {
    /// Id of the order
    id: String,
    /// Recorded with it
    #[arg(long)]
    reason: String,
    /// SHA-256 of the archive that was looked at, as `status` shows it; refused when the order is another
    #[arg(long, value_name = "SHA256")]
    binding: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// What to cancel.
#[derive(Debug, Args)]
pub struct Cancel {
    /// Id of the order
    id: String,
    /// Recorded with it
    #[arg(long)]
    reason: Option<String>,
    /// Of an issued order: write the signed cancellation to this file, to be carried too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long, requires = "out")]
    force: bool,
    #[command(flatten)]
    server: Server,
}

/// Runs one of the verbs.
///
/// # Errors
/// What stood in the way.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    match verb {
        Verb::Issue(issue) => {
            target::check(&issue.out, issue.force.into())?;
            let server = issue.server.clone();
            let body = body_of(&issue)?;
            online(&server, async move |mut client: Client| {
                let answer = client.ask(Ask::post("/api/v1/work-orders", &body)?).await?;
                let id = id_of(&answer)?;
                fetch(&mut client, &id, "content", &issue.out).await?;
                told(&answer, format, &issue.out)
            })
        }
        Verb::List { listing, server } => online(&server, async move |mut client: Client| {
            let listed = listing::fetch(&mut client, "/api/v1/work-orders", &[], &listing).await?;
            listing::show(&listed, format, &["id", "state"])?;
            Ok(Exit::Good)
        }),
        Verb::Status(named) => online(&named.server, async |mut client: Client| {
            let answer = client.ask(Ask::get(path_of(&named.id, ""))).await?;
            tell(&answer, format)?;
            Ok(Exit::Good)
        }),
        Verb::Fetch(wanted) => {
            target::check(&wanted.out, wanted.force.into())?;
            let what = if wanted.cancellation {
                "cancellation"
            } else {
                "content"
            };
            online(&wanted.server, async |mut client: Client| {
                fetch(&mut client, &wanted.id, what, &wanted.out).await?;
                Ok(Exit::Good)
            })
        }
        Verb::Approve(approve) => {
            let mut body = json!({ "reason": approve.reason });
            if let Some(binding) = &approve.binding {
                body["binding"] = json!(binding);
            }
            let ask = Ask::post(path_of(&approve.id, "/approve"), &body)?;
            act(&approve.server, ask, format)
        }
        Verb::Start(named) => {
            let ask = Ask::post(path_of(&named.id, "/start"), &json!({}))?;
            act(&named.server, ask, format)
        }
        Verb::Cancel(cancel) => {
            if let Some(out) = &cancel.out {
                target::check(out, cancel.force.into())?;
            }
            let body = json!({ "reason": cancel.reason });
            let ask = Ask::post(path_of(&cancel.id, "/cancel"), &body)?;
            online(&cancel.server, async |mut client: Client| {
                let answer = client.ask(ask).await?;
                match &cancel.out {
                    None => tell(&answer, format)?,
                    Some(out) => {
                        fetch(&mut client, &cancel.id, "cancellation", out).await?;
                        return told(&answer, format, out);
                    }
                }
                Ok(Exit::Good)
            })
        }
    }
}

fn act(server: &Server, ask: Ask, format: Format) -> Result<Exit> {
    online(server, async move |mut client: Client| {
        let answer = client.ask(ask).await?;
        tell(&answer, format)?;
        Ok(Exit::Good)
    })
}

fn path_of(id: &str, rest: &str) -> String {
    format!("/api/v1/work-orders/{}{rest}", escaped(id))
}

/// The id in an answer.
///
/// # Errors
/// It has none.
pub fn id_of(answer: &Answer) -> Result<String> {
    let view: Value = answer.json()?;
    let id = view["id"].as_str().context("the server names no order")?;
    Ok(id.to_owned())
}

/// Fetches a file of an order. It has its name only when all of it is there.
///
/// # Errors
/// What stood in the way; nothing is left behind.
pub async fn fetch(client: &mut Client, id: &str, what: &str, out: &Path) -> Result<()> {
    let file = client.ask(Ask::get(path_of(id, &format!("/{what}")))).await?;
    if out == Path::new("-") {
        return print::bytes(&file.0);
    }
    disk::replace_file(&OsDisk, out, &file.0).with_context(|| format!("cannot write {}", out.display()))
}

fn told(answer: &Answer, format: Format, out: &Path) -> Result<Exit> {
    if out == Path::new("-") {
        return Ok(Exit::Good);
    }
    if !format.is_json() {
        print::facts(&[("file", out.display().to_string())])?;
    }
    tell(answer, format)?;
    Ok(Exit::Good)
}

/// The body of `POST /work-orders`: packs as they lie there, inputs typed as the packs declare them.
fn body_of(issue: &Issue) -> Result<Value> {
    let mut sources = Vec::with_capacity(issue.packs.len());
    let mut specs: BTreeMap<String, PackSpec> = BTreeMap::new();
    for path in &issue.packs {
        let bytes = read::file_or_stdin(path, limits::PACK_BYTES_MAX as u64)?;
        let spec = PackSpec::parse(&bytes).map_err(|errors| {
            let first = errors.all().first().map(ToString::to_string).unwrap_or_default();
            Failure::usage(format!("{}: {first}", path.display()))
        })?;
        let source = String::from_utf8(bytes)
            .map_err(|_| Failure::usage(format!("{} is not UTF-8", path.display())))?;
        specs.insert(spec.name.to_string(), spec);
        sources.push(json!({ "source": source }));
    }
    let mut runs: Vec<(String, String, BTreeMap<String, Value>)> = Vec::new();
    for text in &issue.runs {
        let (name, pack) = text.split_once('=').unwrap_or((text, text));
        if !specs.contains_key(pack) {
            let message = format!("--run {text}: none of the given files is the pack {pack}");
            return Err(Failure::usage(message).into());
        }
        runs.push((name.to_owned(), pack.to_owned(), BTreeMap::new()));
    }
    for (key, text) in &issue.input {
        let (place, key) = place_of(&runs, key)?;
        let Some((_, pack, inputs)) = runs.get_mut(place) else {
            continue;
        };
        let declared = specs.get(pack).and_then(|spec| spec.inputs.get(key));
        let input_type = declared.map_or("string", |declared| word_of(declared.input_type));
        let value = run_verb::typed(key, text.clone(), input_type)?;
        if inputs.insert(key.to_owned(), value).is_some() {
            return Err(Failure::usage(format!("the input {key} is given twice")).into());
        }
    }
    let runs: Vec<Value> = runs
        .into_iter()
        .map(|(name, pack, inputs)| json!({"inputs": inputs, "name": name, "pack": pack}))
        .collect();
    let mut body = json!({"for": issue.enclaves, "packs": sources, "persons": issue.persons, "runs": runs});
    if let Some(after) = issue.expires_in {
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let end = Timestamp::from_ms(SystemClock::default().wall_ms()).plus_ms(after_ms);
        body["expiresAt"] = json!(end);
    }
    Ok(body)
}

fn word_of(input_type: InputType) -> &'static str {
    match input_type {
        InputType::String => "string",
        InputType::Int => "int",
        InputType::Bool => "bool",
        InputType::List => "list",
    }
}

/// Which run an input is for, and its name.
fn place_of<'k>(
    runs: &[(String, String, BTreeMap<String, Value>)],
    key: &'k str,
) -> Result<(usize, &'k str)> {
    if let Some((run, key)) = key.split_once(':')
        && let Some(place) = runs.iter().position(|(name, _, _)| name == run)
    {
        return Ok((place, key));
    }
    if runs.len() == 1 {
        return Ok((0, key));
    }
    let message = format!("with several runs an input is given as RUN:KEY=VALUE, not as {key}=…");
    Err(Failure::usage(message).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_finds_its_run() {
        let run = |name: &str| (name.to_owned(), "p".to_owned(), BTreeMap::new());
        let (one, two) = (vec![run("a")], vec![run("a"), run("b")]);
        assert_eq!(place_of(&one, "k").unwrap(), (0, "k"));
        assert_eq!(place_of(&one, "a:k").unwrap(), (0, "k"));
        assert_eq!(place_of(&two, "b:k").unwrap(), (1, "k"));
        assert!(place_of(&two, "k").is_err());
        assert!(place_of(&two, "c:k").is_err());
    }
}
