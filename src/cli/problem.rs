//! A refusal of the server, in its own words, with the exit code that its stable code stands for.

use serde::Deserialize;

use super::exit::{Exit, Failure, Fault, exit_of_problem};
use super::style::shown;

/// What of `application/problem+json` is told on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// Stable code.
    pub code: String,
    /// For people.
    pub detail: String,
    /// Bad fields.
    pub errors: Vec<FieldProblem>,
    /// The checklist of a bundle that was refused.
    pub report: Option<RefusedReport>,
    /// Finds the request in the server's log.
    #[serde(rename = "traceId")]
    pub trace_id: String,
    #[serde(skip)]
    is_server_fault: bool,
}

/// One bad field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FieldProblem {
    /// Column in characters, from 1, where the request has lines.
    pub column: Option<u32>,
    /// What is wrong with it.
    pub detail: String,
    /// Line, from 1, where the request has lines.
    pub line: Option<u32>,
    /// JSON pointer to it.
    pub pointer: String,
}

/// What of a checklist decides how the program ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RefusedReport {
    /// 10 to 14.
    pub exit_code: u8,
}

/// A refusal as an error: keeps the problem for verbs that can say more about it.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct Refused {
    /// What the server said.
    pub problem: Problem,
    #[source]
    source: Failure,
}

impl Problem {
    /// Reads an answer that is not a success. Whatever else it is, the status line says something.
    pub fn read(body: &[u8], status: &str, is_server_fault: bool) -> Self {
        let problem = serde_json::from_slice(body)
            .ok()
            .filter(|problem: &Problem| !problem.code.is_empty());
        let unknown = || Problem {
            detail: format!("the server answered {status}"),
            ..Problem::default()
        };
        Problem {
            is_server_fault,
            ..problem.unwrap_or_else(unknown)
        }
    }

    /// Its exit code.
    pub fn exit(&self) -> Exit {
        let fault = if self.is_server_fault {
            Fault::Server
        } else {
            Fault::Request
        };
        exit_of_problem(&self.code, fault)
    }

    /// The error to end with.
    pub fn into_failure(self, had_token: bool) -> anyhow::Error {
        let mut message = if self.code.is_empty() {
            shown(&self.detail).into_owned()
        } else {
            format!("{} ({})", shown(&self.detail), shown(&self.code))
        };
        for error in self.errors.iter().filter(|error| error.detail != self.detail) {
            message.push_str(&format!(
                "\n  {}: {}",
                shown(&error.pointer),
                shown(&error.detail)
            ));
        }
        if let [only] = self.errors.as_slice()
            && only.detail == self.detail
            && !only.pointer.is_empty()
        {
            message.push_str(&format!(" at {}", shown(&only.pointer)));
        }
        if self.code == "unauthenticated" && !had_token {
            message.push_str("\n  give the token with --token-file FILE, or in FASTNESS_TOKEN_FILE");
        }
        if self.is_server_fault && !self.trace_id.is_empty() {
            message.push_str(&format!(
                "\n  trace {} in the server's log",
                shown(&self.trace_id)
            ));
        }
        let source = Failure::new(self.exit(), message);
        Refused {
            problem: self,
            source,
        }
        .into()
    }
}

/// The problem behind an error, when a server refused.
pub fn problem_of(error: &anyhow::Error) -> Option<&Problem> {
    error.downcast_ref::<Refused>().map(|refused| &refused.problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::exit_of;

    #[test]
    fn a_refusal_keeps_its_words_and_its_exit_code() {
        let body = br#"{"code":"missing_input","detail":"two fields are wrong","status":422,"title":"x","type":"y","traceId":"t",
            "errors":[{"pointer":"/inputs/a","detail":"no"},{"pointer":"/inputs/b","detail":"nor this"}]}"#;
        let error = Problem::read(body, "422", false).into_failure(true);
        assert_eq!(exit_of(&error), Exit::Usage);
        let text = format!("{error:#}");
        assert!(
            text.contains("/inputs/b: nor this") && text.contains("missing_input"),
            "{text}"
        );
        assert_eq!(problem_of(&error).unwrap().errors.len(), 2);
    }

    #[test]
    fn an_answer_that_is_no_problem_document_is_still_told() {
        let error = Problem::read(b"<html>", "502 Bad Gateway", true).into_failure(true);
        assert_eq!(exit_of(&error), Exit::Failed);
        assert!(error.to_string().contains("502 Bad Gateway"));
        let error = Problem::read(
            br#"{"code":"unauthenticated","detail":"a token is needed"}"#,
            "401",
            false,
        );
        let error = error.into_failure(false);
        assert_eq!(exit_of(&error), Exit::Denied);
        assert!(error.to_string().contains("--token-file"));
    }
}
