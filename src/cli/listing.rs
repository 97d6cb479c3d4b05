//! Lists and single things of the interface, as tables for people and as they came for programs.

use anyhow::Result;
use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::client::{Answer, Client, with_query};
use super::print::{self, Format};
use crate::limits;

/// How much of a list.
#[derive(Debug, Clone, Args)]
pub struct Listing {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = limits::PAGE_ITEMS_DEFAULT)]
    limit: usize,
}

/// A part of a list, item by item as the server wrote it.
#[derive(Debug)]
pub struct Listed {
    /// The items.
    pub items: Vec<Box<RawValue>>,
    /// Whether more would follow.
    pub is_cut: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    items: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

impl Listed {
    /// A list that comes whole.
    ///
    /// # Errors
    /// When the answer is no list.
    pub fn of(answer: &Answer) -> Result<Self> {
        let page: Page = answer.json()?;
        Ok(Listed {
            items: page.items,
            is_cut: page.next_cursor.is_some(),
        })
    }
}

/// Reads a list page by page, up to what was asked for.
///
/// # Errors
/// No answer, or a refusal.
pub async fn fetch(
    client: &mut Client,
    path: &str,
    filter: &[(&str, Option<String>)],
    listing: &Listing,
) -> Result<Listed> {
    let (mut items, mut cursor) = (Vec::new(), None);
    loop {
        let left = listing.limit.saturating_sub(items.len());
        if left == 0 {
            return Ok(Listed {
                items,
                is_cut: cursor.is_some(),
            });
        }
        let mut query = filter.to_vec();
        query.push(("limit", Some(left.min(limits::PAGE_ITEMS_MAX).to_string())));
        query.push(("cursor", cursor.clone()));
        let page: Page = client.get(with_query(path, &query)).await?;
        items.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(Listed { items, is_cut: false });
        }
    }
}

/// Prints a list; `columns` are the fields that people see.
///
/// # Errors
/// What standard output said.
pub fn show(listed: &Listed, format: Format, columns: &[&str]) -> Result<()> {
    match format {
        Format::Jsonl => {
            for item in &listed.items {
                print::raw_line(item.get().as_bytes())?;
            }
        }
        Format::Json => {
            let items: Vec<&str> = listed.items.iter().map(|item| item.get()).collect();
            print::raw_line(format!("{{\"items\":[{}]}}", items.join(",")).as_bytes())?;
        }
        Format::Table => {
            let row = |item: &RawValue| -> Result<Vec<String>> {
                let item: Value = serde_json::from_str(item.get())?;
                Ok(columns.iter().map(|column| cell(field(&item, column))).collect())
            };
            let rows = listed.items.iter().map(|item| row(item)).collect::<Result<_>>()?;
            print::rows(columns, rows)?;
        }
    }
    if listed.is_cut {
        print::say(format_args!(
            "these are the first {}; more with --limit",
            listed.items.len()
        ));
    }
    Ok(())
}

/// Prints one thing: all its fields, or as it came.
///
/// # Errors
/// What standard output said.
pub fn show_one(answer: &Answer, format: Format) -> Result<()> {
    if format.is_json() {
        return print::raw_line(&answer.0);
    }
    let Value::Object(fields) = answer.json()? else {
        return print::raw_line(&answer.0);
    };
    let facts: Vec<(&str, String)> = fields
        .iter()
        .filter(|(_, value)| !is_nothing(value))
        .map(|(name, value)| (name.as_str(), cell(Some(value))))
        .collect();
    print::facts(&facts)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A field as a cell.
/// A field, or with full stops one that lies within others.
fn field<'v>(item: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(item, |within, name| within.get(name))
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            texts.join(" ")
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_cells() {
        let item = serde_json::json!({"a": null, "b": "x", "c": ["y", "z"], "d": 7, "e": {"f": true}});
        let cells: Vec<String> = ["a", "b", "c", "d", "e", "missing", "e.f", "e.g", "a.f"]
            .iter()
            .map(|name| cell(field(&item, name)))
            .collect();
        let expected = ["–", "x", "y z", "7", "{\"f\":true}", "–", "true", "–", "–"];
        assert_eq!(cells, expected);
    }
}
