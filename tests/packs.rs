//! The packs that ship inside the binary: each is read by the parser and its steps are really run, one after the other, by
//! the smallest executor that keeps to the runner's contract (clean environment, a folder per step, artifacts handed on).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fastness::domain::Digest;
use fastness::domain::canonical::Value;
use fastness::domain::pack::{Action, ArtifactFrom, PackSpec, StepSpec, plan_hash, resolve_inputs};
use tempfile::TempDir;

/// The user `nobody` and its group.
const NOBODY: (u32, u32) = (65_534, 65_534);

fn packs_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles/packs")
}

fn pack(name: &str) -> PackSpec {
    let path = packs_dir().join(format!("{name}.yaml"));
    PackSpec::parse(&fs::read(&path).unwrap())
        .unwrap_or_else(|errors| panic!("{}:\n{errors}", path.display()))
}

/// What became of one step.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    outputs: BTreeMap<String, String>,
}

/// A run of a pack in a folder of its own.
struct PackRun {
    dir: TempDir,
    ended: BTreeMap<String, Ended>,
    user: Option<(u32, u32)>,
}

impl PackRun {
    /// Runs every step whose needs have succeeded; `between` sees the artifacts of a step before others get them.
    fn run(
        spec: &PackSpec,
        inputs: &[(&str, &str)],
        user: Option<(u32, u32)>,
        between: impl Fn(&str, &Path),
    ) -> PackRun {
        let given = inputs
            .iter()
            .map(|(name, text)| ((*name).to_owned(), Value::from(*text)))
            .collect();
        let inputs = resolve_inputs(spec, &given).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut run = PackRun {
            dir,
            ended: BTreeMap::new(),
            user,
        };
        let mut open: Vec<&StepSpec> = spec.steps.iter().collect();
        while let Some(at) = open
            .iter()
            .position(|step| step.needs.iter().all(|need| run.is_done(need.as_str())))
        {
            let step = open.remove(at);
            run.step(spec, step, &inputs);
            between(step.id.as_str(), &run.artifacts(step.id.as_str()));
        }
        run
    }

    fn step(&mut self, spec: &PackSpec, step: &StepSpec, inputs: &BTreeMap<String, Value>) {
        let task = spec.task(step, inputs);
        let work = self.dir.path().join("work").join(step.id.as_str());
        for folder in ["out", "needs", "tmp"] {
            fs::create_dir_all(work.join(folder)).unwrap();
        }
        for need in &step.needs {
            copy_files(
                &self.artifacts(need.as_str()),
                &work.join("needs").join(need.as_str()),
            );
        }
        let outputs = work.join("outputs");
        fs::write(&outputs, "").unwrap();
        if let Some((user, group)) = self.user {
            give(&work, user, group);
        }
        let argv = task.argv();
        let mut command = Command::new(&argv[0]);
        command
            .args(&argv[1..])
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", &work)
            .env("TMPDIR", work.join("tmp"))
            .envs(&task.env)
            .env("FASTNESS_NEEDS", work.join("needs"))
            .env("FASTNESS_OUTPUT", &outputs)
            .current_dir(&work)
            .stdin(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        let output = command.output().unwrap();
        let kept = self.artifacts(step.id.as_str());
        fs::create_dir_all(&kept).unwrap();
        for artifact in &task.artifacts {
            let to = kept.join(artifact.name.as_str());
            match &artifact.from {
                ArtifactFrom::Stdout => fs::write(to, &output.stdout).unwrap(),
                ArtifactFrom::Path(path) => {
                    let copied = fs::copy(work.join(path), to);
                    assert!(
                        copied.is_ok() || !output.status.success(),
                        "{}: {path} is missing",
                        step.id
                    );
                }
            }
        }
        let written = fs::read_to_string(&outputs).unwrap();
        let outputs = written
            .lines()
            .map(|line| line.split_once('=').expect("an output is key=value"))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ended = Ended {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            outputs,
        };
        self.ended.insert(step.id.to_string(), ended);
    }

    fn is_done(&self, step: &str) -> bool {
        self.ended.get(step).is_some_and(|ended| ended.code == Some(0))
    }

    fn artifacts(&self, step: &str) -> PathBuf {
        self.dir.path().join("artifacts").join(step)
    }

    fn artifact(&self, step: &str, name: &str) -> Vec<u8> {
        fs::read(self.artifacts(step).join(name)).unwrap()
    }

    fn json(&self, step: &str, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.artifact(step, name)).unwrap()
    }

    /// All steps were run, all with success, and each said something.
    #[track_caller]
    fn succeeded(&self, spec: &PackSpec) {
        for step in &spec.steps {
            let ended = self
                .ended
                .get(step.id.as_str())
                .unwrap_or_else(|| panic!("{} was not run", step.id));
            assert_eq!(
                ended.code,
                Some(0),
                "{}: {}{}",
                step.id,
                ended.stdout,
                ended.stderr
            );
            assert_eq!(ended.stderr, "", "{}", step.id);
            assert!(!ended.stdout.is_empty(), "{}", step.id);
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copy = to.join(entry.file_name());
        fs::copy(entry.path(), &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o400)).unwrap();
    }
}

fn give(path: &Path, user: u32, group: u32) {
    chown(path, Some(user), Some(group)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user, group);
        }
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self")
        .map(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0)
        .unwrap_or(false)
}

fn rows(json: &serde_json::Value, key: &str) -> Vec<serde_json::Value> {
    json[key]
        .as_array()
        .unwrap_or_else(|| panic!("{key} is no list"))
        .clone()
}

fn texts(json: &serde_json::Value, list: &str, key: &str) -> Vec<String> {
    rows(json, list)
        .iter()
        .map(|row| row[key].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_shipped_pack_is_read_named_after_its_file_and_listed() {
    let readme = fs::read_to_string(packs_dir().join("README.md")).unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(packs_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() != Some(OsStr::new("yaml")) {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let spec = pack(&name);
        assert_eq!(spec.name.as_str(), name);
        assert!(spec.steps.iter().all(|step| step.description.is_some()), "{name}");
        assert!(
            readme.contains(&format!("`{name}`")),
            "{name} is not in the README"
        );
        // The tree as a foreign reader of YAML sees it, read again as JSON, is the same pack.
        let tree: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let json = serde_json::to_vec(&tree).unwrap();
        assert_eq!(
            plan_hash(&PackSpec::parse(&json).unwrap()),
            plan_hash(&spec),
            "{name}"
        );
        names.push(name);
    }
    names.sort();
    assert_eq!(names, ["backup-verify", "config-drift", "host-inventory"]);
    assert!(pack("host-inventory").steps.len() >= 7);
}

#[test]
fn the_inventory_agrees_with_the_package_database_the_files_and_the_sockets() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = u64::from(listener.local_addr().unwrap().port());
    let spec = pack("host-inventory");
    let run = PackRun::run(&spec, &[("setuid-root", "/usr/bin")], None, |_, _| {});
    run.succeeded(&spec);
    let inventory = run.json("inventory", "inventory.json");
    assert_eq!(inventory["schema"], "fastness.host-inventory/v1");

    let known = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Package}\\n"])
        .output()
        .unwrap();
    let known = String::from_utf8(known.stdout).unwrap();
    let mut expected: Vec<&str> = known
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .collect();
    expected.sort_unstable();
    let mut found = texts(&inventory, "packages", "name");
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(
        run.ended["packages"].outputs["packages"],
        expected.len().to_string()
    );

    let shell = fs::canonicalize("/usr/bin/env").unwrap();
    let programs = rows(&inventory, "programs");
    let program = programs
        .iter()
        .find(|row| row["path"] == shell.to_str().unwrap())
        .unwrap();
    assert_eq!(
        program["sha256"],
        Digest::of(&fs::read(&shell).unwrap()).to_string()
    );
    assert_eq!(program["size"], fs::metadata(&shell).unwrap().len());
    let files = fs::read_dir("/usr/bin")
        .unwrap()
        .filter(|it| it.as_ref().unwrap().file_type().unwrap().is_file());
    assert_eq!(programs.len() + rows(&inventory, "skipped").len(), files.count());

    let sockets = rows(&inventory, "sockets");
    assert!(
        sockets
            .iter()
            .any(|row| row["address"] == "127.0.0.1" && row["port"] == port && row["protocol"] == "tcp")
    );
    assert!(texts(&inventory, "mounts", "target").contains(&"/".to_owned()));
    assert!(texts(&inventory, "mounts", "fileSystem").contains(&"proc".to_owned()));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(inventory["kernel"]["kernelRelease"], kernel.trim());

    let bom = run.json("cyclonedx", "inventory.cdx.json");
    assert_eq!(
        (&bom["bomFormat"], &bom["specVersion"]),
        (&"CycloneDX".into(), &"1.6".into())
    );
    let references = texts(&bom, "components", "bom-ref");
    assert_eq!(references.len(), expected.len() + programs.len());
    let distinct: std::collections::BTreeSet<&String> = references.iter().collect();
    assert_eq!(distinct.len(), references.len());
    assert!(
        references
            .iter()
            .any(|it| it.starts_with("pkg:deb/") && it.contains("/coreutils@"))
    );
    assert!(
        references
            .iter()
            .filter(|it| it.starts_with("pkg:"))
            .all(|it| !it.contains('+') && !it.contains(' '))
    );
}

/// A package database and socket tables as another host might have them.
fn foreign_host(dir: &Path) -> PackSpec {
    let package = |name: &str, status: &str, version: &str| {
        format!(
            "Package: {name}\nStatus: {status}\nVersion: {version}\nArchitecture: amd64\nMaintainer: x\nDescription: x\n\n"
        )
    };
    let status = [
        package("libstdc++6", "install ok installed", "1:2.0+b~1-3"),
        package("gone", "deinstall ok config-files", "1.0"),
    ];
    fs::create_dir(dir.join("dpkg")).unwrap();
    fs::write(dir.join("dpkg/status"), status.concat()).unwrap();
    let row = |address: &str, state: &str| {
        format!(
            "  0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000 0 77 1 0\n"
        )
    };
    let table = |rows: &[(&str, &str)]| {
        rows.iter().fold("head\n".to_owned(), |text, (address, state)| {
            text + &row(address, state)
        })
    };
    let table_of = |name: &str, rows: &[(&str, &str)]| fs::write(dir.join(name), table(rows)).unwrap();
    table_of(
        "tcp",
        &[
            ("0100007F:0050", "0A"),
            ("0A01A8C0:1F90", "0A"),
            ("0100007F:0051", "01"),
        ],
    );
    table_of(
        "tcp6",
        &[
            ("B80D0120000000000000000001000000:01BB", "0A"),
            ("0000000000000000FFFF00000100007F:0019", "0A"),
        ],
    );
    table_of("udp", &[("00000000:0035", "07")]);
    let mut spec = pack("host-inventory");
    spec.env.insert(
        "DPKG_ADMINDIR".to_owned(),
        dir.join("dpkg").to_str().unwrap().to_owned(),
    );
    for step in &mut spec.steps {
        if let Action::Shell(text) = &mut step.action {
            *text = text.replace("/proc/net/$table", &format!("{}/$table", dir.display()));
        }
    }
    spec
}

#[test]
fn the_tables_of_another_host_are_read_right() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap().to_owned();
    let spec = foreign_host(dir.path());
    let run = PackRun::run(
        &spec,
        &[("root", &folder), ("setuid-root", &folder)],
        None,
        |_, _| {},
    );
    run.succeeded(&spec);
    let inventory = run.json("inventory", "inventory.json");
    assert_eq!(texts(&inventory, "packages", "name"), ["libstdc++6"]);
    assert!(
        String::from_utf8(run.artifact("packages", "leftovers.tsv"))
            .unwrap()
            .starts_with("gone\t")
    );
    let sockets: Vec<String> = rows(&inventory, "sockets")
        .iter()
        .map(|row| {
            format!(
                "{} {} {} {}",
                row["protocol"], row["address"], row["port"], row["uid"]
            )
            .replace('"', "")
        })
        .collect();
    assert_eq!(
        sockets,
        [
            "tcp 127.0.0.1 80 1000",
            "tcp 192.168.1.10 8080 1000",
            "tcp6 ::ffff:127.0.0.1 25 1000",
            "tcp6 2001:db8:0:0:0:0:0:1 443 1000",
            "udp 0.0.0.0 53 1000",
        ]
    );
    let bom = run.json("cyclonedx", "inventory.cdx.json");
    let first = bom["components"][0]["purl"].as_str().unwrap();
    assert!(
        first.contains("/libstdc%2B%2B6@1%3A2.0%2Bb~1-3?arch=amd64&distro="),
        "{first}"
    );
}

/// Names that are hard to write down: quotes, backslashes, blanks, UTF-8, a dash in front; and two that cannot be.
fn hard_names(dir: &Path) -> Vec<&'static str> {
    let names = [
        "a\"b",
        "b\\c",
        "c d",
        "d\u{e9}\u{1f600}",
        "-rf",
        "e'f$(x)",
        "plain",
    ];
    for name in names {
        fs::write(dir.join(name), name).unwrap();
    }
    names.to_vec()
}

#[test]
fn hard_names_are_written_down_and_what_cannot_be_is_counted_and_named() {
    let spec = pack("host-inventory");
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut expected: Vec<String> = hard_names(root.path())
        .iter()
        .map(|name| root.path().join(name).to_str().unwrap().to_owned())
        .collect();
    expected.sort();
    fs::write(root.path().join("line\nbreak"), "x").unwrap();
    fs::write(root.path().join(OsStr::from_bytes(b"broken\xff")), "x").unwrap();
    fs::write(root.path().join("secret"), "x").unwrap();
    fs::set_permissions(root.path().join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(root.path().join("plain"), fs::Permissions::from_mode(0o4755)).unwrap();
    for name in [&b"set\nuid"[..], b"set\tuid", b"set\xff"] {
        let path = root.path().join("deep").join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o2755)).unwrap();
    }
    fs::create_dir(root.path().join("closed")).unwrap();
    fs::set_permissions(root.path().join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let folder = root.path().to_str().unwrap();
    let user = is_root().then_some(NOBODY);
    let run = PackRun::run(
        &spec,
        &[("root", folder), ("setuid-root", folder)],
        user,
        |_, _| {},
    );
    run.succeeded(&spec);
    let inventory = run.json("inventory", "inventory.json");
    assert_eq!(texts(&inventory, "programs", "path"), expected);
    let digests = texts(&inventory, "programs", "sha256");
    let real: Vec<String> = expected
        .iter()
        .map(|path| Digest::of(&fs::read(path).unwrap()).to_string())
        .collect();
    assert_eq!(digests, real);
    let skipped: Vec<String> = rows(&inventory, "skipped")
        .iter()
        .map(|row| {
            format!("{} {} {}", row["step"], row["reason"], row["path"])
                .replace(folder, "")
                .replace('"', "")
        })
        .collect();
    assert_eq!(
        skipped,
        [
            "programs odd name /broken?",
            "programs odd name /line?break",
            "programs unreadable /secret",
            "setuid odd name /deep/set?",
            "setuid odd name /deep/set?uid",
            "setuid odd name /deep/set?uid",
            "setuid unreadable /closed",
        ]
    );
    assert_eq!(inventory["skippedCount"], 7);
    assert_eq!(texts(&inventory, "setuid", "path"), [format!("{folder}/plain")]);
    let again = PackRun::run(
        &spec,
        &[("root", folder), ("setuid-root", folder)],
        user,
        |_, _| {},
    );
    assert_eq!(
        again.artifact("cyclonedx", "inventory.cdx.json"),
        run.artifact("cyclonedx", "inventory.cdx.json")
    );
}

/// A small folder of configuration.
fn configuration() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(root.path().join("ssh/keys")).unwrap();
    hard_names(root.path());
    fs::write(root.path().join("ssh/config"), "Port 22\n").unwrap();
    fs::write(root.path().join("ssh/keys/host"), "secret\n").unwrap();
    fs::write(root.path().join("hosts"), "127.0.0.1 localhost\n").unwrap();
    symlink("hosts", root.path().join("names")).unwrap();
    root
}

fn drift(root: &Path, baseline: &Path, user: Option<(u32, u32)>) -> PackRun {
    let inputs = [
        ("root", root.to_str().unwrap()),
        ("baseline", baseline.to_str().unwrap()),
    ];
    PackRun::run(&pack("config-drift"), &inputs, user, |_, _| {})
}

#[test]
fn without_a_baseline_the_first_one_is_made_and_it_is_said_how_to_accept_it() {
    let (root, place) = (configuration(), tempfile::tempdir().unwrap());
    let baseline = place.path().join("accepted.tsv");
    let run = drift(root.path(), &baseline, None);
    run.succeeded(&pack("config-drift"));
    let manifest = run.artifact("manifest", "manifest.tsv");
    let said = &run.ended["verdict"].stdout;
    assert!(
        said.contains("No baseline yet") && said.contains(baseline.to_str().unwrap()),
        "{said}"
    );
    assert!(said.contains(&Digest::of(&manifest).to_string()), "{said}");
    assert_eq!(run.artifact("compare", "drift.tsv"), b"");
    // Accepted as it is, the same state is no drift.
    fs::write(root.path().join("line\nbreak"), "x").unwrap();
    fs::write(&baseline, &manifest).unwrap();
    let run = drift(root.path(), &baseline, None);
    run.succeeded(&pack("config-drift"));
    assert!(run.ended["verdict"].stdout.contains("No drift"));
    assert!(
        run.ended["files"]
            .stdout
            .contains("1 names with control characters are not watched")
    );
    assert_eq!(run.artifact("manifest", "manifest.tsv"), manifest);
}

#[test]
fn what_was_added_removed_and_changed_is_named_and_fails_the_run() {
    let (root, place) = (configuration(), tempfile::tempdir().unwrap());
    let baseline = place.path().join("accepted.tsv");
    fs::write(
        &baseline,
        drift(root.path(), &baseline, None).artifact("manifest", "manifest.tsv"),
    )
    .unwrap();
    fs::write(root.path().join("ssh/config"), "Port 23\n").unwrap();
    fs::write(root.path().join("ssh/new"), "x").unwrap();
    fs::remove_file(root.path().join("c d")).unwrap();
    fs::remove_file(root.path().join("names")).unwrap();
    symlink("b\\c", root.path().join("names")).unwrap();
    fs::set_permissions(root.path().join("hosts"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(root.path().join("plain")).unwrap();
    fs::create_dir(root.path().join("plain")).unwrap();
    let run = drift(root.path(), &baseline, None);
    let verdict = &run.ended["verdict"];
    assert_eq!(verdict.code, Some(1));
    assert!(
        verdict.stderr.starts_with("DRIFT: 6 entries of "),
        "{}",
        verdict.stderr
    );
    let found = String::from_utf8(run.artifact("compare", "drift.tsv")).unwrap();
    let digest = |text: &str| Digest::of(text.as_bytes()).to_string();
    let expected = [
        "removed\tc d\tfile".to_owned(),
        "changed\thosts\tmode 644 -> 600".to_owned(),
        "changed\tnames\ttarget hosts -> b\\c".to_owned(),
        "changed\tplain\tkind file -> folder".to_owned(),
        format!(
            "changed\tssh/config\tcontent {} -> {}",
            digest("Port 22\n"),
            digest("Port 23\n")
        ),
        "added\tssh/new\tfile".to_owned(),
    ];
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
    assert_eq!(run.ended["compare"].outputs["changed"], "4");
}

#[test]
fn what_an_ordinary_user_cannot_read_is_unknown_and_no_drift() {
    if !is_root() {
        return;
    }
    let (root, place) = (configuration(), tempfile::tempdir().unwrap());
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let baseline = place.path().join("accepted.tsv");
    fs::set_permissions(root.path().join("hosts"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(root.path().join("ssh/keys"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(
        &baseline,
        drift(root.path(), &baseline, None).artifact("manifest", "manifest.tsv"),
    )
    .unwrap();
    let run = drift(root.path(), &baseline, Some(NOBODY));
    run.succeeded(&pack("config-drift"));
    assert_eq!(run.artifact("compare", "unknown.txt"), b"hosts\nssh/keys/host\n");
    assert!(
        run.ended["verdict"]
            .stdout
            .contains("2 entries could not be read")
    );
}

#[test]
fn a_baseline_of_something_else_is_refused() {
    let (root, place) = (configuration(), tempfile::tempdir().unwrap());
    let baseline = place.path().join("accepted.tsv");
    fs::write(&baseline, "hello\n").unwrap();
    let run = drift(root.path(), &baseline, None);
    assert_eq!(run.ended["baseline"].code, Some(2));
    assert!(
        run.ended["baseline"]
            .stderr
            .contains("is no manifest of this pack")
    );
    assert!(!run.ended.contains_key("verdict"));
}

#[test]
fn a_backup_restores_to_the_same_entries_and_the_same_folder_gives_the_same_bytes() {
    let (root, spec) = (configuration(), pack("backup-verify"));
    let inputs = [("folder", root.path().to_str().unwrap())];
    let run = PackRun::run(&spec, &inputs, None, |_, _| {});
    run.succeeded(&spec);
    let report = run.json("compare", "report.json");
    assert_eq!(
        (&report["differenceCount"], &report["packedTwiceAlike"]),
        (&0.into(), &true.into())
    );
    assert_eq!(report["entries"], 13);
    assert_eq!(
        report["archiveSha256"],
        Digest::of(&run.artifact("archive", "backup.tar")).to_string()
    );
    let again = PackRun::run(&spec, &inputs, None, |_, _| {});
    assert_eq!(
        again.artifact("archive", "backup.tar"),
        run.artifact("archive", "backup.tar")
    );
    let missing = PackRun::run(&spec, &[("folder", "/nowhere/at/all")], None, |_, _| {});
    assert_eq!(missing.ended["check"].code, Some(2));
    assert_eq!(missing.ended.len(), 1);
}

#[test]
fn a_backup_that_comes_back_differently_or_was_packed_in_motion_fails() {
    let (root, spec) = (configuration(), pack("backup-verify"));
    let inputs = [("folder", root.path().to_str().unwrap())];
    let run = PackRun::run(&spec, &inputs, None, |step, artifacts| {
        if step == "archive" {
            let tar = artifacts.join("backup.tar");
            let mut bytes = fs::read(&tar).unwrap();
            let at = bytes
                .windows(8)
                .position(|window| window == b"Port 22\n")
                .unwrap();
            bytes[at] = b'p';
            fs::write(&tar, bytes).unwrap();
        }
    });
    assert_eq!(run.artifact("compare", "differences.txt"), b"ssh/config\n");
    assert_eq!(
        run.json("compare", "report.json")["differences"],
        serde_json::json!(["ssh/config"])
    );
    assert_eq!(run.ended["verdict"].code, Some(1));
    assert!(
        run.ended["verdict"]
            .stderr
            .contains("1 entries came back differently")
    );

    let run = PackRun::run(&spec, &inputs, None, |step, _| {
        if step == "archive" {
            fs::write(root.path().join("hosts"), "changed\n").unwrap();
        }
    });
    assert!(
        run.ended["verdict"]
            .stderr
            .contains("changed while it was packed"),
        "{:?}",
        run.ended["verdict"]
    );
}

#[test]
fn a_backup_that_would_not_be_whole_fails() {
    let (root, spec) = (configuration(), pack("backup-verify"));
    let inputs = [("folder", root.path().to_str().unwrap())];
    fs::set_permissions(root.path().join("hosts"), fs::Permissions::from_mode(0o000)).unwrap();
    let run = PackRun::run(&spec, &inputs, is_root().then_some(NOBODY), |_, _| {});
    assert_eq!(
        (run.ended["original"].code, run.ended["archive"].code),
        (Some(1), Some(1))
    );
    assert!(
        run.ended["original"].stderr.contains("hosts"),
        "{}",
        run.ended["original"].stderr
    );
    assert!(run.ended["archive"].stderr.contains("not whole"));
    fs::write(root.path().join("line\nbreak"), "x").unwrap();
    let run = PackRun::run(&spec, &inputs, None, |_, _| {});
    assert!(
        run.ended["check"].stderr.starts_with("1 names"),
        "{}",
        run.ended["check"].stderr
    );
}
