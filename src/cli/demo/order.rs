//! The round trip of a work order: signed at the hub, carried as a file, run in the plant, matched by what comes back.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::tell::Tell;
use super::{PACK, short};
use crate::bundle::import::Keys;
use crate::bundle::order::verify::{Options, verify};
use crate::cli::client::{Ask, Client, escaped};
use crate::cli::export::{ExportAsk, Exported, fetch};
use crate::cli::import::{self, Imported, send_order};
use crate::cli::progress::Board;
use crate::cli::run::watch;
use crate::cli::{key, verify as verify_verb, work_order};
use crate::trust::PublicKey;

/// An enclave's own name.
#[derive(Debug, Deserialize)]
struct Enclave {
    enclave: String,
}

/// Tells it. `since` is how much of the plant's ledger the hub has seen.
pub(super) async fn round_trip(
    tell: &mut Tell,
    folder: &Path,
    plant: &mut Client,
    hub: &mut Client,
    (since, keys): (u64, &Keys),
) -> Result<()> {
    tell.chapter("The auditor's side is a hub, too: it signs a work order for the plant");
    let there: Enclave = plant.get("/api/v1/keys").await?;
    let body = json!({"for": [there.enclave], "packs": [{"source": PACK}],
        "runs": [{"name": "inventory", "pack": "host-inventory"}]});
    let issued = hub.ask(Ask::post("/api/v1/work-orders", &body)?).await?;
    let id = work_order::id_of(&issued)?;
    let file = folder.join(format!("{id}.order.tar.zst"));
    work_order::fetch(hub, &id, "content", &file).await?;
    tell.fact("order", &format!("{id}  for {}", there.enclave));
    let (key, bytes) = check(tell, hub, &file).await?;

    tell.chapter("The file is carried to the plant, which pins the hub's key, imports it and runs it");
    run(tell, plant, (&id, &key), bytes).await?;

    tell.chapter("What happened is carried back, and the hub knows its order in it");
    let file = folder.join("evidence.audit.tar.zst");
    let exported = carry_back(plant, since, &file).await?;
    let named = verify_verb::look(&file)?
        .ok()
        .and_then(|predicate| predicate.order_id);
    tell.claim(
        named.is_some_and(|named| named.to_string() == id),
        "the signed manifest of the bundle names the order",
    );
    let imported: Imported = import::send(hub, &file, Some(keys)).await?.json()?;
    let view: Value = hub.get(format!("/api/v1/work-orders/{}", escaped(&id))).await?;
    let proof = &view["evidence"][0];
    tell.fact(
        "rests on",
        &format!("root {} at size {}", short(&exported.root), exported.size),
    );
    let holds = view["state"] == "reported"
        && proof["matches"] == true
        && proof["root"] == imported.root.as_str()
        && proof["order"]["outcomes"][0]["status"] == "completed";
    tell.claim(
        holds,
        "ordered, imported, started, reported: completed, by the plant's own signed ledger",
    );
    Ok(())
}

/// Anybody can check the file with the hub's key for orders, before it is carried.
async fn check(tell: &mut Tell, hub: &mut Client, file: &Path) -> Result<(PublicKey, Vec<u8>)> {
    let keys: key::Both = hub.get("/api/v1/keys").await?;
    let key = PublicKey::from_pem(&keys.orders.pem)?;
    let options = Options {
        orders_key: Some(key),
        ..Options::default()
    };
    let outcome = verify(&crate::bundle::import::opener(file), &options).context("checking the order")?;
    for check in &outcome.report.checks {
        tell.line(&format!("   {}", verify_verb::check_line(check)));
    }
    tell.claim(outcome.report.ok, "the file is what the hub signed");
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    Ok((key, bytes))
}

async fn run(
    tell: &mut Tell,
    plant: &mut Client,
    (id, key): (&str, &PublicKey),
    file: Vec<u8>,
) -> Result<()> {
    let file = bytes::Bytes::from(file);
    let unknown = send_order(plant, file.clone(), None, false).await.is_err();
    tell.claim(
        unknown,
        "before the hub's key is pinned the plant refuses the order",
    );
    let first: Value = send_order(plant, file.clone(), Some(key), false).await?.json()?;
    let again: Value = send_order(plant, file, None, false).await?.json()?;
    let is_once = first["already"] == false && again["already"] == true;
    tell.claim(
        is_once && again["order"]["state"] == "imported",
        "imported once; a second time changes nothing, and nothing has started",
    );
    let path = format!("/api/v1/work-orders/{}/start", escaped(id));
    let started: Value = plant.ask(Ask::post(path, &json!({}))?).await?.json()?;
    let run = started["received"]["startedRuns"][0]["run"].as_str();
    let run = run.context("the order started no run")?;
    let (_, run) = watch(plant.another(), run, Board::on_stdout("     ")).await?;
    tell.fact("pack", &format!("{}@{}", run.pack.name, run.pack.version));
    tell.claim(run.is_completed(), "the run that the order asks for is completed");
    Ok(())
}

/// A bundle of what the hub has not seen yet.
async fn carry_back(plant: &mut Client, since: u64, file: &Path) -> Result<Exported> {
    let ask = ExportAsk {
        from: Some(since),
        ..ExportAsk::default()
    };
    let ask = Ask::post("/api/v1/bundles/export", &ask)?;
    let exported: Exported = plant.ask(ask).await?.json()?;
    fetch(plant, &exported, file).await?;
    Ok(exported)
}
