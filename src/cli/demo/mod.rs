//! `fastness demo`: the whole story on one machine, without a network: two enclaves, a run, a bundle, its verification, its
//! replay on the other side, a forged byte, and a work order that goes the other way.
//!
//! It promises that everything is the real thing: both enclaves are servers of this very program, in processes and folders of
//! their own, and each claim is checked, not told. Nothing stays behind.
//!
//! Reading order: this file (the story), `enclave`, `forge`, `order`, `tell`.

mod enclave;
mod forge;
mod order;
mod tell;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;

use self::enclave::Enclave;
use self::tell::Tell;
use super::client::{Ask, Client, escaped};
use super::exit::Exit;
use super::export::{ExportAsk, Exported, fetch};
use super::import::{self, Imported};
use super::pack::{Pushed, push_request};
use super::progress::Board;
use super::run::{Order, start_request, watch};
use super::run_view::RunView;
use super::style::{duration, grouped};
use super::verify::{self, Basis};
use super::{key, replay_bundle};
use crate::bundle::Status;
use crate::bundle::export::With;
use crate::bundle::import::Keys;
use crate::bundle::replay::ScratchFolder;
use crate::clock::{Clock, SystemClock};
use crate::trust::PublicKey;

/// What the plant runs.
const PACK: &str = include_str!("../../../bundles/packs/host-inventory.yaml");

/// How the demo ends.
#[derive(Debug, Args)]
pub struct Arguments {
    /// End after the last check, with exit code 0 only if all of it held
    #[arg(long)]
    exit: bool,
}

/// Tells the story.
///
/// # Errors
/// Something of it could not be done at all.
pub fn run(arguments: &Arguments) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let exit = runtime.block_on(story(arguments.exit));
    runtime.shutdown_background();
    exit
}

async fn story(is_unattended: bool) -> Result<Exit> {
    let parent = std::env::temp_dir().join("fastness-demo");
    let folder = ScratchFolder::new(&parent, SystemClock::default().entropy())
        .with_context(|| format!("making a folder in {}", parent.display()))?;
    let mut tell = Tell::begin();
    let (plant, auditor) = start_both(&mut tell, folder.path()).await?;
    // An interrupt ends the servers, too: they are ours, in process groups of their own.
    let told = tokio::select! {
        told = act(&mut tell, folder.path(), &plant, &auditor) => told,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    };
    if !is_unattended && matches!(told, Ok(Exit::Good | Exit::Failed)) {
        tell.stay(&plant, &auditor);
        let _ = tokio::signal::ctrl_c().await;
    }
    tell.line("");
    let (plant, auditor) = tokio::join!(plant.stop(), auditor.stop());
    let exit = told?;
    plant.and(auditor)?;
    Ok(exit)
}

async fn start_both(tell: &mut Tell, folder: &Path) -> Result<(Enclave, Enclave)> {
    tell.chapter("Two enclaves start on this machine; nothing connects them");
    let (plant, auditor) = tokio::join!(
        Enclave::start("plant", folder.join("plant")),
        Enclave::start("auditor", folder.join("auditor"))
    );
    let (plant, auditor) = (plant?, auditor?);
    for enclave in [&plant, &auditor] {
        tell.fact(
            enclave.name,
            &format!("{}  ready in {}", enclave.url, duration(enclave.took_ms)),
        );
    }
    Ok((plant, auditor))
}

/// The acts, in order. Good only if every claim held.
async fn act(tell: &mut Tell, folder: &Path, plant: &Enclave, auditor: &Enclave) -> Result<Exit> {
    let mut at_plant = plant.client()?;
    let mut at_auditor = auditor.client()?;
    run_pack(tell, &mut at_plant).await?;
    let (exported, file) = export(tell, &mut at_plant, folder).await?;
    let keys = carry_keys(&mut at_plant).await?;
    check(tell, &file, &keys)?;
    let imported = take_in(tell, &mut at_auditor, &file, &keys).await?;
    compare(tell, &mut at_plant, &exported, &imported, &file, &keys).await?;
    forge(tell, &mut at_auditor, &file, &keys).await?;
    let seen = (exported.size, &keys);
    order::round_trip(tell, folder, &mut at_plant, &mut at_auditor, seen).await?;
    Ok(tell.verdict())
}

async fn run_pack(tell: &mut Tell, client: &mut Client) -> Result<()> {
    tell.chapter("The plant registers the pack host-inventory and runs it on this host");
    let pushed: Pushed = client.ask(push_request(PACK.into())).await?.json()?;
    tell.fact(
        "pack",
        &format!(
            "{}@{}  plan {}",
            pushed.name,
            pushed.version,
            short(&pushed.plan_hash)
        ),
    );
    let order = Order {
        correlation_id: None,
        inputs: Default::default(),
        pack: pushed.name,
        version: Some(pushed.version),
    };
    let started: RunView = client.ask(start_request(&order)?).await?.json()?;
    let (_, run) = watch(client.another(), &started.id, Board::on_stdout("     ")).await?;
    #[derive(Deserialize)]
    struct Artifacts {
        items: Vec<Artifact>,
    }
    #[derive(Deserialize)]
    struct Artifact {
        size: u64,
    }
    let path = format!("/api/v1/pack-runs/{}/artifacts", escaped(&run.id));
    let artifacts: Artifacts = client.get(path).await?;
    let bytes: u64 = artifacts.items.iter().map(|artifact| artifact.size).sum();
    let took = run.ended_at.map_or(0, |end| end.since_ms(run.created_at));
    let left = format!(
        "{} artifacts with {} bytes",
        artifacts.items.len(),
        grouped(bytes)
    );
    tell.claim(
        run.is_completed(),
        &format!(
            "the run is {} after {}; it left {left}",
            run.status,
            duration(took)
        ),
    );
    Ok(())
}

async fn export(tell: &mut Tell, client: &mut Client, folder: &Path) -> Result<(Exported, PathBuf)> {
    tell.chapter("The plant writes what happened into one signed file");
    let ask = ExportAsk {
        from: None,
        redaction: None,
        to: None,
        with: vec![With::Artifacts, With::Logs],
    };
    let exported: Exported = client
        .ask(Ask::post("/api/v1/bundles/export", &ask)?)
        .await?
        .json()?;
    let file = folder.join("stick.audit.tar.zst");
    fetch(client, &exported, &file).await?;
    tell.fact(
        "file",
        &format!("{}  {} bytes", exported.name, grouped(exported.bytes)),
    );
    tell.fact(
        "events",
        &format!("{}  root {}", exported.size, short(&exported.root)),
    );
    let again: Exported = client
        .ask(Ask::post("/api/v1/bundles/export", &ask_of(&exported))?)
        .await?
        .json()?;
    let is_same = again.tar_sha256 == exported.tar_sha256;
    tell.claim(is_same, "exported once more, the same range gives the same bytes");
    Ok((exported, file))
}

fn ask_of(exported: &Exported) -> ExportAsk {
    let with = vec![With::Artifacts, With::Logs];
    ExportAsk {
        from: Some(exported.first),
        redaction: None,
        to: Some(exported.size),
        with,
    }
}

/// What people carry over and compare once: two public keys.
async fn carry_keys(client: &mut Client) -> Result<Keys> {
    let both: key::Both = client.get("/api/v1/keys").await?;
    Ok(Keys {
        log: PublicKey::from_pem(&both.log.pem)?,
        export: PublicKey::from_pem(&both.export.pem)?,
    })
}

fn check(tell: &mut Tell, file: &Path, keys: &Keys) -> Result<()> {
    tell.chapter("The auditor checks the file offline, with nothing but the plant's two public keys");
    let outcome = verify::check(file, &Basis::of(keys.clone()), true)?;
    for check in &outcome.report.checks {
        tell.line(&format!("   {}", verify::check_line(check)));
    }
    let replayed = outcome
        .report
        .checks
        .iter()
        .any(|check| check.name == "replay" && check.status == Status::Ok);
    tell.claim(
        outcome.report.ok && replayed,
        "the file is what the plant signed, and its events lead to its state",
    );
    Ok(())
}

async fn take_in(tell: &mut Tell, client: &mut Client, file: &Path, keys: &Keys) -> Result<Imported> {
    tell.chapter("The auditor pins these keys, imports the file and replays it");
    let said = verify::look(file)?.ok();
    let origin = said.context("the bundle says nothing of itself")?.origin;
    let pin = serde_json::json!({"exportKey": keys.export.to_pem()?, "logKey": keys.log.to_pem()?, "origin": origin});
    client.ask(Ask::post("/api/v1/trust/pins", &pin)?).await?;
    let imported: Imported = import::send(client, file, None).await?.json()?;
    tell.fact(
        "tenant",
        &format!("{}  read-only at the auditor", imported.tenant),
    );
    let again: Imported = import::send(client, file, None).await?.json()?;
    tell.claim(
        !imported.already && again.already,
        "imported once; a second time changes nothing, and says so",
    );
    Ok(imported)
}

async fn compare(
    tell: &mut Tell,
    client: &mut Client,
    exported: &Exported,
    imported: &Imported,
    file: &Path,
    keys: &Keys,
) -> Result<()> {
    tell.chapter("Both sides say in which state the work is");
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct State {
        state_digest: String,
    }
    let state: State = client
        .get(format!("/api/v1/ledger/state?size={}", exported.size))
        .await?;
    let replayed = replay_bundle::replay(&[file.to_owned()], &Basis::of(keys.clone()))?;
    let Ok(replayed) = replayed else {
        tell.claim(false, "the bundle can be replayed offline");
        return Ok(());
    };
    let offline = replayed.state_digest.to_string();
    for (name, digest) in [
        ("plant, live", &state.state_digest),
        ("auditor, imported", &imported.state_digest),
        ("offline replay", &offline),
    ] {
        tell.fact(name, digest);
    }
    let is_same = state.state_digest == imported.state_digest && state.state_digest == offline;
    tell.claim(
        is_same && imported.root == exported.root,
        "the same state and the same tree on all sides, bit for bit",
    );
    Ok(())
}

async fn forge(tell: &mut Tell, client: &mut Client, file: &Path, keys: &Keys) -> Result<()> {
    tell.chapter("Somebody changes one byte of one event inside the file");
    let forged = file.with_file_name("forged.audit.tar.zst");
    let forgery = forge::one_byte(file, &forged)?;
    tell.fact("event", &format!("{} ({})", forgery.seq, forgery.type_name));
    tell.fact("before", &forgery.before);
    tell.fact("after", &forgery.after);
    // The program itself, as anybody would call it.
    let (log, export) = (file.with_file_name("log.pem"), file.with_file_name("export.pem"));
    std::fs::write(&log, keys.log.to_pem()?)?;
    std::fs::write(&export, keys.export.to_pem()?)?;
    tell.command("fastness verify forged.audit.tar.zst --log-key log.pem --export-key export.pem");
    let program = std::env::current_exe().context("finding this program")?;
    let output = Command::new(program)
        .args(["verify", "-o", "json"])
        .arg(&forged)
        .arg("--log-key")
        .arg(&log)
        .arg("--export-key")
        .arg(&export)
        .output()
        .context("verifying the forged file")?;
    let names_it = tell_refusal(tell, &output.stdout, forgery.seq);
    let code = output.status.code().unwrap_or(-1);
    tell.claim(
        names_it && code == 10,
        &format!(
            "refused with exit code {code}, and event {} is named",
            forgery.seq
        ),
    );
    let refused = import::send(client, &forged, None).await.is_err();
    tell.claim(refused, "the auditor does not import it either");
    Ok(())
}

/// Shows what failed. True when the forged event is named.
fn tell_refusal(tell: &mut Tell, json: &[u8], seq: u64) -> bool {
    #[derive(Deserialize)]
    struct Row {
        n: u8,
        name: String,
        status: String,
        seq: Option<u64>,
        detail: Option<String>,
        meaning: Option<String>,
    }
    #[derive(Deserialize)]
    struct Checklist {
        checks: Vec<Row>,
    }
    let Ok(list) = serde_json::from_slice::<Checklist>(json) else {
        return false;
    };
    let failed: Vec<&Row> = list.checks.iter().filter(|row| row.status == "failed").collect();
    for row in &failed {
        let detail = row.detail.as_deref().unwrap_or_default();
        tell.bad(&format!("{:2} {:20} {detail}", row.n, row.name));
    }
    if let Some(meaning) = failed.first().and_then(|row| row.meaning.as_deref()) {
        tell.fact("this means", meaning);
    }
    failed.iter().any(|row| row.seq == Some(seq))
}

/// The beginning of a digest, for people.
fn short(digest: &str) -> String {
    format!("{}…", digest.get(..16).unwrap_or(digest))
}
