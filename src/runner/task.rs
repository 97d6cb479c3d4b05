//! What a step does, as the plan gave it to the job: the payload of a leased step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{ArtifactName, StepName};
use crate::limits;

/// One step, ready to run: expressions are evaluated, inputs are in `env`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepTask {
    pub action: Action,
    #[serde(default)]
    pub artifacts: Vec<ArtifactAsk>,
    #[serde(default = "cancel_grace_ms")]
    pub cancel_grace_ms: u64,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default = "output_bytes_max")]
    pub output_bytes_max: u64,
    pub step: StepName,
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
}

/// What is executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Executed as it is, no shell implied.
    Argv(Vec<String>),
    /// Given to `/bin/sh -eu -c`.
    Shell(String),
}

/// A file the step leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArtifactAsk {
    pub from: ArtifactFrom,
    pub name: ArtifactName,
}

/// Where an artifact's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ArtifactFrom {
    /// The step's standard output.
    Stdout,
    /// A file below the work folder.
    Path(String),
}

impl StepTask {
    /// Reads a payload and holds its numbers within their bounds.
    ///
    /// # Errors
    /// Says which part of the payload is not a step's.
    pub fn parse(payload: &[u8]) -> Result<StepTask, String> {
        let mut task: StepTask = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        if task.artifacts.len() > limits::ARTIFACTS_PER_STEP_MAX {
            return Err(format!("more than {} artifacts", limits::ARTIFACTS_PER_STEP_MAX));
        }
        if matches!(&task.action, Action::Argv(argv) if argv.is_empty()) {
            return Err("an empty command".to_owned());
        }
        task.timeout_ms = task.timeout_ms.clamp(1, limits::TIMEOUT_MS_MAX);
        task.cancel_grace_ms = task.cancel_grace_ms.min(limits::TIMEOUT_MS_MAX);
        task.output_bytes_max = task.output_bytes_max.min(limits::STEP_LOG_BYTES_MAX);
        Ok(task)
    }

    /// The command line.
    pub fn argv(&self) -> Vec<String> {
        match &self.action {
            Action::Argv(argv) => argv.clone(),
            Action::Shell(text) => ["/bin/sh", "-eu", "-c", text].map(str::to_owned).to_vec(),
        }
    }
}

fn cancel_grace_ms() -> u64 {
    limits::CANCEL_GRACE_MS
}

fn output_bytes_max() -> u64 {
    limits::STEP_LOG_BYTES_MAX
}

fn timeout_ms() -> u64 {
    limits::TIMEOUT_MS_DEFAULT
}
