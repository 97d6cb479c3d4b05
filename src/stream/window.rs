//! What of the live edge is held in memory for readers that have not taken it yet: of all tenants together, with every
//! form that was made of it, at most [`limits::STREAM_HELD_BYTES_MAX`].
//!
//! Promises: what goes beyond is let go, the oldest first, and a reader that had not taken it is told so. It is in the
//! ledger before it comes here, so nothing is lost. Nothing is held that every reader has taken.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use super::hub::Published;
use crate::limits;

/// Fewer batches than this are not worth a look.
const LOOK_AT_MIN: usize = 256;

/// The bound and what it bounds.
#[derive(Debug)]
pub(super) struct Window {
    /// Bytes of all batches and their forms. Added as they are made, taken off when they are dropped.
    held: AtomicUsize,
    bytes_max: usize,
    /// Guards the list. Held to add one, now and then to go through all, or to take the oldest out; never while one is freed.
    /// Taken under `Channels::tenants` when a batch is handed out; nothing is locked under it.
    slots: Mutex<Slots>,
}

/// Batches that some reader may not have taken yet, in the order in which they came.
#[derive(Debug)]
struct Slots {
    list: VecDeque<Weak<Slot>>,
    /// So many may there be before the next look for those that every reader has taken.
    look_at: usize,
}

/// A batch, as long as it is held. Its lock is held for a look-up, which readers share.
#[derive(Debug)]
pub(super) struct Slot(RwLock<Option<Arc<Published>>>);

/// What one batch holds of a window, until it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    window: Arc<Window>,
    bytes: AtomicUsize,
}

impl Default for Window {
    fn default() -> Self {
        Window::new(limits::STREAM_HELD_BYTES_MAX)
    }
}

impl Window {
    fn new(bytes_max: usize) -> Self {
        Window {
            held: AtomicUsize::new(0),
            bytes_max,
            slots: Mutex::new(Slots {
                list: VecDeque::new(),
                look_at: LOOK_AT_MIN,
            }),
        }
    }

    /// Takes a batch in, to be let go once newer ones need the memory.
    pub(super) fn hold(&self, published: Published) -> Arc<Slot> {
        let slot = Arc::new(Slot(RwLock::new(Some(Arc::new(published)))));
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.list.len() >= slots.look_at {
            slots.list.retain(|slot| slot.strong_count() > 0);
            slots.look_at = (slots.list.len() * 2).max(LOOK_AT_MIN);
        }
        slots.list.push_back(Arc::downgrade(&slot));
        slot
    }

    /// For a batch that holds so many bytes from the beginning.
    pub(super) fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        let charge = Charge {
            window: self.clone(),
            bytes: AtomicUsize::new(0),
        };
        charge.add(bytes);
        charge
    }

    /// Lets go the oldest until the rest is within the bound. What a reader looks at this moment goes when he has done so.
    fn evict(&self) {
        while self.held.load(Ordering::Relaxed) > self.bytes_max {
            let Some(oldest) = self.pop_oldest() else {
                return;
            };
            if let Some(slot) = oldest.upgrade() {
                slot.drop_published();
            }
        }
    }

    fn pop_oldest(&self) -> Option<Weak<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.list.pop_front()
    }
}

impl Slot {
    /// The batch; none when it was let go.
    pub(super) fn published(&self) -> Option<Arc<Published>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn drop_published(&self) {
        let published = self.0.write().unwrap_or_else(PoisonError::into_inner).take();
        // Not under the lock: it frees much.
        drop(published);
    }
}

impl Charge {
    /// So many bytes more.
    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let before = self.window.held.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.window.bytes_max {
            self.window.evict();
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.window.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::broadcast::error::TryRecvError;

    use super::super::channels::{Channels, Live};
    use super::super::filter::Filter;
    use super::super::hub::tests::{committed, encoder_of};
    use super::super::hub::{Data, Encoder, Forms};
    use super::*;
    use crate::engine::Committed;

    const MESSAGE: [u8; 64] = [b'm'; 64];
    const PART: [u8; 160] = [b'p'; 160];
    const CLOUD_EVENT: [u8; 512] = [b'c'; 512];

    /// Forms as long as the real ones.
    fn encoder() -> Arc<Encoder> {
        encoder_of(Forms {
            whole: |_, _, data, out| out.extend([&MESSAGE, data].concat()),
            part: |_, _, event, _, out| out.extend([&PART, event].concat()),
            frames: |head, part, out| out.extend([head.as_bytes(), part].concat()),
            cloud_event: |_, _, event, _, out| out.extend([&CLOUD_EVENT, event].concat()),
        })
    }

    /// Hands out one batch of events of so many bytes.
    fn hand_out(channels: &Channels, first: u64, (count, bytes): (u64, usize)) {
        let text = Bytes::from(vec![b'x'; bytes]);
        let event = |seq| Committed {
            bytes: Bytes::copy_from_slice(&text),
            ..committed(seq, "")
        };
        let batch: Vec<_> = (first..first + count).map(event).collect();
        channels.hand_out(&batch, || {
            Published::new(Arc::new(batch.clone()), encoder(), channels.window())
        });
    }

    /// A reader of everything takes what is there in one form; which sequences he was handed, and whether he fell behind.
    fn take(live: &mut Live, look: impl Fn(&Published)) -> (Vec<u64>, bool) {
        let mut seqs = Vec::new();
        loop {
            match live.try_recv() {
                Ok(published) => {
                    look(&published);
                    seqs.extend(published.batch.iter().map(|event| event.seq.0));
                }
                Err(TryRecvError::Lagged(_)) => return (seqs, true),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return (seqs, false),
            }
        }
    }

    fn wire(published: &Published) {
        published.wire_from(Data::Envelope, 0);
    }

    fn every_form(published: &Published) {
        wire(published);
        published.part_of(0);
        published.wire_from(Data::CloudEvent, 0);
        for room in 0..limits::WS_SHARED_ROOMS_MAX {
            let (tenant, filter) = ("acme".parse().unwrap(), Filter::default());
            published.frames(&tenant, &format!("room {room}").into(), &filter);
        }
    }

    /// What is held for those who have not taken it, told by the forms themselves.
    fn retained(window: &Window) -> usize {
        let slots = window.slots.lock().unwrap();
        let there = slots.list.iter().filter_map(|slot| slot.upgrade()?.published());
        there.map(|published| published.retained()).sum()
    }

    #[test]
    fn what_a_reader_that_lies_still_keeps_in_memory_is_bounded_with_every_form() {
        // Short events, many to a batch; long ones, of which one is a batch; and the longest that there are.
        for (count, bytes) in [
            (430, 300),
            (218, 600),
            (1, 128 << 10),
            (1, limits::EVENT_BYTES_MAX),
        ] {
            let channels = Channels::default();
            let (tenant, window) = ("acme".parse().unwrap(), channels.window());
            let mut still = channels.subscribe(&tenant, None);
            let mut reads = channels.subscribe(&tenant, None);
            let mut most = 0;
            for batch in 0..limits::STREAM_BATCHES_MAX as u64 {
                hand_out(&channels, batch * count, (count, bytes));
                let (seqs, is_behind) = take(&mut reads, every_form);
                assert_eq!((seqs.len() as u64, is_behind), (count, false), "the other reader");
                let (retained, held) = (retained(window), window.held.load(Ordering::Relaxed));
                assert!(retained <= held, "{retained} bytes are counted as {held}");
                most = most.max(retained);
            }
            println!("{count} events of {bytes} bytes: at most {most} bytes held");
            assert!(most <= limits::STREAM_HELD_BYTES_MAX, "{most} bytes are held");
            assert_eq!(take(&mut still, wire), (vec![], true), "told that he fell behind");
            let next = limits::STREAM_BATCHES_MAX as u64 * count;
            hand_out(&channels, next, (1, 10));
            assert_eq!(take(&mut still, wire), (vec![next], false), "and goes on");
            assert_eq!(channels.fallen_behind(), 1);
            take(&mut reads, wire);
            assert_eq!(window.held.load(Ordering::Relaxed), 0, "all have taken all");
        }
    }

    #[test]
    fn forms_that_are_made_late_make_room_as_well() {
        let channels = Channels::default();
        let tenant = "acme".parse().unwrap();
        let mut late = channels.subscribe(&tenant, None);
        let mut still = channels.subscribe(&tenant, None);
        for batch in 0..limits::STREAM_BATCHES_MAX as u64 {
            hand_out(&channels, batch * 430, (430, 300));
        }
        let (_, is_behind) = take(&mut late, |published| {
            every_form(published);
            let held = channels.window().held.load(Ordering::Relaxed);
            // What is looked at this moment is held in any case.
            assert!(
                held <= limits::STREAM_HELD_BYTES_MAX + published.retained(),
                "{held}"
            );
        });
        assert!(retained(channels.window()) <= limits::STREAM_HELD_BYTES_MAX);
        assert_eq!(take(&mut still, wire), (vec![], true), "is_behind: {is_behind}");
    }

    #[test]
    fn a_burst_is_held_for_readers_that_come_to_it_later() {
        // As many events as come in one second at most, where all readers want one form; some thousands with every form.
        for (batches, look) in [(120, wire as fn(&Published)), (32, every_form)] {
            let channels = Channels::default();
            let tenant = "acme".parse().unwrap();
            let mut readers = [0; 3].map(|_| channels.subscribe(&tenant, None));
            for batch in 0..batches {
                hand_out(&channels, batch * 128, (128, 500));
            }
            for reader in &mut readers {
                let (seqs, is_behind) = take(reader, look);
                assert!(seqs.into_iter().eq(0..batches * 128) && !is_behind);
            }
        }
    }

    #[test]
    fn batches_that_all_have_taken_do_not_add_up_behind_one_that_is_not() {
        let channels = Channels::default();
        let [busy, quiet] = ["acme", "other"].map(|tenant| tenant.parse().unwrap());
        let mut reads = channels.subscribe(&busy, None);
        let mut still = channels.subscribe(&quiet, None);
        let nothing = |channels: &Channels| Published::new(Arc::default(), encoder(), channels.window());
        channels.hand_to(nothing(&channels), |tenant| *tenant == quiet);
        for seq in 0..10_000 {
            hand_out(&channels, seq, (1, 10));
            take(&mut reads, wire);
        }
        assert!(channels.window().slots.lock().unwrap().list.len() <= LOOK_AT_MIN + 1);
        assert!(still.try_recv().is_ok(), "what is waited for is still there");
    }
}
