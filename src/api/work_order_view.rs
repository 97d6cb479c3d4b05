//! The shapes of work orders: what is given to issue one, and how one is shown at the hub and at the enclave.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use crate::bundle::order::evidence::{Evidence, stage};
use crate::bundle::order::intake::IntakeError;
use crate::bundle::order::issue::IssueError;
use crate::bundle::order::write::WriteError;
use crate::domain::canonical::Value;
use crate::domain::order::{IssuedOrder, ReceivedOrder};
use crate::domain::{Digest, EnclaveName, OrderId, PackName, RunName, TenantName, Timestamp};

/// A pack to send: its source, or one that is registered here.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GivenPack {
    /// One that is registered here.
    #[schema(value_type = Option<String>)]
    pub name: Option<PackName>,
    /// YAML or JSON, sent byte for byte.
    pub source: Option<String>,
    /// Its version, beside its name; the latest when none is given.
    pub version: Option<u32>,
}

/// A run to ask for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GivenRun {
    /// What the pack asks for.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub inputs: BTreeMap<String, Value>,
    /// Unique within the order; the pack's name when none is given.
    #[schema(value_type = Option<String>)]
    pub name: Option<RunName>,
    /// One of the order's packs.
    #[schema(value_type = String, example = "host-inventory")]
    pub pack: PackName,
}

/// A work order to issue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"for": ["0123456789abcdef"], "packs": [{"name": "host-inventory"}],
    "runs": [{"pack": "host-inventory", "inputs": {"root": "/usr/bin"}}]}))]
pub struct NewWorkOrder {
    /// Which enclaves may run it, by their 16 hex digits.
    #[serde(rename = "for")]
    #[schema(value_type = Vec<String>)]
    pub enclaves: Vec<EnclaveName>,
    /// From then on it may not start any more.
    #[schema(value_type = Option<String>, example = "2026-12-31T00:00:00.000Z")]
    pub expires_at: Option<Timestamp>,
    /// The key under which this is not done twice; the header `Idempotency-Key` says the same.
    pub idempotency_key: Option<String>,
    /// What it brings; every pack is asked for by a run.
    pub packs: Vec<GivenPack>,
    /// Who may start it there, by the persons behind their tokens; none: whoever may start runs.
    #[serde(default)]
    pub persons: Vec<String>,
    /// What it asks for.
    pub runs: Vec<GivenRun>,
}

/// What one imported ledger says about an order that was issued here.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceView {
    /// Where it was taken in.
    #[schema(value_type = String)]
    enclave: EnclaveName,
    /// True when it is the order that was issued, byte for byte. What does not match moves the state of the order nowhere.
    matches: bool,
    /// The order as it stands there; `seq` is that of the last event that says so.
    #[schema(value_type = Object)]
    order: ReceivedOrder,
    /// The ledger that says so.
    origin: String,
    /// Its root at `size`.
    #[schema(value_type = String)]
    root: Digest,
    /// How much of it is held here.
    size: u64,
    /// The read-only tenant here.
    #[schema(value_type = String)]
    tenant: TenantName,
}

impl From<Evidence> for EvidenceView {
    fn from(evidence: Evidence) -> Self {
        EvidenceView {
            enclave: evidence.enclave,
            matches: evidence.matches,
            order: evidence.order,
            origin: evidence.origin,
            root: evidence.root,
            size: evidence.size,
            tenant: evidence.tenant,
        }
    }
}

/// A work order, as far as it is known here.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkOrderView {
    /// Approvals that are still missing, of one that was taken in here.
    #[serde(skip_serializing_if = "Option::is_none")]
    approvals_missing: Option<u32>,
    /// The last event at which this is true; only where one is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<i64>,
    /// What imported ledgers say, of one that was issued here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<EvidenceView>,
    /// Identity.
    #[schema(value_type = String)]
    id: OrderId,
    /// As it was issued here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    issued: Option<IssuedOrder>,
    /// As it was taken in here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    received: Option<ReceivedOrder>,
    /// `imported`, `started`, `reported`, `cancelled`; at the hub also `issued` and `recalled`, and the furthest that it
    /// came anywhere, as matching evidence says.
    #[schema(example = "reported")]
    state: &'static str,
}

impl WorkOrderView {
    /// An order that is known as issued, as taken in, or as both. None for neither.
    pub fn new(
        issued: Option<(IssuedOrder, Vec<Evidence>)>,
        received: Option<ReceivedOrder>,
    ) -> Option<Self> {
        let (id, state) = match (&issued, &received) {
            (_, Some(received)) => (received.id, received.state.as_str()),
            (Some((issued, evidence)), None) => (issued.id, stage(issued, evidence).as_str()),
            (None, None) => return None,
        };
        let (issued, evidence) = issued.map_or((None, Vec::new()), |(issued, evidence)| {
            (
                Some(issued),
                evidence.into_iter().map(EvidenceView::from).collect(),
            )
        });
        Some(WorkOrderView {
            approvals_missing: received.as_ref().map(ReceivedOrder::approvals_missing),
            as_of: None,
            evidence,
            id,
            issued,
            received,
            state,
        })
    }

    /// Its identity.
    pub fn id(&self) -> OrderId {
        self.id
    }

    /// Says at which event it is true.
    pub fn at(mut self, as_of: i64) -> Self {
        self.as_of = Some(as_of);
        self
    }
}

/// Why an order that was taken in did not start with it.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotStarted {
    /// Stable code.
    pub code: String,
    /// For people.
    pub detail: String,
}

/// What became of a file.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TakenView {
    /// True when it was here before: nothing changed.
    pub already: bool,
    /// True for a cancellation.
    pub cancellation: bool,
    /// Why it was not started, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_started: Option<NotStarted>,
    /// The order as it stands now.
    pub order: WorkOrderView,
    /// The checklist.
    #[schema(value_type = Object)]
    pub report: crate::bundle::Report,
}

impl From<IssueError> for ApiError {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::Write(WriteError::Content { pointer, detail }) => {
                ApiError::field("order_invalid", pointer, detail)
            }
            IssueError::Write(WriteError::SensitiveInput { ref pointer, .. }) => {
                ApiError::field("sensitive_input", pointer.clone(), error.to_string())
            }
            IssueError::Write(WriteError::Statement(error)) => {
                ApiError::invalid("order_invalid", error.to_string())
            }
            IssueError::Foreign(_) => ApiError::conflict("foreign_read_only", error.to_string()),
            IssueError::Unknown => ApiError::not_found("work order"),
            IssueError::Command(error) => error.into(),
            IssueError::Store(error) => error.into(),
            IssueError::Ledger(error) => error.into(),
            IssueError::Disk(_, error) => ApiError::storage(&error),
            IssueError::Write(_) | IssueError::Before(_) => ApiError::internal(error.to_string()),
        }
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Refused(report) => {
                let detail = IntakeError::Refused(report.clone()).to_string();
                let report = serde_json::to_value(&*report).unwrap_or_default();
                ApiError::invalid("order_refused", detail).with_extra("report", report)
            }
            IntakeError::Unknown => ApiError::not_found("work order"),
            IntakeError::Command(error) => error.into(),
            IntakeError::Store(error) => error.into(),
            IntakeError::Ledger(error) => error.into(),
            IntakeError::Pins(error) => error.into(),
            IntakeError::Disk(_, error) => ApiError::storage(&error),
            IntakeError::Stored(..) | IntakeError::Key(_) => ApiError::internal(error.to_string()),
        }
    }
}
