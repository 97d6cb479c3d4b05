//! `fastness version`: which program this is.

use anyhow::Result;
use serde::Serialize;

use super::exit::Exit;
use super::print::{self, Format};

/// What this program is and which formats it speaks.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    bundle_format: u32,
    console: bool,
    event_schema: &'static str,
    name: &'static str,
    version: &'static str,
}

/// Prints it.
///
/// # Errors
/// What standard output said.
pub fn run(format: Format) -> Result<Exit> {
    let version = Version {
        bundle_format: crate::bundle::manifest::FORMAT,
        console: crate::console::is_built(),
        event_schema: crate::domain::event::SCHEMA,
        name: "fastness",
        version: env!("CARGO_PKG_VERSION"),
    };
    if format.is_json() {
        print::json(&version)?;
    } else {
        print::line(format_args!("{} {}", version.name, version.version))?;
    }
    Ok(Exit::Good)
}
