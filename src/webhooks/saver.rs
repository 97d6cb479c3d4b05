//! Brings the cursor of a webhook to the disk: soon after something was sent, seldom when events were only passed over.

use std::io;

use tokio::task::JoinHandle;

use super::courier::{Shared, lock};
use super::cursor::{Cursors, Progress};
use crate::domain::{TenantName, WebhookName};
use crate::engine::Handle;
use crate::limits;

/// What the file of one webhook holds, and when it was written.
#[derive(Debug)]
pub struct Saver {
    engine: Handle,
    cursors: Cursors,
    tenant: TenantName,
    name: WebhookName,
    saved: Progress,
    saved_ms: u64,
    /// A write that nobody waited for to its end.
    writing: Option<JoinHandle<io::Result<()>>>,
}

impl Saver {
    /// The file holds `saved` now.
    pub fn new(
        (engine, cursors): (Handle, Cursors),
        (tenant, name): (&TenantName, &WebhookName),
        saved: Progress,
    ) -> Self {
        Saver {
            saved_ms: engine.clock().monotonic_ms(),
            engine,
            cursors,
            tenant: tenant.clone(),
            name: name.clone(),
            saved,
            writing: None,
        }
    }

    /// Whether the cursor should be written.
    pub fn is_due(&self, shared: &Shared) -> bool {
        let has_sent = lock(shared).last_attempt_at != self.saved.last_attempt_at;
        let wait_ms = if has_sent {
            limits::WEBHOOK_SAVE_MS
        } else {
            limits::WEBHOOK_IDLE_SAVE_MS
        };
        self.engine.clock().monotonic_ms().saturating_sub(self.saved_ms) >= wait_ms
    }

    /// Writes the cursor when it moved.
    pub async fn save(&mut self, shared: &Shared) {
        let progress = lock(shared).clone();
        if progress == self.saved {
            return;
        }
        self.settle().await;
        self.saved_ms = self.engine.clock().monotonic_ms();
        let (cursors, tenant) = (self.cursors.clone(), self.tenant.clone());
        let (name, written) = (self.name.clone(), progress.clone());
        let save = move || cursors.save(&tenant, &name, &written);
        let written = self.writing.insert(tokio::task::spawn_blocking(save)).await;
        self.writing = None;
        match written {
            Ok(Ok(())) => self.saved = progress,
            // Delivery goes on: at worst events come again.
            Ok(Err(error)) => {
                tracing::error!(tenant = %self.tenant, webhook = %self.name, %error,
                    "a webhook's cursor could not be written");
            }
            Err(_) => {}
        }
    }

    /// Waits for a write that was begun and left: nothing is written after this.
    pub async fn settle(&mut self) {
        if let Some(writing) = self.writing.take() {
            let _ = writing.await;
        }
    }
}
