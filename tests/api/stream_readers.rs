//! Many readers of a large ledger, over server-sent events and over the WebSocket, who pause, are cut off and come back:
//! each ends with exactly the ledger's sequence.

use std::time::Duration;

use fastness::domain::{Digest, Seq, leaf_hash};
use serde_json::json;

use super::streams::submit_many;
use crate::support::appliance::{Ask, EventStream, TestAppliance};
use crate::support::random::Random;
use crate::support::websocket::Client;

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

/// Reads from the beginning up to so many events: the hash of each. Comes and goes as `random` has it.
fn read(appliance: &TestAppliance, over: Over, events: usize, mut random: Random) -> Vec<Digest> {
    let mut seen: Vec<Digest> = Vec::with_capacity(events);
    while seen.len() < events {
        let mut connection = Connection::open(appliance, over, seen.len() as i64 - 1);
        let take = 1 + random.below(12_000) as usize;
        for _ in 0..take.min(events - seen.len()) {
            let (seq, hash) = connection.next();
            assert_eq!(seq, seen.len() as u64, "{over:?}");
            seen.push(hash);
            if random.once_in(4_000) {
                // Long enough for the server to fill what lies between.
                std::thread::sleep(Duration::from_millis(random.below(150)));
            }
        }
        if random.once_in(2) {
            connection.close();
        }
    }
    seen
}

#[test]
fn readers_that_pause_and_come_back_end_with_exactly_the_ledger() {
    const EVENTS: usize = 100_000;
    const BATCH: usize = fastness::limits::BATCH_ITEMS_MAX;
    let readers = [
        Over::ServerSentEvents,
        Over::ServerSentEvents,
        Over::WebSocket,
        Over::WebSocket,
    ];
    let seed = 11;
    println!("seed {seed}");
    let appliance = TestAppliance::start();
    // The first half is history, the second comes while they read. The first event opened the ledger.
    for _ in 0..EVENTS / BATCH / 2 {
        submit_many(&appliance, "default", BATCH);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(seed);
            let mut left = EVENTS / 2;
            while left > 0 {
                // Small ones: many of them, so that readers meet the live edge and fall behind it.
                let count = left.min(1 + random.below(120) as usize);
                submit_many(&appliance, "default", count);
                left -= count;
            }
        });
        let reading: Vec<_> = (1..)
            .zip(readers)
            .map(|(number, over)| {
                let (appliance, random) = (&appliance, Random::new(seed + number));
                scope.spawn(move || read(appliance, over, EVENTS + 1, random))
            })
            .collect();
        let seen: Vec<_> = reading.into_iter().map(|reader| reader.join().unwrap()).collect();
        let ledger = appliance.engine.ledger(&"default".parse().unwrap()).unwrap();
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
