//! Which events a subscriber wants.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::event::Subject;
use crate::domain::{JobId, RunId, Seq, TenantName};
use crate::engine::{Committed, matches};
use crate::store::{Page, Snapshot, StoreError};

/// What an event must be to pass; what is empty does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Globs over types; one of them must fit.
    pub types: Vec<String>,
    /// Exactly this correlation id; its events are found by an index.
    pub correlation_id: Option<String>,
    /// Exactly this project.
    pub project: Option<String>,
    /// About this job or run.
    pub watched: Option<Watched>,
}

/// One thing that is watched; its events are found by an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// A job.
    Job(JobId),
    /// A run.
    Run(RunId),
}

/// A reader named several things to watch at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("one of job, run, packRun")]
pub struct SeveralWatched;

impl Watched {
    /// The one thing that a reader named, if any.
    ///
    /// # Errors
    /// Several were named.
    pub fn one_of(named: [Option<Watched>; 3]) -> Result<Option<Watched>, SeveralWatched> {
        let mut named = named.into_iter().flatten();
        let watched = named.next();
        match named.next() {
            None => Ok(watched),
            Some(_) => Err(SeveralWatched),
        }
    }
}

/// What filters look at, read from the bytes of an event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventHead<'a> {
    /// Ties what belongs together.
    #[serde(borrow, default)]
    pub correlation_id: Option<Cow<'a, str>>,
    /// A label inside the tenant.
    #[serde(borrow, default)]
    pub project: Option<Cow<'a, str>>,
    /// What it is about.
    pub subject: Subject,
    /// Its type.
    #[serde(rename = "type", borrow)]
    pub type_name: Cow<'a, str>,
}

impl Filter {
    /// True when every event passes.
    pub fn is_open(&self) -> bool {
        *self == Filter::default()
    }

    /// What it keeps in memory beyond its own size.
    pub(super) fn held_bytes(&self) -> usize {
        let texts = self.types.iter().chain(&self.correlation_id).chain(&self.project);
        self.types.capacity() * size_of::<String>() + texts.map(String::capacity).sum::<usize>()
    }

    /// True when an order of the projection has all that passes, so that the ledger need not be looked through.
    pub fn is_indexed(&self) -> bool {
        self.watched.is_some() || self.correlation_id.is_some()
    }

    /// Sequences of events that may pass, from that order; all that pass are among them. Nothing where there is none.
    ///
    /// # Errors
    /// When the order cannot be read.
    pub fn candidates(
        &self,
        snapshot: &Snapshot,
        tenant: &TenantName,
        page: Page<'_>,
    ) -> Result<Vec<Seq>, StoreError> {
        match (self.watched, &self.correlation_id) {
            (Some(Watched::Job(job)), _) => snapshot.events_of_job(tenant, job, page),
            (Some(Watched::Run(run)), _) => snapshot.events_of_run(tenant, run, page),
            (None, Some(correlation_id)) => snapshot.events_of_correlation(tenant, correlation_id, page),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Whether a committed event passes.
    pub fn admits(&self, event: &Committed) -> bool {
        self.admits_parts(
            event.type_name,
            event.correlation_id.as_deref(),
            event.project.as_deref(),
            (event.job, event.run),
        )
    }

    /// Whether an event from the ledger passes.
    pub fn admits_head(&self, head: &EventHead<'_>) -> bool {
        self.admits_parts(
            &head.type_name,
            head.correlation_id.as_deref(),
            head.project.as_deref(),
            (head.subject.job, head.subject.run),
        )
    }

    fn admits_parts(
        &self,
        type_name: &str,
        correlation_id: Option<&str>,
        project: Option<&str>,
        (job, run): (Option<JobId>, Option<RunId>),
    ) -> bool {
        let watched = match self.watched {
            None => true,
            Some(Watched::Job(wanted)) => job == Some(wanted),
            Some(Watched::Run(wanted)) => run == Some(wanted),
        };
        watched
            && (self.correlation_id.is_none() || self.correlation_id.as_deref() == correlation_id)
            && (self.project.is_none() || self.project.as_deref() == project)
            && (self.types.is_empty() || self.types.iter().any(|glob| matches(glob, type_name)))
    }
}
