//! The verifiers that need nothing of ours, and the commands of `verify.txt`.

use std::path::Path;
use std::process::{Command, Output};

use super::fixture::{Parts, bundle, export_key, log_key};

fn keys(dir: &Path) {
    std::fs::write(dir.join("log.pem"), log_key().public().to_pem().unwrap()).unwrap();
    std::fs::write(dir.join("export.pem"), export_key().public().to_pem().unwrap()).unwrap();
}

const SCRIPTS: [(&str, &str); 3] = [
    ("python3", "verify.py"),
    ("python3", "verify-short.py"),
    ("sh", "verify.sh"),
];

/// Exit code and what was printed, of each.
fn run(file: &[u8]) -> [(i32, String); 3] {
    let dir = tempfile::tempdir().unwrap();
    keys(dir.path());
    std::fs::write(dir.path().join("bundle.audit.tar.zst"), file).unwrap();
    SCRIPTS.map(|(program, script)| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(script);
        let output = Command::new(program)
            .arg(script)
            .args(["bundle.audit.tar.zst", "log.pem", "export.pem"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        (output.status.code().unwrap(), text(&output))
    })
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[track_caller]
fn refused(file: &[u8], code: i32, says: &str) {
    for (found, text) in run(file) {
        assert_eq!(found, code, "{text}");
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn good_bundles_are_good_for_the_scripts_too() {
    for (first, size) in [(0, 0), (0, 1), (0, 300), (37, 70), (5, 12), (12, 12), (64, 65)] {
        for (code, text) in run(&bundle(first, size)) {
            assert_eq!(code, 0, "{first}..{size}: {text}");
            assert!(
                text.contains(&format!("good: events {first} to {size}")),
                "{text}"
            );
        }
    }
}

#[test]
fn the_python_scripts_stay_short_enough_to_read() {
    for (script, most) in [("verify-short.py", 70), ("verify.py", 180)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(script);
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        assert!(lines <= most, "{script} has {lines} lines");
    }
}

#[test]
fn the_scripts_tell_a_mistake_of_their_user_from_a_bad_bundle() {
    let dir = tempfile::tempdir().unwrap();
    keys(dir.path());
    std::fs::write(dir.path().join("bundle"), Parts::small().file()).unwrap();
    let pem = std::fs::read_to_string(dir.path().join("log.pem")).unwrap();
    std::fs::write(dir.path().join("bare.pem"), pem.trim_end()).unwrap();
    std::fs::write(dir.path().join("wide.pem"), format!("{pem}\n")).unwrap();
    std::fs::write(dir.path().join("empty.pem"), "").unwrap();
    std::fs::write(dir.path().join("broken.pem"), pem.replace("MCow", "MCo")).unwrap();
    // The same 32 bytes as a key of X25519, which signs nothing.
    let other = pem.replace("MCowBQYDK2Vw", "MCowBQYDK2Vu");
    std::fs::write(dir.path().join("other.pem"), other).unwrap();
    for (program, script) in SCRIPTS {
        let run = |given: &[&str]| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(script);
            let mut command = Command::new(program);
            let output = command.arg(script).args(given).current_dir(dir.path()).output();
            output.unwrap()
        };
        for good in ["log.pem", "bare.pem", "wide.pem"] {
            let output = run(&["bundle", good, "export.pem"]);
            assert!(output.status.success(), "{script} {good}: {}", text(&output));
        }
        let (here, no, empty) = ("bundle", "not-there", "empty.pem");
        let wrong: [&[&str]; 8] = [
            &[],
            &[here, "log.pem"],
            &[no, "log.pem", "export.pem"],
            &[here, no, "export.pem"],
            &[here, empty, "export.pem"],
            &[here, "broken.pem", "export.pem"],
            &[here, "log.pem", "broken.pem"],
            &[here, "other.pem", "export.pem"],
        ];
        for given in wrong {
            let output = run(given);
            assert_eq!(
                output.status.code(),
                Some(2),
                "{script} {given:?}: {}",
                text(&output)
            );
        }
    }
}

#[test]
fn the_scripts_name_a_flipped_byte_in_any_member() {
    let good = Parts::small();
    for (index, (name, content)) in good.0.iter().enumerate().skip(1) {
        if content.is_empty() {
            continue;
        }
        let mut parts = good.clone();
        parts.0[index].1[content.len() / 2] ^= 1;
        refused(&parts.file(), 10, name);
    }
}

#[test]
fn the_scripts_name_the_changed_event() {
    let good = Parts::of(&bundle(37, 60));
    let history = String::from_utf8(good.clone().member("history.jsonl").clone()).unwrap();
    for (from, to, seq) in [
        ("\"s37\"", "\"s38\"", 37),
        ("\"s59\"", "\"s5\"", 59),
        ("\"s44\"", "\"\"", 44),
    ] {
        let mut parts = good.clone();
        *parts.member("history.jsonl") = history.replacen(from, to, 1).into_bytes();
        refused(&parts.file(), 10, &format!("event {seq} (line {})", seq - 36));
    }
}

#[test]
fn the_scripts_refuse_what_we_refuse() {
    let good = Parts::small();
    let with = |change: &dyn Fn(&mut Parts)| {
        let mut parts = good.clone();
        change(&mut parts);
        parts
    };
    refused(
        &with(&|p| p.0[0].1 = fastness::bundle::dsse::sign(b"{}", &export_key()).unwrap()).file()[..50],
        14,
        "",
    );
    let payload = good.statement().to_bytes().unwrap();
    refused(
        &with(&|p| p.0[0].1 = fastness::bundle::dsse::sign(&payload, &log_key()).unwrap()).file(),
        12,
        "another key",
    );
    let id = export_key().public().id().to_string();
    let forged = |p: &mut Parts| {
        let text = String::from_utf8(fastness::bundle::dsse::sign(&payload, &log_key()).unwrap()).unwrap();
        p.0[0].1 = text
            .replace(&log_key().public().id().to_string(), &id)
            .into_bytes();
    };
    refused(&with(&forged).file(), 10, "bad signature");
    refused(
        &with(&|p| drop(p.0.remove(2))).file(),
        11,
        "audit/checkpoint.prev",
    );
    refused(
        &with(&|p| p.0.push(("audit/zzz".to_owned(), Vec::new()))).file(),
        10,
        "audit/zzz",
    );
    let mut tar = good.tar();
    tar[110] = b'7';
    refused(&super::fixture::compress(&tar), 14, "");
    // Signed by the exporter, and still not what the log signed.
    let resigned = |change: &dyn Fn(&mut Parts)| {
        let mut parts = with(change);
        parts.leaves_again();
        parts.sign_again(|_| {});
        parts.file()
    };
    let edit = |from: &'static str, to: &'static str| {
        move |p: &mut Parts| {
            let text = String::from_utf8(p.member("history.jsonl").clone()).unwrap();
            *p.member("history.jsonl") = text.replacen(from, to, 1).into_bytes();
        }
    };
    refused(
        &resigned(&edit("\"s7\"", "\"s8\"")),
        10,
        "does not lead to the root",
    );
    refused(&resigned(&edit("\"s7\"", "\"\\u00737\"")), 14, "history.jsonl");
    refused(
        &resigned(&|p| p.member("frontier").rotate_left(45)),
        10,
        "frontier",
    );
    let other = super::fixture::checkpoint(
        &export_key(),
        super::fixture::ORIGIN,
        12,
        &super::fixture::frontier_at(12).root(),
    );
    refused(
        &resigned(&|p| *p.member("checkpoint") = other.clone()),
        12,
        "not signed by the log key",
    );
}

#[test]
fn the_commands_of_verify_txt_work_on_every_bundle_and_fail_on_a_changed_one() {
    let run = |file: &[u8]| {
        let dir = tempfile::tempdir().unwrap();
        keys(dir.path());
        std::fs::write(dir.path().join("bundle.audit.tar.zst"), file).unwrap();
        let commands: String = fastness::bundle::VERIFY_TEXT
            .lines()
            .filter_map(|line| line.strip_prefix("$ "))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(commands.lines().count() > 15);
        Command::new("sh")
            .args(["-e", "-c", &commands])
            .current_dir(dir.path())
            .output()
            .unwrap()
    };
    for (first, size) in [(0, 0), (0, 9), (5, 12)] {
        let output = run(&bundle(first, size));
        assert!(output.status.success(), "{first}..{size}: {}", text(&output));
    }
    let mut parts = Parts::small();
    parts.member("history.jsonl")[200] ^= 1;
    assert!(!run(&parts.file()).status.success());
}
