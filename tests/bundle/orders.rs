//! Work orders as files: the same order gives the same bytes, and what is not one is refused with its code.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastness::bundle::dsse;
use fastness::bundle::order::intake::opener;
use fastness::bundle::order::manifest::{OrderPredicate, Statement, subject_of};
use fastness::bundle::order::verify::{Held, Options, Outcome, is_order, verify};
use fastness::bundle::order::write::{Letter, NewOrder, NewRun, Sender, cancellation, order};
use fastness::bundle::order::{OrderMember, content_of};
use fastness::domain::canonical::Value;
use fastness::domain::order::{Mark, OrderState, ReceivedOrder};
use fastness::domain::{Digest, EnclaveName, OrderId, Seq, Timestamp};
use fastness::limits;
use fastness::trust::PrivateKey;

use super::fixture::{Parts, bundle, compress, export_key, log_key};
use crate::support::random::Random;

const PACK: &str = "\
apiVersion: fastness/v1
kind: Pack
metadata: {name: look}
spec:
  inputs: {root: {type: string, default: /}, depth: {type: int, default: 1}}
  steps:
    - {id: list, run: [ls, '${{ inputs.root }}']}
";
const OTHER: &str = "\
apiVersion: fastness/v1
kind: Pack
metadata: {name: sweep}
spec:
  steps:
    - {id: sweep, run: ['true']}
";
const NOW: i64 = 1_769_860_800_000;

fn orders_key() -> PrivateKey {
    PrivateKey::generate(&mut |bytes| bytes.fill(0x33))
}

fn hub() -> EnclaveName {
    "00112233445566ff".parse().unwrap()
}

fn plant() -> EnclaveName {
    "aaaaaaaaaaaaaaaa".parse().unwrap()
}

fn sender() -> Sender {
    Sender {
        hub: hub(),
        origin: format!("fastness/{}/acme", hub()),
        tenant: "acme".parse().unwrap(),
    }
}

fn id() -> OrderId {
    OrderId::of_hub(&hub(), Timestamp::from_ms(NOW), 7)
}

fn run(name: &str, pack: &str, inputs: &[(&str, Value)]) -> NewRun {
    NewRun {
        inputs: inputs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        name: name.parse().unwrap(),
        pack: pack.parse().unwrap(),
    }
}

fn new() -> NewOrder {
    NewOrder {
        enclaves: vec![plant(), "bbbbbbbbbbbbbbbb".parse().unwrap()],
        expires_at: Some(Timestamp::from_ms(NOW + 1_000)),
        packs: vec![PACK.to_owned(), OTHER.to_owned()],
        persons: vec!["ada".to_owned(), "bea".to_owned()],
        runs: vec![
            run("etc", "look", &[("root", Value::String("/etc".to_owned()))]),
            run("sweep", "sweep", &[]),
            run("usr", "look", &[("depth", Value::Int(3))]),
        ],
    }
}

fn letter() -> Letter {
    order(&sender(), id(), &new(), &orders_key()).unwrap()
}

fn look(file: &[u8], options: &Options<'_>) -> Outcome {
    verify(&opener(&Bytes::copy_from_slice(file)), options).unwrap()
}

/// Judged at the plant, with the right key, and nothing held.
fn at_plant(file: &[u8]) -> Outcome {
    let here = plant();
    let options = Options {
        orders_key: Some(orders_key().public()),
        here: Some((&here, Timestamp::from_ms(NOW))),
        held: Some(Held::Nothing),
        ..Options::default()
    };
    look(file, &options)
}

#[track_caller]
fn refuses(what: &str, outcome: &Outcome, code: u8, words: &str) {
    let failure = outcome.report.first_failure();
    let failure = failure.unwrap_or_else(|| panic!("{what}: accepted"));
    assert_eq!(outcome.report.exit_code, code, "{what}: {failure}");
    assert!(
        failure.to_string().contains(words),
        "{what}: {failure} does not say {words:?}"
    );
    assert!(!outcome.report.ok, "{what}");
}

/// The order with another statement, signed by the hub all the same: what only the hub can do.
fn restated(change: impl FnOnce(&mut OrderPredicate, &mut Vec<(String, Vec<u8>)>)) -> Vec<u8> {
    let mut parts = Parts::of(&letter().bytes);
    let Statement::Order(mut predicate, _) = letter().statement else {
        panic!("an order")
    };
    change(&mut predicate, &mut parts.0);
    let told = parts.0[1..].iter().map(|(name, content)| {
        let member = OrderMember::from_name(name).unwrap();
        subject_of(member, content)
    });
    let mut told: Vec<_> = told.collect();
    told.sort_by(|a, b| a.1.name.cmp(&b.1.name));
    let (subject, files): (Vec<_>, Vec<_>) = told.into_iter().unzip();
    predicate.files = files;
    let bytes = Statement::Order(predicate, subject).to_bytes().unwrap();
    parts.0[0].1 = dsse::sign(&bytes, &orders_key()).unwrap();
    parts.file()
}

#[test]
fn an_order_is_found_good_where_it_is_for() {
    let outcome = at_plant(&letter().bytes);
    assert!(outcome.report.ok, "{:#?}", outcome.report);
    assert_eq!(outcome.tar_sha256, Some(letter().tar_sha256));
    assert_eq!(outcome.order_id(), Some(id()));
    let content = outcome.content.unwrap();
    let names: Vec<_> = content.runs.iter().map(|run| run.name.to_string()).collect();
    assert_eq!(names, ["etc", "sweep", "usr"]);
    assert_eq!(
        content.packs[0].source, PACK,
        "the bytes of a pack are those that were given"
    );
    assert!(is_order(&opener(&letter().bytes.into())).unwrap());
    assert!(!is_order(&opener(&bundle(0, 3).into())).unwrap());
    assert!(!is_order(&opener(&b"nothing of the kind".to_vec().into())).unwrap());
}

#[test]
fn the_same_order_gives_the_same_bytes_in_whatever_order_it_is_asked_for() {
    let mut random = Random::new(0x0bde);
    for round in 0..64 {
        let mut shuffled = new();
        for _ in 0..8 {
            let (a, b) = (random.below(2) as usize, random.below(2) as usize);
            shuffled.enclaves.swap(a, b);
            shuffled.packs.swap(a, b);
            shuffled.persons.swap(b, a);
            shuffled
                .runs
                .swap(random.below(3) as usize, random.below(3) as usize);
        }
        let again = order(&sender(), id(), &shuffled, &orders_key()).unwrap();
        assert_eq!(again.bytes, letter().bytes, "round {round}");
        assert_eq!(again.tar_sha256, letter().tar_sha256);
    }
    let other = OrderId::of_hub(&hub(), Timestamp::from_ms(NOW), 8);
    let other = order(&sender(), other, &new(), &orders_key()).unwrap();
    assert_ne!(other.tar_sha256, letter().tar_sha256);
}

#[test]
fn orders_of_anything_drawn_come_out_as_they_went_in() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut new = new();
        new.enclaves.truncate(1 + random.below(2) as usize);
        new.persons.truncate(random.below(3) as usize);
        new.expires_at = random.once_in(2).then(|| Timestamp::from_ms(NOW + 1));
        let text: String = (0..random.below(40))
            .filter_map(|_| char::from_u32(random.below(0x300) as u32))
            .filter(|character| !matches!(character, '\0' | '\u{7f}'))
            .collect();
        new.runs[0].inputs = BTreeMap::from([
            ("root".to_owned(), Value::String(text)),
            ("depth".to_owned(), Value::Int(random.below(1 << 40) as i64)),
        ]);
        let made = order(&sender(), id(), &new, &orders_key()).unwrap();
        let again = order(&sender(), id(), &new, &orders_key()).unwrap();
        assert_eq!(made.bytes, again.bytes, "seed {seed}");
        let outcome = at_plant(&made.bytes);
        assert!(outcome.report.ok, "seed {seed}: {:#?}", outcome.report);
        let content = outcome.content.unwrap();
        assert_eq!(content.runs[0].inputs, new.runs[0].inputs, "seed {seed}");
        assert_eq!(outcome.statement.as_ref(), Some(&made.statement), "seed {seed}");
    }
}

#[test]
fn flipped_bytes_of_the_archive_are_found() {
    let tar = super::fixture::decompress(&letter().bytes);
    // Every byte of the first header, and every fifth of the rest.
    for at in (0..512).chain((512..tar.len()).step_by(5)) {
        let mut tar = tar.clone();
        tar[at] ^= 1 << (at % 8);
        let outcome = at_plant(&compress(&tar));
        assert!(!outcome.report.ok, "byte {at} can be changed");
    }
}

#[test]
fn what_was_changed_on_the_way_is_refused_by_name() {
    let good = letter().bytes;
    let mut damaged = good.clone();
    damaged.truncate(good.len() - 5);
    refuses("a file that breaks off", &at_plant(&damaged), 14, "container");
    refuses(
        "bytes behind it",
        &at_plant(&[good.as_slice(), b"x"].concat()),
        14,
        "container",
    );
    refuses("no file at all", &at_plant(b""), 14, "container");

    let pack = OrderMember::Pack(Digest::of(PACK.as_bytes())).to_string();
    let part = |name: &str| {
        let parts = Parts::of(&good);
        let at = parts.0.iter().position(|part| part.0 == name).unwrap();
        (parts, at)
    };
    let (mut parts, at) = part(&pack);
    parts.0[at].1[40] ^= 1;
    refuses("a changed byte of a pack", &at_plant(&parts.file()), 10, &pack);
    let (mut parts, at) = part(&pack);
    parts.0[at].1.push(b'\n');
    refuses("a longer pack", &at_plant(&parts.file()), 10, &pack);
    let (mut parts, at) = part(&pack);
    parts.0.remove(at);
    refuses("a missing pack", &at_plant(&parts.file()), 11, &pack);
    let (mut parts, at) = part("order/verify.txt");
    parts.0.remove(at);
    refuses("a missing text", &at_plant(&parts.file()), 11, "verify.txt");
    let (mut parts, _) = part(&pack);
    parts.0.remove(0);
    refuses("no manifest", &at_plant(&parts.file()), 11, "manifest");
    let (mut parts, at) = part(&pack);
    let twice = parts.0[at].clone();
    parts.0.insert(at, twice);
    refuses("a member twice", &at_plant(&parts.file()), 14, "second member");
    let (mut parts, at) = part(&pack);
    parts.0.swap(at, at - 1);
    refuses(
        "another order of members",
        &at_plant(&parts.file()),
        14,
        "wrong order",
    );
    let (mut parts, at) = part("order/verify.txt");
    let extra = OrderMember::Pack(Digest::from_bytes([0xff; 32])).to_string();
    parts.0.insert(at, (extra.clone(), b"x".to_vec()));
    refuses(
        "an extra member",
        &at_plant(&parts.file()),
        10,
        "not among the subjects",
    );
    let (mut parts, _) = part(&pack);
    parts.0.push(("order/zzz".to_owned(), b"x".to_vec()));
    refuses("a member of no order", &at_plant(&parts.file()), 10, "no member");
    let (mut parts, _) = part(&pack);
    parts.0[0].1 = vec![b'x'; limits::ORDER_MANIFEST_BYTES_MAX as usize + 1];
    refuses(
        "an endless manifest",
        &at_plant(&parts.file()),
        14,
        "manifest over",
    );
}

#[test]
fn keys_of_other_roles_and_other_hubs_sign_no_orders() {
    let signed_by = |key: &PrivateKey| order(&sender(), id(), &new(), key).unwrap().bytes;
    let other = PrivateKey::generate(&mut |bytes| bytes.fill(0x44));
    refuses(
        "another key",
        &at_plant(&signed_by(&other)),
        12,
        "not by the orders key",
    );
    let here = plant();
    let others = [
        (export_key().public().id().digest(), "export"),
        (log_key().public().id().digest(), "log"),
    ];
    let options = Options {
        orders_key: Some(orders_key().public()),
        no_key: None,
        other_keys: &others,
        here: Some((&here, Timestamp::from_ms(NOW))),
        held: Some(Held::Nothing),
    };
    refuses(
        "role misuse",
        &look(&signed_by(&export_key()), &options),
        12,
        "export key, which does not sign orders",
    );
    let without = Options {
        orders_key: None,
        ..options
    };
    refuses("no key", &look(&letter().bytes, &without), 12, "no orders key");

    let mut parts = Parts::of(&letter().bytes);
    let envelope = dsse::Envelope::parse(&parts.0[0].1).unwrap();
    let mut payload = envelope.payload.clone();
    let at = payload.windows(4).position(|four| four == b"\"ada").unwrap();
    payload[at + 1] = b'e';
    let forged = dsse::sign(&payload, &other).unwrap();
    let forged = String::from_utf8(forged).unwrap();
    let (wrong, right) = (other.public().id(), orders_key().public().id());
    parts.0[0].1 = forged
        .replace(&wrong.to_string(), &right.to_string())
        .into_bytes();
    refuses(
        "the right key's name, another's signature",
        &at_plant(&parts.file()),
        10,
        "signature",
    );
    // A bundle is no order, whoever signed it.
    let mut parts = Parts::of(&bundle(0, 3));
    let statement = dsse::Envelope::parse(&parts.0[0].1).unwrap().payload;
    parts.0[0].1 = dsse::sign(&statement, &orders_key()).unwrap();
    parts.0[0].0 = "order/manifest.dsse.json".to_owned();
    refuses(
        "a bundle's statement",
        &at_plant(&parts.file()),
        14,
        "predicateType",
    );
}

#[test]
fn what_a_hub_may_not_ask_for_is_refused_though_it_signed_it() {
    refuses(
        "a run twice",
        &at_plant(&restated(|order, _| order.runs.insert(1, order.runs[0].clone()))),
        14,
        "duplicate",
    );
    refuses(
        "an id of another kind",
        &at_plant(&restated(|order, _| {
            order.order_id = "0190d7c4-0000-4000-8000-000000000000".parse().unwrap();
        })),
        14,
        "no UUIDv7",
    );
    refuses(
        "a pack that is not there",
        &at_plant(&restated(|order, _| order.runs[0].pack = "none".parse().unwrap())),
        11,
        "does not bring",
    );
    refuses(
        "a pack that nothing asks for",
        &at_plant(&restated(|order, _| drop(order.runs.remove(1)))),
        14,
        "no run asks",
    );
    refuses(
        "another plan",
        &at_plant(&restated(|order, _| order.packs[0].plan_hash = Digest::of(b"x"))),
        14,
        "its plan is",
    );
    refuses(
        "another name",
        &at_plant(&restated(|order, _| {
            order.packs[0].name = "loop".parse().unwrap();
            order.runs[0].pack = "loop".parse().unwrap();
            order.runs[2].pack = "loop".parse().unwrap();
        })),
        14,
        "the pack look, not loop",
    );
    refuses(
        "inputs that the pack does not have",
        &at_plant(&restated(|order, parts| {
            let inputs = br#"{"none":1}"#.to_vec();
            order.runs[0].inputs = Some(Digest::of(&inputs));
            let gone = OrderMember::Inputs(letter_inputs(0)).to_string();
            parts.retain(|part| part.0 != gone);
            parts.push((OrderMember::Inputs(Digest::of(&inputs)).to_string(), inputs));
            parts.sort_by_key(|part| OrderMember::from_name(&part.0));
        })),
        14,
        "there is no input none",
    );
    refuses(
        "inputs that are not there",
        &at_plant(&restated(|order, _| {
            order.runs[1].inputs = Some(Digest::of(b"elsewhere"));
        })),
        11,
        "is not among the subjects",
    );
    refuses(
        "a format of later",
        &at_plant(&restated(|order, _| order.format = 2)),
        14,
        "format",
    );
    refuses(
        "the ledger of another hub",
        &at_plant(&restated(|order, _| order.hub = plant())),
        14,
        "origin",
    );
    refuses(
        "nobody",
        &at_plant(&restated(|order, _| order.enclaves.clear())),
        14,
        "enclaves",
    );
    refuses(
        "no runs",
        &at_plant(&restated(|order, _| order.runs.clear())),
        14,
        "runs",
    );
    refuses(
        "a pack that is too long",
        &at_plant(&restated(|order, parts| {
            let long = format!("{PACK}#{}\n", "x".repeat(limits::PACK_BYTES_MAX)).into_bytes();
            let gone = OrderMember::Pack(order.packs[0].sha256).to_string();
            order.packs[0].sha256 = Digest::of(&long);
            parts.retain(|part| part.0 != gone);
            parts.push((OrderMember::Pack(Digest::of(&long)).to_string(), long));
            parts.sort_by_key(|part| OrderMember::from_name(&part.0));
        })),
        14,
        "longer than",
    );
}

/// The inputs of the run at this place.
fn letter_inputs(at: usize) -> Digest {
    match letter().statement {
        Statement::Order(order, _) => order.runs[at].inputs.unwrap(),
        Statement::Cancellation(..) => panic!("an order"),
    }
}

#[test]
fn it_is_for_named_enclaves_and_for_a_time() {
    let judge = |here: &EnclaveName, now: i64, held: Held<'_>| {
        let options = Options {
            orders_key: Some(orders_key().public()),
            here: Some((here, Timestamp::from_ms(now))),
            held: Some(held),
            ..Options::default()
        };
        look(&letter().bytes, &options)
    };
    let elsewhere: EnclaveName = "cccccccccccccccc".parse().unwrap();
    refuses(
        "the wrong enclave",
        &judge(&elsewhere, NOW, Held::Nothing),
        12,
        "not for this enclave",
    );
    assert!(judge(&plant(), NOW + 999, Held::Nothing).report.ok);
    refuses(
        "too late",
        &judge(&plant(), NOW + 1_000, Held::Nothing),
        13,
        "its time was over",
    );
    let held = held_order();
    let late = judge(&plant(), NOW + 5_000, Held::Here(&held));
    assert!(late.report.ok, "what is here already may come again: {late:?}");
    refuses(
        "another tenant's",
        &judge(&plant(), NOW, Held::Elsewhere),
        13,
        "another tenant",
    );
    let other = ReceivedOrder {
        tar_sha256: Digest::of(b"other"),
        ..held_order()
    };
    refuses(
        "the same id with other bytes",
        &judge(&plant(), NOW, Held::Here(&other)),
        13,
        "another order of this id",
    );
    let cancelled = ReceivedOrder {
        imported: None,
        state: OrderState::Cancelled,
        ..held_order()
    };
    refuses(
        "cancelled before it came",
        &judge(&plant(), NOW, Held::Here(&cancelled)),
        13,
        "cancellation",
    );
}

fn held_order() -> ReceivedOrder {
    ReceivedOrder {
        approvals: Vec::new(),
        approvers: 0,
        cancelled: None,
        expires_at: None,
        hub: hub(),
        id: id(),
        imported: Some(Mark {
            at: Timestamp::from_ms(NOW),
            by: "ada".to_owned(),
            seq: Seq(3),
        }),
        origin: sender().origin,
        outcomes: Vec::new(),
        persons: Vec::new(),
        reported: None,
        runs: Vec::new(),
        seq: Seq(3),
        started: None,
        started_runs: Vec::new(),
        state: OrderState::Imported,
        tar_sha256: letter().tar_sha256,
    }
}

#[test]
fn a_cancellation_is_of_one_order_alone() {
    let what = (id(), letter().tar_sha256);
    let cancel = || cancellation(&sender(), what, &[plant()], "not now", &orders_key()).unwrap();
    assert_eq!(cancel().bytes, cancel().bytes);
    let held = held_order();
    let here = plant();
    let judge = |held: Held<'_>| {
        let options = Options {
            orders_key: Some(orders_key().public()),
            here: Some((&here, Timestamp::from_ms(NOW))),
            held: Some(held),
            ..Options::default()
        };
        look(&cancel().bytes, &options)
    };
    assert!(judge(Held::Here(&held)).report.ok);
    assert!(judge(Held::Nothing).report.ok, "it may come first");
    let other = ReceivedOrder {
        tar_sha256: Digest::of(b"other"),
        ..held_order()
    };
    refuses(
        "of another order",
        &judge(Held::Here(&other)),
        13,
        "another order",
    );
    let long = "x".repeat(limits::TEXT_BYTES_MAX + 1);
    assert!(cancellation(&sender(), what, &[plant()], &long, &orders_key()).is_err());
}

#[test]
fn the_hub_refuses_before_it_signs_what_an_enclave_would_refuse() {
    let check = |change: &dyn Fn(&mut NewOrder), words: &str| {
        let mut asked = new();
        change(&mut asked);
        let error = order(&sender(), id(), &asked, &orders_key())
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{error} does not say {words:?}");
    };
    check(&|order| order.packs[0].push_str("\nx: y\n"), "");
    check(&|order| order.enclaves.clear(), "enclaves");
    check(&|order| order.enclaves.push(plant()), "each once");
    check(&|order| order.persons.push("with blank".to_owned()), "persons");
    check(&|order| order.runs[1].name = "etc".parse().unwrap(), "duplicate");
    check(
        &|order| order.runs[0].pack = "none".parse().unwrap(),
        "does not bring",
    );
    check(&|order| drop(order.runs.remove(1)), "no run asks");
    check(
        &|order| drop(order.runs[0].inputs.insert("depth".to_owned(), Value::Null)),
        "depth",
    );
    check(
        &|order| order.packs.push(OTHER.replace("sweep", "spare")),
        "no run asks",
    );
    check(
        &|order| {
            let one = order.runs[1].clone();
            order.runs = (0..=limits::ORDER_RUNS_MAX)
                .map(|n| NewRun {
                    name: format!("r{n}").parse().unwrap(),
                    ..one.clone()
                })
                .collect();
            order.packs.remove(0);
        },
        "1 to 64 runs",
    );
}

#[test]
fn content_is_held_against_what_was_said() {
    let Statement::Order(predicate, _) = letter().statement else {
        panic!("an order")
    };
    let error = content_of(&predicate, &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

#[test]
fn tools_that_everybody_has_check_an_order_as_its_own_text_says() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.order.tar.zst"), letter().bytes).unwrap();
    let key = orders_key().public().to_pem().unwrap();
    std::fs::write(folder.path().join("orders.pem"), key).unwrap();
    let text = fastness::bundle::order::write::VERIFY_TEXT;
    let script: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    assert!(script.len() >= 9, "{script:?}");
    let shell = |script: &str| {
        std::process::Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(folder.path())
            .output()
            .unwrap()
    };
    let said = shell(&script.join("\n"));
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{error}");
    let asked: serde_json::Value = serde_json::from_slice(
        said.stdout
            .split_inclusive(|byte| *byte == b'\n')
            .skip_while(|line| !line.starts_with(b"{"))
            .collect::<Vec<_>>()
            .concat()
            .as_slice(),
    )
    .unwrap();
    assert_eq!(asked["orderId"], id().to_string());
    // The same text finds a changed pack.
    let mut parts = Parts::of(&letter().bytes);
    let at = parts
        .0
        .iter()
        .position(|part| part.0.starts_with("order/packs/"))
        .unwrap();
    parts.0[at].1[3] ^= 1;
    std::fs::write(folder.path().join("x.order.tar.zst"), parts.file()).unwrap();
    for left in ["order", "order.tar", "names"] {
        let path = folder.path().join(left);
        let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
    }
    assert!(!shell(&script.join("\n")).status.success());
}
