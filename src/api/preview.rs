//! Trying a command out: what the writer would refuse now, without doing anything.

use super::Api;
use super::error::ApiError;
use super::reading::Reading;
use crate::domain::command::{Command, Reply};
use crate::domain::decide::{Stamp, decide};
use crate::domain::event::Actor;
use crate::domain::redaction::Seed;
use crate::domain::rejection::{Refusal, Rejection};
use crate::domain::{Seq, Timestamp};

/// Who would ask, and when.
#[derive(Debug, Clone)]
pub struct Asker {
    actor: Actor,
    at: Timestamp,
    entropy: u64,
    seed: Seed,
}

impl Asker {
    pub fn new(api: &Api, actor: Actor) -> Self {
        Asker {
            actor,
            at: Timestamp::from_ms(api.now_ms()),
            entropy: api.engine().clock().entropy(),
            seed: Seed::new(api.engine().clock().seed()),
        }
    }

    /// What would be answered in the state that is read, or why the command would be refused.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn reply(&self, reading: &Reading, command: &Command) -> Result<Result<Reply, Rejection>, ApiError> {
        let stamp = Stamp {
            tenant: reading.tenant().clone(),
            actor: self.actor.clone(),
            at: self.at,
            entropy: self.entropy,
            seed: self.seed,
            next: Seq(reading.as_of.unsigned_abs() + 1),
        };
        match decide(&*reading.view(), &stamp, command) {
            Ok(decision) => Ok(Ok(decision.reply)),
            Err(Refusal::Rejected(rejection)) => Ok(Err(rejection)),
            Err(Refusal::Unavailable(error)) => Err(error.into()),
            Err(illegal @ Refusal::Illegal(_)) => Err(ApiError::internal(illegal.to_string())),
        }
    }
}
