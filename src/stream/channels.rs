//! Who is told of which batch: one channel for each tenant that somebody reads as a whole, and one for each job or run
//! that somebody watches alone. Nobody is woken for another tenant, nor for other jobs and runs than the one he watches; but
//! who reads an imported ledger is woken whenever one has grown.
//!
//! Promises: a channel brings, in order, each published batch that holds an event for it; a reader that is too slow for
//! one, or for what all of them may hold in memory, is told so, and reads the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender};

use super::filter::Watched;
use super::hub::Published;
use super::window::{Slot, Window};
use crate::domain::TenantName;
use crate::engine::Committed;
use crate::limits;

type Channel = Sender<Arc<Slot>>;

/// Fewer channels than this are not worth a look.
const LOOK_AT_MIN: usize = 64;

/// All channels that have a reader.
#[derive(Debug, Default)]
pub(super) struct Channels {
    /// Held for a subscription, or while a batch is handed out.
    tenants: Mutex<BTreeMap<TenantName, OfTenant>>,
    /// Times that a reader was too slow for its channel.
    fallen_behind: Arc<AtomicU64>,
    /// What all channels hold.
    window: Arc<Window>,
}

#[derive(Debug, Default)]
struct OfTenant {
    whole: Option<Channel>,
    watched: BTreeMap<Watched, Channel>,
    /// So many watched things may there be before the next look for those that nobody watches any more.
    look_at: usize,
    /// The sequence behind the last event that was handed out.
    edge: Arc<AtomicU64>,
}

impl OfTenant {
    fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.whole.iter().chain(self.watched.values())
    }

    /// Drops the channels of what nobody watches any more, now and then: a look costs as much as there are channels.
    fn tidy(&mut self) {
        if self.watched.len() >= self.look_at {
            self.watched.retain(|_, channel| channel.receiver_count() > 0);
            self.look_at = (self.watched.len() * 2).max(LOOK_AT_MIN);
        }
    }

    /// Sends to those whom one of the events concerns, and drops channels among them that have no reader.
    fn send<'e>(&mut self, events: impl Iterator<Item = &'e Committed>, slot: &Arc<Slot>) {
        let mut edge = 0;
        let mut concerned = BTreeSet::new();
        for event in events {
            edge = event.seq.0 + 1;
            if !self.watched.is_empty() {
                let named = [event.job.map(Watched::Job), event.run.map(Watched::Run)];
                concerned.extend(named.into_iter().flatten());
            }
        }
        self.whole = self
            .whole
            .take()
            .filter(|channel| channel.send(slot.clone()).is_ok());
        for watched in concerned {
            if let Some(channel) = self.watched.get(&watched)
                && channel.send(slot.clone()).is_err()
            {
                self.watched.remove(&watched);
            }
        }
        self.edge.store(edge, Ordering::Release);
    }
}

/// The receiving end of one channel.
#[derive(Debug)]
pub(super) struct Live {
    receiver: Receiver<Arc<Slot>>,
    edge: Arc<AtomicU64>,
    fallen_behind: Arc<AtomicU64>,
    /// What lies between two of its batches concerns others.
    pub(super) is_partial: bool,
}

impl Live {
    /// Waits for a batch. Dropping the future loses nothing.
    pub(super) async fn recv(&mut self) -> Result<Arc<Published>, RecvError> {
        let published = match self.receiver.recv().await {
            Ok(slot) => slot.published(),
            Err(RecvError::Lagged(_)) => None,
            Err(RecvError::Closed) => return Err(RecvError::Closed),
        };
        published.ok_or_else(|| RecvError::Lagged(self.fall_behind()))
    }

    /// A batch that is there.
    pub(super) fn try_recv(&mut self) -> Result<Arc<Published>, TryRecvError> {
        let published = match self.receiver.try_recv() {
            Ok(slot) => slot.published(),
            Err(TryRecvError::Lagged(_)) => None,
            Err(error) => return Err(error),
        };
        published.ok_or_else(|| TryRecvError::Lagged(self.fall_behind()))
    }

    /// Too slow: whatever still waits here is in the ledger, which is read from now on. How many batches that is.
    fn fall_behind(&mut self) -> u64 {
        self.fallen_behind.fetch_add(1, Ordering::Relaxed);
        let left = 1 + self.receiver.len() as u64;
        self.receiver = self.receiver.resubscribe();
        left
    }

    /// How far this channel has been read to its end; none while something waits in it. Events below that were taken
    /// or concern others.
    pub(super) fn read_up_to(&self) -> Option<u64> {
        // In this order: what is below the edge was handed out before the edge was moved.
        let edge = self.edge.load(Ordering::Acquire);
        self.receiver.is_empty().then_some(edge)
    }
}

impl Channels {
    fn tenants(&self) -> MutexGuard<'_, BTreeMap<TenantName, OfTenant>> {
        self.tenants
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Everything from now on that concerns one job or run of a tenant, or all of the tenant.
    pub(super) fn subscribe(&self, tenant: &TenantName, watched: Option<Watched>) -> Live {
        let mut tenants = self.tenants();
        let of_tenant = tenants.entry(tenant.clone()).or_default();
        of_tenant.tidy();
        let edge = of_tenant.edge.clone();
        let channel = match watched {
            None => of_tenant
                .whole
                .get_or_insert_with(|| Sender::new(limits::STREAM_BATCHES_MAX)),
            Some(watched) => {
                let channels = of_tenant.watched.entry(watched);
                channels.or_insert_with(|| Sender::new(limits::STREAM_BATCHES_WATCHED_MAX))
            }
        };
        Live {
            receiver: channel.subscribe(),
            edge,
            fallen_behind: self.fallen_behind.clone(),
            is_partial: watched.is_some(),
        }
    }

    /// Times that a reader was too slow for its channel, since the start.
    pub(super) fn fallen_behind(&self) -> u64 {
        self.fallen_behind.load(Ordering::Relaxed)
    }

    /// What may be held of what is handed out.
    pub(super) fn window(&self) -> &Arc<Window> {
        &self.window
    }

    /// How many readers there are.
    pub(super) fn readers(&self) -> usize {
        let tenants = self.tenants();
        let channels = tenants.values().flat_map(OfTenant::channels);
        channels.map(Sender::receiver_count).sum()
    }

    /// Hands a batch to those whom it concerns; `publish` is called when there is one.
    pub(super) fn hand_out(&self, batch: &[Committed], publish: impl FnOnce() -> Published) {
        let mut tenants = self.tenants();
        let mut publish = Some(publish);
        let mut slot: Option<Arc<Slot>> = None;
        let of_batch: BTreeSet<&TenantName> = batch.iter().map(|event| &event.tenant).collect();
        for tenant in of_batch {
            let Some(of_tenant) = tenants.get_mut(tenant) else {
                continue;
            };
            if slot.is_none() {
                slot = publish.take().map(|publish| self.window.hold(publish()));
            }
            if let Some(slot) = &slot {
                let events = batch.iter().filter(|event| event.tenant == *tenant);
                of_tenant.send(events, slot);
            }
            if of_tenant.whole.is_none() && of_tenant.watched.is_empty() {
                // One who subscribes after this finds the batch in the ledger.
                tenants.remove(tenant);
            }
        }
    }

    /// Hands the same to everybody who reads one of these tenants.
    pub(super) fn hand_to(&self, published: Published, is_one: impl Fn(&TenantName) -> bool) {
        let slot = self.window.hold(published);
        let tenants = self.tenants();
        let readers = tenants.iter().filter(|(tenant, _)| is_one(tenant));
        for channel in readers.flat_map(|(_, of_tenant)| of_tenant.channels()) {
            let _ = channel.send(slot.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hub::tests::{committed, encoder};
    use super::*;
    use crate::domain::JobId;

    fn event(tenant: &str, seq: u64, job: Option<JobId>) -> Committed {
        Committed {
            job,
            tenant: tenant.parse().unwrap(),
            ..committed(seq, "e")
        }
    }

    fn hand_out(channels: &Channels, batch: Vec<Committed>) -> bool {
        let mut is_published = false;
        channels.hand_out(&batch, || {
            is_published = true;
            Published::new(Arc::new(batch.clone()), encoder(), channels.window())
        });
        is_published
    }

    #[test]
    fn nobody_is_told_of_what_cannot_concern_him() {
        let (acme, other) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let [one, two] = [1, 2].map(|byte| JobId::from_bytes([byte; 16]));
        let channels = Channels::default();
        assert!(!hand_out(&channels, vec![event("acme", 0, None)]), "nobody reads");
        let mut whole = channels.subscribe(&acme, None);
        let mut watched = channels.subscribe(&acme, Some(Watched::Job(one)));
        let mut foreign = channels.subscribe(&other, None);
        assert_eq!(channels.readers(), 3);
        assert!(!hand_out(&channels, vec![event("third", 7, Some(one))]));
        assert!(hand_out(
            &channels,
            vec![event("acme", 1, Some(two)), event("acme", 2, None)]
        ));
        assert!(watched.try_recv().is_err() && foreign.try_recv().is_err());
        assert_eq!((watched.read_up_to(), whole.read_up_to()), (Some(3), None));
        assert_eq!(whole.try_recv().unwrap().batch.len(), 2);
        assert!(hand_out(
            &channels,
            vec![event("other", 0, Some(one)), event("acme", 3, Some(one))]
        ));
        assert_eq!(watched.read_up_to(), None, "a batch waits");
        for live in [&mut whole, &mut watched, &mut foreign] {
            assert_eq!(live.try_recv().unwrap().batch.len(), 2);
            assert!(live.try_recv().is_err());
        }
        assert_eq!((watched.read_up_to(), foreign.read_up_to()), (Some(4), Some(1)));
    }

    #[test]
    fn channels_without_a_reader_do_not_add_up() {
        let acme = "acme".parse().unwrap();
        let channels = Channels::default();
        for number in 0..10_000_u32 {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            drop(channels.subscribe(&acme, Some(Watched::Job(JobId::from_bytes(id)))));
            let kept = channels.tenants()[&acme].watched.len();
            assert!(kept <= LOOK_AT_MIN + 1, "{kept} channels without a reader");
        }
        let job = JobId::from_bytes([9; 16]);
        drop(channels.subscribe(&acme, Some(Watched::Job(job))));
        hand_out(&channels, vec![event("acme", 1, Some(job))]);
        assert!(!channels.tenants()[&acme].watched.contains_key(&Watched::Job(job)));
    }
}
