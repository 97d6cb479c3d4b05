//! Dead letters: jobs out of retries, and error clusters: failures that look alike.

use serde::{Deserialize, Serialize};

use super::job::{Failure, FailureClass};
use super::{Digest, JobId, RunId, Seq, StepName, Timestamp};
use crate::limits;

/// Names an error cluster: the first 16 hex digits of SHA-256 over class, job type and pattern, each ended by LF.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

const FINGERPRINT_DIGITS: usize = 16;

impl Fingerprint {
    /// The fingerprint of a failure of a job of this type, whose message has this pattern.
    pub fn of(class: FailureClass, job_type: &str, pattern: &str) -> Self {
        let text = format!("{}\n{job_type}\n{pattern}\n", class.as_str());
        let mut digits = Digest::of(text.as_bytes()).to_string();
        digits.truncate(FINGERPRINT_DIGITS);
        Fingerprint(digits)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = super::NameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == FINGERPRINT_DIGITS && text.bytes().all(lower_hex) {
            Ok(Fingerprint(text.to_owned()))
        } else {
            Err(super::NameError::new(
                "a fingerprint has 16 lower-case hex digits",
            ))
        }
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A message without what varies: paths become `<path>`, words with a digit in them, or of eight and more hex digits,
/// become `<n>`. Cut to [`limits::PATTERN_BYTES_MAX`] at a character.
pub fn pattern(message: &str) -> String {
    let mut out = String::with_capacity(message.len().min(limits::PATTERN_BYTES_MAX));
    let mut word = String::new();
    for character in message.chars() {
        if out.len() >= limits::PATTERN_BYTES_MAX {
            break;
        }
        if character.is_alphanumeric() || "/._-".contains(character) {
            word.push(character);
        } else {
            push_word(&mut out, &word);
            word.clear();
            out.push(if character.is_whitespace() { ' ' } else { character });
        }
    }
    push_word(&mut out, &word);
    out.truncate(out.floor_char_boundary(limits::PATTERN_BYTES_MAX));
    out
}

fn push_word(out: &mut String, word: &str) {
    let is_path = word.contains('/') && word.len() > 1;
    let is_hex = word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_path {
        out.push_str("<path>");
    } else if is_hex || word.bytes().any(|byte| byte.is_ascii_digit()) {
        out.push_str("<n>");
    } else {
        out.push_str(word);
    }
}

/// What became of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// The same job is tried again.
    Retried,
    /// Another job does its work.
    Replayed,
    /// Somebody looked at it, and said so.
    Noted,
}

/// How a dead letter ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resolved {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// What became of it.
    pub how: Resolution,
    /// What was given with it.
    pub note: String,
}

/// A job out of retries. Its id is the job's: a job that is tried again and fails again has the same one, open anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeadLetter {
    /// Attempts made.
    pub attempt: u32,
    /// When it came to be.
    pub created_at: Timestamp,
    /// The last failure.
    pub failure: Failure,
    /// Its error cluster.
    pub fingerprint: Fingerprint,
    /// The job.
    pub job: JobId,
    /// What kind of work it is.
    pub job_type: String,
    /// How it ended; none while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Resolved>,
    /// The run it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Its last event.
    pub seq: Seq,
    /// Its name in the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepName>,
}

/// Failures with one fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErrorCluster {
    /// Kind of failure.
    pub class: FailureClass,
    /// Its name.
    pub fingerprint: Fingerprint,
    /// When the first came.
    pub first_at: Timestamp,
    /// What kind of work fails so.
    pub job_type: String,
    /// When the last came.
    pub last_at: Timestamp,
    /// Dead letters of it that are open.
    pub open: u64,
    /// The message without what varies.
    pub pattern: String,
    /// Dead letters of it ever.
    pub total: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_differ_in_numbers_ids_and_paths_have_one_pattern() {
        for (message, expected) in [
            ("exit code 1", "exit code <n>"),
            ("exit code 137", "exit code <n>"),
            ("cannot open /etc/a.conf: denied", "cannot open <path>: denied"),
            ("cannot open /srv/b/c: denied", "cannot open <path>: denied"),
            (
                "job 019c13ec-9e00-7000-ae31-56117b0195c7 is gone",
                "job <n> is gone",
            ),
            ("digest deadbeefcafe differs", "digest <n> differs"),
            (
                "worker w-17 did not renew its lease",
                "worker <n> did not renew its lease",
            ),
            ("a / b", "a / b"),
            ("", ""),
        ] {
            assert_eq!(pattern(message), expected, "{message:?}");
        }
        let long = pattern(&"\u{e4}".repeat(limits::PATTERN_BYTES_MAX));
        assert!(long.len() <= limits::PATTERN_BYTES_MAX && !long.is_empty());
    }

    #[test]
    fn class_and_type_make_other_clusters() {
        let one = Fingerprint::of(FailureClass::Exit, "scan", "exit code <n>");
        assert_eq!(one, Fingerprint::of(FailureClass::Exit, "scan", "exit code <n>"));
        assert_ne!(
            one,
            Fingerprint::of(FailureClass::Timeout, "scan", "exit code <n>")
        );
        assert_ne!(one, Fingerprint::of(FailureClass::Exit, "mail", "exit code <n>"));
        assert_eq!(one.as_str().parse::<Fingerprint>().as_ref(), Ok(&one));
        assert!("ABCDEF0123456789".parse::<Fingerprint>().is_err());
    }
}
