//! State snapshots: the projection's rows in one file, so that rebuilding need not start at the first event.
//!
//! ```text
//! DIR/snapshots/<journal position, 20 digits>.snap, one zstd frame with checksum over
//!   "FSTSNAP\x05"
//!   entries:  length of key (4, little endian) · key · length of value (4) · value    rows and heads as stored
//!   0xffffffff · SHA-256 of everything before
//! ```
//! A snapshot is only ever a shortcut: one that does not verify is passed over, and the ledgers tell the rest.

use std::io::{self, Read, Write};
use std::path::Path;

use super::recover::Layout;
use crate::disk::{self, Disk};
use crate::domain::{Digest, Hasher};
use crate::ledger::Ledgers;
use crate::limits;
use crate::store::{Commit, FORMAT_NOW, Store, StoreError};

const MAGIC: &[u8; 8] = b"FSTSNAP\x05";
// What is loaded is what the projection would write.
const _: () = assert!(MAGIC[7] as u64 == FORMAT_NOW);
const END: u32 = u32::MAX;
/// Snapshots kept.
const KEPT: usize = 2;
/// Rows written in one batch when loading.
const CHUNK_ROWS: usize = 4_096;

/// Writes a snapshot of a projection that nothing changes meanwhile, and removes older ones.
pub(super) fn write(disk: &dyn Disk, layout: &Layout, store: &Store, position: u64) -> io::Result<()> {
    let dir = layout.snapshots();
    disk.create_dir_all(&dir)?;
    disk.sync_dir(&layout.0)?;
    let mut out = Hashing {
        inner: zstd::Encoder::new(Vec::new(), 1)?,
        hasher: Hasher::default(),
    };
    out.inner.include_checksum(true)?;
    out.write_all(MAGIC)?;
    store
        .dump(|key, value| {
            out.write_all(&(key.len() as u32).to_le_bytes())?;
            out.write_all(key)?;
            out.write_all(&(value.len() as u32).to_le_bytes())?;
            out.write_all(value)
        })
        .map_err(|error| io::Error::other(error.to_string()))?;
    out.write_all(&END.to_le_bytes())?;
    let Hashing { mut inner, hasher } = out;
    inner.write_all(hasher.finish().as_bytes())?;
    disk::replace_file(disk, &dir.join(format!("{position:020}.snap")), &inner.finish()?)?;
    let names = names(disk, &dir)?;
    for name in names.iter().rev().skip(KEPT) {
        disk.remove(&dir.join(name))?;
    }
    disk.sync_dir(&dir)
}

/// Loads the newest snapshot that verifies into an empty projection. Returns its name.
pub(super) fn load_newest(
    disk: &dyn Disk,
    layout: &Layout,
    store: &Store,
    ledgers: &Ledgers,
) -> Option<String> {
    let dir = layout.snapshots();
    for name in names(disk, &dir).ok()?.into_iter().rev() {
        match load(disk, &dir.join(&name), store) {
            Ok(()) if fits(store, ledgers) => return Some(name),
            Ok(()) => tracing::warn!(name, "a snapshot is ahead of the ledgers and is passed over"),
            Err(error) => tracing::warn!(name, %error, "a snapshot is damaged and is passed over"),
        }
        if let Err(error) = store.clear() {
            tracing::error!(%error, "the projection could not be emptied");
            return None;
        }
    }
    None
}

/// A snapshot must not know more than the ledgers do.
fn fits(store: &Store, ledgers: &Ledgers) -> bool {
    let (Ok(snapshot), Ok(tenants)) = (store.read(), ledgers.tenants()) else {
        return false;
    };
    tenants.iter().all(|tenant| {
        let projected = snapshot.head(tenant).ok().flatten().map_or(0, |head| head.size);
        ledgers
            .ledger(tenant)
            .is_ok_and(|ledger| projected <= ledger.size())
    })
}

fn names(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<String>> {
    let mut names = disk.list(dir)?;
    names.retain(|name| name.ends_with(".snap"));
    Ok(names)
}

fn load(disk: &dyn Disk, path: &Path, store: &Store) -> io::Result<()> {
    let file = disk::read_file(disk, path, limits::SNAPSHOT_BYTES_MAX)?;
    // Two passes: nothing is loaded before the whole file verified.
    walk(&file, |_, _| Ok(()))?;
    let mut chunk = Vec::new();
    let store_error = |error: StoreError| io::Error::other(error.to_string());
    walk(&file, |key, value| {
        chunk.push((key.to_vec(), value.to_vec()));
        if chunk.len() == CHUNK_ROWS {
            store
                .load(&std::mem::take(&mut chunk), Commit::Visible)
                .map_err(store_error)?;
        }
        Ok(())
    })?;
    store.load(&chunk, Commit::Visible).map_err(store_error)
}

fn walk(file: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> io::Result<()>) -> io::Result<()> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut input = Hashing {
        inner: zstd::Decoder::new(file)?,
        hasher: Hasher::default(),
    };
    let mut magic = [0; 8];
    input.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(bad("not a snapshot"));
    }
    let (mut key, mut value) = (Vec::new(), Vec::new());
    loop {
        let len = read_len(&mut input)?;
        if len == END {
            break;
        }
        read_item(&mut input, len, &mut key)?;
        let len = read_len(&mut input)?;
        read_item(&mut input, len, &mut value)?;
        visit(&key, &value)?;
    }
    let Hashing { mut inner, hasher } = input;
    let mut stated = [0; 32];
    inner.read_exact(&mut stated)?;
    if Digest::from_bytes(stated) != hasher.finish() {
        return Err(bad("its digest is not the stated one"));
    }
    Ok(())
}

fn read_len(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_item(input: &mut impl Read, len: u32, into: &mut Vec<u8>) -> io::Result<()> {
    if len as usize > limits::SNAPSHOT_ITEM_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an entry is too long"));
    }
    into.resize(len as usize, 0);
    input.read_exact(into)
}

/// Hashes what passes through.
struct Hashing<T> {
    inner: T,
    hasher: Hasher,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..read]);
        Ok(read)
    }
}
