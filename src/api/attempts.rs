//! What was asked about bundles and not done: noted in the ledger `system`, once per person, action, code and minute.
//!
//! What was done, and what was found bad in a bundle, have events of their own. Whoever may not ask at all is counted by
//! the door.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use crate::domain::TenantName;
use crate::domain::command::{BundleCommand, Command};
use crate::domain::payload::bundles::BundleAttemptFailed;
use crate::limits;

const MINUTE_MS: i64 = 60_000;

/// What was noted in the present minute.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    minute: i64,
    seen: BTreeSet<(String, &'static str, String)>,
}

impl Attempts {
    /// Whether this is the first of its kind in its minute.
    fn is_new(&self, now_ms: i64, person: &str, action: &'static str, code: &str) -> bool {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now_ms.div_euclid(MINUTE_MS);
        if noted.minute != minute {
            *noted = Noted {
                minute,
                seen: BTreeSet::new(),
            };
        }
        let key = (person.to_owned(), action, code.to_owned());
        if !noted.seen.contains(&key) && noted.seen.len() >= limits::ATTEMPTS_NOTED_MAX {
            tracing::warn!(
                person,
                action,
                code,
                "too many different failures in a minute; not noted"
            );
            return false;
        }
        noted.seen.insert(key)
    }
}

/// Does work to its end, also when whoever asked has gone meanwhile: what was written is recorded, and a turn is given back
/// only when nothing of it goes on.
pub async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::spawn(work).await;
    done.map_err(|_| ApiError::stopping())?
}

/// Notes a failure, and gives the result back as it was.
pub async fn audited<T>(
    api: &Api,
    caller: &Caller,
    action: &'static str,
    target: Option<String>,
    result: Result<T, ApiError>,
) -> Result<T, ApiError> {
    let Err(error) = &result else { return result };
    // A refused bundle has its own event; a server that ends records nothing more.
    if matches!(error.code(), "bundle_refused" | "stopping") {
        return result;
    }
    let actor = caller.actor();
    if !api.attempts.is_new(api.now_ms(), &actor.id, action, error.code()) {
        return result;
    }
    let failed = BundleAttemptFailed {
        action: action.to_owned(),
        code: error.code().to_owned(),
        target,
    };
    let command = Command::Bundle(Box::new(BundleCommand::RecordFailure(failed)));
    if let Err(error) = api.engine().submit(&TenantName::system(), &actor, command).await {
        tracing::warn!(%error, action, "a failure about bundles could not be noted");
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_noted_once_a_minute_and_memory_is_bounded() {
        let attempts = Attempts::default();
        assert!(attempts.is_new(0, "alex", "export", "range_invalid"));
        assert!(!attempts.is_new(59_999, "alex", "export", "range_invalid"));
        assert!(
            attempts.is_new(59_999, "alex", "export", "storage_full"),
            "another code"
        );
        assert!(
            attempts.is_new(59_999, "kim", "export", "range_invalid"),
            "another person"
        );
        assert!(
            attempts.is_new(60_000, "alex", "export", "range_invalid"),
            "another minute"
        );
        for at in 1..limits::ATTEMPTS_NOTED_MAX {
            assert!(attempts.is_new(60_000, &at.to_string(), "export", "range_invalid"));
        }
        assert!(!attempts.is_new(60_000, "one more", "export", "range_invalid"));
        assert!(attempts.is_new(120_000, "one more", "export", "range_invalid"));
    }
}
