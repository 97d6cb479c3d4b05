//! What can keep a step from ending well, apart from the step itself.

use std::io;
use std::path::{Path, PathBuf};

use super::leases::{Failure, FailureClass, NoSecret};
use crate::domain::pack::TaskError;
use crate::domain::{ArtifactName, StepName};
use crate::limits;
use crate::output::OutputError;

/// The runner, or what it was given, failed. Each case has a stable code that is recorded.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The work folder cannot be used.
    #[error("cannot {attempted} {}: {cause}", path.display())]
    Workspace {
        attempted: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
    /// The payload is not a step's.
    #[error("the payload is not a step's: {0}")]
    Payload(#[from] TaskError),
    /// An artifact of an earlier step cannot be handed over.
    #[error("cannot hand over {name} of step {step}: {cause}")]
    Need {
        step: StepName,
        name: ArtifactName,
        cause: OutputError,
    },
    /// A secret that the step names cannot be handed over.
    #[error("cannot hand over {0}")]
    Secret(NoSecret),
    /// No supervisor could be started.
    #[error("cannot launch the step: {0}")]
    Launch(io::Error),
    /// The program could not be executed.
    #[error("{0}")]
    Refused(String),
    /// The supervisor ended without a report; what was left of the step has been killed.
    #[error("the supervisor of the step was killed")]
    SupervisorLost,
    /// Someone told the supervisor to stop, and it ended the step.
    #[error("the supervisor of the step was stopped by a signal")]
    SupervisorSignalled,
    /// The log could not be kept.
    #[error("cannot keep the output of the step: {0}")]
    Log(OutputError),
    /// A step that succeeded did not leave what it promised.
    #[error("the step left no artifact {name} at {path}")]
    ArtifactMissing { name: ArtifactName, path: String },
    /// What lies there must not be taken.
    #[error("the artifact {name} at {path} is refused: {reason}")]
    ArtifactRefused {
        name: ArtifactName,
        path: String,
        reason: &'static str,
    },
    /// An artifact could not be stored.
    #[error("cannot store the artifact {name}: {cause}")]
    Artifact { name: ArtifactName, cause: OutputError },
    /// `$FASTNESS_OUTPUT` does not hold bounded `key=value` lines.
    #[error("the outputs of the step are refused: {0}")]
    Outputs(String),
}

impl RunnerError {
    /// For `map_err`.
    pub(super) fn workspace<'a>(
        attempted: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> RunnerError + use<'a> {
        move |cause| RunnerError::Workspace {
            attempted,
            path: path.to_owned(),
            cause,
        }
    }

    /// The recorded code.
    pub const fn code(&self) -> &'static str {
        match self {
            RunnerError::Workspace { .. } => "workspace_failed",
            RunnerError::Payload(_) => "payload_refused",
            RunnerError::Need { .. } => "need_unavailable",
            RunnerError::Secret(_) => "secret_unavailable",
            RunnerError::Launch(_) => "launch_failed",
            RunnerError::Refused(_) => "cannot_execute",
            RunnerError::SupervisorLost => "supervisor_lost",
            RunnerError::SupervisorSignalled => "supervisor_signalled",
            RunnerError::Log(_) => "log_failed",
            RunnerError::ArtifactMissing { .. } => "artifact_missing",
            RunnerError::ArtifactRefused { .. } => "artifact_refused",
            RunnerError::Artifact { .. } => "artifact_failed",
            RunnerError::Outputs(_) => "outputs_refused",
        }
    }

    /// True when the same step could end well at another time.
    const fn is_retryable(&self) -> bool {
        match self {
            RunnerError::Payload(_) => false,
            RunnerError::Workspace { .. }
            | RunnerError::Need { .. }
            | RunnerError::Secret(_)
            | RunnerError::Launch(_)
            | RunnerError::Refused(_)
            | RunnerError::SupervisorLost
            | RunnerError::SupervisorSignalled
            | RunnerError::Log(_)
            | RunnerError::ArtifactMissing { .. }
            | RunnerError::ArtifactRefused { .. }
            | RunnerError::Artifact { .. }
            | RunnerError::Outputs(_) => true,
        }
    }

    pub(super) fn failure(&self, exit_code: Option<i32>) -> Failure {
        Failure {
            class: FailureClass::Other,
            message: bounded(self.to_string()),
            code: Some(self.code()),
            exit_code,
            retryable: self.is_retryable(),
        }
    }
}

/// Cuts a text to what may be recorded.
pub(super) fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(limits::TEXT_BYTES_MAX));
    text
}
