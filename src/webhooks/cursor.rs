//! How far a webhook has come, and what became of its last attempts: one small file each, replaced as a whole.
//!
//! ```text
//! DIR/webhooks/cursors/<tenant>/<name>
//!     fastness.webhook-cursor/v1 <crc32c of the next line, 8 hex digits>\n
//!     {"failures":0,"next":4711,"opened":17,…}\n
//! ```
//!
//! Promises: after a crash the old or the new content is there. What cannot be read is as if it were not there: the
//! ledger knows an earlier place, from which events come again. It must never hold more than a cursor and what is told of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::disk::{Disk, read_file, replace_file};
use crate::domain::webhook::Webhook;
use crate::domain::{Seq, TenantName, Timestamp, WebhookName};
use crate::limits;

const MAGIC: &str = "fastness.webhook-cursor/v1";

/// How a webhook's delivery stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Progress {
    /// Attempts that failed in a row since the webhook was last changed.
    pub failures: u32,
    /// When something was last sent.
    pub last_attempt_at: Option<Timestamp>,
    /// When an event was last taken.
    pub last_delivered_at: Option<Timestamp>,
    /// What the last failure was, until an event is taken.
    pub last_error: Option<String>,
    /// The status of the last answer.
    pub last_status: Option<u16>,
    /// The first event that is not done with.
    pub next: u64,
    /// Which webhook of this name it is about.
    pub opened: Seq,
    /// When the next attempt is made, after a failure.
    pub retry_at: Option<Timestamp>,
    /// The change since which failures are counted.
    pub seq: Seq,
    /// Events that retention removed before they were sent.
    pub skipped: u64,
}

impl Progress {
    /// As the ledger knows it.
    pub fn of(webhook: &Webhook) -> Self {
        Progress {
            failures: 0,
            last_attempt_at: None,
            last_delivered_at: None,
            last_error: None,
            last_status: None,
            next: webhook.next.0,
            opened: webhook.opened,
            retry_at: None,
            seq: webhook.seq,
            skipped: 0,
        }
    }

    /// Notes why something failed, as much of it as is kept.
    pub fn fail(&mut self, why: &str) {
        let end = why.floor_char_boundary(limits::WEBHOOK_ERROR_BYTES_MAX);
        self.last_error = why.get(..end).map(str::to_owned);
    }

    /// Whatever changed the webhook gives its receiver new chances.
    pub fn begin(&mut self, webhook: &Webhook) {
        if self.seq != webhook.seq {
            self.seq = webhook.seq;
            self.failures = 0;
            self.retry_at = None;
        }
    }
}

/// The folder of cursors.
#[derive(Debug, Clone)]
pub struct Cursors {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Cursors {
    /// The cursors in `dir`, which is made with the first of them.
    pub fn new(dir: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Cursors { dir, disk }
    }

    /// Reads the cursor of a webhook; else what the ledger knows. Blocks on the disk.
    pub fn load(&self, tenant: &TenantName, webhook: &Webhook) -> Progress {
        let path = self.path(tenant, &webhook.name);
        let read = read_file(self.disk.as_ref(), &path, limits::WEBHOOK_CURSOR_BYTES_MAX);
        match read.and_then(|bytes| decode(&bytes)) {
            Ok(progress) if progress.opened == webhook.opened => Progress {
                next: progress.next.max(webhook.next.0),
                ..progress
            },
            Ok(_) => Progress::of(webhook),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, path = %path.display(), "a webhook's cursor is begun anew; events come again");
                }
                Progress::of(webhook)
            }
        }
    }

    /// Writes the cursor of a webhook and flushes it. Blocks on the disk.
    ///
    /// # Errors
    /// What the disk said.
    pub fn save(&self, tenant: &TenantName, name: &WebhookName, progress: &Progress) -> io::Result<()> {
        let path = self.path(tenant, name);
        let dir = self.dir.join(tenant.as_str());
        if self.disk.list(&dir)?.is_empty() {
            self.disk.create_dir_all(&dir)?;
            for made in [Some(self.dir.as_path()), self.dir.parent()]
                .into_iter()
                .flatten()
            {
                self.disk.sync_dir(made)?;
            }
        }
        replace_file(self.disk.as_ref(), &path, &encode(progress)?)
    }

    /// Removes the cursor of a webhook that is no more. One that is not there is no error. Blocks on the disk.
    ///
    /// # Errors
    /// What the disk said.
    pub fn remove(&self, tenant: &TenantName, name: &WebhookName) -> io::Result<()> {
        match self.disk.remove(&self.path(tenant, name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn path(&self, tenant: &TenantName, name: &WebhookName) -> PathBuf {
        self.dir.join(tenant.as_str()).join(Path::new(name.as_str()))
    }
}

fn encode(progress: &Progress) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(progress)?;
    line.push(b'\n');
    let head = format!("{MAGIC} {:08x}\n", crc32c::crc32c(&line));
    Ok([head.as_bytes(), &line].concat())
}

fn decode(bytes: &[u8]) -> io::Result<Progress> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is damaged");
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let (head, line) = bytes.split_at(end + 1);
    if head != format!("{MAGIC} {:08x}\n", crc32c::crc32c(line)).as_bytes() {
        return Err(damaged());
    }
    Ok(serde_json::from_slice(line)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;
    use crate::domain::SecretVersion;
    use crate::domain::webhook::{SignatureKind, WebhookFilters, WebhookKey, WebhookState};

    fn webhook(opened: u64) -> Webhook {
        let at = Timestamp::from_ms(1);
        Webhook {
            changed_at: at,
            changed_by: "ada".to_owned(),
            created_at: at,
            filters: WebhookFilters::default(),
            key: WebhookKey {
                kind: SignatureKind::HmacSha256,
                public_key: None,
                version: SecretVersion::derive(at, 1, 0),
            },
            name: "board".parse().unwrap(),
            next: Seq(opened + 1),
            old_key: None,
            opened: Seq(opened),
            reason: None,
            seq: Seq(opened),
            state: WebhookState::Active,
            types: Vec::new(),
            url: "http://board/".to_owned(),
        }
    }

    #[test]
    fn a_cursor_comes_back_and_every_flipped_bit_of_it_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let cursors = Cursors::new(folder.path().join("webhooks/cursors"), Arc::new(OsDisk));
        let (tenant, webhook) = ("acme".parse().unwrap(), webhook(7));
        assert_eq!(cursors.load(&tenant, &webhook), Progress::of(&webhook));
        let saved = Progress {
            failures: 3,
            last_error: Some("answered 500".to_owned()),
            next: 99,
            ..Progress::of(&webhook)
        };
        cursors.save(&tenant, &webhook.name, &saved).unwrap();
        assert_eq!(cursors.load(&tenant, &webhook), saved);
        assert_eq!(
            cursors.load(&tenant, &self::webhook(8)).next,
            9,
            "another of its name"
        );

        let path = cursors.path(&tenant, &webhook.name);
        let good = std::fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bad).unwrap();
            assert_eq!(
                cursors.load(&tenant, &webhook),
                Progress::of(&webhook),
                "bit {bit}"
            );
        }
        for len in 0..good.len() {
            std::fs::write(&path, &good[..len]).unwrap();
            assert_eq!(
                cursors.load(&tenant, &webhook),
                Progress::of(&webhook),
                "cut at {len}"
            );
        }
        cursors.remove(&tenant, &webhook.name).unwrap();
        cursors.remove(&tenant, &webhook.name).unwrap();
    }

    #[test]
    fn a_change_counts_failures_from_nothing() {
        let mut progress = Progress::of(&webhook(7));
        progress.failures = 5;
        progress.retry_at = Some(Timestamp::from_ms(9));
        progress.begin(&webhook(7));
        assert_eq!(progress.failures, 5, "a restart is no change");
        assert_eq!(progress.retry_at, Some(Timestamp::from_ms(9)));
        let changed = Webhook {
            seq: Seq(8),
            ..webhook(7)
        };
        progress.begin(&changed);
        assert_eq!((progress.failures, progress.seq), (0, Seq(8)));
        assert_eq!(progress.retry_at, None);
    }
}
