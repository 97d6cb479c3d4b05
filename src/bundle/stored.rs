//! Bundles that persons were asked about, judged again as they are stored; and the roots of trust of those taken in.
//!
//! Promises: a stored tar is judged only while it has its digest; roots of trust that a crash kept from being taken in with
//! their bundle are taken in at the next start, by what is pinned then.

use std::cmp::Reverse;
use std::path::PathBuf;

use super::held::{check_stored, tar_path};
use super::import::{ImportError, Judged, Keys, judge, requests};
use super::reemit::compress;
use super::refused::blocking;
use super::replay::ScratchFolder;
use super::roots;
use crate::domain::Digest;
use crate::domain::event::Actor;
use crate::domain::import_request::{ImportRequest, ImportStatus};
use crate::engine::Handle;
use crate::ledger::Origin;
use crate::trust::PublicKey;

/// Takes in the roots of trust of bundles that were approved, where a crash came between. At start alone.
///
/// # Errors
/// What the projection said. A bundle whose roots cannot be taken in is named, and the others go on.
pub async fn take_in_left_roots(engine: &Handle) -> Result<(), ImportError> {
    let shared = engine.clone();
    let due = blocking(move || {
        let mut due = Vec::new();
        for request in requests(&shared)? {
            if request.status == ImportStatus::Imported && brings_newer(&shared, &request)? {
                due.push(request);
            }
        }
        Ok(due)
    });
    let mut due = due.await?;
    // The newest of an enclave brings all before it.
    due.sort_by_key(|request| Reverse(request.trust_version));
    let actor = Actor::system("imports");
    for request in due {
        if let Err(error) = take_in_roots_of(engine, &actor, &request).await {
            tracing::error!(bundle = %request.tar_sha256, %error, "its roots of trust are not taken in");
        }
    }
    Ok(())
}

/// Takes in the roots of trust of a bundle that was approved, where one of them is newer than what is held; else it is not
/// even judged.
pub(super) async fn take_in_roots_of(
    engine: &Handle,
    actor: &Actor,
    request: &ImportRequest,
) -> Result<(), ImportError> {
    let (shared, asked) = (engine.clone(), request.clone());
    if !blocking(move || brings_newer(&shared, &asked)).await? {
        return Ok(());
    }
    let (_, judged) = judge_stored(engine, request).await?;
    match &judged.trust {
        Some(trust) if judged.report.ok => roots::take_in(engine, actor, trust, &judged.roots).await,
        Some(_) | None => {
            let bundle = request.tar_sha256;
            tracing::warn!(%bundle, "its newer roots of trust are not those to which the pinned one leads");
            Ok(())
        }
    }
}

/// Whether a bundle has a newer root of trust than is held of its enclave. Without a pinned one no root could be taken in.
fn brings_newer(engine: &Handle, request: &ImportRequest) -> Result<bool, ImportError> {
    let Ok(origin) = request.origin.parse::<Origin>() else {
        return Ok(false);
    };
    let held = roots::held(engine, origin.enclave().as_str())?;
    let is_newer = |version: u64| version > held.version();
    Ok(held.pin.is_some() && request.trust_version.is_some_and(is_newer))
}

/// Judges a bundle as it is stored; beside it the file that was judged, which goes with its folder.
pub(super) async fn judge_stored(
    engine: &Handle,
    request: &ImportRequest,
) -> Result<((ScratchFolder, PathBuf), Judged), ImportError> {
    let given = match (&request.log_key, &request.export_key) {
        (Some(log), Some(export)) => Some(Keys {
            log: PublicKey::from_pem(log)?,
            export: PublicKey::from_pem(export)?,
        }),
        _ => None,
    };
    let (engine, tar_sha256) = (engine.clone(), request.tar_sha256);
    blocking(move || {
        let (scratch, file) = framed(&engine, tar_sha256)?;
        let judged = judge(&engine, &file, given.as_ref())?;
        Ok(((scratch, file), judged))
    })
    .await
}

/// A stored tar as the file that it could have come in, gone with the folder.
fn framed(engine: &Handle, tar_sha256: Digest) -> Result<(ScratchFolder, PathBuf), ImportError> {
    check_stored(engine, tar_sha256)?;
    let dir = engine.dir().join("bundles");
    let failed = |error| ImportError::Disk(dir.display().to_string(), error);
    engine.disk().create_dir_all(&dir).map_err(failed)?;
    let scratch = ScratchFolder::new(&dir, engine.clock().entropy()).map_err(failed)?;
    let file = scratch.path().join("bundle");
    compress(&tar_path(engine.dir(), tar_sha256), &file).map_err(failed)?;
    Ok((scratch, file))
}
