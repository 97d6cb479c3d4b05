//! Events by time and by correlation id: exactly those, whatever lies beside them, in lists and in rooms.

use fastness::domain::Timestamp;
use serde_json::{Value, json};

use super::streams::submit_many;
use crate::support::appliance::TestAppliance;
use crate::support::websocket::{Client, Received};

/// One event a job; each third has one correlation id, each third another.
fn filled() -> (TestAppliance, Vec<String>) {
    let appliance = TestAppliance::start();
    let submit = |at: usize| {
        let body = match at % 3 {
            0 => json!({"type": "a", "correlationId": "c-1"}),
            1 => json!({"type": "b", "correlationId": "c-17"}),
            _ => json!({"type": "a"}),
        };
        let job = appliance.post("/api/v1/jobs", body.to_string()).expect(201);
        job["id"].as_str().unwrap().to_owned()
    };
    let ids = (0..30).map(submit).collect();
    (appliance, ids)
}

/// All pages of a list: sequences and times.
fn listed(appliance: &TestAppliance, query: &str) -> Vec<(u64, i64)> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = appliance
            .get(&format!("/api/v1/events?limit=4{query}{cursor}"))
            .expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 4);
        found.extend(items.iter().map(|event| {
            let at: Timestamp = event["at"].as_str().unwrap().parse().unwrap();
            (event["seq"].as_u64().unwrap(), at.as_ms())
        }));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

fn time(ms: i64) -> String {
    Timestamp::from_ms(ms).to_string()
}

#[test]
fn a_range_of_times_brings_what_lies_in_it_up_to_its_edges() {
    let (appliance, _) = filled();
    let all = listed(&appliance, "");
    assert_eq!(all.len(), 31);
    let (first, last) = (all[0].1, all[30].1);
    let mut bounds: Vec<i64> = [first, all[10].1, all[20].1, last]
        .iter()
        .flat_map(|at| [at - 1, *at, at + 1])
        .collect();
    bounds.dedup();
    for (index, from) in bounds.iter().enumerate() {
        for to in &bounds[index..] {
            for (more, keep) in [
                ("", &(|_: u64| true) as &dyn Fn(u64) -> bool),
                ("&correlationId=c-1", &|seq| seq > 0 && seq % 3 == 1),
                ("&correlationId=c-17&after=9", &|seq| seq > 9 && seq % 3 == 2),
                ("&type=job.*&after=15", &|seq| seq > 15),
            ] {
                let expected: Vec<_> = all
                    .iter()
                    .filter(|(seq, at)| from <= at && at < to && keep(*seq))
                    .copied()
                    .collect();
                let query = format!("&from={}&to={}{more}", time(*from), time(*to));
                assert_eq!(listed(&appliance, &query), expected, "{query}");
            }
        }
    }
    let late = |at: i64| -> Vec<_> { all.iter().filter(|event| event.1 >= at).copied().collect() };
    let middle = all[15].1;
    assert_eq!(
        listed(&appliance, &format!("&from={}", time(middle))),
        late(middle)
    );
    let early: Vec<_> = all.iter().filter(|event| event.1 < middle).copied().collect();
    assert_eq!(listed(&appliance, &format!("&to={}", time(middle))), early);
    // A bound that is finer than a recorded time parts them as it stands.
    let finer = time(middle).replace('Z', "0001Z");
    assert_eq!(listed(&appliance, &format!("&from={finer}")), late(middle + 1));
    // The same moment elsewhere.
    let elsewhere = time(middle + 7_200_000).replace('Z', "%2B02:00");
    assert_eq!(listed(&appliance, &format!("&from={elsewhere}")), late(middle));
}

#[test]
fn a_range_of_times_that_is_none_is_refused() {
    let (appliance, _) = filled();
    for (query, code, pointer) in [
        (
            "from=2026-01-01T00:00:00.001Z&to=2026-01-01T00:00:00Z",
            "invalid_time_range",
            "/query/to",
        ),
        ("from=", "invalid_parameter", "/query/from"),
        ("from=yesterday", "invalid_parameter", "/query/from"),
        ("from=1700000000", "invalid_parameter", "/query/from"),
        ("from=2026-01-01T00:00:00", "invalid_parameter", "/query/from"),
        (
            "from=2026-01-01T00:00:00+02:00",
            "invalid_parameter",
            "/query/from",
        ),
        ("to=2026-13-01T00:00:00Z", "invalid_parameter", "/query/to"),
        ("to=-009999-01-01T00:00:00Z", "invalid_parameter", "/query/to"),
        ("to=99999-01-01T00:00:00Z", "invalid_parameter", "/query/to"),
        ("to=2026-01-01T00:00:00Z%00", "invalid_parameter", "/query/to"),
        // Forms that others read, and RFC 3339 does not have.
        ("from=2026-01-01", "invalid_parameter", "/query/from"),
        ("from=2026-01-01T00:00Z", "invalid_parameter", "/query/from"),
        ("from=2026-01-01%2000:00:00Z", "invalid_parameter", "/query/from"),
        ("from=20260101T000000Z", "invalid_parameter", "/query/from"),
        ("from=2026-01-01T00:00:00,5Z", "invalid_parameter", "/query/from"),
        ("from=2026-01-01T00:00:00.Z", "invalid_parameter", "/query/from"),
        (
            "from=2026-01-01T00:00:00%2B02",
            "invalid_parameter",
            "/query/from",
        ),
        (
            "from=2026-01-01T00:00:00%2B0200",
            "invalid_parameter",
            "/query/from",
        ),
        (
            "from=2026-01-01T00:00:00%2B02:00:30",
            "invalid_parameter",
            "/query/from",
        ),
        (
            "from=2026-01-01T00:00:00Z[Europe/Berlin]",
            "invalid_parameter",
            "/query/from",
        ),
        (
            "from=%2B002026-01-01T00:00:00Z",
            "invalid_parameter",
            "/query/from",
        ),
        (
            "to=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z",
            "invalid_parameter",
            "/query/to",
        ),
    ] {
        let reply = appliance.get(&format!("/api/v1/events?{query}"));
        assert_eq!(reply.problem(422), code, "{query}");
        assert_eq!(reply.json()["errors"][0]["pointer"], pointer, "{query}");
    }
    for query in [
        "&to=0000-01-01T00:00:00Z",
        "&from=9999-12-30T00:00:00Z",
        "&from=2020-01-01T00:00:00Z&to=2020-01-01T00:00:00Z",
        "&from=2020-01-01T00:00:00Z&after=30",
        "&to=2020-01-01t00:00:00.123456789z",
        "&to=2020-01-01T00:00:00-00:00",
    ] {
        assert_eq!(listed(&appliance, query), [], "{query}");
    }
}

#[test]
fn a_correlation_id_is_found_behind_many_others_without_a_walk() {
    let appliance = TestAppliance::start();
    let submit = || {
        let body = json!({"type": "a", "correlationId": "rare"}).to_string();
        appliance.post("/api/v1/jobs", body).expect(201)["seq"].clone()
    };
    let first = submit();
    // More than one page looks at when it walks.
    for _ in 0..5 {
        submit_many(&appliance, "default", 1_000);
    }
    let second = submit();
    let page = appliance.get("/api/v1/events?correlationId=rare").expect(200);
    let seqs: Vec<_> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["seq"])
        .collect();
    assert_eq!(seqs, [&first, &second]);
    assert_eq!(page["nextCursor"], Value::Null, "one page has looked at all");
}

#[test]
fn rooms_of_correlation_ids_give_just_their_own() {
    let (appliance, ids) = filled();
    let mut client = Client::open(&appliance);
    let one = client.subscribe(json!({"type": "subscribe:events", "correlationId": "c-17", "after": -1}));
    let of = |rest: u64| -> Vec<u64> { (1..=30).filter(|seq| (seq - 1) % 3 == rest).collect() };
    let seqs = |events: &[Received]| -> Vec<u64> { events.iter().map(Received::seq).collect() };
    // What is live shows at once where something of the past is missing.
    let body = json!({"type": "a", "correlationId": "c-17"}).to_string();
    appliance.post("/api/v1/jobs", body).expect(201);
    for expected in of(1).into_iter().chain([31]) {
        assert_eq!(client.event().seq(), expected);
    }
    // A job beside it, from the past on: nothing comes again to the first room.
    let other = client.subscribe(json!({"type": "subscribe:job", "jobId": ids[6], "after": -1}));
    let event = client.event();
    assert_eq!((event.seq(), event.rooms()), (7, vec![other.as_str()]));
    // A second id in one client, both from the middle on.
    let mut both = Client::open(&appliance);
    let room = |id: &str| json!({"type": "subscribe:events", "correlationId": id, "after": 20});
    let first = both.subscribe(room("c-1"));
    let found = both.events(3);
    assert_eq!(seqs(&found), [22, 25, 28]);
    let second = both.subscribe(room("c-17"));
    let found = both.events(4);
    assert_eq!(seqs(&found), [23, 26, 29, 31]);
    assert!(found.iter().all(|event| event.rooms() == [second.as_str()]));
    // Live, with many others.
    for id in ["c", "c-1", "c-170", "c-17", "C-17"] {
        let body = json!({"type": "a", "correlationId": id}).to_string();
        appliance.post("/api/v1/jobs", body).expect(201);
    }
    let found = both.events(2);
    assert_eq!(seqs(&found), [33, 35]);
    assert_eq!(found[0].rooms(), [first.as_str()]);
    assert_eq!(client.event().rooms(), [one.as_str()]);
}
