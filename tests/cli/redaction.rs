//! Redaction from the command line, over a real server, its log, its runner, and the scripts that verify bundles.

use std::path::Path;

use crate::support::program::{Program, run, until};

const VALUE: &str = "hunter2-is-no-password";

const PACK: &str = r#"apiVersion: fastness/v1
kind: Pack
metadata: {name: scan}
spec:
  inputs:
    token: {type: string, sensitive: true}
  steps:
    - id: look
      shell: test "$INPUT_TOKEN" = "$(cat FILE)"
      retries: {max: 0}
"#;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn values_go_to_steps_and_to_who_may_and_into_no_log_and_no_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let at = |name: &str| folder.path().join(name);
    let server = Program::start(&data);
    std::fs::write(at("value"), VALUE).unwrap();
    std::fs::write(at("pack.yaml"), PACK.replace("FILE", text(&at("value")))).unwrap();
    assert_eq!(server.run(&["pack", "push", text(&at("pack.yaml"))]).code, 0);
    let input = format!("token={VALUE}");
    let ran = server
        .run(&["run", "scan", "-i", &input, "--wait", "-o", "json"])
        .json(0);
    let id = ran["id"].as_str().unwrap();
    assert_eq!(
        server.run(&["disclose", "run", id, "-o", "json"]).json(0)["value"]["token"],
        VALUE
    );

    let payload = format!("{{\"token\":\"{VALUE}\",\"n\":1}}");
    let submit = ["job", "submit", "a", "--payload", &payload, "-o", "json"];
    let job = server
        .run(&[&submit[..], &["--sensitive", "/token"]].concat())
        .json(0);
    assert!(!job.to_string().contains(VALUE));
    server
        .run(&[&submit[..], &["--sensitive", "/tokem"]].concat())
        .refuses(2, "/tokem points at nothing");
    let rules = r#"{"rules":[{"types":["a"],"pointers":["/token"]}]}"#;
    std::fs::write(at("rules.json"), rules).unwrap();
    let set = server.run(&[
        "redaction",
        "set",
        "auditor",
        "--file",
        text(&at("rules.json")),
        "-o",
        "json",
    ]);
    assert_eq!(set.json(0)["name"], "auditor");
    assert!(server.run(&["redaction", "list"]).stdout.contains("auditor"));
    assert_eq!(
        server
            .run(&["redaction", "show", "auditor", "-o", "json"])
            .json(0)["rules"][0]["types"][0],
        "a"
    );

    // Exported without values, and with those of a policy; verified by the program and by the scripts.
    for (kind, name) in [("log", "LOG.pem"), ("export", "EXPORT.pem")] {
        let key = server.run(&["key", "show", kind, "--pem", "--data", text(&data)]);
        std::fs::write(at(name), key.stdout).unwrap();
    }
    let (log, export) = (at("LOG.pem"), at("EXPORT.pem"));
    let keys = ["--log-key", text(&log), "--export-key", text(&export)];
    let size = server.get("/api/v1/events?limit=500")["items"]
        .as_array()
        .unwrap()
        .len()
        .to_string();
    for (name, more) in [
        ("bare", &[][..]),
        ("some", &["--redaction", "auditor"]),
        ("full", &["--redaction", "full"]),
    ] {
        let out = at(name);
        let asked = [&["export", "--to", &size, "--out", text(&out)], more].concat();
        assert_eq!(server.run(&asked).code, 0, "{name}");
        let verified = run(&[&["verify", text(&out), "-o", "json"], &keys[..]].concat()).json(0);
        assert_eq!(verified["ok"], true, "{name}: {verified}");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verify.py");
        let checked = std::process::Command::new("python3")
            .arg(script)
            .args([&out, &log, &export])
            .output()
            .unwrap();
        assert!(
            checked.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&checked.stderr)
        );
    }
    // What left without values gets them later; what was changed on the way is refused.
    let later = at("later.jsonl");
    let asked = [
        "disclose",
        "range",
        "--to",
        &size,
        "--redaction",
        "full",
        "--out",
        text(&later),
    ];
    assert_eq!(server.run(&asked).code, 0);
    let bare = at("bare");
    let verify =
        |file: &Path| run(&[&["verify", text(&bare), "--disclosures", text(file)], &keys[..]].concat());
    let good = verify(&later);
    assert!(
        good.code == 0 && good.stderr.contains("3 disclosures belong to events"),
        "{good:?}"
    );
    let lines = std::fs::read_to_string(&later).unwrap();
    assert_eq!(lines.lines().count(), 3);
    // In several files as in one; never twice, nor once more what the bundle shows itself.
    let part = at("part.jsonl");
    let (first, rest) = lines.split_at(lines.find('\n').unwrap() + 1);
    std::fs::write(&later, rest).unwrap();
    std::fs::write(&part, first).unwrap();
    let both = |bundle: &Path, files: &[&Path]| {
        let given = files.iter().flat_map(|file| ["--disclosures", text(file)]);
        let line = [vec!["verify", text(bundle)], given.collect(), keys.to_vec()].concat();
        run(&line)
    };
    let good = both(&bare, &[&later, &part]);
    assert!(
        good.code == 0 && good.stderr.contains("3 disclosures belong to events"),
        "{good:?}"
    );
    let twice = both(&bare, &[&later, &part, &part]);
    assert!(
        twice.code == 14 && twice.stdout.contains("it is there twice"),
        "{twice:?}"
    );
    let again = both(&at("full"), &[&part]);
    assert!(
        again.code == 14 && again.stdout.contains("first in audit/disclosures.jsonl line 1"),
        "{again:?}"
    );
    both(&bare, &[part.as_path(); 65]).refuses(2, "may be given 64 times at most");
    // A bundle that is broken is told as such, whatever came later; what cannot be read is named.
    let whole = std::fs::read(&bare).unwrap();
    let broken = at("broken");
    std::fs::write(&broken, &whole[..whole.len() / 2]).unwrap();
    let cut = both(&broken, &[&part]);
    assert!(cut.code == 14 && cut.stdout.contains("container"), "{cut:?}");
    both(&bare, &[folder.path()]).refuses(2, "is a folder");
    std::fs::write(&later, lines.replacen("\"seq\":", "\"seq\":1", 1)).unwrap();
    let bad = verify(&later);
    assert!(bad.code == 10 && bad.stdout.contains("disclosures"), "{bad:?}");

    // Erased: only with a yes, and for good.
    let id = job["id"].as_str().unwrap();
    server.run(&["erase", "job", id]).refuses(2, "--yes");
    assert_eq!(
        server
            .run(&["erase", "job", id, "--yes", "--reason", "asked", "-o", "json"])
            .code,
        0
    );
    server.run(&["disclose", "job", id]).refuses(5, "erased");
    assert_eq!(server.run(&["redaction", "delete", "auditor"]).code, 0);
    server
        .run(&["redaction", "show", "auditor"])
        .refuses(3, "no such");
    assert_eq!(
        server
            .run(&["export", "--redaction", "auditor", "--out", "-"])
            .code,
        2
    );
    let claimed = server.post("/api/v1/workers/claim", r#"{"worker":"w-1"}"#);
    assert_eq!(claimed["jobs"].as_array().unwrap().len(), 0);
    until("the job has failed", || {
        server.get(&format!("/api/v1/jobs/{id}"))["status"] == "failed"
    });

    assert!(!server.log().contains(VALUE), "{}", server.log());
    let found = std::process::Command::new("grep")
        .args(["-rl", VALUE])
        .arg(&data)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}
