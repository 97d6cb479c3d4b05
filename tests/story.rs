//! The main job from end to end: a pack is registered, runs, is watched; its evidence leaves and is replayed elsewhere.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness::app::App;
use fastness::clock::SystemClock;
use fastness::config::ServeConfig;
use fastness::disk::OsDisk;
use serde_json::Value;

const PACK: &str = r#"
apiVersion: fastness/v1
kind: Pack
metadata: {name: story, description: Two steps and what they leave}
spec:
  inputs:
    who: {type: string, default: world}
  steps:
    - id: first
      shell: |
        echo "hello $INPUT_WHO"
        echo "answer=42" > "$FASTNESS_OUTPUT"
        echo content > out/file.txt
      artifacts: [{name: file.txt, path: out/file.txt}]
    - id: second
      needs: [first]
      run: [cat, needs/first/file.txt]
      artifacts: [{name: copy.txt, from: stdout}]
"#;

/// curl is a real client that everybody has.
fn curl(server: &str, token: &str, args: &[&str], path: &str) -> Value {
    let answer = Command::new("curl")
        .args([
            "-sS",
            "--max-time",
            "20",
            "-H",
            &format!("Authorization: Bearer {token}"),
        ])
        .args(args)
        .arg(format!("{server}{path}"))
        .output()
        .unwrap();
    assert!(
        answer.status.success(),
        "{path}: {}",
        String::from_utf8_lossy(&answer.stderr)
    );
    serde_json::from_slice(&answer.stdout)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&answer.stdout).into_owned()))
}

struct Enclave {
    app: App,
    server: String,
    token: String,
}

async fn start(dir: &Path) -> Enclave {
    let program = env!("CARGO_BIN_EXE_fastness").into();
    let config = ServeConfig::new(dir.to_owned(), program, "127.0.0.1:0", None, 1_000).unwrap();
    let app = App::start(config, Arc::new(OsDisk), Arc::new(SystemClock::default()))
        .await
        .unwrap();
    let token = std::fs::read_to_string(dir.join("admin.token"))
        .unwrap()
        .trim()
        .to_owned();
    Enclave {
        server: format!("http://{}", app.address),
        token,
        app,
    }
}

impl Enclave {
    async fn call(&self, args: &[&str], path: &str) -> Value {
        let (server, token) = (self.server.clone(), self.token.clone());
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            curl(&server, &token, &args, &path)
        })
        .await
        .unwrap()
    }

    async fn stop(self) {
        self.app.stop(std::future::pending()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_runs_and_its_evidence_is_replayed_elsewhere_to_the_same_state() {
    let folder = tempfile::tempdir().unwrap();
    let plant = start(&folder.path().join("plant")).await;
    let auditor = start(&folder.path().join("auditor")).await;
    let yaml = [
        "-X",
        "POST",
        "-H",
        "Content-Type: application/yaml",
        "--data-binary",
        PACK,
    ];
    let pushed = plant.call(&yaml, "/api/v1/packs").await;
    assert_eq!(
        (&pushed["version"], &pushed["created"]),
        (&1.into(), &true.into()),
        "{pushed}"
    );
    let body = r#"{"pack":"story","inputs":{"who":"plant"}}"#;
    let json = ["-X", "POST", "-H", "Content-Type: application/json", "-d", body];
    let run = plant.call(&json, "/api/v1/pack-runs").await;
    let id = run["id"].as_str().unwrap_or_else(|| panic!("{run}")).to_owned();
    let deadline = Instant::now() + Duration::from_secs(30);
    let ended = loop {
        let now = plant.call(&[], &format!("/api/v1/pack-runs/{id}")).await;
        if !["pending", "running"].contains(&now["status"].as_str().unwrap()) {
            break now;
        }
        assert!(Instant::now() < deadline, "{now}");
    };
    assert_eq!(ended["status"], "completed", "{ended:#}");
    let logs = plant
        .call(
            &["-H", "Accept: text/plain"],
            &format!("/api/v1/pack-runs/{id}/logs"),
        )
        .await;
    assert_eq!(logs, "hello plant\ncontent\n");
    let state = plant.call(&[], "/api/v1/ledger/state").await;
    let with = r#"{"with":["artifacts","logs"]}"#;
    let json = ["-X", "POST", "-H", "Content-Type: application/json", "-d", with];
    let exported = plant.call(&json, "/api/v1/bundles/export").await;
    let again = plant.call(&json, "/api/v1/bundles/export").await;
    assert_eq!(exported["tarSha256"], again["tarSha256"], "{exported}");
    let file = folder.path().join("bundle");
    let path = format!("/api/v1/bundles/{}/content", exported["id"].as_str().unwrap());
    plant.call(&["-o", file.to_str().unwrap()], &path).await;
    let keys = plant.call(&[], "/api/v1/keys").await;
    let header = |name: &str, key: &Value| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(key["pem"].as_str().unwrap());
        format!("{name}: {text}")
    };
    let data = format!("@{}", file.display());
    let (log, export) = (
        header("X-Fastness-Log-Key", &keys["log"]),
        header("X-Fastness-Export-Key", &keys["export"]),
    );
    let untrusted = ["-X", "POST", "--data-binary", &data];
    let refused = auditor.call(&untrusted, "/api/v1/bundles/import").await;
    assert_eq!(refused["code"], "bundle_refused", "{refused}");
    assert_eq!(refused["report"]["exitCode"], 12, "{refused}");
    let import = ["-X", "POST", "-H", &log, "-H", &export, "--data-binary", &data];
    let imported = auditor.call(&import, "/api/v1/bundles/import").await;
    assert_eq!(imported["stateDigest"], state["stateDigest"], "{imported:#}");
    assert_eq!(imported["size"], state["size"]);
    let repeated = auditor.call(&untrusted, "/api/v1/bundles/import").await;
    assert_eq!(repeated["already"], true, "{repeated:#}");
    let tenant = format!("X-Fastness-Tenant: {}", imported["tenant"].as_str().unwrap());
    let seen = auditor
        .call(&["-H", &tenant], &format!("/api/v1/pack-runs/{id}"))
        .await;
    assert_eq!(seen["status"], "completed", "{seen}");
    let foreign = auditor.call(&["-H", &tenant], "/api/v1/ledger/state").await;
    assert_eq!(foreign["stateDigest"], state["stateDigest"]);
    plant.stop().await;
    auditor.stop().await;
}
