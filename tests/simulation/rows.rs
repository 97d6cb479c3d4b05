//! The projection against a plain model in memory, row by row, and each secondary order against the rows it is made of.

use std::collections::{BTreeMap, BTreeSet};

use fastness::domain::apply::apply;
use fastness::domain::event::Event;
use fastness::domain::job::JobStatus;
use fastness::domain::run::RunStatus;
use fastness::domain::state::{Changes, Kind, Model, Row};
use fastness::domain::{Seq, TenantName};
use fastness::store::{Direction, Page, Snapshot};

use super::world::{ALL, World, assert_same};

/// All that can be compared without disturbing the engine.
pub fn check(world: &World) {
    let snapshot = world.read();
    for tenant in world.ledgers() {
        let events = world.parsed(&tenant);
        let model = model(&events);
        check_rows(&snapshot, &tenant, &model);
        check_statuses(&snapshot, &tenant, &model);
        check_subjects(&snapshot, &tenant, &events);
        check_correlations(&snapshot, &tenant, &events);
        let head = snapshot.head(&tenant).unwrap();
        assert_eq!(
            head.map(|head| head.size),
            events.last().map(|last| last.seq.0 + 1)
        );
        assert_eq!(head.map(|head| head.at), events.last().map(|last| last.at));
    }
    drop(snapshot);
    world.store().verify().unwrap();
    assert_same(&world.dump(), &world.folded(), "folded beside it");
}

/// A ledger folded from its first event, nothing but memory below.
pub fn model(events: &[Event]) -> Model {
    let mut model = Model::default();
    for event in events {
        let mut changes = Changes::default();
        apply(&model, &mut changes, event).unwrap();
        model.absorb(changes);
    }
    model
}

fn check_rows(snapshot: &Snapshot, tenant: &TenantName, model: &Model) {
    let mut expected: BTreeMap<(Kind, Vec<u8>), Row> = BTreeMap::new();
    for (key, row) in model.rows() {
        let mut tail = Vec::new();
        key.write_tail(&mut tail);
        // What is stored is read back as what it was.
        let bytes = row.to_canonical();
        fastness::domain::canonical::check(&bytes).unwrap();
        assert_eq!(Row::from_bytes(key.kind(), &bytes).unwrap(), **row);
        let before = expected.insert((key.kind(), tail), Row::clone(row));
        assert_eq!(before, None, "two rows under the key {key:?}");
    }
    let mut found = BTreeMap::new();
    for kind in Kind::ALL {
        for (tail, row) in snapshot.rows(tenant, kind, ALL).unwrap() {
            found.insert((kind, tail), row);
        }
    }
    assert_eq!(found, expected, "the rows of {tenant}");
}

fn check_statuses(snapshot: &Snapshot, tenant: &TenantName, model: &Model) {
    let rows: Vec<&Row> = model.rows().map(|(_, row)| row.as_ref()).collect();
    let jobs: Vec<_> = rows.iter().filter_map(|row| row.as_job()).collect();
    for status in JobStatus::ALL {
        let all: Vec<_> = jobs
            .iter()
            .filter(|job| job.status == status)
            .map(|job| job.id)
            .collect();
        assert_eq!(snapshot.jobs_by_status(tenant, status, ALL).unwrap(), all);
        let mut backward = snapshot.jobs_by_status(tenant, status, backward()).unwrap();
        backward.reverse();
        assert_eq!(backward, all);
        let open = jobs.iter().filter(|job| job.status == status);
        let open = open.filter(|job| status != JobStatus::Failed || !job.is_terminal());
        let open: Vec<_> = open.map(|job| job.id).collect();
        assert_eq!(snapshot.open_jobs_by_status(tenant, status, ALL).unwrap(), open);
    }
    let runs: Vec<_> = rows.iter().filter_map(|row| row.as_run()).collect();
    for status in RunStatus::ALL {
        let all: Vec<_> = runs
            .iter()
            .filter(|run| run.status == status)
            .map(|run| run.id)
            .collect();
        assert_eq!(snapshot.runs_by_status(tenant, status, ALL).unwrap(), all);
    }
}

fn check_subjects(snapshot: &Snapshot, tenant: &TenantName, events: &[Event]) {
    let jobs: BTreeSet<_> = events.iter().filter_map(|event| event.subject.job).collect();
    for job in jobs {
        let named = events.iter().filter(|event| event.subject.job == Some(job));
        let named: Vec<Seq> = named.map(|event| event.seq).collect();
        assert_eq!(snapshot.events_of_job(tenant, job, ALL).unwrap(), named);
    }
    let runs: BTreeSet<_> = events.iter().filter_map(|event| event.subject.run).collect();
    for run in runs {
        let named = events.iter().filter(|event| event.subject.run == Some(run));
        let named: Vec<Seq> = named.map(|event| event.seq).collect();
        assert_eq!(snapshot.events_of_run(tenant, run, ALL).unwrap(), named);
        // Page by page it is the same.
        let mut paged = Vec::new();
        let mut after: Option<[u8; 8]> = None;
        loop {
            let page = Page {
                after: after.as_ref().map(<[u8; 8]>::as_slice),
                limit: 3,
                ..ALL
            };
            let more = snapshot.events_of_run(tenant, run, page).unwrap();
            let Some(last) = more.last() else { break };
            after = Some(last.0.to_be_bytes());
            paged.extend(more);
        }
        assert_eq!(paged, named);
    }
}

fn check_correlations(snapshot: &Snapshot, tenant: &TenantName, events: &[Event]) {
    let mut filed: BTreeMap<&str, Vec<Seq>> = BTreeMap::new();
    for event in events {
        if let Some(correlation_id) = &event.correlation_id {
            filed.entry(correlation_id).or_default().push(event.seq);
        }
    }
    for (correlation_id, seqs) in filed {
        let found = snapshot.events_of_correlation(tenant, correlation_id, ALL);
        assert_eq!(found.unwrap(), seqs, "{correlation_id}");
    }
    let found = snapshot.events_of_correlation(tenant, "", ALL).unwrap();
    assert_eq!(found, [], "an event without one has no entry");
}

fn backward() -> Page<'static> {
    Page {
        direction: Direction::Backward,
        ..ALL
    }
}
