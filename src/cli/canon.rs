//! `fastness canon`: the canonical bytes of a JSON text, without LF, or what is wrong with it and where.

use anyhow::Result;

use super::exit::{Exit, Failure};
use super::{print, read};
use crate::domain::canonical::{self, Value};
use crate::limits;

/// Standard input to standard output.
///
/// # Errors
/// Malformed: names the spot.
pub fn run() -> Result<Exit> {
    print::bytes(&canonical::write(&from_stdin()?))?;
    Ok(Exit::Good)
}

/// The document on standard input, brought into the profile's value type.
///
/// # Errors
/// Malformed: names the spot.
pub fn from_stdin() -> Result<Value> {
    let bytes = read::stdin(limits::CANON_BYTES_MAX)?;
    canonical::parse(&bytes).map_err(|error| {
        let message = format!("{error}, byte {} ({})", error.offset, error.kind.code());
        Failure::new(Exit::Malformed, message).into()
    })
}
