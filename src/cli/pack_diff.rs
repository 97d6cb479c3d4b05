//! `fastness pack diff` and `fastness pack plan`: what changed, and what a run would do, as lines for people.

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Answer, Ask, Client, escaped};
use super::exit::Exit;
use super::pack::{PackChoice, latest_version};
use super::print::{self, Format};
use super::run::typed_inputs;
use super::style::{Look, paint, shown};

#[derive(Debug, Deserialize)]
struct Diff {
    inputs: Named,
    settings: Vec<Field>,
    steps: Named,
}

#[derive(Debug, Deserialize)]
struct Named {
    added: Vec<String>,
    changed: Vec<Changed>,
    removed: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Changed {
    fields: Vec<Field>,
    id: String,
}

#[derive(Debug, Deserialize)]
struct Field {
    field: String,
    from: Value,
    to: Value,
}

/// Prints a diff.
///
/// # Errors
/// The answer is not one; printing failed.
pub fn tell(answer: &Answer, format: Format) -> Result<Exit> {
    if format.is_json() {
        print::raw_line(&answer.0)?;
        return Ok(Exit::Good);
    }
    let diff: Diff = answer.json()?;
    for field in &diff.settings {
        tell_field(field, "")?;
    }
    tell_named("input", &diff.inputs)?;
    tell_named("step", &diff.steps)?;
    Ok(Exit::Good)
}

fn tell_named(what: &str, named: &Named) -> Result<()> {
    for name in &named.removed {
        print::line(format_args!("{} {what} {}", paint(Look::Red, "-"), shown(name)))?;
    }
    for name in &named.added {
        print::line(format_args!("{} {what} {}", paint(Look::Green, "+"), shown(name)))?;
    }
    for changed in &named.changed {
        print::line(format_args!("~ {what} {}", shown(&changed.id)))?;
        for field in &changed.fields {
            tell_field(field, "    ")?;
        }
    }
    Ok(())
}

fn tell_field(field: &Field, indent: &str) -> Result<()> {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        value => shown(&value.to_string()).to_string(),
    };
    let (from, to) = (text(&field.from), text(&field.to));
    print::line(format_args!("{indent}~ {}: {from} → {to}", shown(&field.field)))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    critical_path: Vec<String>,
    order: Vec<Planned>,
    sealed_refuses: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Planned {
    id: String,
}

/// Asks for a plan and prints it.
///
/// # Errors
/// What stood in the way.
pub async fn plan(
    mut client: Client,
    pack: PackChoice,
    given: Vec<(String, String)>,
    format: Format,
) -> Result<Exit> {
    let name = escaped(&pack.name);
    let inputs = typed_inputs(&mut client, &pack, given).await?;
    let version = match pack.version {
        Some(version) => version,
        None => latest_version(&mut client, &name).await?,
    };
    let path = format!("/api/v1/packs/{name}/versions/{version}/simulate");
    let answer = client.ask(Ask::post(path, &json!({"inputs": inputs}))?).await?;
    if format.is_json() {
        print::raw_line(&answer.0)?;
        return Ok(Exit::Good);
    }
    let plan: Plan = answer.json()?;
    for (place, step) in plan.order.iter().enumerate() {
        let is_critical = plan.critical_path.contains(&step.id);
        let mark = if is_critical {
            paint(Look::Bold, "*")
        } else {
            paint(Look::Bold, " ")
        };
        print::line(format_args!("{:>4} {mark} {}", place + 1, shown(&step.id)))?;
    }
    let path: Vec<String> = plan
        .critical_path
        .iter()
        .map(|id| shown(id).to_string())
        .collect();
    print::line(format_args!("longest way: {}", path.join(" → ")))?;
    if !plan.sealed_refuses.is_empty() {
        let refused = plan.sealed_refuses.join(", ");
        print::line(format_args!("sealed mode refuses it: {}", shown(&refused)))?;
    }
    Ok(Exit::Good)
}
