//! What the events of work orders change: the order's own row, here and at the hub.
//!
//! Promises: an order starts once, from `imported`, with every approval; it is reported once, when its runs have ended.

use super::{ApplyError, Fold};
use crate::domain::OrderId;
use crate::domain::event::EventBody;
use crate::domain::order::{IssuedOrder, Mark, OrderState, OrdersPin, ReceivedOrder, Stopped};
use crate::domain::payload::orders::{
    OrdersKeyPinned, WorkorderApproved, WorkorderCancelled, WorkorderImported, WorkorderIssued,
    WorkorderRecalled, WorkorderReported, WorkorderStarted,
};
use crate::domain::run::Approval;
use crate::domain::state::{Key, Row};

impl Fold<'_> {
    /// One line an event, as in the table that leads here.
    pub(super) fn order_event(&mut self) -> Result<(), ApplyError> {
        let event = self.event;
        match &event.body {
            EventBody::WorkorderIssued(payload) => self.order_issued(payload),
            EventBody::WorkorderRecalled(payload) => self.order_recalled(payload),
            EventBody::WorkorderImported(payload) => self.order_imported(payload),
            EventBody::WorkorderApproved(payload) => self.order_approved(payload),
            EventBody::WorkorderStarted(payload) => self.order_started(payload),
            EventBody::WorkorderCancelled(payload) => self.order_cancelled(payload),
            EventBody::WorkorderReported(payload) => self.order_reported(payload),
            EventBody::OrdersKeyPinned(payload) => self.orders_key_pinned(payload),
            _ => Err(self.illegal("it is no event of a work order")),
        }
    }

    fn order_issued(&mut self, payload: &WorkorderIssued) -> Result<(), ApplyError> {
        self.refuse_existing(&Key::IssuedOrder(payload.order_id))?;
        self.keep_request(payload.idempotency.as_ref())?;
        let order = IssuedOrder {
            enclaves: payload.enclaves.clone(),
            expires_at: payload.expires_at,
            id: payload.order_id,
            issued: self.mark(),
            packs: payload.packs.clone(),
            persons: payload.persons.clone(),
            recalled: None,
            runs: payload.runs.clone(),
            tar_sha256: payload.tar_sha256,
        };
        self.changes
            .put(Key::IssuedOrder(order.id), Row::IssuedOrder(order));
        Ok(())
    }

    fn order_recalled(&mut self, payload: &WorkorderRecalled) -> Result<(), ApplyError> {
        let id = payload.order_id;
        let order = self.with(|view| view.issued_order(id))?;
        let Some(mut order) = order.filter(|order| order.recalled.is_none()) else {
            return Err(self.illegal("no such order, or it was cancelled before"));
        };
        order.recalled = Some(Stopped {
            mark: self.mark(),
            reason: payload.reason.clone(),
            tar_sha256: Some(payload.tar_sha256),
        });
        self.changes.put(Key::IssuedOrder(id), Row::IssuedOrder(order));
        Ok(())
    }

    fn order_imported(&mut self, payload: &WorkorderImported) -> Result<(), ApplyError> {
        let before = self.with(|view| view.received_order(payload.order_id))?;
        if before.is_some_and(|before| before.binds(&payload.hub)) {
            return Err(self.illegal("an order of this id is held"));
        }
        let mark = self.mark();
        self.put_order(ReceivedOrder {
            approvals: Vec::new(),
            approvers: payload.approvers,
            cancelled: None,
            expires_at: payload.expires_at,
            hub: payload.hub.clone(),
            id: payload.order_id,
            imported: Some(mark),
            origin: payload.origin.clone(),
            outcomes: Vec::new(),
            persons: payload.persons.clone(),
            reported: None,
            runs: payload.runs.clone(),
            seq: self.event.seq,
            started: None,
            started_runs: Vec::new(),
            state: OrderState::Imported,
            tar_sha256: payload.tar_sha256,
        });
        Ok(())
    }

    fn order_approved(&mut self, payload: &WorkorderApproved) -> Result<(), ApplyError> {
        let mut order = self.order(payload.order_id, OrderState::Imported)?;
        let person = &self.event.actor.id;
        let took_it_in = order.imported.as_ref().is_some_and(|mark| mark.by == *person);
        if took_it_in || order.approvals.iter().any(|given| given.person == *person) {
            return Err(self.illegal("each approval is another person's, and none of whoever took it in"));
        }
        order.approvals.push(Approval {
            at: self.event.at,
            person: person.clone(),
            reason: payload.reason.clone(),
        });
        self.put_order(order);
        Ok(())
    }

    fn order_started(&mut self, payload: &WorkorderStarted) -> Result<(), ApplyError> {
        let mut order = self.order(payload.order_id, OrderState::Imported)?;
        let expired = order.expires_at.is_some_and(|end| end <= self.event.at);
        if order.approvals_missing() > 0 || expired {
            return Err(self.illegal("approvals are missing, or its time is over"));
        }
        if !order
            .runs
            .iter()
            .map(|run| &run.name)
            .eq(payload.runs.iter().map(|run| &run.name))
        {
            return Err(self.illegal("these are not the runs that the order asks for"));
        }
        order.started = Some(self.mark());
        order.started_runs.clone_from(&payload.runs);
        order.state = OrderState::Started;
        self.put_order(order);
        Ok(())
    }

    fn order_cancelled(&mut self, payload: &WorkorderCancelled) -> Result<(), ApplyError> {
        let id = payload.order_id;
        let stopped = Stopped {
            mark: self.mark(),
            reason: payload.reason.clone(),
            tar_sha256: payload.tar_sha256,
        };
        let before = self.with(|view| view.received_order(id))?;
        let Some(mut order) = before.filter(|before| before.binds(&payload.hub)) else {
            // A cancellation that came before its order: the order is then refused when it comes.
            if payload.tar_sha256.is_none() {
                return Err(self.illegal("there is no such order"));
            }
            self.put_order(ReceivedOrder {
                approvals: Vec::new(),
                approvers: 0,
                cancelled: Some(stopped),
                expires_at: None,
                hub: payload.hub.clone(),
                id,
                imported: None,
                origin: payload.origin.clone(),
                outcomes: Vec::new(),
                persons: Vec::new(),
                reported: None,
                runs: Vec::new(),
                seq: self.event.seq,
                started: None,
                started_runs: Vec::new(),
                state: OrderState::Cancelled,
                tar_sha256: payload.order_sha256,
            });
            return Ok(());
        };
        let may = match order.state {
            OrderState::Imported => true,
            OrderState::Started => order.cancelled.is_none(),
            OrderState::Reported | OrderState::Cancelled => false,
        };
        if !may || order.hub != payload.hub || order.tar_sha256 != payload.order_sha256 {
            return Err(self.illegal("the order has ended, was cancelled, or is another"));
        }
        order.cancelled = Some(stopped);
        if order.state == OrderState::Imported {
            order.state = OrderState::Cancelled;
        }
        self.put_order(order);
        Ok(())
    }

    fn order_reported(&mut self, payload: &WorkorderReported) -> Result<(), ApplyError> {
        let mut order = self.order(payload.order_id, OrderState::Started)?;
        let told = payload
            .outcomes
            .iter()
            .map(|outcome| (&outcome.name, outcome.run));
        if !told.eq(order.started_runs.iter().map(|run| (&run.name, run.run))) {
            return Err(self.illegal("these are not the runs of the order"));
        }
        for outcome in &payload.outcomes {
            let run = self.with(|view| view.run(outcome.run))?;
            let ended = run.is_some_and(|run| run.status == outcome.status && run.status.is_terminal());
            if !ended {
                return Err(self.illegal(format!("the run {} did not end so", outcome.run)));
            }
        }
        order.outcomes.clone_from(&payload.outcomes);
        order.reported = Some(self.mark());
        order.state = OrderState::Reported;
        self.put_order(order);
        Ok(())
    }

    fn orders_key_pinned(&mut self, payload: &OrdersKeyPinned) -> Result<(), ApplyError> {
        let key = Key::OrdersPin(payload.hub.clone());
        if !payload.replace {
            self.refuse_existing(&key)?;
        }
        let pin = OrdersPin {
            hub: payload.hub.clone(),
            orders_key: payload.orders_key.clone(),
        };
        self.changes.put(key, Row::OrdersPin(pin));
        Ok(())
    }

    fn order(&self, id: OrderId, state: OrderState) -> Result<ReceivedOrder, ApplyError> {
        let order = self.with(|view| view.received_order(id))?;
        order
            .filter(|order| order.state == state)
            .ok_or_else(|| self.illegal(format!("there is no such order that is {}", state.as_str())))
    }

    fn put_order(&mut self, mut order: ReceivedOrder) {
        order.seq = self.event.seq;
        self.changes
            .put(Key::ReceivedOrder(order.id), Row::ReceivedOrder(order));
    }

    fn mark(&self) -> Mark {
        Mark {
            at: self.event.at,
            by: self.event.actor.id.clone(),
            seq: self.event.seq,
        }
    }
}
