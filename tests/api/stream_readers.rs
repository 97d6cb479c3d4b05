//! Many readers of a large ledger, over server-sent events and over the WebSocket, who pause, are cut off and come back:
//! each ends with exactly the ledger's sequence.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use fastness::domain::{Digest, Seq, leaf_hash};
use fastness::ledger::TenantLedger;
use fastness::limits::{BATCH_ITEMS_MAX, STREAM_BATCHES_MAX};
use fastness::stream::{Data, Filter, Form, Forms, Hub, Subscription};
use serde_json::json;
use tokio::sync::watch;

use super::streams::submit_many;
use crate::support::appliance::{ANSWER_MAX, Ask, EventStream, TestAppliance};
use crate::support::random::Random;
use crate::support::websocket::Client;

/// Beside the one that opened the ledger.
const EVENTS: usize = 100_000;
/// How many of them are there before anybody reads.
const HISTORY: usize = 50_000;
/// How far each reader once falls behind the live edge: more bytes than sockets hold, in more batches than are kept for it.
const BEHIND: usize = 30_000;
/// What a reader's socket takes in. The system's own would take in all by itself, and no reader would be behind.
const RECEIVE_BYTES_MAX: u32 = 64 * 1024;
/// Here they have come from behind; from now on they come and go at the live edge.
const AGAIN: usize = 82_000;
const _: () = assert!(HISTORY + 2 + BEHIND <= AGAIN && AGAIN < EVENTS);
const _: () = assert!(BEHIND / 120 > STREAM_BATCHES_MAX);

/// How a reader reads.
#[derive(Debug, Clone, Copy)]
enum Over {
    ServerSentEvents,
    WebSocket,
}

/// A connection that brings what is behind an event.
enum Connection {
    ServerSentEvents(EventStream),
    WebSocket(Box<Client>),
}

impl Connection {
    fn open(appliance: &TestAppliance, over: Over, after: i64) -> Self {
        match over {
            Over::ServerSentEvents => {
                let after = after.to_string();
                let asked = Ask::get("/api/v1/stream").token(&appliance.admin);
                Connection::ServerSentEvents(appliance.stream(&asked.header("last-event-id", &after)))
            }
            Over::WebSocket => {
                let mut client = Client::open(appliance);
                client.subscribe(json!({"type": "subscribe:events", "after": after}));
                Connection::WebSocket(Box::new(client))
            }
        }
    }

    /// The next event: its sequence as it was told, and the hash of its bytes.
    fn next(&mut self) -> (u64, Digest) {
        match self {
            Connection::ServerSentEvents(stream) => {
                let message = stream.next_event().expect("a stream goes on");
                let seq = message.id.expect("an event has an id").parse().unwrap();
                (seq, leaf_hash(message.data.as_bytes()))
            }
            Connection::WebSocket(client) => {
                let event = client.event();
                (event.seq(), leaf_hash(event.event.as_bytes()))
            }
        }
    }

    /// Takes leave, as far as there is a way to.
    fn close(self) {
        if let Connection::WebSocket(mut client) = self {
            client.socket.close(None).unwrap();
        }
    }
}

/// What all readers share.
struct Setting<'a> {
    appliance: &'a TestAppliance,
    ledger: Arc<TenantLedger>,
    /// Passed when every reader has read what there is; only then the writer writes on.
    is_read: Barrier,
}

/// Reads all events from the beginning on: the hash of each. Comes and goes as `random` has it.
fn read(setting: &Setting<'_>, over: Over, mut random: Random) -> Vec<Digest> {
    let mut seen: Vec<Digest> = Vec::with_capacity(EVENTS + 1);
    while seen.len() <= EVENTS {
        let mut connection = Connection::open(setting.appliance, over, seen.len() as i64 - 1);
        let take = 1 + random.below(if seen.len() > AGAIN { 400 } else { 12_000 }) as usize;
        for _ in 0..take.min(EVENTS + 1 - seen.len()) {
            let mut take_one = || {
                let (seq, hash) = connection.next();
                assert_eq!(seq, seen.len() as u64, "{over:?}");
                seen.push(hash);
                seen.len()
            };
            let place = take_one();
            if place == HISTORY + 1 {
                setting.is_read.wait();
                // At the live edge; and then far behind it.
                let place = take_one();
                setting.wait_for((place + BEHIND) as u64);
            } else if place == AGAIN + 1 {
                setting.is_read.wait();
            }
            if random.once_in(4_000) {
                std::thread::sleep(Duration::from_millis(random.below(150)));
            }
        }
        if random.once_in(2) {
            connection.close();
        }
    }
    seen
}

impl Setting<'_> {
    /// Reads nothing until the ledger has so many events.
    fn wait_for(&self, size: u64) {
        while self.ledger.size() < size {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Writes what comes while they read.
    fn write(&self, mut random: Random) {
        for mut left in [AGAIN - HISTORY, EVENTS - AGAIN] {
            self.is_read.wait();
            while left > 0 {
                let count = left.min(1 + random.below(120) as usize);
                submit_many(self.appliance, "default", count);
                left -= count;
            }
        }
    }
}

#[test]
fn readers_that_pause_and_come_back_end_with_exactly_the_ledger() {
    let readers = [
        Over::ServerSentEvents,
        Over::ServerSentEvents,
        Over::WebSocket,
        Over::WebSocket,
    ];
    let seed = 11;
    println!("seed {seed}");
    let mut appliance = TestAppliance::start();
    appliance.receive_bytes_max = Some(RECEIVE_BYTES_MAX);
    for _ in 0..HISTORY / BATCH_ITEMS_MAX {
        submit_many(&appliance, "default", BATCH_ITEMS_MAX);
    }
    let ledger = appliance.engine.ledger(&"default".parse().unwrap()).unwrap();
    let setting = &Setting {
        appliance: &appliance,
        ledger,
        is_read: Barrier::new(readers.len() + 1),
    };
    std::thread::scope(|scope| {
        scope.spawn(|| setting.write(Random::new(seed)));
        let reading: Vec<_> = (1..)
            .zip(readers)
            .map(|(number, over)| scope.spawn(move || read(setting, over, Random::new(seed + number))))
            .collect();
        let seen: Vec<_> = reading.into_iter().map(|reader| reader.join().unwrap()).collect();
        let ledger = &setting.ledger;
        assert_eq!(ledger.size(), EVENTS as u64 + 1);
        let held: Vec<_> = (0..ledger.size())
            .map(|seq| leaf_hash(&ledger.event(Seq(seq)).unwrap()))
            .collect();
        for (over, seen) in readers.iter().zip(&seen) {
            // The lists are too long to be told.
            assert!(*seen == held, "{over:?}: other events than the ledger's");
        }
    });
}

/// Whoever waits for something else besides the events drops the wait again and again: a piece of the ledger that takes
/// longer than that must not be begun anew each time.
#[test]
fn a_reader_that_is_called_away_at_once_still_gets_on() {
    let appliance = TestAppliance::start();
    let jobs = vec![json!({"type": "t", "payload": {}}); 300];
    appliance
        .post("/api/v1/jobs/batch", json!({"items": jobs}).to_string())
        .expect(200);
    let tenant = "default".parse().unwrap();
    let size = appliance.engine.ledger(&tenant).unwrap().size() as usize;
    let forms = Forms {
        whole: |_, _, _, _| {},
        part: |_, _, _, _, _| {},
        frames: |_, _, _| {},
        cloud_event: |_, _, _, _, _| {},
    };
    let seen = appliance.runtime.block_on(async {
        let hub = Hub::start(&appliance.engine, forms, Arc::new(watch::Sender::new(0)));
        let (form, first) = (Form::Events(Data::Envelope), Some(Seq(0)));
        let source = (&appliance.engine, &hub);
        let mut events = Subscription::open(source, &tenant, Filter::default(), form, first).unwrap();
        let (mut seen, from) = (0, Instant::now());
        while seen < size && from.elapsed() < ANSWER_MAX {
            tokio::select! {
                biased;
                chunk = events.next() => seen += chunk.unwrap().events.len(),
                () = std::future::ready(()) => tokio::task::yield_now().await,
            }
        }
        seen
    });
    assert_eq!(seen, size);
}
