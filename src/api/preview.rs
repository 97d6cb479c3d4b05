//! Trying a command out: what the writer would refuse now, without doing anything.

use super::Api;
use super::error::ApiError;
use super::reading::Reading;
use crate::domain::command::Command;
use crate::domain::decide::{Stamp, decide};
use crate::domain::event::Actor;
use crate::domain::rejection::{Refusal, Rejection};
use crate::domain::{Seq, Timestamp};

/// Who would ask, and when.
#[derive(Debug, Clone)]
pub struct Asker {
    actor: Actor,
    at: Timestamp,
    entropy: u64,
}

impl Asker {
    pub fn new(api: &Api, actor: Actor) -> Self {
        Asker {
            actor,
            at: Timestamp::from_ms(api.now_ms()),
            entropy: api.engine().clock().entropy(),
        }
    }

    /// Why a command would be refused in the state that is read; none when it would be accepted.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn refusal(&self, reading: &Reading, command: &Command) -> Result<Option<Rejection>, ApiError> {
        let stamp = Stamp {
            tenant: reading.tenant().clone(),
            actor: self.actor.clone(),
            at: self.at,
            entropy: self.entropy,
            next: Seq(reading.as_of.unsigned_abs() + 1),
        };
        match decide(&*reading.view(), &stamp, command) {
            Ok(_) => Ok(None),
            Err(Refusal::Rejected(rejection)) => Ok(Some(rejection)),
            Err(Refusal::Unavailable(error)) => Err(error.into()),
            Err(illegal @ Refusal::Illegal(_)) => Err(ApiError::internal(illegal.to_string())),
        }
    }
}
