//! A pack run as the server shows it.

use serde::Deserialize;

use crate::domain::Timestamp;

/// A run with its steps.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// The event up to which this is true; −1 before the first.
    #[serde(default = "nothing_yet")]
    pub as_of: i64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its id.
    pub id: String,
    /// What it runs.
    pub pack: PackOfRun,
    /// Where it stands.
    pub status: String,
    /// Its steps, in the order of the pack.
    #[serde(default)]
    pub steps: Vec<StepView>,
}

const fn nothing_yet() -> i64 {
    -1
}

/// A pack version.
#[derive(Debug, Clone, Deserialize)]
pub struct PackOfRun {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
}

/// One step.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Tries so far.
    pub attempt: u32,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What went wrong.
    pub error: Option<ErrorView>,
    /// Exit code, where there was one.
    pub exit_code: Option<i32>,
    /// Its name.
    pub id: String,
    /// When its last try began.
    pub started_at: Option<Timestamp>,
    /// Where it stands.
    pub status: String,
}

/// What went wrong.
#[derive(Debug, Clone, Deserialize)]
pub struct ErrorView {
    /// For people.
    pub message: String,
}

impl RunView {
    /// Nothing can happen to it any more.
    pub fn is_over(&self) -> bool {
        matches!(
            self.status.as_str(),
            "completed" | "partially_failed" | "failed" | "cancelled"
        )
    }

    /// All went well.
    pub fn is_completed(&self) -> bool {
        self.status == "completed"
    }

    /// How long it took, or has taken by `now`.
    pub fn took_ms(&self, now: Timestamp) -> u64 {
        self.ended_at.unwrap_or(now).since_ms(self.created_at)
    }
}

impl StepView {
    /// How long its last try took, or has taken by `now`; none before it began.
    pub fn took_ms(&self, now: Timestamp) -> Option<u64> {
        let end = self.ended_at.unwrap_or(now);
        self.started_at.map(|start| end.since_ms(start))
    }

    /// What there is to say besides its state.
    pub fn remark(&self) -> String {
        let mut remarks = Vec::new();
        if self.attempt > 1 {
            remarks.push(format!("attempt {}", self.attempt));
        }
        match (&self.error, self.exit_code) {
            (Some(error), _) => remarks.push(error.message.clone()),
            (None, Some(code)) if code != 0 => remarks.push(format!("exit code {code}")),
            (None, _) => {}
        }
        remarks.join(", ")
    }
}
