//! Artifacts on their way: each grows in a file of its own until it is whole.
//!
//! Promises: one sender at a time; what was received stays for the next range, as long as the attempt lasts; a digest is
//! checked before there is an artifact. Files that are given up are removed, those of an earlier process at start.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::blobs::{Blob, BlobWriter};
use super::error::OutputError;
use super::layout::AttemptKey;
use crate::domain::{ArtifactName, Digest};
use crate::limits;

/// An artifact that a worker is about to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadAsk {
    /// Its name.
    pub name: ArtifactName,
    /// Its digest, as the worker says.
    pub sha256: Digest,
    /// Its length.
    pub total: u64,
    /// Where this range begins; none begins anew, and brings all of it.
    pub from: Option<u64>,
}

/// Why nothing is received.
#[derive(Debug, thiserror::Error)]
pub enum UploadRefused {
    /// Another call sends it right now.
    #[error("another call sends this artifact right now")]
    Busy,
    /// The range does not begin where the bytes received end.
    #[error("the next range begins at {expected}")]
    WrongOffset {
        /// Where they end.
        expected: u64,
    },
    /// As many as may be are on their way.
    #[error("as many artifacts as there may be are on their way")]
    TooMany,
    /// As many as may be of one tenant are on their way.
    #[error("as many artifacts as one tenant may have are on their way")]
    TooManyOfTenant,
    /// The disk refused.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Artifacts on their way.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    /// Guards the list; held for a look-up.
    open: Mutex<HashMap<AttemptKey, BTreeMap<ArtifactName, Arc<Upload>>>>,
}

#[derive(Debug)]
struct Upload {
    asked: UploadAsk,
    is_busy: AtomicBool,
    /// None once it is whole, or given up. Held while a piece is written.
    writer: Mutex<Option<BlobWriter>>,
}

/// The turn to send. Whoever drops it leaves what was received for the next one.
#[derive(Debug)]
pub struct Receiving(Arc<Upload>);

impl Uploads {
    pub(super) fn take(
        &self,
        key: &AttemptKey,
        asked: &UploadAsk,
        begin: impl FnOnce() -> Result<BlobWriter, OutputError>,
    ) -> Result<Receiving, UploadRefused> {
        let mut open = lock(&self.open);
        let (mut count, mut of_tenant) = (0, 0);
        for (other, uploads) in open.iter() {
            count += uploads.len();
            of_tenant += if other.scope.tenant == key.scope.tenant {
                uploads.len()
            } else {
                0
            };
        }
        let of_attempt = open.entry(key.clone()).or_default();
        if let Some(upload) = of_attempt.get(&asked.name) {
            if upload.is_busy.load(Ordering::Acquire) {
                return Err(UploadRefused::Busy);
            }
            let bytes = lock(&upload.writer).as_ref().map(BlobWriter::bytes);
            let is_same = upload.asked.sha256 == asked.sha256 && upload.asked.total == asked.total;
            match (asked.from, bytes) {
                (None | Some(0), _) => {}
                (Some(from), Some(bytes)) if is_same && from == bytes => {
                    upload.is_busy.store(true, Ordering::Release);
                    return Ok(Receiving(Arc::clone(upload)));
                }
                (Some(_), bytes) => {
                    let expected = bytes.filter(|_| is_same).unwrap_or(0);
                    return Err(UploadRefused::WrongOffset { expected });
                }
            }
        } else if asked.from.is_some_and(|from| from > 0) {
            return Err(UploadRefused::WrongOffset { expected: 0 });
        } else if of_attempt.len() >= limits::ARTIFACTS_PER_STEP_MAX || count >= limits::WORKER_UPLOADS_MAX {
            return Err(UploadRefused::TooMany);
        } else if of_tenant >= limits::WORKER_UPLOADS_PER_TENANT_MAX {
            return Err(UploadRefused::TooManyOfTenant);
        }
        let upload = Arc::new(Upload {
            asked: asked.clone(),
            is_busy: AtomicBool::new(true),
            writer: Mutex::new(Some(begin()?)),
        });
        of_attempt.insert(asked.name.clone(), Arc::clone(&upload));
        Ok(Receiving(upload))
    }

    pub(super) fn forget(&self, key: &AttemptKey) {
        lock(&self.open).remove(key);
    }

    pub(super) fn done(&self, key: &AttemptKey, name: &ArtifactName) {
        let mut open = lock(&self.open);
        if let Some(of_attempt) = open.get_mut(key) {
            of_attempt.remove(name);
            if of_attempt.is_empty() {
                open.remove(key);
            }
        }
    }
}

impl Receiving {
    /// Adds bytes. Blocks on the disk.
    ///
    /// # Errors
    /// `TooLarge` beyond the length that was said, or what the disk said.
    pub fn write(&self, bytes: &[u8]) -> Result<(), OutputError> {
        match lock(&self.0.writer).as_mut() {
            Some(writer) => writer.write(bytes),
            None => Err(OutputError::TooLarge {
                bytes_max: self.0.asked.total,
            }),
        }
    }

    /// Bytes received so far, by all ranges.
    pub fn bytes(&self) -> u64 {
        lock(&self.0.writer).as_ref().map_or(0, BlobWriter::bytes)
    }

    /// Ends it, when it is whole: flushed and under its digest. None when the bytes have another digest than was said;
    /// they are given up then. Blocks on the disk.
    ///
    /// # Errors
    /// What the disk said; then there is no artifact.
    pub fn finish(self) -> Result<Option<Blob>, OutputError> {
        match lock(&self.0.writer).take() {
            Some(writer) if writer.sha256() == self.0.asked.sha256 => writer.finish().map(Some),
            _ => Ok(None),
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Release);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;
    use crate::domain::{JobId, Timestamp};
    use crate::output::{Blobs, RunScope};

    fn key(tenant: &str, number: usize) -> AttemptKey {
        let job = JobId::derive(Timestamp::from_ms(1), number as u64, 0);
        AttemptKey {
            scope: RunScope::of_job(tenant.parse().unwrap(), None, job),
            job,
            attempt: 1,
        }
    }

    #[test]
    fn one_tenant_leaves_room_for_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path(), Arc::new(OsDisk)).unwrap();
        let uploads = Uploads::default();
        let asked = UploadAsk {
            name: "a.bin".parse().unwrap(),
            sha256: Digest::of(b"a"),
            total: 1,
            from: None,
        };
        let take = |tenant: &str, number: usize| {
            let begin = || blobs.create(1);
            uploads.take(&key(tenant, number), &asked, begin).map(drop)
        };
        for number in 0..limits::WORKER_UPLOADS_PER_TENANT_MAX {
            take("acme", number).unwrap();
        }
        let one_more = limits::WORKER_UPLOADS_PER_TENANT_MAX;
        let refused = take("acme", one_more).unwrap_err();
        assert!(matches!(refused, UploadRefused::TooManyOfTenant), "{refused}");
        for number in 0..limits::WORKER_UPLOADS_MAX - limits::WORKER_UPLOADS_PER_TENANT_MAX {
            take("globex", number).unwrap();
        }
        let refused = take("initech", 0).unwrap_err();
        assert!(matches!(refused, UploadRefused::TooMany), "{refused}");
        uploads.forget(&key("acme", 0));
        take("acme", one_more).unwrap();
    }
}
