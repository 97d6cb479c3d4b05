//! The files of orders and cancellations, those that came and those that were issued: `DIR/orders/<SHA-256 of the tar>.tar.zst`.
//!
//! Promises: a file is flushed before the event that names it; one that no event names does not stay, and what a crash left of
//! such is removed at the next start; where all of them take [`limits::ORDERS_BYTES_MAX`], another order is refused, a
//! cancellation never. What comes again is written again only where its file was lost or changed, and what somebody padded
//! takes no room.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::intake::IntakeError;
use super::issue::unread;
use crate::bundle::transport::{FrameReader, FrameWriter};
use crate::disk;
use crate::domain::state::{Kind, Row};
use crate::domain::{Digest, Hasher};
use crate::engine::{CommandError, Handle, SubmitError};
use crate::limits;

const ENDING: &str = ".tar.zst";

/// Where a file lies.
pub fn letter_path(dir: &Path, tar_sha256: Digest) -> PathBuf {
    dir.join("orders").join(format!("{tar_sha256}{ENDING}"))
}

/// Stores an order like [`store_letter`]. `StorageFull` when all files together would take too much. Blocks.
pub(super) fn store_order(engine: &Handle, tar_sha256: Digest, bytes: &[u8]) -> io::Result<bool> {
    let (path, dir) = (letter_path(engine.dir(), tar_sha256), engine.dir().join("orders"));
    engine.disk().create_dir_all(&dir)?;
    let (mut total, mut is_there) = (bytes.len() as u64, false);
    for name in engine.disk().list(&dir)? {
        let other = dir.join(name);
        is_there |= other == path;
        total = total.saturating_add(fs::metadata(other).map_or(0, |facts| facts.len()));
    }
    // What is held takes no more room, however late it comes again.
    if !is_there && total > limits::ORDERS_BYTES_MAX {
        let why = format!("work orders take more than {} bytes", limits::ORDERS_BYTES_MAX);
        return Err(io::Error::new(io::ErrorKind::StorageFull, why));
    }
    store_letter(engine, tar_sha256, bytes)
}

/// Stores a file under the digest of its archive, flushed; true when it was not there before. One that is there and holds that
/// archive stays as it is. Without a bound, for cancellations: each is small, belongs to one order, and must not be refused
/// because of others.
pub(super) fn store_letter(engine: &Handle, tar_sha256: Digest, bytes: &[u8]) -> io::Result<bool> {
    if holds(engine, tar_sha256) {
        return Ok(false);
    }
    let (path, dir) = (letter_path(engine.dir(), tar_sha256), engine.dir().join("orders"));
    let disk = engine.disk().as_ref();
    disk.create_dir_all(&dir)?;
    disk.sync_dir(engine.dir())?;
    let is_new = disk.list(&dir)?.into_iter().all(|name| dir.join(name) != path);
    disk::replace_file(disk, &path, bytes).inspect_err(|_| {
        // A full disk gets its room back; that this may fail as well changes nothing.
        let _ = disk.remove(&dir.join(format!("{tar_sha256}{ENDING}.new")));
    })?;
    Ok(is_new)
}

/// Whether a file is stored that holds the archive of this digest. One that cannot be read does not.
fn holds(engine: &Handle, tar_sha256: Digest) -> bool {
    let stored = read_letter(engine, tar_sha256);
    stored
        .and_then(|file| digest_within(&file))
        .is_ok_and(|found| found == tar_sha256)
}

/// SHA-256 of the archive in a file, or of so much of it that no archive of an order is as long.
fn digest_within(file: &[u8]) -> io::Result<Digest> {
    // The bound is that of its members; manifest, headers and padding come nowhere near as much again.
    let mut archive = FrameReader::new(file)?.take(2 * limits::ORDER_TAR_BYTES_MAX);
    let (mut hasher, mut piece) = (Hasher::default(), vec![0; 64 * 1024]);
    loop {
        match archive.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&piece[..read]),
        }
    }
}

/// The archive of a verified file in a frame of our own, where that is smaller than the frame in which it came: nobody signs a
/// frame, so anybody can pad it.
///
/// # Errors
/// When it cannot be read, or not be compressed.
pub(super) fn unpadded(file: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = FrameWriter::new(Vec::new())?;
    io::copy(&mut FrameReader::new(file)?, &mut frame)?;
    let own = frame.finish()?;
    let is_smaller = own.len() < file.len();
    Ok(if is_smaller { own } else { file.to_vec() })
}

/// Whether the writer certainly recorded nothing. What may have been recorded keeps its file.
pub(super) fn was_not_taken(error: &CommandError) -> bool {
    !matches!(error, CommandError::Failed(SubmitError::OutcomeUnknown(_)))
}

/// Removes a stored file that no event names.
pub(super) fn remove_letter(engine: &Handle, tar_sha256: Digest) {
    let path = letter_path(engine.dir(), tar_sha256);
    if let Err(error) = engine.disk().remove(&path) {
        tracing::warn!(path = %path.display(), %error, "a file that no work order names was left behind");
    }
}

/// A stored file.
///
/// # Errors
/// What the disk said.
pub fn read_letter(engine: &Handle, tar_sha256: Digest) -> io::Result<Vec<u8>> {
    let path = letter_path(engine.dir(), tar_sha256);
    disk::read_file(engine.disk().as_ref(), &path, limits::ORDER_FILE_BYTES_MAX as u64)
}

/// Removes files that no event names, of orders that were refused or never recorded: at start alone. Blocks.
///
/// # Errors
/// What the disk said; the projection cannot be read.
pub fn sweep(engine: &Handle) -> Result<(), IntakeError> {
    let dir = engine.dir().join("orders");
    let failed = |error| IntakeError::Disk("sweeping the folder of work orders", error);
    let names = engine.disk().list(&dir).map_err(failed)?;
    if names.is_empty() {
        return Ok(());
    }
    let named = named(engine)?;
    for name in names {
        let digest = name.strip_suffix(ENDING).and_then(|name| name.parse().ok());
        if digest.is_none_or(|digest| !named.contains(&digest)) {
            tracing::info!(name, "the file of a work order that no event names is removed");
            engine.disk().remove(&dir.join(&name)).map_err(failed)?;
        }
    }
    engine.disk().sync_dir(&dir).map_err(failed)
}

/// The archives that events of our own ledgers name.
fn named(engine: &Handle) -> Result<BTreeSet<Digest>, IntakeError> {
    let mut named = BTreeSet::new();
    let snapshot = engine.read().map_err(unread)?;
    for tenant in engine.tenants()? {
        if tenant.is_foreign() {
            continue;
        }
        for kind in [Kind::IssuedOrder, Kind::ReceivedOrder] {
            for row in snapshot.every_row(&tenant, kind)? {
                named.extend(archives(&row?.1));
            }
        }
    }
    Ok(named)
}

fn archives(row: &Row) -> Vec<Digest> {
    let (order, stopped) = match row {
        Row::IssuedOrder(order) => (order.tar_sha256, order.recalled.as_ref()),
        Row::ReceivedOrder(order) => (order.tar_sha256, order.cancelled.as_ref()),
        _ => return Vec::new(),
    };
    let stop = stopped.and_then(|stopped| stopped.tar_sha256);
    std::iter::once(order).chain(stop).collect()
}
