//! Keys and values of the projection as bytes.
//!
//! ```text
//! key    length of tenant (1) · tenant · kind or index (1) · tail, which sorts as the rows do
//! value  CRC-32C over key and content, little endian (4) · canonical JSON
//! ```

use super::StoreError;
use crate::domain::job::JobStatus;
use crate::domain::run::RunStatus;
use crate::domain::state::{Key, Kind, Row};
use crate::domain::{JobId, RunId, Seq, TenantName};

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

/// Where a row stands in secondary orders.
pub(super) fn index_keys(tenant: &TenantName, row: &Row) -> Vec<Vec<u8>> {
    match row {
        Row::Job(job) => {
            let mut keys = vec![job_status_key(
                tenant,
                Index::JobByStatus,
                job.status,
                Some(job.id),
            )];
            // Terminal failures may be many; finding the open ones at start must not walk over them.
            if job.status == JobStatus::Failed && !job.is_terminal() {
                keys.push(job_status_key(
                    tenant,
                    Index::RetryingJob,
                    job.status,
                    Some(job.id),
                ));
            }
            keys
        }
        Row::Run(run) => vec![run_status_key(tenant, run.status, Some(run.id))],
        _ => Vec::new(),
    }
}

pub(super) fn job_status_key(
    tenant: &TenantName,
    index: Index,
    status: JobStatus,
    id: Option<JobId>,
) -> Vec<u8> {
    let mut out = prefix(tenant, index as u8);
    out.push(status as u8);
    out.extend(id.iter().flat_map(|id| id.as_bytes()));
    out
}

pub(super) fn run_status_key(tenant: &TenantName, status: RunStatus, id: Option<RunId>) -> Vec<u8> {
    let mut out = prefix(tenant, Index::RunByStatus as u8);
    out.push(status as u8);
    out.extend(id.iter().flat_map(|id| id.as_bytes()));
    out
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
    let content = open_value(key, value)?;
    Row::from_bytes(kind, content)
        .map_err(|error| StoreError::Damaged(format!("the row under key {}: {error}", printable(key))))
}

fn checksum(key: &[u8], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), content)
}

fn printable(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}
