//! What becomes of a file that is refused: the refusal is an event, and the file lies in quarantine.

use std::sync::Arc;

use bytes::Bytes;

use super::intake::IntakeError;
use super::letters::remove_letter;
use crate::bundle::quarantine::{Quarantine, Quarantined};
use crate::bundle::refused::keep_refused;
use crate::bundle::report::{Check, Report, Status, Verdict};
use crate::domain::command::{Command, OrderCommand};
use crate::domain::event::Actor;
use crate::domain::payload::orders::WorkorderRefused;
use crate::domain::rejection::{Code, Rejection};
use crate::domain::{Digest, OrderId, TenantName, Timestamp};
use crate::engine::Handle;

/// The first failed check, in words.
pub(super) fn first_failure(report: &Report) -> String {
    report
        .first_failure()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// A good file that the writer did not accept: it came too late, or another came between. Nothing names what was
/// stored of it.
pub(super) fn rejected(
    (engine, stored): (&Handle, Digest),
    mut report: Report,
    rejection: &Rejection,
) -> Report {
    remove_letter(engine, stored);
    let verdict = match rejection.code {
        Code::OrderFork | Code::OrderExpired | Code::OrderCancelled | Code::IllegalTransition => {
            Verdict::Fork
        }
        _ => Verdict::Malformed,
    };
    report.ok = false;
    report.exit_code = verdict.exit_code();
    report.checks.push(Check {
        n: u8::try_from(report.checks.len() + 1).unwrap_or(u8::MAX),
        name: "acceptance",
        status: Status::Failed,
        member: None,
        line: None,
        seq: None,
        detail: Some(rejection.detail.clone()),
        meaning: None,
    });
    report
}

/// Records a refused file and keeps it in quarantine, in this order: none is kept without an event.
pub(super) async fn refuse(
    (engine, quarantine): (&Handle, &Arc<Quarantine>),
    (tenant, actor): (&TenantName, &Actor),
    file: &Bytes,
    (order_id, origin): (Option<OrderId>, Option<String>),
    report: Report,
) -> Result<IntakeError, IntakeError> {
    let sha256 = Digest::of(file);
    let note = Quarantined {
        at: Timestamp::from_ms(engine.clock().wall_ms()),
        by: actor.id.clone(),
        bytes: file.len() as u64,
        detail: first_failure(&report),
        exit_code: report.exit_code,
        first: None,
        kind: report.kind().to_owned(),
        origin,
        sha256,
        size: None,
    };
    let refused = WorkorderRefused {
        detail: note.detail.clone(),
        exit_code: i32::from(report.exit_code),
        order_id,
        sha256,
    };
    let command = Command::Order(Box::new(OrderCommand::Refuse(refused)));
    engine.submit(tenant, actor, command).await?;
    let (shared, bytes) = (quarantine.clone(), file.clone());
    let kept = keep_refused(engine, quarantine, file.len() as u64, sha256, move || {
        shared.keep_bytes(&bytes, note)
    });
    kept.await?;
    Ok(IntakeError::Refused(Box::new(report)))
}
