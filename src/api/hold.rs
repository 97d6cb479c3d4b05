//! What a stream was opened with, and whether it still holds: its token, its session, and the server itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

use super::Api;
use super::auth::{Caller, still_holds};
use super::error::ApiError;
use super::request::Query;
use super::sessions::SessionKey;
use crate::domain::TokenId;
use crate::limits;

/// How often a stream looks whether its token or session has run out.
const LOOK_MS: u64 = 500;

/// Why a stream must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The server stops.
    Stopping,
    /// The token or session is over.
    Revoked,
}

/// Who reads a stream, and until when.
#[derive(Debug)]
pub struct Hold {
    api: Arc<Api>,
    token: TokenId,
    session: Option<SessionKey>,
    /// Whether time alone may end it.
    runs_out: bool,
    revocations: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    look: Interval,
}

impl Hold {
    /// As the caller was admitted.
    pub fn new(api: &Arc<Api>, caller: &Caller) -> Self {
        let mut revocations = api.revocations.subscribe();
        // Something may have changed since the request was admitted: look once.
        revocations.mark_changed();
        Hold {
            api: api.clone(),
            token: caller.token.id,
            session: caller.session.clone(),
            runs_out: caller.token.expires_at.is_some() || caller.session.is_some(),
            revocations,
            stopping: api.stopping.subscribe(),
            look: every(LOOK_MS),
        }
    }

    /// Waits until the token or session is over, whatever else ends.
    pub async fn revoked(mut self) {
        if self.over().await == Ending::Stopping {
            // What is on its way then may still be taken.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the stream must end. Dropping the future loses nothing.
    pub async fn over(&mut self) -> Ending {
        loop {
            tokio::select! {
                _ = self.stopping.wait_for(|stopping| *stopping) => return Ending::Stopping,
                changed = self.revocations.changed() => if changed.is_err() {
                    return Ending::Stopping;
                },
                _ = self.look.tick(), if self.runs_out => {}
            }
            if !still_holds(&self.api, self.token, self.session.as_ref()) {
                return Ending::Revoked;
            }
        }
    }
}

/// Laid into an answer that goes on: until when the peer may take it.
#[derive(Debug, Clone)]
pub struct Held(Arc<Mutex<Option<Hold>>>);

impl Held {
    /// Until this is over.
    pub fn new(hold: Hold) -> Self {
        Held(Arc::new(Mutex::new(Some(hold))))
    }

    /// Takes it out.
    pub fn take(&self) -> Option<Hold> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The heartbeat that a query asks for.
///
/// # Errors
/// An interval out of its bounds.
pub fn heartbeat(query: &mut Query) -> Result<Interval, ApiError> {
    Ok(every(
        heartbeat_ms(query)?.unwrap_or(limits::HEARTBEAT_STREAM_MS_DEFAULT),
    ))
}

/// Takes the heartbeat's interval out of a query, if it names one.
///
/// # Errors
/// An interval out of its bounds.
pub fn heartbeat_ms(query: &mut Query) -> Result<Option<u64>, ApiError> {
    let (min, max) = (limits::HEARTBEAT_STREAM_MS_MIN, limits::HEARTBEAT_STREAM_MS_MAX);
    query.number("heartbeatMs", min, max)
}

fn every(ms: u64) -> Interval {
    let mut interval = tokio::time::interval(Duration::from_millis(ms));
    // The first tick is one period from now, not at once.
    interval.reset();
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
