//! Metrics in the text form of Prometheus. Base units, bounded labels, no name of a tenant.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, header};

use super::Api;
use crate::engine::StatsNow;
use crate::webhooks::Figures;

/// States a job can enter, by the event that says so.
const ENTERED: [(&str, &str); 5] = [
    ("job.created", "created"),
    ("job.started", "running"),
    ("job.completed", "completed"),
    ("job.failed", "failed"),
    ("job.cancelled", "cancelled"),
];

/// Counters and gauges.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, description = "Prometheus text format", body = String, content_type = "text/plain")))]
pub async fn read(State(api): State<Arc<Api>>) -> ([(HeaderName, &'static str); 1], String) {
    let stats = api.engine().stats();
    let counts = api.hub.counts();
    let mut page = Page(String::new());
    page.family("fastness_build_info", "gauge", "The program that answers.");
    page.sample("fastness_build_info", &[("version", api.context.version)], 1.0);
    page.family(
        "fastness_jobs_total",
        "counter",
        "Times that a job entered a state, since the start.",
    );
    for (event, state) in ENTERED {
        let count = counts.get(event).copied().unwrap_or(0);
        page.sample("fastness_jobs_total", &[("state", state)], count as f64);
    }
    page.single(
        "fastness_queue_depth",
        "gauge",
        "Jobs that may be leased now.",
        stats.ready as f64,
    );
    page.single(
        "fastness_jobs_running",
        "gauge",
        "Jobs under a lease.",
        stats.running as f64,
    );
    page.single(
        "fastness_ledger_events_total",
        "counter",
        "Events committed since the start, over all ledgers.",
        stats.events as f64,
    );
    page.family(
        "fastness_journal_fsync_seconds",
        "summary",
        "Appends to the journal with their flushes.",
    );
    page.sample(
        "fastness_journal_fsync_seconds_sum",
        &[],
        stats.flush_ns as f64 / 1e9,
    );
    page.sample("fastness_journal_fsync_seconds_count", &[], stats.batches as f64);
    tell_projection(&mut page, &stats);
    page.single(
        "fastness_stream_subscribers",
        "gauge",
        "Open streams.",
        api.hub.subscribers() as f64,
    );
    page.single(
        "fastness_stream_fallbacks_total",
        "counter",
        "Times that a stream's reader was too slow for the live edge and went on from the ledger.",
        api.hub.fallen_behind() as f64,
    );
    tell_webhooks(&mut page, api.webhooks().figures());
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        page.0,
    )
}

fn tell_projection(page: &mut Page, stats: &StatsNow) {
    page.single(
        "fastness_projection_backlog_batches",
        "gauge",
        "Batches of the journal that were answered and are not in the projection yet.",
        stats.backlog.batches as f64,
    );
    page.single(
        "fastness_projection_backlog_bytes",
        "gauge",
        "Bytes of their events.",
        stats.backlog.bytes as f64,
    );
    page.single(
        "fastness_projection_backlog_age_seconds",
        "gauge",
        "How long the oldest of them waits; 0 when there is none.",
        stats.backlog.age_ms as f64 / 1e3,
    );
    page.single(
        "fastness_projection_rebuilds_total",
        "counter",
        "Times that the projection was folded anew.",
        stats.rebuilds as f64,
    );
}

fn tell_webhooks(page: &mut Page, figures: Figures) {
    let name = "fastness_webhook_deliveries_total";
    page.family(
        name,
        "counter",
        "Attempts to deliver an event since the start, by what they came to.",
    );
    for (outcome, count) in [
        ("taken", figures.taken),
        ("failed", figures.failed),
        ("gone", figures.gone),
    ] {
        page.sample(name, &[("outcome", outcome)], count as f64);
    }
    page.family("fastness_webhooks", "gauge", "Webhooks by state.");
    for (state, count) in [
        ("active", figures.active),
        ("paused", figures.paused),
        ("dead", figures.dead),
    ] {
        page.sample("fastness_webhooks", &[("state", state)], count as f64);
    }
    page.single(
        "fastness_webhook_behind_events",
        "gauge",
        "Events that the active webhook furthest behind has not done with.",
        figures.behind as f64,
    );
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            let escaped = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(self.0, "{open}{label}=\"{escaped}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}
