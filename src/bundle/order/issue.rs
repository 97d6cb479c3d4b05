//! The hub's side: an order or a cancellation is signed, stored under its digest, flushed, and then recorded.

use std::io;

use super::letters::{remove_letter, store_letter, store_order, was_not_taken};
use super::manifest::Statement;
use super::write::{self, NewOrder, Sender, WriteError};
use crate::domain::command::{Command, OrderCommand, Reply};
use crate::domain::event::{Actor, Event, EventBody};
use crate::domain::idempotency::Idempotency;
use crate::domain::order::IssuedOrder;
use crate::domain::payload::orders::{WorkorderIssued, WorkorderRecalled};
use crate::domain::state::View;
use crate::domain::{EnclaveName, OrderId, Seq, TenantName, Timestamp};
use crate::engine::{CommandError, Handle, SubmitError};
use crate::ledger::LedgerError;
use crate::store::StoreError;

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// What was asked for makes no order.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// An imported ledger issues nothing.
    #[error("ledger {0} is not ours to issue orders from")]
    Foreign(TenantName),
    /// There is no such order.
    #[error("no such work order")]
    Unknown,
    /// The writer did not accept the event.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The projection cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What an earlier request made cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What an earlier request made is not what it should be.
    #[error("event {0} is not the issue of an order")]
    Before(Seq),
    /// A file.
    #[error("{0}: {1}")]
    Disk(String, #[source] io::Error),
}

/// One cancellation at a time: two of the same words are the same file, which one of them would remove.
static RECALLING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// An order that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// It.
    pub order: IssuedOrder,
    /// True when an earlier request with the same key issued it.
    pub is_old: bool,
}

/// The enclave that this is.
pub fn here(engine: &Handle) -> Option<EnclaveName> {
    let origin = engine.origin(&TenantName::system())?;
    origin.enclave().as_str().parse().ok()
}

/// Signs an order and stores it. Nobody knows it before it is recorded. Blocks.
///
/// # Errors
/// [`IssueError`]; nothing is issued then.
pub fn prepare(
    engine: &Handle,
    tenant: &TenantName,
    new: &NewOrder,
    idempotency: Option<Idempotency>,
) -> Result<WorkorderIssued, IssueError> {
    let sender = sender(engine, tenant)?;
    let clock = engine.clock();
    let id = OrderId::of_hub(&sender.hub, Timestamp::from_ms(clock.wall_ms()), clock.entropy());
    let letter = write::order(&sender, id, new, &engine.keys().orders())?;
    let Statement::Order(order, _) = &letter.statement else {
        return Err(IssueError::Unknown);
    };
    store_order(engine, letter.tar_sha256, &letter.bytes)
        .map_err(|error| IssueError::Disk("storing the order".to_owned(), error))?;
    Ok(WorkorderIssued {
        enclaves: order.enclaves.clone(),
        expires_at: order.expires_at,
        idempotency,
        order_id: id,
        packs: order.packs.clone(),
        persons: order.persons.clone(),
        runs: order.runs.clone(),
        tar_sha256: letter.tar_sha256,
    })
}

/// Records an order that is signed and stored: with that it is issued. Awaits the writer.
///
/// # Errors
/// [`IssueError`]; nothing is issued then.
pub async fn issue(
    engine: &Handle,
    tenant: &TenantName,
    actor: &Actor,
    issued: WorkorderIssued,
) -> Result<Issued, IssueError> {
    let (id, tar_sha256) = (issued.order_id, issued.tar_sha256);
    let command = Command::Order(Box::new(OrderCommand::Issue(issued)));
    let receipt = engine.submit(tenant, actor, command).await;
    // Nobody knows what was signed, where it was refused or another stands for it. What may have been recorded stays.
    let is_void = match &receipt {
        Ok(receipt) => matches!(receipt.reply, Reply::Before(_)),
        Err(error) => was_not_taken(error),
    };
    if is_void {
        remove_letter(engine, tar_sha256);
    }
    let (id, is_old) = match receipt?.reply {
        Reply::Before(seq) => (issued_at(engine, tenant, seq)?, true),
        _ => (id, false),
    };
    let order = issued_order(engine, tenant, id)?.ok_or(IssueError::Unknown)?;
    Ok(Issued { order, is_old })
}

/// Signs a cancellation of an order that was issued here, stores it and records it. A second one changes nothing.
///
/// # Errors
/// [`IssueError`]; nothing is cancelled then.
pub async fn recall(
    engine: &Handle,
    tenant: &TenantName,
    actor: &Actor,
    id: OrderId,
    reason: &str,
) -> Result<IssuedOrder, IssueError> {
    let _turn = RECALLING.lock().await;
    let order = issued_order(engine, tenant, id)?.ok_or(IssueError::Unknown)?;
    if order.recalled.is_some() {
        return Ok(order);
    }
    let letter = write::cancellation(
        &sender(engine, tenant)?,
        (id, order.tar_sha256),
        &order.enclaves,
        reason,
        &engine.keys().orders(),
    )?;
    let (shared, tar_sha256) = (engine.clone(), letter.tar_sha256);
    let stored = tokio::task::spawn_blocking(move || store_letter(&shared, tar_sha256, &letter.bytes)).await;
    let stopped = |_| CommandError::Failed(SubmitError::Stopped);
    let is_new = stored
        .map_err(stopped)?
        .map_err(|error| IssueError::Disk("storing the cancellation".to_owned(), error))?;
    let recalled = WorkorderRecalled {
        order_id: id,
        reason: reason.to_owned(),
        tar_sha256,
    };
    let command = Command::Order(Box::new(OrderCommand::Recall(recalled)));
    if let Err(error) = engine.submit(tenant, actor, command).await {
        if is_new && was_not_taken(&error) {
            remove_letter(engine, tar_sha256);
        }
        return Err(error.into());
    }
    issued_order(engine, tenant, id)?.ok_or(IssueError::Unknown)
}

fn sender(engine: &Handle, tenant: &TenantName) -> Result<Sender, IssueError> {
    let foreign = || IssueError::Foreign(tenant.clone());
    let origin = engine.origin(tenant).ok_or_else(foreign)?;
    Ok(Sender {
        hub: origin.enclave().as_str().parse().map_err(|_| foreign())?,
        origin: origin.to_string(),
        tenant: tenant.clone(),
    })
}

/// The order that an earlier request issued, by its first event.
fn issued_at(engine: &Handle, tenant: &TenantName, seq: Seq) -> Result<OrderId, IssueError> {
    let bytes = engine.ledger(tenant)?.event(seq)?;
    match Event::from_bytes(&bytes).map(|event| event.body) {
        Ok(EventBody::WorkorderIssued(issued)) => Ok(issued.order_id),
        Ok(_) | Err(_) => Err(IssueError::Before(seq)),
    }
}

/// An order that was issued here.
///
/// # Errors
/// When the projection cannot be read.
pub fn issued_order(
    engine: &Handle,
    tenant: &TenantName,
    id: OrderId,
) -> Result<Option<IssuedOrder>, StoreError> {
    let snapshot = engine.read().map_err(unread)?;
    let view = snapshot.view(tenant);
    let view: &dyn View = &view;
    view.issued_order(id)
        .map_err(|error| StoreError::Damaged(error.0))
}

pub(super) fn unread(error: SubmitError) -> StoreError {
    StoreError::Failed(error.to_string())
}

/// The name under which an order's file should travel.
pub fn order_name(id: OrderId) -> String {
    format!("{id}.order.tar.zst")
}

/// The name under which a cancellation's file should travel.
pub fn cancellation_name(id: OrderId) -> String {
    format!("{id}.cancel.tar.zst")
}
