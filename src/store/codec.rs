//! Keys and values of the projection as bytes.
//!
//! ```text
//! key    length of tenant (1) · tenant · kind or index (1) · tail, which sorts as the rows do
//! value  CRC-32C over key and content, little endian (4) · standing (1) · record
//! ```
//! The *record* is canonical JSON. Only that of a job, of which there are most and which is written again with every step of
//! its life, is the binary form of `serde-brief` with indices for names: less than half as long.
//!
//! The *standing* of a job or run says in one byte where it stands in the secondary orders, so that a row is taken out of
//! them without being read.

use super::StoreError;
use crate::domain::Digest;
use crate::domain::dead_letter::Fingerprint;
use crate::domain::job::JobStatus;
use crate::domain::run::RunStatus;
use crate::domain::state::{Key, Kind, Row};
use crate::domain::{Seq, TenantName};

/// Secondary orders. Each entry is a pure function of a row or of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Index {
    /// status · job id
    JobByStatus = 64,
    /// status · run id
    RunByStatus,
    /// job id · seq
    EventByJob,
    /// run id · seq
    EventByRun,
    /// status · job id, of failed jobs that wait for a retry
    RetryingJob,
    /// error cluster · job id, of dead letters that are open
    OpenLetter,
    /// mark of the correlation id · seq, of events that have one
    EventByCorrelation,
}

/// Stands for a correlation id in keys: the first half of its SHA-256. So keys have one length, whatever an imported
/// ledger holds. Two ids with one mark would stand in one order; who reads it compares the ids of the events anyway.
pub(super) fn correlation_mark(correlation_id: &str) -> [u8; 16] {
    let digest = Digest::of(correlation_id.as_bytes());
    let mut mark = [0; 16];
    mark.copy_from_slice(&digest.as_bytes()[..16]);
    mark
}

/// Key prefix of one kind or index of a tenant.
pub(super) fn prefix(tenant: &TenantName, kind: u8) -> Vec<u8> {
    let tenant = tenant.as_str().as_bytes();
    let mut out = Vec::with_capacity(tenant.len() + 64);
    out.push(tenant.len() as u8);
    out.extend_from_slice(tenant);
    out.push(kind);
    out
}

/// The kind or index in a key, or in a prefix of keys.
pub(super) fn kind_of(key: &[u8]) -> Option<u8> {
    let length = usize::from(*key.first()?);
    key.get(1 + length).copied()
}

pub(super) fn row_key(tenant: &TenantName, key: &Key) -> Vec<u8> {
    let mut out = prefix(tenant, key.kind() as u8);
    key.write_tail(&mut out);
    out
}

pub(super) fn event_key(tenant: &TenantName, index: Index, subject: &[u8; 16], seq: Seq) -> Vec<u8> {
    let mut out = prefix(tenant, index as u8);
    out.extend_from_slice(subject);
    out.extend_from_slice(&seq.0.to_be_bytes());
    out
}

/// Set in the standing of a failed job that waits for a retry. Terminal failures may be many; finding the open ones at
/// start must not walk over them.
const RETRYING: u8 = 0x80;

/// The standing of a row: its status, of jobs and runs.
fn standing(row: &Row) -> u8 {
    match row {
        Row::Job(job) if job.status == JobStatus::Failed && !job.is_terminal() => job.status as u8 | RETRYING,
        Row::Job(job) => job.status as u8,
        Row::Run(run) => run.status as u8,
        _ => 0,
    }
}

/// Where a row with this standing stands in secondary orders. The entries are a pure function of key and standing.
fn index_keys(tenant: &TenantName, key: &Key, standing: u8) -> Vec<Vec<u8>> {
    let status = standing & !RETRYING;
    match key {
        Key::Job(id) => {
            let mut keys = vec![status_key(tenant, Index::JobByStatus, status, id.as_bytes())];
            if standing & RETRYING != 0 {
                keys.push(status_key(tenant, Index::RetryingJob, status, id.as_bytes()));
            }
            keys
        }
        Key::Run(id) => vec![status_key(tenant, Index::RunByStatus, status, id.as_bytes())],
        _ => Vec::new(),
    }
}

/// Where a stored row stands in secondary orders.
pub(super) fn entries(
    tenant: &TenantName,
    key: &Key,
    stored_key: &[u8],
    value: &[u8],
) -> Result<Vec<Vec<u8>>, StoreError> {
    match key {
        Key::DeadLetter(job) => {
            let row = open_row(Kind::DeadLetter, stored_key, value)?;
            let open = row.as_dead_letter().filter(|letter| letter.resolved.is_none());
            let entry = open.map(|letter| {
                let mut out = open_letters_prefix(tenant, &letter.fingerprint);
                out.extend_from_slice(job.as_bytes());
                out
            });
            Ok(entry.into_iter().collect())
        }
        _ => Ok(index_keys(tenant, key, standing_of(stored_key, value)?)),
    }
}

/// Prefix of the open dead letters of one error cluster.
pub(super) fn open_letters_prefix(tenant: &TenantName, cluster: &Fingerprint) -> Vec<u8> {
    let mut out = prefix(tenant, Index::OpenLetter as u8);
    out.extend_from_slice(cluster.as_str().as_bytes());
    out
}

fn status_key(tenant: &TenantName, index: Index, status: u8, id: &[u8]) -> Vec<u8> {
    let mut out = prefix(tenant, index as u8);
    out.push(status);
    out.extend_from_slice(id);
    out
}

/// Prefix of the jobs of one status in one of their orders.
pub(super) fn job_status_prefix(tenant: &TenantName, index: Index, status: JobStatus) -> Vec<u8> {
    status_key(tenant, index, status as u8, &[])
}

/// Prefix of the runs of one status.
pub(super) fn run_status_prefix(tenant: &TenantName, status: RunStatus) -> Vec<u8> {
    status_key(tenant, Index::RunByStatus, status as u8, &[])
}

/// Most rows fit into this, so that their buffer never grows.
const ROW_BYTES: usize = 512;
/// How the record of a job is written: fields and variants by their place in the type. A change of it, of the type's order
/// of fields or of the library's form needs another [`super::FORMAT_NOW`].
const JOBS: serde_brief::Config = serde_brief::Config {
    use_indices: true,
    error_on_excess_data: true,
    max_size: None,
};

/// A row as it is stored.
///
/// # Errors
/// None that a row of this crate gives: what is written lies in memory.
pub(super) fn seal_row(key: &[u8], row: &Row) -> Result<Vec<u8>, StoreError> {
    let standing = standing(row);
    let mut out = Vec::with_capacity(ROW_BYTES);
    out.extend_from_slice(&[0, 0, 0, 0, standing]);
    match row {
        Row::Job(job) => serde_brief::to_writer_with_config(job, &mut out, JOBS)
            .map_err(|error| StoreError::Failed(format!("a job cannot be written: {error}")))?,
        _ => row.write_canonical(&mut out),
    }
    let sum = checksum(key, &out[4..]);
    out[..4].copy_from_slice(&sum.to_le_bytes());
    Ok(out)
}

/// The standing of a stored row, after its checksum was found right.
fn standing_of(key: &[u8], value: &[u8]) -> Result<u8, StoreError> {
    match open_value(key, value)?.first() {
        Some(standing) => Ok(*standing),
        None => Err(no_content(key)),
    }
}

fn no_content(key: &[u8]) -> StoreError {
    StoreError::Damaged(format!("the row under key {} is empty", printable(key)))
}

pub(super) fn seal_value(key: &[u8], content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 4);
    out.extend_from_slice(&checksum(key, content).to_le_bytes());
    out.extend_from_slice(content);
    out
}

/// The content of a value, after its checksum was found right.
pub(super) fn open_value<'v>(key: &[u8], value: &'v [u8]) -> Result<&'v [u8], StoreError> {
    match value.split_first_chunk::<4>() {
        Some((sum, content)) if u32::from_le_bytes(*sum) == checksum(key, content) => Ok(content),
        _ => Err(StoreError::Damaged(format!(
            "the value under key {} fails its checksum",
            printable(key)
        ))),
    }
}

pub(super) fn open_row(kind: Kind, key: &[u8], value: &[u8]) -> Result<Row, StoreError> {
    let record = match open_value(key, value)?.split_first() {
        Some((_, record)) => record,
        None => return Err(no_content(key)),
    };
    let damaged =
        |error: String| StoreError::Damaged(format!("the row under key {}: {error}", printable(key)));
    match kind {
        Kind::Job => serde_brief::from_slice_with_config(record, JOBS)
            .map(Row::Job)
            .map_err(|error| damaged(error.to_string())),
        _ => Row::from_bytes(kind, record).map_err(|error| damaged(error.to_string())),
    }
}

fn checksum(key: &[u8], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), content)
}

fn printable(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::job::Job;
    use crate::store::FORMAT_NOW;

    /// A job in which every field that may be left out is there.
    const WHOLE: &str = r#"{"artifacts":[{"mime":"text/plain","name":"a.txt","sha256":"DIGEST","size":3}],"attempt":2,
        "cancelRequested":"enough","correlationId":"c-1","createdAt":"2026-01-02T03:04:05.006Z",
        "endedAt":"2026-01-02T03:04:06.007Z","epoch":7,"exitCode":-9,
        "failure":{"class":"http_429","code":"E1","message":"no","retryable":false},"failures":1,"held":true,
        "id":"0190a000-0000-7000-8000-000000000001","lateReportEpoch":3,"lease":{"leaseMs":30000,"worker":"w-1"},
        "logs":{"indexSha256":"DIGEST","stderr":{"bytes":1,"lines":1,"sha256":"DIGEST"},
            "stdout":{"bytes":2,"lines":1,"sha256":"DIGEST","truncated":true}},
        "name":"build","nextAttemptAt":"1969-12-31T23:59:59.999Z","node":4,
        "output":{"deep":[null,true,-9007199254740991,9007199254740991,"é\u0001",{}],"empty":""},
        "pastLease":{"epoch":6,"reported":"failed","worker":"w-0"},"payloadSha256":"DIGEST","readySeq":11,
        "reason":"why","replayOf":"0190a000-0000-7000-8000-000000000002","run":"0190a000-0000-7000-8000-000000000003",
        "seq":12,"spec":{"always":true,"concurrency":{"key":"k","limit":2},"hold":true,"labels":{"a":"b"},
            "notBefore":"2026-01-02T03:04:05.006Z","priority":9,"project":"p","queue":"q","requires":{"gpu":"yes"},
            "retries":{"backoff":"fixed","capMs":1,"initialMs":2,"jitter":"none","max":3},"timeoutMs":4,"type":"t"},
        "startedAt":"2026-01-02T03:04:05.500Z","status":"failed",
        "uploaded":[{"mime":"text/plain","name":"b.txt","sha256":"DIGEST","size":0}]}"#;

    fn whole() -> Row {
        let digest = Digest::of(b"something").to_string();
        Row::Job(serde_json::from_str(&WHOLE.replace("DIGEST", &digest)).unwrap())
    }

    fn plain() -> Row {
        let Row::Job(whole) = whole() else { panic!("a job") };
        Row::Job(Job {
            spec: Arc::new(crate::domain::job::JobSpec::of_type("t")),
            ..serde_json::from_value(serde_json::json!({
                "attempt": 0, "createdAt": "2026-01-02T03:04:05.006Z", "epoch": 0, "failures": 0, "id": whole.id,
                "payloadSha256": whole.payload_sha256, "seq": 0, "spec": whole.spec, "status": "pending",
            }))
            .unwrap()
        })
    }

    #[test]
    fn a_job_is_read_back_as_it_was_with_every_field_and_with_none() {
        for job in [whole(), plain()] {
            let stored = seal_row(b"key", &job).unwrap();
            assert_eq!(open_row(Kind::Job, b"key", &stored).unwrap(), job);
            assert!(
                stored.len() * 2 < job.to_canonical().len(),
                "{} bytes",
                stored.len()
            );
        }
    }

    #[test]
    fn fields_that_may_be_left_out_stand_in_the_example() {
        let Row::Job(Job { spec, .. }) = whole() else {
            panic!("a job")
        };
        // What is left out when it is empty would not be in the text.
        let text = String::from_utf8(whole().to_canonical()).unwrap();
        for name in [
            "uploaded",
            "artifacts",
            "lateReportEpoch",
            "nextAttemptAt",
            "truncated",
            "pastLease",
        ] {
            assert!(text.contains(&format!("\"{name}\":")), "{name}");
        }
        assert!(spec.always && spec.hold && !spec.requires.is_empty());
    }

    #[test]
    fn a_projection_of_this_format_holds_these_very_bytes() {
        let stored = seal_row(b"key", &whole()).unwrap();
        let known = "2588ca2db487e44a6fe50732f393a786eda5aed41e7762ef3ecabb586a8da379";
        assert_eq!(
            (FORMAT_NOW, Digest::of(&stored).to_string().as_str()),
            (5, known),
            "what is stored has changed: raise FORMAT_NOW, so that older projections are rebuilt"
        );
    }

    #[test]
    fn a_damaged_or_cut_job_is_an_error() {
        let stored = seal_row(b"key", &whole()).unwrap();
        for length in 0..stored.len() {
            assert!(
                open_row(Kind::Job, b"key", &stored[..length]).is_err(),
                "{length}"
            );
        }
        // With a right checksum too: what serde-brief gets is bounded by its own length.
        for length in 0..stored.len() - 5 {
            let cut = seal_value(b"key", &stored[4..4 + length]);
            assert!(open_row(Kind::Job, b"key", &cut).is_err(), "{length}");
        }
    }
}
