//! Rules that name fields: what is taken out of payloads as they come in, and what an export shows.

use serde::{Deserialize, Serialize};

use super::Pointer;
use crate::domain::glob::matches;
use crate::domain::{PolicyName, Seq, Timestamp};

/// The policy that says what is taken out of the payloads of jobs as they come in.
pub const INTAKE: &str = "intake";
/// An export that shows nothing of what is redacted.
pub const OPERATIONAL: &str = "operational";
/// An export that shows all that there is.
pub const FULL: &str = "full";
/// What rules call the inputs of a pack run, which is no job.
pub const RUN_INPUTS_TYPE: &str = "pack.run";
/// What rules call the step of a pack.
pub const STEP_TYPE: &str = "pack.step";

/// Fields of some types of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Where the fields stand in the payload.
    pub pointers: Vec<Pointer>,
    /// Globs over job types.
    pub types: Vec<String>,
}

impl Rule {
    fn is_about(&self, job_type: &str) -> bool {
        self.types.iter().any(|glob| matches(glob, job_type))
    }
}

/// A policy of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Its name.
    pub name: PolicyName,
    /// What it names.
    pub rules: Vec<Rule>,
    /// The event that set it.
    pub seq: Seq,
    /// When that was.
    pub set_at: Timestamp,
    /// Who did it.
    pub set_by: String,
}

impl Policy {
    /// The pointers for a type of job.
    pub fn pointers<'p>(&'p self, job_type: &str) -> impl Iterator<Item = &'p Pointer> {
        let about = self.rules.iter().filter(move |rule| rule.is_about(job_type));
        about
            .flat_map(|rule| &rule.pointers)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Whether a field of a type of job is named, or something around it.
    pub fn names(&self, job_type: &str, pointer: &Pointer) -> bool {
        self.pointers(job_type).any(|named| named.covers(pointer))
    }
}
