//! What goes into the writer's queue, and what comes back.

use tokio::sync::oneshot;

use super::ready::Wanted;
use crate::domain::command::{Command, Leased, Reply};
use crate::domain::event::Actor;
use crate::domain::rejection::Rejection;
use crate::domain::{Digest, Seq, TenantName, Timestamp};

/// One trip to the writer: commands of one tenant, decided one after the other in the same batch, and a claim after
/// them. A rejected command does not spoil the others.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) tenant: TenantName,
    pub(super) actor: Actor,
    pub(super) commands: Vec<Command>,
    pub(super) claim: Option<Claim>,
    pub(super) reply: oneshot::Sender<Result<Answer, SubmitError>>,
}

/// A wish for work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who asks.
    pub worker: String,
    /// Of which tenants.
    pub reach: Reach,
    /// For what.
    pub wanted: Wanted,
    /// At most so many jobs.
    pub max: usize,
    /// Length of one lease period.
    pub lease_ms: u64,
    /// How long to wait when there is none.
    pub wait_ms: u64,
    /// The digest of the secret that it was asked with: a claim that waits gets nothing once that is over. None for the
    /// built-in runner.
    pub token: Option<Digest>,
}

/// Whose jobs a claim takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Those of the tenant that the trip is for.
    OneTenant,
    /// Those of these in turn.
    Tenants(Vec<TenantName>),
    /// Those of every tenant in turn: the built-in runner.
    EveryTenant,
}

/// What came of one trip.
#[derive(Debug, Default)]
pub struct Answer {
    /// One per command, in order.
    pub results: Vec<Result<Receipt, Rejection>>,
    /// What the claim got.
    pub jobs: Vec<Leased>,
    /// How the claim was taken.
    pub claimed: Claimed,
}

/// How a claim was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Claimed {
    /// It had its turn, or there was none.
    #[default]
    Served,
    /// The worker is to take no more work.
    Drain,
    /// Not at all: the worker cannot be known here.
    Refused(Rejection),
}

/// What an accepted command answers, once it is durable.
#[derive(Debug)]
pub struct Receipt {
    /// The command's own answer.
    pub reply: Reply,
    /// The last event of the ledger at which the answer is true.
    pub as_of: Seq,
    /// Ledger time of the command.
    pub at: Timestamp,
}

/// Why a trip has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full. Nothing was taken; try again.
    #[error("the writer's queue is full")]
    Busy,
    /// The projection is being rebuilt. Nothing was taken; try again.
    #[error("the projection is being rebuilt")]
    Rebuilding,
    /// The write may or may not have become durable. The process ends; what is durable is there after the restart.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// The writer has stopped because it was asked to. Nothing was taken.
    #[error("the writer has stopped")]
    Stopped,
    /// The writer has ended by itself, and this is why. Nothing was taken; the process ends.
    #[error("the writer has ended: {0}")]
    Ended(String),
}
