//! Exit codes, and how an error finds its own. What scripts rely on: a number never changes its meaning.

use std::process::ExitCode;

use crate::domain::rejection::{Code, RejectionKind};
use crate::egress::EgressError;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Good,
    /// The job or run failed, or a check found damage.
    Failed,
    /// The command line, or a file named in it, cannot be used.
    Usage,
    /// No such thing.
    NotFound,
    /// Not allowed, or not signed in.
    Denied,
    /// It stands where the command does not fit.
    Conflict,
    /// No server answers.
    Unreachable,
    /// The server is busy or full; later it may go.
    Busy,
    /// The server cannot start: port, lock, disk.
    CannotStart,
    /// A bundle was not accepted, by the code of its report (10 to 14).
    Refused(u8),
    /// Not canonical JSON, not a bundle.
    Malformed,
    /// The given time is over.
    TimedOut,
    /// Ended by the operator.
    Interrupted,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Good => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::Denied => 4,
            Exit::Conflict => 5,
            Exit::Unreachable => 6,
            Exit::Busy => 7,
            Exit::CannotStart => 9,
            Exit::Refused(code) => code,
            Exit::Malformed => 14,
            Exit::TimedOut => 124,
            Exit::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// An error that knows its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// Says `message` and ends with `exit`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure {
            exit,
            message: message.into(),
        }
    }

    /// The command line cannot be used as it is.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, message)
    }
}

/// What an error and its causes say. Many of ours say their cause themselves: it is not said twice.
pub fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let says = cause.to_string();
        if text.contains(&says) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&says);
    }
    text
}

/// The exit code that an error stands for; the outermost cause that has one decides.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    // One that was laid around another as its context is found by the error alone, not among the causes.
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.exit;
    }
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.exit;
        }
        if let Some(egress) = cause.downcast_ref::<EgressError>() {
            return exit_of_egress(egress);
        }
        // Whoever reads our output has seen enough.
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::BrokenPipe
        {
            return Exit::Good;
        }
    }
    Exit::Failed
}

fn exit_of_egress(error: &EgressError) -> Exit {
    match error {
        EgressError::Address(_) | EgressError::Tls(_) | EgressError::NotLoopback(_) => Exit::Usage,
        EgressError::Connect { .. }
        | EgressError::Slow(_)
        | EgressError::Broken { .. }
        | EgressError::NoReceiver(_)
        | EgressError::Lookup { .. } => Exit::Unreachable,
        EgressError::Sealed => Exit::Conflict,
    }
}

/// Whose fault a refused request is, where its code does not say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Ours: the request.
    Request,
    /// The server's.
    Server,
}

/// The exit code for a stable problem code of the interface.
pub fn exit_of_problem(code: &str, fault: Fault) -> Exit {
    match code {
        "unauthenticated" | "csrf_required" | "host_not_allowed" => return Exit::Denied,
        "limit_reached" | "rate_limited" => return Exit::Busy,
        "busy" | "stopping" | "projection_rebuilding" | "storage_full" | "outcome_unknown" => {
            return Exit::Busy;
        }
        "no_checkpoint" | "pruned" => return Exit::NotFound,
        "foreign_read_only"
        | "sealed_mode"
        | "precondition_failed"
        | "upload_in_use"
        | "wrong_offset"
        | "key_in_use"
        | "root_outdated"
        | "rotation_failed" => return Exit::Conflict,
        // A root of trust that is refused ends the program as a bundle does.
        "root_roll_back" | "root_fork" => return Exit::Refused(13),
        "root_version_gap" => return Exit::Refused(11),
        "root_own_threshold_unmet"
        | "root_old_threshold_unmet"
        | "root_bad_signature"
        | "root_other_enclave"
        | "root_not_anchored"
        | "root_not_pinned"
        | "root_lacks_key"
        | "root_revocation_dropped" => {
            return Exit::Refused(12);
        }
        "root_of_own_enclave" => return Exit::Usage,
        code if code.starts_with("root_") => return Exit::Refused(14),
        _ => {}
    }
    if let Some(known) = Code::ALL.iter().find(|known| known.as_str() == code) {
        return match known.kind() {
            RejectionKind::NotFound => Exit::NotFound,
            RejectionKind::Conflict => Exit::Conflict,
            RejectionKind::Invalid | RejectionKind::TooLarge => Exit::Usage,
        };
    }
    // The interface names its codes by these endings.
    let ends = |endings: &[&str]| endings.iter().any(|ending| code.ends_with(ending));
    if ends(&["_forbidden", "scope_required", "tenant_required"]) {
        return Exit::Denied;
    }
    if ends(&["not_found"]) {
        return Exit::NotFound;
    }
    if ends(&["_conflict", "_exists"]) {
        return Exit::Conflict;
    }
    match fault {
        Fault::Request => Exit::Usage,
        Fault::Server => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_code_decides_the_exit_code() {
        for (code, exit) in [
            ("not_found", 3),
            ("unauthenticated", 4),
            ("scope_required", 4),
            ("tenant_forbidden", 4),
            ("pin_conflict", 5),
            ("busy", 7),
            ("storage_full", 7),
            ("limit_reached", 7),
            ("missing_input", 2),
            ("never_heard_of", 2),
        ] {
            assert_eq!(exit_of_problem(code, Fault::Request).code(), exit, "{code}");
        }
        assert_eq!(exit_of_problem("internal", Fault::Server), Exit::Failed);
    }

    #[test]
    fn a_cause_that_is_said_already_is_not_said_again() {
        #[derive(Debug, thiserror::Error)]
        #[error("opening it: {0}")]
        struct Opening(#[source] std::io::Error);
        let error = anyhow::Error::new(Opening(std::io::Error::other("no")));
        assert_eq!(told(&error), "opening it: no");
        assert_eq!(told(&error.context("starting")), "starting: opening it: no");
    }

    #[test]
    fn an_error_keeps_its_exit_code_under_added_context() {
        let error = anyhow::Error::new(Failure::new(Exit::Conflict, "taken")).context("making it");
        assert_eq!(exit_of(&error), Exit::Conflict);
        let inner = anyhow::Error::new(Failure::usage("inner"));
        let outer = inner.context(Failure::new(Exit::Refused(12), "outer"));
        assert_eq!(exit_of(&outer), Exit::Refused(12), "the outermost decides");
        assert_eq!(exit_of(&anyhow::anyhow!("anything")), Exit::Failed);
        let refused = "https://127.0.0.1:1"
            .parse::<crate::egress::Target>()
            .unwrap_err();
        assert_eq!(exit_of(&refused.into()), Exit::Usage);
    }
}
