//! What became of deliveries since the start, and how webhooks stand, for metrics. No name of a tenant or webhook is in it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::courier::lock;
use super::registry::Webhooks;
use crate::domain::webhook::WebhookState;

/// Attempts since the start, by what they came to; tests of webhooks are none. Written by couriers.
#[derive(Debug, Default)]
pub struct Counts {
    /// The event was taken.
    pub taken: AtomicU64,
    /// It was not.
    pub failed: AtomicU64,
    /// There is no receiver any more.
    pub gone: AtomicU64,
}

/// All of it at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Attempts after which the event was taken.
    pub taken: u64,
    /// Attempts after which it was not.
    pub failed: u64,
    /// Answers that there is no receiver any more.
    pub gone: u64,
    /// Webhooks that send.
    pub active: u64,
    /// Webhooks that were stopped.
    pub paused: u64,
    /// Webhooks that were given up.
    pub dead: u64,
    /// Events that the one furthest behind of those that send has not done with.
    pub behind: u64,
}

impl Webhooks {
    /// How everything stands now.
    pub fn figures(&self) -> Figures {
        let counts = self.counts();
        let mut figures = Figures {
            taken: counts.taken.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
            gone: counts.gone.load(Ordering::Relaxed),
            ..Figures::default()
        };
        for (tenant, webhook, shared) in self.all() {
            match webhook.state {
                WebhookState::Active => figures.active += 1,
                WebhookState::Paused => figures.paused += 1,
                WebhookState::Dead => figures.dead += 1,
            }
            let next = lock(&shared).next;
            // A ledger that cannot be read is told elsewhere.
            if webhook.state == WebhookState::Active
                && let Ok(ledger) = self.engine().ledger(&tenant)
            {
                figures.behind = figures.behind.max(ledger.size().saturating_sub(next));
            }
        }
        figures
    }
}
