//! Webhooks: the events of a tenant's ledger, sent to addresses outside, each by a courier of its own.
//!
//! Promises: at least once and in order per webhook, from a cursor that survives restarts; at most one request on its way
//! per webhook, so that a slow receiver holds up nobody else; nothing while the outlet is sealed; a secret in no text. It
//! must never make the writer wait. What the status of an answer means is told by `api`.
//!
//! Reading order: `address`, `key`, `key_files`, `keys`, `request`; `cursor`, `saver`; `courier`, `running`; `registry`,
//! `figures`, `error`.

mod address;
mod courier;
mod cursor;
mod error;
mod figures;
mod key;
mod key_files;
mod keys;
mod registry;
mod request;
mod running;
mod saver;

use std::sync::Arc;

pub use self::address::{Address, AddressError};
pub use self::cursor::Progress;
pub use self::error::WebhookError;
pub use self::figures::Figures;
pub use self::key::{KeyError, SigningKey};
pub use self::registry::{Place, Tested, Webhooks};
pub use self::request::{Judge, Message, Outcome, Verdict};
use crate::domain::Seq;
use crate::egress::Outlet;
use crate::limits;
use crate::stream::Hub;

/// How patient couriers are.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From an attempt's beginning to the head of the answer.
    pub answer_ms: u64,
    /// Pause after the first failure, which doubles with each.
    pub retry_ms: u64,
    /// The longest pause.
    pub retry_ms_max: u64,
    /// Failures in a row after which a webhook is given up.
    pub failures_max: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            answer_ms: limits::WEBHOOK_ANSWER_MS_MAX,
            retry_ms: limits::WEBHOOK_RETRY_MS_MIN,
            retry_ms_max: limits::WEBHOOK_RETRY_MS_MAX,
            failures_max: limits::WEBHOOK_FAILURES_MAX,
        }
    }
}

impl Pace {
    /// The pause after so many failures in a row; up to a quarter of it is left out at random, so that the webhooks of one
    /// receiver do not come back together.
    pub fn wait_ms(&self, failures: u32, entropy: u64) -> u64 {
        let doubled = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
        let whole = self.retry_ms.saturating_mul(doubled).min(self.retry_ms_max);
        whole - entropy % (whole / 4 + 1)
    }
}

/// What couriers share.
#[derive(Debug, Clone)]
struct Service {
    hub: Arc<Hub>,
    outlet: Arc<Outlet>,
    cursors: cursor::Cursors,
    counts: Arc<figures::Counts>,
    judge: Judge,
    pace: Pace,
}

/// The ledger that events are of, as message ids name it.
#[derive(Debug, Clone)]
struct Origin {
    /// `msg_<enclave>_<tenant>`, with the generation of a restored ledger behind.
    prefix: String,
}

impl Origin {
    fn new(origin: &str) -> Self {
        // What is signed has full stops between its parts, so an id has none.
        let ledger = origin.strip_prefix("fastness/").unwrap_or(origin);
        let prefix = format!("msg_{}", ledger.replace(['/', '.'], "_"));
        Origin { prefix }
    }

    /// The same for each attempt, before and after a crash.
    fn message_id(&self, seq: Seq) -> String {
        format!("{}_{seq}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_cut_by_at_most_a_quarter() {
        let pace = Pace::default();
        for (failures, whole) in [
            (1, 5_000),
            (2, 10_000),
            (10, 2_560_000),
            (11, 3_600_000),
            (64, 3_600_000),
            (u32::MAX, 3_600_000),
        ] {
            assert_eq!(pace.wait_ms(failures, 0), whole, "{failures}");
            for entropy in [1, 77_777, u64::MAX] {
                let wait = pace.wait_ms(failures, entropy);
                assert!(
                    wait <= whole && wait >= whole - whole / 4,
                    "{failures} {entropy}: {wait}"
                );
            }
        }
        let (total, drawn): (u64, u64) = (1..pace.failures_max).fold((0, 0), |(all, least), failures| {
            (
                all + pace.wait_ms(failures, 0),
                least + pace.wait_ms(failures, u64::MAX),
            )
        });
        assert!(
            total > 9 * 3_600_000 && drawn < total,
            "about half a day: {total}"
        );
    }

    #[test]
    fn a_message_id_names_ledger_and_event_without_full_stops() {
        let origin = Origin::new("fastness/0123456789abcdef/acme");
        assert_eq!(origin.message_id(Seq(4711)), "msg_0123456789abcdef_acme_4711");
        let second = Origin::new("fastness/0123456789abcdef/acme/g2");
        assert_eq!(second.message_id(Seq(1)), "msg_0123456789abcdef_acme_g2_1");
    }
}
