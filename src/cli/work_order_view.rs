//! A work order as people see it: how far it is, by whom, and what that rests on.

use anyhow::Result;
use serde_json::Value;

use super::client::Answer;
use super::print::{self, Format};
use super::style::{Look, paint, shown};

/// Prints an order: as it came for programs, as a story for people.
///
/// # Errors
/// What standard output said.
pub fn tell(answer: &Answer, format: Format) -> Result<()> {
    if format.is_json() {
        return print::raw_line(&answer.0);
    }
    let view: Value = answer.json()?;
    tell_view(&view)
}

/// Prints an order as a story.
///
/// # Errors
/// What standard output said.
pub fn tell_view(view: &Value) -> Result<()> {
    print::facts(&[("order", text(&view["id"])), ("state", text(&view["state"]))])?;
    let issued = &view["issued"];
    if issued.is_object() {
        print::facts(&[
            ("for", list(&issued["enclaves"])),
            ("archive", text(&issued["tarSha256"])),
        ])?;
        mark("issued", &issued["issued"])?;
        stopped("recalled", &issued["recalled"])?;
    }
    if view["received"].is_object() {
        received(&view["received"])?;
        if let Some(missing) = view["approvalsMissing"].as_u64().filter(|missing| *missing > 0) {
            print::line(format_args!("  {missing} more persons have to approve"))?;
        }
    }
    for evidence in view["evidence"].as_array().into_iter().flatten() {
        print::line("")?;
        print::facts(&[
            ("evidence from", text(&evidence["origin"])),
            ("rests on root", text(&evidence["root"])),
            ("at size", text(&evidence["size"])),
        ])?;
        if evidence["matches"] != Value::Bool(true) {
            print::line(paint(
                Look::Red,
                "  this is another order than the one that was issued",
            ))?;
        }
        received(&evidence["order"])?;
    }
    Ok(())
}

fn received(order: &Value) -> Result<()> {
    print::facts(&[
        ("hub", text(&order["hub"])),
        ("archive", text(&order["tarSha256"])),
    ])?;
    mark("imported", &order["imported"])?;
    for approval in order["approvals"].as_array().into_iter().flatten() {
        let by = format!("{}, {}", text(&approval["at"]), text(&approval["person"]));
        print::line(format_args!("  approved  {}", shown(&by)))?;
    }
    mark("started", &order["started"])?;
    stopped("cancelled", &order["cancelled"])?;
    mark("reported", &order["reported"])?;
    let ended = order["outcomes"].as_array().filter(|runs| !runs.is_empty());
    let runs = ended.or_else(|| order["startedRuns"].as_array());
    for run in runs.into_iter().flatten() {
        let told = format!(
            "{}  {}  {}",
            text(&run["name"]),
            text(&run["run"]),
            text(&run["status"])
        );
        print::line(format_args!("  run       {}", shown(told.trim_end())))?;
    }
    Ok(())
}

fn mark(name: &str, mark: &Value) -> Result<()> {
    if !mark.is_object() {
        return Ok(());
    }
    let told = format!(
        "{}, {}, event {}",
        text(&mark["at"]),
        text(&mark["by"]),
        text(&mark["seq"])
    );
    print::line(format_args!("  {name:9} {}", shown(&told)))
}

fn stopped(name: &str, stopped: &Value) -> Result<()> {
    mark(name, &stopped["mark"])?;
    match stopped["reason"].as_str().filter(|reason| !reason.is_empty()) {
        Some(reason) => print::line(format_args!("            {}", shown(reason))),
        None => Ok(()),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> String {
    let items = value.as_array().into_iter().flatten().map(text);
    items.collect::<Vec<_>>().join(", ")
}
