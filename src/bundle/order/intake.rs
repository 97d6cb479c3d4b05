//! The enclave's side: an order is verified, stored by its digest and flushed, then recorded; started when people say so.
//!
//! Promises: what is refused lies in quarantine and is an event; the same order twice is done once; all runs of an order are
//! made by one command, so that a crash leaves it started or not. A cancellation that was recorded is carried through.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;

use super::issue::{here, unread};
use super::letters::{read_letter, remove_letter, store_letter, store_order, unpadded, was_not_taken};
use super::manifest::{OrderPredicate, Statement};
use super::refusal::{first_failure, refuse, rejected};
use super::signer::{Given, Signer, signer};
use super::verify::{Held, Options, Outcome, verify};
use crate::bundle::import::ImportError;
use crate::bundle::quarantine::Quarantine;
use crate::bundle::report::{Report, Verdict};
use crate::bundle::roots::{self, RootsError};
use crate::bundle::vouched;
use crate::domain::command::{Command, HubCancel, OrderCommand, OrderContent, OrderNovelty, Reply};
use crate::domain::event::Actor;
use crate::domain::order::{OrderState, ReceivedOrder};
use crate::domain::payload::orders::{OrdersKeyPinned, WorkorderImported};
use crate::domain::rejection::{Code, Rejection};
use crate::domain::state::{Kind, View};
use crate::domain::{Digest, EnclaveName, OrderId, TenantName, Timestamp};
use crate::engine::{CommandError, Handle, SubmitError};
use crate::ledger::LedgerError;
use crate::store::StoreError;
use crate::trust::{PublicKey, TrustError};

/// One file is taken in at a time: whether another tenant holds an order is looked up before it is recorded. Held while one
/// file is judged, stored and recorded.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Why nothing was taken in, or started.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The file was refused; it lies in quarantine.
    #[error("the work order was refused: {}", first_failure(.0))]
    Refused(Box<Report>),
    /// There is no such order in this tenant.
    #[error("no such work order")]
    Unknown,
    /// The stored file is gone, or is not what was taken in.
    #[error("the stored work order {0} cannot be used: {1}")]
    Stored(Digest, String),
    /// The writer did not accept the event.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The projection cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledgers cannot be listed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A pinned key cannot be read.
    #[error(transparent)]
    Key(#[from] TrustError),
    /// What is held or pinned of the hub cannot be read, a pin was refused, or the quarantine cannot be written.
    #[error(transparent)]
    Pins(#[from] ImportError),
    /// A file.
    #[error("{0}: {1}")]
    Disk(&'static str, #[source] io::Error),
}

/// What was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// True when nothing changed: the same file came before.
    pub already: bool,
    /// True for a cancellation.
    pub is_cancellation: bool,
    /// The order as it stands now.
    pub order: ReceivedOrder,
    /// The checklist.
    pub report: Report,
}

/// Verifies an order, or a cancellation, and takes it in. Who must have signed it is for `signer` to say. `approvers`
/// persons have to approve before it starts. Awaits the writer.
///
/// # Errors
/// [`IntakeError::Refused`] carries the checklist; the file is then in quarantine.
pub async fn take_in(
    (engine, quarantine): (&Handle, &Arc<Quarantine>),
    (tenant, actor): (&TenantName, &Actor),
    file: &Bytes,
    given: Option<Given>,
    approvers: u32,
) -> Result<Taken, IntakeError> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (shared, whose, bytes) = (engine.clone(), tenant.clone(), file.clone());
    let (judged, to_pin) = off_the_runtime(move || judge(&shared, &whose, &bytes, given)).await?;
    let report = judged.report.clone();
    let about = (
        judged.order_id(),
        judged.statement.as_ref().map(|one| one.origin().to_owned()),
    );
    let refuse = async |report| {
        let about = about.clone();
        Err(refuse((engine, quarantine), (tenant, actor), file, about, report).await?)
    };
    let (Some(statement), Some(tar_sha256), Some(key_id), true) =
        (judged.statement, judged.tar_sha256, judged.key_id, report.ok)
    else {
        return refuse(report).await;
    };
    if let Some(key) = to_pin {
        let pinned = OrdersKeyPinned {
            hub: statement.hub().clone(),
            orders_key: key.to_pem()?,
            replace: false,
        };
        pin(engine, actor, pinned).await?;
    }
    let is_cancellation = matches!(statement, Statement::Cancellation(..));
    let Some(command) = command_of(statement, judged.content, (tar_sha256, key_id), approvers) else {
        return refuse(report).await;
    };
    let keep = if is_cancellation {
        store_letter
    } else {
        store_order
    };
    let is_new = store(engine, tar_sha256, file, keep).await?;
    let taken = match change(engine, tenant, actor, command).await {
        Err(IntakeError::Command(CommandError::Rejected(rejection))) => {
            return refuse(rejected((engine, tar_sha256), report, &rejection)).await;
        }
        Err(error) => {
            if is_new && matches!(&error, IntakeError::Command(error) if was_not_taken(error)) {
                remove_letter(engine, tar_sha256);
            }
            return Err(error);
        }
        Ok(taken) => taken,
    };
    let (order, novelty) = taken;
    if is_cancellation {
        let stopped = order.cancelled.as_ref().and_then(|stopped| stopped.tar_sha256);
        if stopped != Some(tar_sha256) {
            // It was cancelled before, by another file or by people here.
            remove_letter(engine, tar_sha256);
        }
        stop_runs(engine, tenant, actor, &order).await?;
    }
    Ok(Taken {
        already: novelty == OrderNovelty::Existing,
        is_cancellation,
        order,
        report,
    })
}

/// What is asked of the writer about a good file; none for an order that holds nothing.
fn command_of(
    statement: Statement,
    content: Option<OrderContent>,
    (tar_sha256, key_id): (Digest, Digest),
    approvers: u32,
) -> Option<OrderCommand> {
    Some(match statement {
        Statement::Order(order, _) => {
            OrderCommand::Import(recorded(*order, (tar_sha256, key_id), approvers), content?)
        }
        Statement::Cancellation(cancel, _) => OrderCommand::Cancel {
            id: cancel.order_id,
            reason: cancel.reason,
            by_hub: Some(HubCancel {
                hub: cancel.hub,
                order_sha256: cancel.order_sha256,
                origin: cancel.origin,
                tar_sha256,
            }),
        },
    })
}

fn recorded(
    order: OrderPredicate,
    (tar_sha256, key_id): (Digest, Digest),
    approvers: u32,
) -> WorkorderImported {
    WorkorderImported {
        approvers,
        expires_at: order.expires_at,
        hub: order.hub,
        key_id,
        order_id: order.order_id,
        origin: order.origin,
        persons: order.persons,
        runs: order.runs,
        tar_sha256,
    }
}

/// Stores a file the way that `keep` does, without what its frame was padded with; true when it was not there before.
async fn store(
    engine: &Handle,
    tar_sha256: Digest,
    file: &Bytes,
    keep: fn(&Handle, Digest, &[u8]) -> io::Result<bool>,
) -> Result<bool, IntakeError> {
    let (engine, file) = (engine.clone(), file.clone());
    off_the_runtime(move || {
        let stored = unpadded(&file).and_then(|file| keep(&engine, tar_sha256, &file));
        stored.map_err(|error| IntakeError::Disk("storing the work order", error))
    })
    .await
}

/// Runs what blocks and computes on a thread that may.
pub(super) async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IntakeError> + Send + 'static,
) -> Result<T, IntakeError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(CommandError::Failed(SubmitError::Stopped).into()))
}

/// Opens bytes as often as verification needs.
pub fn opener(file: &Bytes) -> impl Fn() -> io::Result<Box<dyn Read>> + use<> {
    let file = file.clone();
    move || Ok(Box::new(io::Cursor::new(file.clone())))
}

/// Verifies against what is known of the hub and held here. Gives a key that is to be pinned as well.
fn judge(
    engine: &Handle,
    tenant: &TenantName,
    file: &Bytes,
    given: Option<Given>,
) -> Result<(Outcome, Option<PublicKey>), IntakeError> {
    let unreadable = |error| IntakeError::Disk("reading the work order", error);
    let open = opener(file);
    let look = verify(&open, &Options::default()).map_err(unreadable)?;
    let signer = match &look.claims.hub {
        Some(hub) => signer(engine, hub, look.claims.key_id, given)?,
        None => Signer::default(),
    };
    let mut other_keys = Vec::new();
    let mut held = None;
    if let Some(statement) = &look.statement {
        if let Some(keys) = vouched::pinned(engine, statement.origin())? {
            other_keys.push((keys.export.id().digest(), "export"));
            other_keys.push((keys.log.id().digest(), "log"));
        }
        held = find(engine, statement.order_id(), statement.hub())?;
    }
    let here = here(engine);
    let now = Timestamp::from_ms(engine.clock().wall_ms());
    let options = Options {
        orders_key: signer.key,
        no_key: signer.why.as_deref(),
        other_keys: &other_keys,
        here: here.as_ref().map(|here| (here, now)),
        held: Some(match &held {
            None => Held::Nothing,
            Some((holder, order)) if holder == tenant => Held::Here(order),
            Some(_) => Held::Elsewhere,
        }),
    };
    let outcome = verify(&open, &options).map_err(unreadable)?;
    Ok((outcome, signer.to_pin))
}

/// The order of this id that one of our own tenants took in. A cancellation by another hub, of an order that never came, says
/// nothing of this hub's.
fn find(
    engine: &Handle,
    id: OrderId,
    hub: &EnclaveName,
) -> Result<Option<(TenantName, ReceivedOrder)>, IntakeError> {
    let snapshot = engine.read().map_err(unread)?;
    for tenant in engine.tenants()? {
        if tenant.is_foreign() {
            continue;
        }
        let view = snapshot.view(&tenant);
        let view: &dyn View = &view;
        let order = view.received_order(id);
        let order = order.map_err(|error| StoreError::Damaged(error.0))?;
        if let Some(order) = order.filter(|order| order.binds(hub)) {
            return Ok(Some((tenant, order)));
        }
    }
    Ok(None)
}

/// Pins the key that signs the orders of a hub. A refusal is recorded.
///
/// # Errors
/// Another key is pinned and is not to be replaced; the writer did not accept the event.
pub async fn pin(engine: &Handle, actor: &Actor, pinned: OrdersKeyPinned) -> Result<(), IntakeError> {
    let command = Command::Order(Box::new(OrderCommand::PinKey(pinned)));
    match engine.submit(&TenantName::system(), actor, command).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = RootsError::Command(error);
            let noted = roots::note_refusal(engine, actor, "pin", None, error).await;
            Err(ImportError::Roots(noted).into())
        }
    }
}

/// The key pinned for the orders of a hub.
///
/// # Errors
/// When the projection or the key cannot be read.
pub fn pinned(engine: &Handle, hub: &EnclaveName) -> Result<Option<PublicKey>, IntakeError> {
    let (snapshot, system) = (engine.read().map_err(unread)?, TenantName::system());
    let view = snapshot.view(&system);
    let view: &dyn View = &view;
    let pin = view
        .orders_pin(hub)
        .map_err(|error| StoreError::Damaged(error.0))?;
    Ok(pin.map(|pin| PublicKey::from_pem(&pin.orders_key)).transpose()?)
}

/// Makes the runs of an order. Awaits the writer.
///
/// # Errors
/// Approvals are missing, its time is over, it was started or cancelled; the stored file cannot be used.
pub async fn start(
    engine: &Handle,
    (tenant, actor): (&TenantName, &Actor),
    id: OrderId,
) -> Result<ReceivedOrder, IntakeError> {
    let order = received(engine, tenant, id)?.ok_or(IntakeError::Unknown)?;
    if order.state != OrderState::Imported {
        let detail = format!("a work order that is {} cannot be started", order.state.as_str());
        return Err(CommandError::Rejected(Rejection::new(Code::IllegalTransition, detail)).into());
    }
    let (shared, tar_sha256) = (engine.clone(), order.tar_sha256);
    let content = off_the_runtime(move || stored_content(&shared, &order)).await?;
    let command = OrderCommand::Start {
        id,
        tar_sha256,
        content,
    };
    Ok(change(engine, tenant, actor, command).await?.0)
}

/// What the stored file holds: verified once more, since it lay on a disk.
fn stored_content(engine: &Handle, order: &ReceivedOrder) -> Result<OrderContent, IntakeError> {
    let unusable = |why: String| IntakeError::Stored(order.tar_sha256, why);
    let file = read_letter(engine, order.tar_sha256).map_err(|error| unusable(error.to_string()))?;
    let unreadable = |error| IntakeError::Disk("reading the work order", error);
    let open = opener(&Bytes::from(file));
    let look = verify(&open, &Options::default()).map_err(unreadable)?;
    let signer = signer(engine, &order.hub, look.claims.key_id, None)?;
    let options = Options {
        orders_key: signer.key,
        no_key: signer.why.as_deref(),
        ..Options::default()
    };
    let outcome = verify(&open, &options).map_err(unreadable)?;
    // Its key was revoked, or another took its place, since it came.
    if outcome.report.exit_code == Verdict::Untrusted.exit_code() {
        return Err(IntakeError::Refused(Box::new(outcome.report)));
    }
    if !outcome.report.ok {
        return Err(unusable(first_failure(&outcome.report)));
    }
    if outcome.tar_sha256 != Some(order.tar_sha256) {
        return Err(unusable("its digest is another".to_owned()));
    }
    outcome
        .content
        .ok_or_else(|| unusable("it holds no runs".to_owned()))
}

/// Approves that an order starts.
///
/// # Errors
/// Whoever took it in, or approved before, does not count; the order is not waiting.
pub async fn approve(
    engine: &Handle,
    (tenant, actor): (&TenantName, &Actor),
    (id, binding): (OrderId, Option<Digest>),
    reason: String,
) -> Result<ReceivedOrder, IntakeError> {
    let command = OrderCommand::Approve { id, binding, reason };
    Ok(change(engine, tenant, actor, command).await?.0)
}

/// Cancels an order by decision of this enclave: it does not start, or its runs stop.
///
/// # Errors
/// It was reported; there is no such order.
pub async fn cancel(
    engine: &Handle,
    (tenant, actor): (&TenantName, &Actor),
    id: OrderId,
    reason: String,
) -> Result<ReceivedOrder, IntakeError> {
    let by_hub = None;
    let command = OrderCommand::Cancel { id, reason, by_hub };
    let (order, _) = change(engine, tenant, actor, command).await?;
    stop_runs(engine, tenant, actor, &order).await?;
    received(engine, tenant, id)?.ok_or(IntakeError::Unknown)
}

/// Asks the runs of a cancelled order to stop, one command each: together they could be more than one command holds.
async fn stop_runs(
    engine: &Handle,
    tenant: &TenantName,
    actor: &Actor,
    order: &ReceivedOrder,
) -> Result<(), IntakeError> {
    let Some(stopped) = &order.cancelled else {
        return Ok(());
    };
    for started in &order.started_runs {
        let command = Command::CancelRun {
            run: started.run,
            reason: stopped.reason.clone(),
        };
        match engine.submit(tenant, actor, command).await {
            // It has ended by itself.
            Ok(_) | Err(CommandError::Rejected(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Carries through what was cancelled when the appliance ended in between: to be called at start.
///
/// # Errors
/// The projection cannot be read, or the writer ends.
pub async fn finish_cancellations(engine: &Handle) -> Result<(), IntakeError> {
    let actor = Actor::system("orders");
    for tenant in engine.tenants()? {
        if tenant.is_foreign() {
            continue;
        }
        let mut started = Vec::new();
        for row in engine
            .read()
            .map_err(unread)?
            .every_row(&tenant, Kind::ReceivedOrder)?
        {
            let (_, row) = row?;
            let order = row.as_received_order();
            started.extend(order.filter(|order| order.state == OrderState::Started).cloned());
        }
        for order in &started {
            stop_runs(engine, &tenant, &actor, order).await?;
        }
    }
    Ok(())
}

/// An order that was taken in here.
///
/// # Errors
/// When the projection cannot be read.
pub fn received(
    engine: &Handle,
    tenant: &TenantName,
    id: OrderId,
) -> Result<Option<ReceivedOrder>, StoreError> {
    let snapshot = engine.read().map_err(unread)?;
    let view = snapshot.view(tenant);
    let view: &dyn View = &view;
    view.received_order(id)
        .map_err(|error| StoreError::Damaged(error.0))
}

async fn change(
    engine: &Handle,
    tenant: &TenantName,
    actor: &Actor,
    command: OrderCommand,
) -> Result<(ReceivedOrder, OrderNovelty), IntakeError> {
    let command = Command::Order(Box::new(command));
    match engine.submit(tenant, actor, command).await?.reply {
        Reply::Order(order, novelty) => Ok((*order, novelty)),
        _ => Err(IntakeError::Unknown),
    }
}
