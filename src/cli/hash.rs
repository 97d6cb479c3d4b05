//! `fastness hash`: the leaf hash of a JSON text's canonical bytes; for an event, the hash that the ledger holds.

use anyhow::Result;

use super::exit::Exit;
use super::{canon, print};
use crate::domain::{canonical, leaf_hash};

/// Standard input to standard output.
///
/// # Errors
/// Malformed: names the spot.
pub fn run() -> Result<Exit> {
    print::line(leaf_hash(&canonical::write(&canon::from_stdin()?)))?;
    Ok(Exit::Good)
}
