//! `fastness replay-bundle --serve`: a read-only console on what was replayed.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Exit, Failure, told};
use super::print::{self, Format};
use super::replay_bundle::Replayed;
use crate::app;
use crate::clock::SystemClock;
use crate::disk::OsDisk;

/// Shows what was replayed until a signal ends it.
///
/// # Errors
/// It cannot start: the address, the disk.
pub fn serve(replayed: Replayed, files: &[PathBuf], listen: SocketAddr, format: Format) -> Result<Exit> {
    let shown = app::Shown {
        bundles: replayed.as_imported(files)?,
        size: replayed.size,
        listen,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut hangup = signal(SignalKind::hangup())?;
        let started = app::Replayed::start(shown, Arc::new(OsDisk), Arc::new(SystemClock::default())).await;
        let server = started.map_err(|error| {
            Failure::new(
                Exit::CannotStart,
                format!("cannot start: {}", told(&error.into())),
            )
        })?;
        if format.is_json() {
            let ready = json!({"stateDigest": replayed.state_digest, "size": replayed.size,
                "token": server.token, "url": format!("http://{}", server.address)});
            print::raw_line(ready.to_string().as_bytes())?;
        } else {
            print::line(format_args!("ready http://{}", server.address))?;
            print::line(format_args!("token {}", server.token))?;
            print::line(format_args!("state {}", replayed.state_digest))?;
            print::say("everything can be read, nothing changed; ends with this program");
        }
        io::stdout().flush()?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        server.stop().await.context("ending")?;
        Ok(Exit::Good)
    });
    runtime.shutdown_background();
    served
}
