//! Rejections: the caller may not. Each has a stable code which is public API, and a kind which decides the status.

use super::apply::ApplyError;
use super::state::Unavailable;

/// What sort of refusal; `api` turns it into a status, `cli` into an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectionKind {
    /// What was named does not exist for this caller.
    NotFound,
    /// It exists, but does not stand where the request needs it.
    Conflict,
    /// The request itself does not hold together.
    Invalid,
    /// A stated bound was passed.
    TooLarge,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $kind:ident;)*) => {
        /// Stable codes of refusals.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// The code as answers carry it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// What sort of refusal it is.
            pub const fn kind(self) -> RejectionKind {
                match self { $(Code::$variant => RejectionKind::$kind,)* }
            }
        }
    };
}

codes! {
    /// No such job, run, pack, tenant or token for this caller.
    NotFound = "not_found", NotFound;
    /// The state table does not allow it.
    IllegalTransition = "illegal_transition", Conflict;
    /// The lease named is over.
    StaleEpoch = "stale_epoch", Conflict;
    /// Something of this name exists already.
    NameTaken = "name_taken", Conflict;
    /// Imported ledgers can only be read.
    ForeignReadOnly = "foreign_read_only", Conflict;
    /// The run has as many jobs running as it may.
    RunFull = "run_full", Conflict;
    /// Nothing of the run starts, and it cannot be paused twice.
    RunPaused = "run_paused", Conflict;
    /// Only what is paused can be resumed.
    RunNotPaused = "run_not_paused", Conflict;
    /// As many jobs of the concurrency key are running as may.
    KeyFull = "concurrency_full", Conflict;
    /// The idempotency key came before, with another request.
    IdempotencyConflict = "idempotency_conflict", Conflict;
    /// Whoever started a run does not count at its gates.
    SelfApproval = "self_approval", Conflict;
    /// Each approval is another person's.
    AlreadyApproved = "already_approved", Conflict;
    /// The gate asks about something else than what was looked at.
    GateChanged = "gate_changed", Conflict;
    /// The job belongs to a run, which is replayed as a whole or in part.
    InRun = "in_run", Conflict;
    /// The import would not extend what is held.
    NotContinuous = "not_continuous", Conflict;
    /// Another key is pinned for this origin.
    PinConflict = "pin_conflict", Conflict;
    /// Only what is paused or dead can be resumed.
    WebhookActive = "webhook_active", Conflict;
    /// Only what is active can be paused.
    WebhookNotActive = "webhook_not_active", Conflict;
    /// It does not stand as whoever asks has seen it.
    WebhookChanged = "webhook_changed", Conflict;
    /// Another work order of this id is held.
    OrderFork = "order_fork", Conflict;
    /// The time of the work order is over.
    OrderExpired = "order_expired", Conflict;
    /// The hub cancelled the work order.
    OrderCancelled = "order_cancelled", Conflict;
    /// The work order names who may start it.
    OrderPerson = "order_person", Conflict;
    /// Persons have to approve before the work order starts.
    ApprovalMissing = "approval_missing", Conflict;
    /// It has no redacted fields.
    NothingRedacted = "nothing_redacted", Conflict;
    /// The values of its redacted fields were erased.
    DisclosureErased = "disclosure_erased", Conflict;
    /// A bundle of this very enclave, whose ledgers are here already.
    OwnBundle = "bundle_of_own_enclave", Invalid;
    /// An input without default was not given.
    MissingInput = "missing_input", Invalid;
    /// An input that the pack does not have.
    UnknownInput = "unknown_input", Invalid;
    /// A secret that is not there.
    UnknownSecret = "unknown_secret", Invalid;
    /// An input of the wrong type.
    InvalidInput = "invalid_input", Invalid;
    /// A sensitive field that is no field of the payload.
    SensitiveField = "sensitive_field", Invalid;
    /// An input of a work order that its pack calls sensitive.
    SensitiveInput = "sensitive_input", Invalid;
    /// A payload outside the canonical profile, which has no fields that could be taken out.
    SensitiveText = "sensitive_text", Invalid;
    /// A name that redaction uses.
    ReservedName = "reserved_name", Invalid;
    /// A field out of its bounds.
    InvalidField = "invalid_field", Invalid;
    /// The graph has a cycle.
    Cycle = "cycle", Invalid;
    /// More than a stated bound.
    TooLarge = "too_large", TooLarge;
    /// As many as the appliance holds.
    LimitReached = "limit_reached", Conflict;
}

/// A refusal: nothing changed, no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", code.as_str())]
pub struct Rejection {
    /// Stable code.
    pub code: Code,
    /// For people: what was refused and why.
    pub detail: String,
    /// JSON pointer to the field, where it is one.
    pub pointer: Option<String>,
}

impl Rejection {
    /// A refusal that concerns no single field.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Rejection {
            code,
            detail: detail.into(),
            pointer: None,
        }
    }

    /// A refusal of one field.
    pub fn field(code: Code, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Rejection {
            code,
            detail: detail.into(),
            pointer: Some(pointer.into()),
        }
    }

    /// No such thing for this caller: the same words for what is foreign and what never was.
    pub fn not_found(what: &str) -> Self {
        Rejection::new(Code::NotFound, format!("no such {what}"))
    }
}

/// Why a command was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The caller may not.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The system could not look.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A decision made an event that `apply` refuses: our bug. The writer stops.
    #[error("a decision contradicts the state: {0}")]
    Illegal(ApplyError),
}
