//! Reads of the projection: short, on a thread that may block, each at one `asOf`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::ApiError;
use crate::domain::TenantName;
use crate::domain::state::{Kind, Row, View};
use crate::limits;
use crate::store::{Direction, Page, Snapshot, TenantView};

/// One look at a tenant.
#[derive(Debug)]
pub struct Reading {
    snapshot: Snapshot,
    tenant: TenantName,
    /// The last event that is folded in; −1 before the first.
    pub as_of: i64,
}

impl Reading {
    /// The rows.
    pub fn view(&self) -> Box<dyn View + '_> {
        let view: TenantView<'_> = self.snapshot.view(&self.tenant);
        Box::new(view)
    }

    /// The orders.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Whose rows.
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }
}

impl Api {
    /// Runs `read` on one consistent view. Damage that it meets is reported to the engine.
    pub(super) async fn read<T: Send + 'static>(
        self: &Api,
        tenant: &TenantName,
        read: impl FnOnce(&Reading) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (engine, tenant) = (self.engine().clone(), tenant.clone());
        let done = tokio::task::spawn_blocking(move || {
            let snapshot = engine.read()?;
            let read = snapshot
                .head(&tenant)
                .map_err(ApiError::from)
                .map(|head| {
                    head.map_or(-1, |head| {
                        i64::try_from(head.size).map_or(i64::MAX, |size| size - 1)
                    })
                })
                .and_then(|as_of| {
                    read(&Reading {
                        snapshot,
                        tenant,
                        as_of,
                    })
                });
            if let Err(error) = &read
                && let Some(damage) = error.damage()
            {
                engine.report_damage(&damage);
            }
            read
        });
        done.await.map_err(|_| ApiError::stopping())?
    }

    /// Runs work that blocks.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Api>,
        work: impl FnOnce(&Api) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let api = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&api));
        done.await.map_err(|_| ApiError::stopping())?
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// The last event at which the list is true; −1 before the first.
    pub as_of: i64,
    /// The entries.
    pub items: Vec<T>,
    /// Given back as `cursor`, it brings what follows; null at the end. A page may be short and still have one.
    pub next_cursor: Option<String>,
}

/// How a list is asked for.
#[derive(Debug)]
pub struct Asked {
    /// At most so many.
    pub limit: usize,
    /// The tail of the last key already seen.
    pub after: Option<Vec<u8>>,
}

impl Asked {
    /// Takes `limit` and `cursor` out of a query.
    ///
    /// # Errors
    /// A limit out of its bounds; a cursor that is none.
    pub fn take(query: &mut super::request::Query) -> Result<Self, ApiError> {
        let limit = query.limit()?;
        let after = query
            .text("cursor")?
            .map(|text| {
                read_hex(&text).ok_or_else(|| super::request::bad_parameter("cursor", "not a cursor"))
            })
            .transpose()?;
        Ok(Asked { limit, after })
    }
}

/// Rows of one kind, newest first, as far as `keep` keeps them. Looks at a bounded number of rows.
pub fn list_rows<T>(
    reading: &Reading,
    kind: Kind,
    asked: &Asked,
    mut keep: impl FnMut(&Row) -> Result<Option<T>, ApiError>,
) -> Result<List<T>, ApiError> {
    let mut after = asked.after.clone();
    let (mut items, mut looked_at) = (Vec::new(), 0);
    let mut is_end = false;
    while !is_end && items.len() < asked.limit && looked_at < limits::LIST_ROWS_SCANNED_MAX {
        let page = Page {
            after: after.as_deref(),
            direction: Direction::Backward,
            limit: limits::PAGE_ITEMS_MAX.min(asked.limit.max(limits::PAGE_ITEMS_DEFAULT)),
        };
        let rows = reading.snapshot.rows(&reading.tenant, kind, page)?;
        is_end = rows.len() < page.limit;
        looked_at += rows.len();
        let found = rows.len();
        for (index, (key, row)) in rows.into_iter().enumerate() {
            items.extend(keep(&row)?);
            after = Some(key);
            if items.len() == asked.limit {
                is_end = is_end && index + 1 == found;
                break;
            }
        }
    }
    Ok(List {
        as_of: reading.as_of,
        items,
        next_cursor: after.filter(|_| !is_end).map(|key| write_hex(&key)),
    })
}

/// The tail of a key as a cursor.
pub fn write_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tail of a key out of a cursor.
pub fn read_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) || text.len() > 256 {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

/// Labels or inputs as they are given.
pub type Texts = BTreeMap<String, String>;
