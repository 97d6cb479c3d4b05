//! `fastness init`: makes a data folder with its keys, and says what comes next.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::print::{self, Format};
use crate::app::lock;
use crate::clock::{Clock, SystemClock};
use crate::disk::{Disk, OsDisk};
use crate::trust::KeyFolder;

/// What to make.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The data folder
    dir: PathBuf,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    data: PathBuf,
    enclave: String,
    export_key_id: String,
    log_key_id: String,
    orders_key_id: String,
}

/// Makes it. What is there already stays as it is.
///
/// # Errors
/// The folder cannot be made, or is in use.
pub fn run(arguments: Arguments, format: Format) -> Result<Exit> {
    let data = arguments.dir;
    let cannot = |why: String| Failure::new(Exit::CannotStart, why);
    OsDisk
        .create_dir_all(&data)
        .map_err(|error| cannot(format!("cannot make {}: {error}", data.display())))?;
    let _lock = lock(&data).map_err(|error| cannot(error.to_string()))?;
    let clock = SystemClock::default();
    let keys = KeyFolder::open_or_create(&OsDisk, &data.join("keys"), &mut |bytes| clock.fill_random(bytes))
        .map_err(|error| cannot(error.to_string()))?;
    let made = Made {
        enclave: keys.enclave().to_string(),
        export_key_id: keys.export().public().id().to_string(),
        log_key_id: keys.log().public().id().to_string(),
        orders_key_id: keys.orders().public().id().to_string(),
        data,
    };
    if format.is_json() {
        print::json(&made)?;
        return Ok(Exit::Good);
    }
    let dir = made.data.display().to_string();
    let data = ("data folder", dir.clone());
    print::facts(&[
        data,
        ("enclave", made.enclave),
        ("log key", made.log_key_id),
        ("export key", made.export_key_id),
        ("orders key", made.orders_key_id),
    ])?;
    print::say(format_args!(
        "\nnext:\n  fastness serve --data {dir}\n  export FASTNESS_TOKEN_FILE={dir}/admin.token    # written at the first start\n  \
         fastness pack push PACK.yaml && fastness run NAME --wait\nkeep {dir}/keys safe: it is this enclave's identity"
    ));
    Ok(Exit::Good)
}
