//! `fastness pack`: check a definition offline, register it, look at what is registered.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::{Ask, Client, Server, escaped, online};
use super::diagnostic::{Finding, draw};
use super::exit::{Exit, Failure};
use super::listing::{self, Listing};
use super::print::{self, Format};
use super::problem::problem_of;
use super::{exit, read, style};
use crate::domain::pack::{PackErrors, PackSpec, SCHEMA, plan_hash};
use crate::limits;

/// What to do with packs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Check pack files, offline
    Lint {
        /// YAML or JSON; - is standard input
        #[arg(required_unless_present = "schema", value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Print the JSON Schema of pack files instead, for editors
        #[arg(long, conflicts_with = "files")]
        schema: bool,
    },
    /// Register a pack file as a new version
    Push {
        /// YAML or JSON; - is standard input
        file: PathBuf,
        #[command(flatten)]
        server: Server,
    },
    /// List registered packs
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        server: Server,
    },
    /// Show a pack version
    Show(Show),
    /// Show what differs between two versions
    Diff {
        /// The pack
        name: String,
        /// The earlier version
        from: u32,
        /// The later one
        to: u32,
        #[command(flatten)]
        server: Server,
    },
    /// Tell what a run would do: the order of its steps, the longest way, what sealed mode would refuse
    Plan {
        /// NAME or NAME@VERSION
        pack: PackChoice,
        /// An input as KEY=VALUE; repeatable
        #[arg(short, long = "input", value_name = "KEY=VALUE", value_parser = super::run::key_value)]
        input: Vec<(String, String)>,
        #[command(flatten)]
        server: Server,
    },
}

/// Which pack to show.
#[derive(Debug, Args)]
pub struct Show {
    /// NAME or NAME@VERSION
    pack: PackChoice,
    /// Print the source as it was given
    #[arg(long)]
    source: bool,
    #[command(flatten)]
    server: Server,
}

/// A pack, and perhaps a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackChoice {
    /// Its name.
    pub name: String,
    /// The version; the latest when none is given.
    pub version: Option<u32>,
}

impl std::str::FromStr for PackChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            None => (text, None),
            Some((name, version)) => {
                let number = version
                    .parse()
                    .map_err(|_| format!("{version:?} is not a version number"))?;
                (name, Some(number))
            }
        };
        Ok(PackChoice {
            name: name.to_owned(),
            version,
        })
    }
}

/// Runs one of the verbs.
///
/// # Errors
/// What stood in the way.
pub fn run(verb: Verb, format: Format) -> Result<Exit> {
    match verb {
        Verb::Lint { schema: true, .. } => {
            print::bytes(SCHEMA.as_bytes())?;
            Ok(Exit::Good)
        }
        Verb::Lint { files, .. } => lint_all(&files, format),
        Verb::Push { file, server } => {
            let source = read::file_or_stdin(&file, limits::PACK_BYTES_MAX as u64)?;
            online(&server, |client| push(client, file, source, format))
        }
        Verb::List { listing, server } => online(&server, async |mut client: Client| {
            let packs = listing::fetch(&mut client, "/api/v1/packs", &[], &listing).await?;
            listing::show(&packs, format, &["name", "version", "planHash", "createdAt"])?;
            Ok(Exit::Good)
        }),
        Verb::Show(show) => {
            let server = show.server.clone();
            online(&server, |client| show_one(client, show, format))
        }
        Verb::Diff {
            name,
            from,
            to,
            server,
        } => online(&server, async move |mut client: Client| {
            let path = format!("/api/v1/packs/{}/diff?from={from}&to={to}", escaped(&name));
            super::pack_diff::tell(&client.ask(Ask::get(path)).await?, format)
        }),
        Verb::Plan { pack, input, server } => online(&server, |client| {
            super::pack_diff::plan(client, pack, input, format)
        }),
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linted {
    name: String,
    ok: bool,
    plan_hash: String,
    steps: usize,
}

/// Every file is looked at, whatever the others hold; the last that is no pack is the answer.
fn lint_all(files: &[PathBuf], format: Format) -> Result<Exit> {
    let mut answer = Ok(Exit::Good);
    for file in files {
        if let Err(error) = lint(file, format)
            && let Err(before) = std::mem::replace(&mut answer, Err(error))
        {
            print::say(format_args!("{}\n", exit::told(&before)));
        }
    }
    answer
}

fn lint(file: &Path, format: Format) -> Result<Exit> {
    let source = read::file_or_stdin(file, limits::PACK_BYTES_MAX as u64)?;
    let spec = match PackSpec::parse(&source) {
        Ok(spec) => spec,
        Err(errors) => return tell_findings(&errors, file, &source, format),
    };
    let linted = Linted {
        name: spec.name.to_string(),
        ok: true,
        plan_hash: plan_hash(&spec).to_string(),
        steps: spec.steps.len(),
    };
    if format.is_json() {
        print::json(&linted)?;
    } else {
        let good = style::paint(style::Look::Green, "✓");
        let Linted {
            name,
            steps,
            plan_hash,
            ..
        } = linted;
        print::line(format_args!("{good} {name}: {steps} steps, plan {plan_hash}"))?;
    }
    Ok(Exit::Good)
}

fn tell_findings(errors: &PackErrors, file: &Path, source: &[u8], format: Format) -> Result<Exit> {
    if format.is_json() {
        let found = errors.all().iter().map(|error| {
            serde_json::json!({"code": error.code.as_str(), "column": error.column, "line": error.line,
                "message": error.message, "pointer": error.pointer})
        });
        print::json(&serde_json::json!({"errors": found.collect::<Vec<_>>(), "ok": false}))?;
    }
    let (name, text) = (file.display().to_string(), String::from_utf8_lossy(source));
    for error in errors.all() {
        let finding = Finding {
            code: error.code.as_str(),
            message: &error.message,
            line: error.line,
            column: error.column,
        };
        print::say(format_args!("{}\n", draw(&finding, &name, &text)));
    }
    let count = errors.all().len();
    let findings = if count == 1 {
        "one finding".to_owned()
    } else {
        format!("{count} findings")
    };
    Err(Failure::usage(format!("{name} is not a pack: {findings}")).into())
}

/// What the server says about a pushed pack.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pushed {
    /// Its name.
    pub name: String,
    /// Version that it has now.
    pub version: u32,
    /// Digest of the normalised definition.
    pub plan_hash: String,
    /// False when this definition was registered before.
    pub created: bool,
}

/// The request that registers a pack.
pub fn push_request(source: Vec<u8>) -> Ask {
    let is_json = source.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let media_type = if is_json {
        "application/json"
    } else {
        "application/yaml"
    };
    Ask::post_bytes("/api/v1/packs", media_type, source.into())
}

async fn push(mut client: Client, file: PathBuf, source: Vec<u8>, format: Format) -> Result<Exit> {
    let answer = match client.ask(push_request(source.clone())).await {
        Ok(answer) => answer,
        Err(error) => {
            draw_refusal(&error, &file, &source);
            return Err(error);
        }
    };
    if format.is_json() {
        print::raw_line(&answer.0)?;
        return Ok(Exit::Good);
    }
    let pushed: Pushed = answer.json()?;
    let verb = if pushed.created {
        "registered"
    } else {
        "was registered before"
    };
    print::line(format_args!(
        "{}@{} {verb}, plan {}",
        pushed.name, pushed.version, pushed.plan_hash
    ))?;
    Ok(Exit::Good)
}

/// The server's findings, shown in the source that we still have.
fn draw_refusal(error: &anyhow::Error, file: &Path, source: &[u8]) {
    let Some(problem) = problem_of(error) else { return };
    let (name, text) = (file.display().to_string(), String::from_utf8_lossy(source));
    for found in &problem.errors {
        if let (Some(line), Some(column)) = (found.line, found.column) {
            let finding = Finding {
                code: &problem.code,
                message: &found.detail,
                line,
                column,
            };
            print::say(format_args!("{}\n", draw(&finding, &name, &text)));
        }
    }
}

async fn show_one(mut client: Client, show: Show, format: Format) -> Result<Exit> {
    let name = escaped(&show.pack.name);
    let version = match show.pack.version {
        Some(version) => version,
        None => latest_version(&mut client, &name).await?,
    };
    let path = format!("/api/v1/packs/{name}/versions/{version}");
    if show.source {
        print::bytes(&client.ask(Ask::get(format!("{path}/source"))).await?.0)?;
        return Ok(Exit::Good);
    }
    let answer = client.ask(Ask::get(path)).await?;
    listing::show_one(&answer, format)?;
    Ok(Exit::Good)
}

/// The version of a pack that a run takes when none is named.
pub async fn latest_version(client: &mut Client, name: &str) -> Result<u32> {
    let pack: Value = client.get(format!("/api/v1/packs/{name}")).await?;
    let latest = pack.pointer("/latest/version").and_then(Value::as_u64);
    let latest = latest.and_then(|version| u32::try_from(version).ok());
    latest.ok_or_else(|| Failure::new(Exit::NotFound, format!("pack {name} has no version")).into())
}
