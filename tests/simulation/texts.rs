//! Whatever comes in as text: what canonical JSON cannot hold is refused or cut before it is recorded, not found out later
//! by whoever verifies the ledger.

use fastness::domain::command::{Command, CompleteJob, CreateToken, Outcome, RegisterPack};
use fastness::domain::event::Actor;
use fastness::domain::job::{Artifact, Failure};
use fastness::domain::pack::{PackSpec, plan_hash};
use fastness::domain::payload::{BundleImported, BundleRefused, BundleVerified, TrustPinned};
use fastness::domain::{Digest, Seq, TenantName, canonical};
use fastness::engine::{CommandError, Reach};
use fastness::limits;

use super::deeds::{failure, plain_job, report};
use super::world::{World, claim};

const DELETE: &str = "a\u{7f}b";

/// The code of the refusal, or `ok`.
fn ask(world: &mut World, tenant: &TenantName, command: Command) -> String {
    let answer = world
        .engine()
        .submit(tenant, &Actor::system("test"), command)
        .unwrap();
    // Whatever was answered: what is recorded is canonical.
    for (_, bytes) in world.events(tenant) {
        canonical::check(&bytes).unwrap();
    }
    match answer {
        Ok(_) => "ok".to_owned(),
        Err(CommandError::Rejected(rejection)) => rejection.code.as_str().to_owned(),
        Err(CommandError::Failed(error)) => panic!("{error}"),
    }
}

#[test]
fn names_of_labels_are_keys_of_canonical_json() {
    let mut world = World::new(1);
    let tenant = world.tenants[0].clone();
    let longest = "k".repeat(limits::JSON_KEY_BYTES_MAX);
    let too_long = "k".repeat(limits::JSON_KEY_BYTES_MAX + 1);
    for (name, expected) in [
        ("team:a-1_b.c", "ok"),
        (longest.as_str(), "ok"),
        (too_long.as_str(), "invalid_field"),
        ("a/b", "invalid_field"),
        ("a@b", "invalid_field"),
        ("", "invalid_field"),
        (DELETE, "invalid_field"),
    ] {
        let mut job = plain_job();
        std::sync::Arc::make_mut(&mut job.spec)
            .labels
            .insert(name.to_owned(), "x/y@z".to_owned());
        let found = ask(&mut world, &tenant, Command::SubmitJob(Box::new(job)));
        assert_eq!(found, expected, "{name:?}");
    }
}

#[test]
fn texts_of_users_and_workers_are_refused_when_they_cannot_be_recorded() {
    let mut world = World::new(2);
    let tenant = world.tenants[0].clone();
    let mut job = plain_job();
    job.correlation_id = Some(DELETE.to_owned());
    assert_eq!(
        ask(&mut world, &tenant, Command::SubmitJob(Box::new(job))),
        "invalid_field"
    );
    assert_eq!(
        ask(&mut world, &tenant, Command::SubmitJob(Box::new(plain_job()))),
        "ok"
    );

    let trip = (
        tenant.clone(),
        Actor::worker("w"),
        Vec::new(),
        Some(claim("w", Reach::OneTenant, 1)),
    );
    let jobs = world.batch(vec![trip]).remove(0).jobs;
    world.hold(&jobs);
    let held = world.held[0].clone();
    let failed = |failure: Failure| report(&held, Outcome::Failed(failure, 0));
    let artifact = |mime: &str, size: u64| Artifact {
        mime: mime.to_owned(),
        name: "a.txt".parse().unwrap(),
        sha256: Digest::of(b"a"),
        size,
    };
    let with = |artifact: Artifact| CompleteJob {
        artifacts: vec![artifact],
        ..failed(failure(false))
    };
    let coded = |code: &str| Failure {
        code: Some(code.to_owned()),
        ..failure(false)
    };
    let large = limits::JSON_INTEGER_MAX as u64 + 1;
    for bad in [
        failed(coded(DELETE)),
        failed(coded(&"c".repeat(limits::LABEL_BYTES_MAX + 1))),
        with(artifact(DELETE, 1)),
        with(artifact("text/plain", large)),
    ] {
        assert_eq!(
            ask(&mut world, &tenant, Command::CompleteJob(Box::new(bad))),
            "invalid_field"
        );
    }
    // A message is cut and cleaned: an attempt that failed must be able to say so.
    let message = Failure {
        message: DELETE.repeat(limits::TEXT_BYTES_MAX),
        ..failure(false)
    };
    assert_eq!(
        ask(
            &mut world,
            &tenant,
            Command::CompleteJob(Box::new(failed(message)))
        ),
        "ok"
    );
    let jobs = world.jobs(&tenant);
    assert_eq!(
        jobs[0].failure.as_ref().unwrap().message.len(),
        limits::TEXT_BYTES_MAX
    );
}

#[test]
fn a_pack_source_that_cannot_be_recorded_is_refused() {
    let mut world = World::new(3);
    let tenant = world.tenants[0].clone();
    let source =
        "apiVersion: fastness/v1\nkind: Pack\nmetadata: {name: p}\nspec: {steps: [{id: s, run: [x]}]}\n";
    let spec = PackSpec::parse(source.as_bytes()).unwrap();
    for (source, expected) in [
        (source.to_owned(), "ok"),
        (format!("{source}# {DELETE}\n"), "invalid_field"),
    ] {
        let command = Command::RegisterPack(Box::new(RegisterPack {
            plan_hash: plan_hash(&spec),
            source,
            spec: spec.clone(),
        }));
        assert_eq!(ask(&mut world, &tenant, command), expected);
    }
}

#[test]
fn what_a_hostile_bundle_says_of_itself_is_cut_and_cleaned() {
    let mut world = World::new(4);
    let system = TenantName::system();
    let endless = DELETE.repeat(limits::TEXT_BYTES_MAX);
    let refused = Command::RecordRefusal(Box::new(BundleRefused {
        detail: endless.clone(),
        exit_code: 3,
        kind: Some("fork".to_owned()),
        origin: Some(endless.clone()),
        sha256: Digest::of(b"x"),
    }));
    assert_eq!(ask(&mut world, &system, refused), "ok");
    let verified = Command::RecordVerification(Box::new(BundleVerified {
        exit_code: 3,
        origin: Some(endless),
        sha256: Digest::of(b"x"),
    }));
    assert_eq!(ask(&mut world, &system, verified), "ok");
    let longest = world
        .events(&system)
        .iter()
        .map(|(_, bytes)| bytes.len())
        .max()
        .unwrap();
    assert!(longest < 2 * limits::TEXT_BYTES_MAX + 1_024, "{longest}");
}

#[test]
fn administrators_are_held_to_the_same() {
    let mut world = World::new(5);
    let system = TenantName::system();
    let token = |name: &str, person: &str| {
        Command::CreateToken(Box::new(CreateToken {
            expires_at: None,
            name: name.to_owned(),
            person: person.to_owned(),
            scopes: Vec::new(),
            secret_sha256: Digest::of(name.as_bytes()),
            tenants: Vec::new(),
        }))
    };
    let pin = |origin: &str, key: &str| {
        Command::PinTrust(Box::new(TrustPinned {
            export_key: key.to_owned(),
            log_key: "key".to_owned(),
            origin: origin.to_owned(),
            replace: false,
        }))
    };
    for (command, expected) in [
        (token("name", "ada"), "ok"),
        (token(DELETE, "ada"), "invalid_field"),
        (token("name", DELETE), "invalid_field"),
        (pin("origin/a", "key"), "ok"),
        (pin(DELETE, "key"), "invalid_field"),
        (pin("origin/b", DELETE), "invalid_field"),
    ] {
        assert_eq!(ask(&mut world, &system, command), expected);
    }
}

#[test]
fn a_bundle_that_does_not_continue_what_is_held_is_refused_and_the_writer_goes_on() {
    let mut world = World::new(6);
    let system = TenantName::system();
    let import = |first: u64, size: u64, trust: u64| {
        Command::ImportBundle(Box::new(BundleImported {
            first,
            origin: "origin/a".to_owned(),
            root: Digest::of(b"root"),
            size,
            tar_sha256: Digest::of(&[first as u8, size as u8]),
            tenant: "foreign:0123456789abcdef/acme".parse().unwrap(),
            trust_version: (trust > 0).then_some(trust),
        }))
    };
    for (command, expected) in [
        (import(0, 10, 0), "ok"),
        (import(10, 9, 0), "not_continuous"),
        (import(11, 12, 0), "not_continuous"),
        (import(10, 20, 2), "ok"),
        // An older root of trust than the one that came before, or none any more.
        (import(20, 30, 1), "not_continuous"),
        (import(20, 30, 0), "not_continuous"),
        (import(20, 30, 2), "ok"),
    ] {
        assert_eq!(ask(&mut world, &system, command), expected);
    }
    let events = world.parsed(&system);
    assert_eq!(events.last().unwrap().seq, Seq(events.len() as u64 - 1));
}
