//! A bundle of an imported ledger, given again as it came: the stored tar, byte for byte.

use std::fs;
use std::io::{self, BufWriter, Read, Write};

use serde::Serialize;

use super::export::{ExportError, Exported, With, create_private};
use super::held::{check_stored, tar_path};
use super::import::{import_row, opener};
use super::kept::Ready;
use super::manifest::file_name;
use super::members::Member;
use super::replay::ScratchFolder;
use super::transport::FrameWriter;
use super::verify::{VerifyError, peek};
use crate::domain::payload::ExportedRedaction;
use crate::domain::{Digest, TenantName};
use crate::engine::Handle;

/// What is wanted of an imported ledger.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which.
    pub tenant: TenantName,
    /// First event of the bundle; any when none is given.
    pub from: Option<u64>,
    /// One more than its last; any when none is given.
    pub to: Option<u64>,
    /// Must be empty: it is given as it came.
    pub with: Vec<With>,
}

/// A bundle that an imported ledger came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredBundle {
    /// First event.
    pub from: u64,
    /// SHA-256 of its tar.
    pub tar_sha256: Digest,
    /// One more than the last event.
    pub to: u64,
}

/// Writes the one bundle that fits what is wanted. Blocks; call it from a thread that may.
///
/// # Errors
/// [`ExportError::NotStored`] when none fits, or several do; it names what there is.
pub fn reemit(engine: &Handle, wanted: &Wanted) -> Result<Ready, ExportError> {
    if !wanted.with.is_empty() {
        return Err(ExportError::WithForeign);
    }
    let held = import_row(engine, &wanted.tenant).map_err(Box::new)?;
    let held = held.ok_or_else(|| ExportError::Foreign(wanted.tenant.clone()))?;
    let stored: Vec<StoredBundle> = held
        .bundles
        .iter()
        .map(|(from, to, tar_sha256)| StoredBundle {
            from: *from,
            tar_sha256: *tar_sha256,
            to: *to,
        })
        .collect();
    let mut fitting = stored.iter().filter(|bundle| {
        wanted.from.is_none_or(|from| from == bundle.from) && wanted.to.is_none_or(|to| to == bundle.to)
    });
    let (Some(bundle), None) = (fitting.next().copied(), fitting.next()) else {
        return Err(ExportError::NotStored {
            tenant: wanted.tenant.clone(),
            from: wanted.from,
            to: wanted.to,
            stored,
        });
    };
    let id = bundle.tar_sha256;
    check_stored(engine, id).map_err(Box::new)?;
    let dir = engine.dir().join("bundles");
    let disk_error = |error: io::Error| ExportError::Disk(dir.display().to_string(), error);
    engine.disk().create_dir_all(&dir).map_err(disk_error)?;
    let scratch = ScratchFolder::new(&dir, engine.clock().entropy()).map_err(disk_error)?;
    let path = scratch.path().join("bundle");
    compress(&tar_path(engine.dir(), id), &path).map_err(disk_error)?;
    let redaction = redaction_of(&path)?;
    let root = engine.ledger(&wanted.tenant)?.root_at(bundle.to)?;
    Ready::new(scratch, path, |bytes, file_sha256| Exported {
        as_of: None,
        bytes,
        file_sha256: Some(file_sha256),
        first: bundle.from,
        id,
        missing: Vec::new(),
        name: file_name(&held.origin, bundle.from, bundle.to),
        origin: held.origin.clone(),
        redaction,
        root,
        size: bundle.to,
        tar_sha256: id,
        tenant: wanted.tenant.clone(),
    })
}

/// What a bundle says that it shows of redacted fields.
fn redaction_of(path: &std::path::Path) -> Result<Option<ExportedRedaction>, ExportError> {
    let unread = |error: VerifyError| ExportError::Disk(path.display().to_string(), io::Error::other(error));
    let statement = peek(&opener(path)).map_err(unread)?;
    Ok(statement.map(|statement| {
        let shown = statement
            .members()
            .find(|(member, ..)| *member == Member::Disclosures);
        ExportedRedaction {
            shown: shown.and_then(|(_, _, file)| file.lines).unwrap_or_default(),
            policy: statement.predicate.redaction.policy.clone(),
            withheld: statement.predicate.redaction.withheld,
        }
    }))
}

/// Puts a tar into a frame of its own, flushed.
pub(super) fn compress(tar: &std::path::Path, out: &std::path::Path) -> io::Result<()> {
    let mut source = fs::File::open(tar)?;
    let file = create_private(out)?;
    let mut frame = FrameWriter::new(BufWriter::with_capacity(1 << 20, file))?;
    let mut piece = vec![0; 256 * 1024];
    loop {
        let read = source.read(&mut piece)?;
        if read == 0 {
            break;
        }
        frame.write_all(&piece[..read])?;
    }
    let file = frame
        .finish()?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}
