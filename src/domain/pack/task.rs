//! What a runner needs for one step: the payload of the step's job.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::spec::{Action, ArtifactFrom, ArtifactSpec, PackSpec, StepSpec};
use crate::domain::canonical::{Value, write};
use crate::domain::{PackName, SecretName, StepName};
use crate::limits;

/// One step, ready to run. Fields stand in the order of canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepTask {
    /// What is executed.
    pub action: Action,
    /// Files it leaves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactSpec>,
    /// Time between TERM and KILL.
    #[serde(default = "cancel_grace_ms", skip_serializing_if = "is_cancel_grace")]
    pub cancel_grace_ms: u64,
    /// Environment: the pack's, above it the step's, and `INPUT_<NAME>` for each input.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Bytes of output, after which it is cut with a marker.
    #[serde(default = "output_bytes_max")]
    pub output_bytes_max: u64,
    /// The pack it was made from; which version, the run says. None when someone submitted the task by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<PackName>,
    /// Secrets that it gets as files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretName>,
    /// The step.
    pub step: StepName,
    /// Longest time of one attempt.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
}

impl PackSpec {
    /// The task of one of its steps, given resolved inputs.
    pub fn task(&self, step: &StepSpec, inputs: &BTreeMap<String, Value>) -> StepTask {
        let mut env = self.env.clone();
        env.extend(step.env.iter().map(|(name, value)| (name.clone(), value.clone())));
        env.extend(
            inputs
                .iter()
                .map(|(name, value)| (input_variable(name), input_text(value))),
        );
        let secrets: BTreeSet<&SecretName> = self.secrets.iter().chain(&step.secrets).collect();
        StepTask {
            action: step.action.clone(),
            artifacts: step.artifacts.clone(),
            cancel_grace_ms: limits::CANCEL_GRACE_MS,
            env,
            output_bytes_max: step.output_bytes_max,
            pack: Some(self.name.clone()),
            secrets: secrets.into_iter().cloned().collect(),
            step: step.id.clone(),
            timeout_ms: step.timeout_ms,
        }
    }
}

/// The payload does not describe a step that can be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading the task of a step: {0}")]
pub struct TaskError(String);

impl StepTask {
    /// Reads a payload. The numbers come back within their bounds, whatever a foreign submitter wrote.
    ///
    /// # Errors
    /// Which part of it is not a step's.
    pub fn parse(payload: &[u8]) -> Result<StepTask, TaskError> {
        let mut task: StepTask =
            serde_json::from_slice(payload).map_err(|error| TaskError(error.to_string()))?;
        if task.artifacts.len() > limits::ARTIFACTS_PER_STEP_MAX {
            return Err(TaskError(format!(
                "more than {} artifacts",
                limits::ARTIFACTS_PER_STEP_MAX
            )));
        }
        if matches!(&task.action, Action::Argv(argv) if argv.first().is_none_or(String::is_empty)) {
            return Err(TaskError("an empty command".to_owned()));
        }
        if task.secrets.len() > 2 * limits::READS_MAX {
            return Err(TaskError("too many secrets".to_owned()));
        }
        if matches!(&task.action, Action::Gate(_)) {
            return Err(TaskError("a gate is nobody's work".to_owned()));
        }
        task.timeout_ms = task
            .timeout_ms
            .clamp(limits::TIMEOUT_MS_MIN, limits::TIMEOUT_MS_MAX);
        task.cancel_grace_ms = task.cancel_grace_ms.min(limits::TIMEOUT_MS_MAX);
        task.output_bytes_max = task.output_bytes_max.min(limits::STEP_LOG_BYTES_MAX);
        Ok(task)
    }

    /// The command line.
    pub fn argv(&self) -> Vec<String> {
        match &self.action {
            Action::Argv(argv) => argv.clone(),
            Action::Shell(text) => ["/bin/sh", "-eu", "-c", text].map(str::to_owned).to_vec(),
            Action::Gate(_) => Vec::new(),
        }
    }

    /// The task as the payload of a job.
    pub fn value(&self) -> Value {
        let texts = |texts: &[String]| Value::Array(texts.iter().cloned().map(Value::String).collect());
        let action = match &self.action {
            Action::Argv(argv) => ("argv", texts(argv)),
            Action::Shell(text) => ("shell", Value::from(text.as_str())),
            // Parsing refuses it: a gate never becomes a job.
            Action::Gate(_) => ("gate", Value::Null),
        };
        let mut members = vec![
            ("action", object([action])),
            ("outputBytesMax", number(self.output_bytes_max)),
            ("step", Value::from(self.step.as_str())),
            ("timeoutMs", number(self.timeout_ms)),
        ];
        if let Some(pack) = &self.pack {
            members.push(("pack", Value::from(pack.as_str())));
        }
        if !is_cancel_grace(&self.cancel_grace_ms) {
            members.push(("cancelGraceMs", number(self.cancel_grace_ms)));
        }
        if !self.artifacts.is_empty() {
            members.push((
                "artifacts",
                Value::Array(self.artifacts.iter().map(artifact_value).collect()),
            ));
        }
        if !self.secrets.is_empty() {
            let names = self.secrets.iter().map(|name| Value::from(name.as_str()));
            members.push(("secrets", Value::Array(names.collect())));
        }
        if !self.env.is_empty() {
            let pairs = self
                .env
                .iter()
                .map(|(name, value)| (name.as_str(), Value::from(value.as_str())));
            members.push(("env", object(pairs)));
        }
        object(members)
    }
}

fn artifact_value(artifact: &ArtifactSpec) -> Value {
    let source = match &artifact.from {
        ArtifactFrom::Stdout => ("from", Value::from("stdout")),
        ArtifactFrom::Path(path) => ("path", Value::from(path.as_str())),
    };
    object([("name", Value::from(artifact.name.as_str())), source])
}

fn object<'n>(members: impl IntoIterator<Item = (&'n str, Value)>) -> Value {
    Value::Object(
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

/// Timeouts and sizes are far below the bound of JSON integers; held there all the same.
fn number(amount: u64) -> Value {
    Value::Int(
        i64::try_from(amount)
            .unwrap_or(i64::MAX)
            .min(limits::JSON_INTEGER_MAX),
    )
}

/// `a-b` → `INPUT_A_B`.
pub fn input_variable(name: &str) -> String {
    format!("INPUT_{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// A string as it is; all else as canonical JSON, which for an integer and a truth value is the plain word.
pub fn input_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => String::from_utf8_lossy(&write(other)).into_owned(),
    }
}

const fn cancel_grace_ms() -> u64 {
    limits::CANCEL_GRACE_MS
}

/// By reference, as serde asks.
const fn is_cancel_grace(ms: &u64) -> bool {
    *ms == limits::CANCEL_GRACE_MS
}

const fn output_bytes_max() -> u64 {
    limits::STEP_LOG_BYTES_MAX
}

const fn timeout_ms() -> u64 {
    limits::TIMEOUT_MS_DEFAULT
}
