//! `fastness doctor`: whether everything in a data folder is what was written, and which file and offset is not.
//!
//! With `--data` it looks itself, while no server runs; nothing is changed, but that the projection may finish what a crash
//! interrupted. Without, it asks a server how it is.
//!
//! Reading order: this file, `examine` (order of the looks), `ledgers`, `disclosures`.

mod disclosures;
pub mod examine;
mod ledgers;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::client::{Client, Server, online};
use super::exit::{Exit, Failure, told};
use super::print::{self, Format};
use super::style::{Look, paint, shown};
use crate::app::{lock, probe};
use crate::disk::{Disk, OsDisk};
use crate::engine::Layout;
use crate::store::Store;

/// What to look at.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Data folder to examine; without it a running server is asked
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Throw the projection away: the next start builds it anew from the ledgers
    #[arg(long, requires = "data")]
    rebuild: bool,
    #[command(flatten)]
    server: Server,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub name: String,
    /// How it is.
    pub status: Status,
    /// The damaged file.
    pub file: Option<PathBuf>,
    /// Where in it.
    pub offset: Option<u64>,
    /// For people.
    pub detail: String,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is what was written.
    Ok,
    /// It is not what was written.
    Damaged,
    /// It is not there, or could not be looked at.
    Skipped,
}

impl Finding {
    fn new(name: &str, status: Status, detail: impl Into<String>) -> Self {
        Finding {
            name: name.to_owned(),
            status,
            file: None,
            offset: None,
            detail: detail.into(),
        }
    }

    /// It is what was written.
    fn good(name: &str, detail: impl Into<String>) -> Self {
        Finding::new(name, Status::Ok, detail)
    }

    /// It is not there, or could not be looked at; no harm is known.
    fn skipped(name: &str, detail: impl Into<String>) -> Self {
        Finding::new(name, Status::Skipped, detail)
    }

    /// It is not what was written.
    fn damaged(name: &str, detail: impl Into<String>) -> Self {
        Finding::new(name, Status::Damaged, detail)
    }

    /// Names the place.
    fn at(self, file: &Path, offset: Option<u64>) -> Self {
        Finding {
            file: Some(file.to_owned()),
            offset,
            ..self
        }
    }
}

#[derive(Debug, Serialize)]
struct Examined {
    ok: bool,
    checks: Vec<Finding>,
}

/// Examines.
///
/// # Errors
/// The folder is in use, or cannot be read at all.
pub fn run(arguments: Arguments, format: Format) -> Result<Exit> {
    let Some(data) = arguments.data else {
        return online(&arguments.server, |client| ask(client, format));
    };
    if !data.is_dir() {
        return Err(Failure::new(Exit::NotFound, format!("{} is not a folder", data.display())).into());
    }
    let _lock = lock(&data).map_err(|error| Failure::new(Exit::CannotStart, error.to_string()))?;
    if arguments.rebuild {
        let store = Layout(data.clone()).store();
        Store::discard(&OsDisk, &store).with_context(|| format!("removing {}", store.display()))?;
        print::say("the projection is thrown away; the next start builds it anew");
    }
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let opens = |store: &Path| std::env::current_exe().is_ok_and(|program| probe(&program, store));
    let examined = Examined::new(examine::all(&disk, &data, &opens));
    examined.tell(format)
}

impl Examined {
    fn new(checks: Vec<Finding>) -> Self {
        Examined {
            ok: checks.iter().all(|check| check.status != Status::Damaged),
            checks,
        }
    }

    fn tell(&self, format: Format) -> Result<Exit> {
        if format.is_json() {
            print::json(self)?;
        } else {
            for check in &self.checks {
                print::line(check.line())?;
            }
        }
        Ok(if self.ok { Exit::Good } else { Exit::Failed })
    }
}

impl Finding {
    fn line(&self) -> String {
        let (glyph, look) = match self.status {
            Status::Ok => ("✓", Look::Green),
            Status::Damaged => ("✗", Look::Red),
            Status::Skipped => ("–", Look::Dim),
        };
        let place = match (&self.file, self.offset) {
            (Some(file), Some(offset)) => format!(" {} at byte {offset}:", file.display()),
            (Some(file), None) => format!(" {}:", file.display()),
            (None, _) => String::new(),
        };
        let rest = if self.status == Status::Damaged {
            Look::Red
        } else {
            Look::Dim
        };
        let said = format!(
            "{}{}",
            shown(&place),
            paint(rest, format_args!(" {}", shown(&self.detail)))
        );
        format!("{} {:24}{said}", paint(look, glyph), shown(&self.name))
    }
}

/// How a running server is, as it says itself.
async fn ask(mut client: Client, format: Format) -> Result<Exit> {
    let mut checks = Vec::new();
    for (name, path) in [
        ("alive", "/livez"),
        ("ready", "/readyz"),
        ("token", "/api/v1/jobs/summary"),
    ] {
        match client.get::<Value>(path).await {
            Ok(_) => checks.push(Finding::good(name, path)),
            // Not there at all is no finding.
            Err(error) if name == "alive" => return Err(error),
            Err(error) => checks.push(Finding::damaged(name, told(&error))),
        }
    }
    let version: Value = client.get("/version").await?;
    let version = version
        .get("version")
        .and_then(Value::as_str)
        .unwrap_or("unknown");
    checks.push(Finding::good("version", version));
    Examined::new(checks).tell(format)
}
