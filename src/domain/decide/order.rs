//! Decisions about work orders: note one at the hub; take it in, approve, start, cancel and report it at the enclave.
//!
//! Promises: all runs of an order are made at once or none; what is taken in fits one command, so that it can be started.

use super::bounds::{check_idempotency, check_label, check_text, clip};
use super::{Draft, Labels};
use crate::domain::command::{
    HubCancel, OrderCommand, OrderContent, OrderNovelty, PackNovelty, RegisterPack, Reply, StartRun,
};
use crate::domain::event::{ActorKind, EventBody, Subject};
use crate::domain::order::{OrderOutcome, OrderState, ReceivedOrder, StartedRun};
use crate::domain::payload::orders::{
    OrdersKeyPinned, WorkorderApproved, WorkorderCancelled, WorkorderImported, WorkorderIssued,
    WorkorderRecalled, WorkorderRefused, WorkorderReported, WorkorderStarted,
};
use crate::domain::redaction::Salts;
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::state::Changes;
use crate::domain::{Digest, OrderId, PackName};
use crate::limits;

/// Whether a start looks at what the enclave holds besides the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secrets {
    /// Those that the packs name must be set.
    Needed,
    /// They may be set later: nothing starts yet.
    Later,
}

impl Draft<'_> {
    pub(super) fn change_order(&mut self, command: &OrderCommand) -> Result<Reply, Refusal> {
        match command {
            OrderCommand::Issue(issued) => self.issue_order(issued),
            OrderCommand::Recall(recalled) => self.recall_order(recalled),
            OrderCommand::Import(imported, content) => self.import_order(imported, content),
            OrderCommand::Refuse(refused) => self.refuse_order(refused),
            OrderCommand::Approve { id, binding, reason } => self.approve_order(*id, *binding, reason),
            OrderCommand::Start {
                id,
                tar_sha256,
                content,
            } => self.start_order(*id, *tar_sha256, content),
            OrderCommand::Cancel { id, reason, by_hub } => self.cancel_order(*id, reason, by_hub.as_ref()),
            OrderCommand::PinKey(pin) => self.pin_orders_key(pin),
        }
    }

    fn issue_order(&mut self, issued: &WorkorderIssued) -> Result<Reply, Refusal> {
        check_idempotency(issued.idempotency.as_ref())?;
        if let Some(before) = self.known_request(issued.idempotency.as_ref())? {
            return Ok(before);
        }
        if issued.expires_at.is_some_and(|end| end <= self.stamp.at) {
            return Err(Rejection::field(Code::InvalidField, "/expiresAt", "it is over already").into());
        }
        for (index, person) in issued.persons.iter().enumerate() {
            check_label(&format!("/persons/{index}"), person)?;
        }
        if self.read(|view| view.issued_order(issued.order_id))?.is_some() {
            return Err(Rejection::new(Code::NameTaken, "an order of this id was issued before").into());
        }
        self.emit_order(
            issued.order_id,
            EventBody::WorkorderIssued(Box::new(issued.clone())),
        )?;
        Ok(Reply::Done)
    }

    fn recall_order(&mut self, recalled: &WorkorderRecalled) -> Result<Reply, Refusal> {
        let order = self.read(|view| view.issued_order(recalled.order_id))?;
        let order = order.ok_or_else(|| Rejection::not_found("work order"))?;
        if order.recalled.is_some() {
            return Ok(Reply::Done);
        }
        let recalled = WorkorderRecalled {
            reason: clip(&recalled.reason),
            ..recalled.clone()
        };
        self.emit_order(recalled.order_id, EventBody::WorkorderRecalled(recalled))?;
        Ok(Reply::Done)
    }

    fn import_order(
        &mut self,
        imported: &WorkorderImported,
        content: &OrderContent,
    ) -> Result<Reply, Refusal> {
        let id = imported.order_id;
        let held = self.read(|view| view.received_order(id))?;
        if let Some(held) = held.filter(|held| held.binds(&imported.hub)) {
            if held.imported.is_some() && held.tar_sha256 == imported.tar_sha256 {
                return Ok(Reply::Order(Box::new(held), OrderNovelty::Existing));
            }
            let (code, detail) = if held.imported.is_none() {
                (
                    Code::OrderCancelled,
                    "the hub's cancellation of this order came first",
                )
            } else {
                (Code::OrderFork, "another order of this id is held here")
            };
            return Err(Rejection::new(code, detail).into());
        }
        if imported.expires_at.is_some_and(|end| end <= self.stamp.at) {
            return Err(Rejection::new(Code::OrderExpired, "the time of the order is over").into());
        }
        check_inputs(content)?;
        self.try_start(imported, content)?;
        self.emit_order(id, EventBody::WorkorderImported(Box::new(imported.clone())))?;
        self.reply_order(id)
    }

    /// Whether the order could be started: the whole start, in a draft that is thrown away.
    fn try_start(&self, imported: &WorkorderImported, content: &OrderContent) -> Result<(), Refusal> {
        let mut trial = Draft {
            below: self.below,
            stamp: self.stamp,
            changes: Changes::default(),
            events: Vec::new(),
            kept: Vec::new(),
            salts: Salts::new(self.stamp.seed),
            bytes: 0,
            bytes_max: limits::ORDER_EVENTS_BYTES_MAX,
            drawn: 0,
        };
        let plain = WorkorderImported {
            approvers: 0,
            ..imported.clone()
        };
        trial.emit_order(imported.order_id, EventBody::WorkorderImported(Box::new(plain)))?;
        let order = trial.order_row(imported.order_id)?;
        trial.make_order_runs(&order, content, Secrets::Later)
    }

    fn refuse_order(&mut self, refused: &WorkorderRefused) -> Result<Reply, Refusal> {
        let refused = WorkorderRefused {
            detail: clip(&refused.detail),
            ..refused.clone()
        };
        self.record(EventBody::WorkorderRefused(refused))
    }

    fn approve_order(
        &mut self,
        id: OrderId,
        binding: Option<Digest>,
        reason: &str,
    ) -> Result<Reply, Refusal> {
        check_text("/reason", reason, limits::TEXT_BYTES_MAX)?;
        let order = self.order_row(id)?;
        if order.state != OrderState::Imported {
            return Err(illegal(&order, "approved"));
        }
        if binding.is_some_and(|binding| binding != order.tar_sha256) {
            let detail = format!("the order that is held is {}", order.tar_sha256);
            return Err(Rejection::new(Code::OrderFork, detail).into());
        }
        let person = &self.stamp.actor.id;
        if self.stamp.actor.kind != ActorKind::Person
            || order.imported.as_ref().is_some_and(|mark| mark.by == *person)
        {
            let detail = "whoever took the order in does not count";
            return Err(Rejection::new(Code::SelfApproval, detail).into());
        }
        if order.approvals.iter().any(|given| given.person == *person) {
            let detail = format!("{person} has approved; each approval is another person's");
            return Err(Rejection::new(Code::AlreadyApproved, detail).into());
        }
        let approved = WorkorderApproved {
            order_id: id,
            reason: clip(reason),
        };
        self.emit_order(id, EventBody::WorkorderApproved(approved))?;
        self.reply_order(id)
    }

    fn start_order(
        &mut self,
        id: OrderId,
        tar_sha256: Digest,
        content: &OrderContent,
    ) -> Result<Reply, Refusal> {
        let order = self.order_row(id)?;
        if order.state != OrderState::Imported {
            return Err(illegal(&order, "started"));
        }
        let asked = order.runs.iter().map(|run| &run.name);
        let is_it = order.tar_sha256 == tar_sha256 && asked.eq(content.runs.iter().map(|run| &run.name));
        if !is_it {
            return Err(Rejection::new(Code::OrderFork, "this is not the order that is held").into());
        }
        if order.expires_at.is_some_and(|end| end <= self.stamp.at) {
            return Err(Rejection::new(Code::OrderExpired, "the time of the order is over").into());
        }
        let person = &self.stamp.actor.id;
        if !order.persons.is_empty() && !order.persons.contains(person) {
            let detail = format!("the order names who may start it, and {person} is not among them");
            return Err(Rejection::new(Code::OrderPerson, detail).into());
        }
        let missing = order.approvals_missing();
        if missing > 0 {
            let detail = format!(
                "{missing} more of {} persons have to approve before the order starts",
                order.approvers
            );
            return Err(Rejection::new(Code::ApprovalMissing, detail).into());
        }
        self.make_order_runs(&order, content, Secrets::Needed)?;
        self.reply_order(id)
    }

    fn make_order_runs(
        &mut self,
        order: &ReceivedOrder,
        content: &OrderContent,
        secrets: Secrets,
    ) -> Result<(), Refusal> {
        let mut versions = Vec::with_capacity(content.packs.len());
        for pack in &content.packs {
            if secrets == Secrets::Needed {
                self.check_secrets(&pack.spec)?;
            }
            versions.push(self.register_ordered(order, pack)?);
        }
        let mut started = Vec::with_capacity(content.runs.len());
        for run in &content.runs {
            started.push(StartedRun {
                name: run.name.clone(),
                run: self.draw_run(),
            });
        }
        let runs = started.clone();
        let body = WorkorderStarted {
            order_id: order.id,
            runs,
        };
        self.emit_order(order.id, EventBody::WorkorderStarted(body))?;
        for (asked, made) in content.runs.iter().zip(started) {
            let place = content.packs.iter().position(|pack| pack.spec.name == asked.pack);
            let version = place.and_then(|place| versions.get(place));
            let (name, version) = version.ok_or_else(|| Rejection::not_found("pack of the order"))?;
            let request = StartRun {
                correlation_id: Some(order.id.to_string()),
                idempotency: None,
                inputs: asked.inputs.clone(),
                pack: name.clone(),
                version: Some(*version),
            };
            self.start_run_of(made.run, &request, Some(order.id))?;
        }
        Ok(())
    }

    /// Registers a pack under the name that packs of this hub have here.
    fn register_ordered(
        &mut self,
        order: &ReceivedOrder,
        pack: &RegisterPack,
    ) -> Result<(PackName, u32), Refusal> {
        let name = pack.spec.name.ordered_by(&order.hub);
        let name = name.ok_or_else(|| Rejection::not_found("pack of the order"))?;
        match self.register_pack_as(&name, pack)? {
            Reply::Pack(pack, PackNovelty::Created | PackNovelty::Existing) => Ok((name, pack.version)),
            _ => Err(Rejection::not_found("pack of the order").into()),
        }
    }

    fn cancel_order(
        &mut self,
        id: OrderId,
        reason: &str,
        by_hub: Option<&HubCancel>,
    ) -> Result<Reply, Refusal> {
        let held = self.read(|view| view.received_order(id))?;
        let held = held.filter(|held| by_hub.is_none_or(|by| held.binds(&by.hub)));
        if let (Some(order), Some(hub)) = (&held, by_hub)
            && (order.hub != hub.hub || order.tar_sha256 != hub.order_sha256)
        {
            let detail = "the cancellation is of another order than the one held";
            return Err(Rejection::new(Code::OrderFork, detail).into());
        }
        if let Some(order) = &held {
            if order.cancelled.is_some() {
                return Ok(Reply::Order(Box::new(order.clone()), OrderNovelty::Existing));
            }
            if order.state == OrderState::Reported {
                return Err(illegal(order, "cancelled"));
            }
        }
        let cancelled = match (held, by_hub) {
            (_, Some(hub)) => WorkorderCancelled {
                hub: hub.hub.clone(),
                order_id: id,
                order_sha256: hub.order_sha256,
                origin: hub.origin.clone(),
                reason: clip(reason),
                tar_sha256: Some(hub.tar_sha256),
            },
            (Some(order), None) => WorkorderCancelled {
                hub: order.hub,
                order_id: id,
                order_sha256: order.tar_sha256,
                origin: order.origin,
                reason: clip(reason),
                tar_sha256: None,
            },
            (None, None) => return Err(Rejection::not_found("work order").into()),
        };
        self.emit_order(id, EventBody::WorkorderCancelled(Box::new(cancelled)))?;
        self.reply_order(id)
    }

    /// A run of an order has ended: when it was the last, the order is reported.
    pub(super) fn report_order(&mut self, order: Option<OrderId>) -> Result<(), Refusal> {
        let Some(id) = order else { return Ok(()) };
        let order = self.order_row(id)?;
        if order.state != OrderState::Started {
            return Ok(());
        }
        let mut outcomes = Vec::with_capacity(order.started_runs.len());
        for started in &order.started_runs {
            let run = self.read(|view| view.run(started.run))?;
            let Some(run) = run.filter(|run| run.status.is_terminal()) else {
                return Ok(());
            };
            outcomes.push(OrderOutcome {
                name: started.name.clone(),
                run: run.id,
                status: run.status,
            });
        }
        let reported = WorkorderReported {
            order_id: id,
            outcomes,
        };
        self.emit_order(id, EventBody::WorkorderReported(reported))
    }

    fn pin_orders_key(&mut self, pin: &OrdersKeyPinned) -> Result<Reply, Refusal> {
        check_text("/ordersKey", &pin.orders_key, limits::TEXT_BYTES_MAX)?;
        match self.read(|view| view.orders_pin(&pin.hub))? {
            None => self.record(EventBody::OrdersKeyPinned(OrdersKeyPinned {
                replace: false,
                ..pin.clone()
            })),
            Some(held) if held.orders_key == pin.orders_key => Ok(Reply::Done),
            Some(_) if pin.replace => self.record(EventBody::OrdersKeyPinned(pin.clone())),
            Some(_) => {
                let detail = format!("another orders key is pinned for {}", pin.hub);
                Err(Rejection::new(Code::PinConflict, detail).into())
            }
        }
    }

    fn emit_order(&mut self, id: OrderId, body: EventBody) -> Result<(), Refusal> {
        let labels = Labels {
            correlation_id: Some(id.to_string()),
            project: None,
        };
        self.emit(body, Subject::default(), labels)?;
        Ok(())
    }

    fn order_row(&self, id: OrderId) -> Result<ReceivedOrder, Refusal> {
        Ok(self
            .read(|view| view.received_order(id))?
            .ok_or_else(|| Rejection::not_found("work order"))?)
    }

    fn reply_order(&self, id: OrderId) -> Result<Reply, Refusal> {
        Ok(Reply::Order(Box::new(self.order_row(id)?), OrderNovelty::Changed))
    }
}

/// An order carries inputs as they are, and events name them by digest: nothing in it can be redacted or erased.
fn check_inputs(content: &OrderContent) -> Result<(), Rejection> {
    for run in &content.runs {
        let pack = content.packs.iter().find(|pack| pack.spec.name == run.pack);
        if let Some(name) = pack.and_then(|pack| pack.spec.sensitive_of(&run.inputs)) {
            let detail = format!(
                "the run {}: the input {name} is sensitive, and a work order cannot keep it out of the record",
                run.name
            );
            return Err(Rejection::new(Code::SensitiveInput, detail));
        }
    }
    Ok(())
}

fn illegal(order: &ReceivedOrder, wish: &str) -> Refusal {
    let detail = format!("a work order that is {} cannot be {wish}", order.state.as_str());
    Rejection::new(Code::IllegalTransition, detail).into()
}
