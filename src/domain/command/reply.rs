//! What an accepted command answers.

use super::redaction::RedactionReply;
use crate::domain::import_request::ImportRequest;
use crate::domain::job::{Artifact, Job, JobStatus};
use crate::domain::order::ReceivedOrder;
use crate::domain::run::Run;
use crate::domain::secret::Secret;
use crate::domain::state::{Pack, PayloadRow};
use crate::domain::token::Token;
use crate::domain::webhook::Webhook;
use crate::domain::worker::Worker;
use crate::domain::{JobId, RunId, Seq, StepName, TenantName};

/// What an accepted command answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The job as it stands after the command.
    Job(Box<Job>),
    /// A lease: the job, its payload, and the artifacts of the jobs it needed.
    Leased(Box<Leased>),
    /// The run as it stands after the command.
    Run(Box<Run>),
    /// A run was made for dead letters.
    LettersReplayed {
        /// The new run.
        run: RunId,
        /// Every letter that it resolved, whichever of them were chosen.
        letters: Vec<JobId>,
        /// How many jobs of the run are done again.
        again: u64,
    },
    /// The pack version, and whether it is new.
    Pack(Box<Pack>, PackNovelty),
    /// The token.
    Token(Box<Token>),
    /// The worker as it stands after the command.
    Worker(Box<Worker>),
    /// A secret that was set, and the one that this replaced or ended.
    Secret {
        /// As it stands now.
        now: Option<Box<Secret>>,
        /// As it stood before.
        before: Option<Box<Secret>>,
    },
    /// A webhook that was changed, and how it was before.
    Webhook {
        /// As it stands now.
        now: Option<Box<Webhook>>,
        /// As it stood before.
        before: Option<Box<Webhook>>,
    },
    /// The import as it stands after the command.
    Import(Box<ImportRequest>),
    /// A work order that was taken in, as it stands after the command; and whether that changed anything.
    Order(Box<ReceivedOrder>, OrderNovelty),
    /// Of redacted fields and the rules that name them.
    Redaction(Box<RedactionReply>),
    /// The report was late: noted, not applied.
    Late,
    /// The same report was recorded before; so the job stood then.
    Reported(JobStatus),
    /// The same request came before; what it made begins with this event.
    Before(Seq),
    /// Nothing to tell.
    Done,
}

/// What a granted lease hands over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The job as it stands.
    pub job: Job,
    /// Artifacts of the jobs that it needed, by their names.
    pub needs: Vec<(StepName, Artifact)>,
    /// Its payload.
    pub payload: PayloadRow,
    /// Whose it is.
    pub tenant: TenantName,
}

/// Whether a command changed something about an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderNovelty {
    /// It did.
    Changed,
    /// It stood so before.
    Existing,
}

/// Whether registering made a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackNovelty {
    /// A new version.
    Created,
    /// The same bytes were there.
    Existing,
}
