//! What comes into the binary from elsewhere keeps `deny.toml`: licences, bans, one version each, one source.
//!
//! Needs neither cargo-deny nor a network: cargo tells what the lock file means. Advisories are not judged
//! here, as they need a database from elsewhere: `just audit`.

mod deny;
mod spdx;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use deny::Deny;
use serde::Deserialize;

/// What `cargo metadata` says, as far as it matters here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize, Clone)]
struct Package {
    name: String,
    version: String,
    id: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    features: Vec<String>,
}

#[test]
fn dependencies_keep_the_rules_of_deny_toml() {
    let findings = judge(&Deny::read(&root("deny.toml")), &metadata());
    assert!(
        findings.is_empty(),
        "{} breaches of deny.toml\n  {}",
        findings.len(),
        findings.join("\n  ")
    );
}

/// Folders whose packages come from npm.
const NPM_FOLDERS: [&str; 2] = ["web", "tests/clients"];

#[test]
fn what_comes_from_npm_ships_under_allowed_licences() {
    let deny = Deny::read(&root("deny.toml"));
    for folder in NPM_FOLDERS {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let Ok(text) = std::fs::read_to_string(place.join("package-lock.json")) else {
            // A source archive without the console's sources ships none of its packages.
            assert!(!place.exists(), "{folder}/ has no lock file");
            continue;
        };
        let findings = judge_npm(&deny, folder, &serde_json::from_str(&text).unwrap());
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }
}

fn root(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn metadata() -> Metadata {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    // Only this platform: what other platforms need was never fetched, so asking for it needs a network.
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--offline",
            "--locked",
            "--format-version",
            "1",
            "--filter-platform",
            &target,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON")
}

/// Says each breach of `deny` among what cargo resolved.
fn judge(deny: &Deny, metadata: &Metadata) -> Vec<String> {
    let mut findings = Vec::new();
    let mut needed = BTreeSet::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &metadata.packages {
        let Package {
            name,
            version,
            license,
            source,
            ..
        } = package;
        match license
            .as_deref()
            .map(|text| spdx::satisfied(text, &deny.licences))
        {
            Some(Ok(Some(used))) => needed.extend(used),
            Some(Ok(None)) => findings.push(format!("{name} {version}: licence {license:?} is not allowed")),
            Some(Err(error)) => findings.push(format!("{name} {version}: licence {license:?}: {error}")),
            None => findings.push(format!("{name} {version}: states no licence")),
        }
        if deny.crates.contains(name) {
            findings.push(format!("{name} {version}: banned"));
        }
        match source {
            Some(source) if source.starts_with("registry+") => {}
            None if name == "fastness" => {}
            other => findings.push(format!(
                "{name} {version}: comes from {other:?}, not from the registry"
            )),
        }
        versions.entry(name).or_default().insert(version);
    }
    findings.extend(
        deny.licences.difference(&needed).map(|licence| {
            format!("{licence} is allowed and no dependency needs it: take it out of deny.toml")
        }),
    );
    findings.extend(judge_versions(deny, &versions));
    findings.extend(judge_features(deny, metadata));
    findings
}

fn judge_versions(deny: &Deny, versions: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, versions) in versions.iter().filter(|(name, _)| !deny.skipped.contains(**name)) {
        if versions.len() > 1 {
            findings.push(format!("{name}: {} versions, {versions:?}", versions.len()));
        }
    }
    for name in &deny.skipped {
        if versions
            .get(name.as_str())
            .is_none_or(|versions| versions.len() < 2)
        {
            findings.push(format!(
                "{name} is skipped in deny.toml and has one version: take it out"
            ));
        }
    }
    findings
}

fn judge_features(deny: &Deny, metadata: &Metadata) -> Vec<String> {
    let mut findings = Vec::new();
    for node in &metadata.resolve.nodes {
        let name = metadata
            .packages
            .iter()
            .find(|package| package.id == node.id)
            .map(|package| &package.name);
        let banned = name
            .and_then(|name| deny.features.get(name))
            .into_iter()
            .flatten();
        for feature in banned.filter(|feature| node.features.contains(feature)) {
            findings.push(format!("{}: feature {feature} is banned", node.id));
        }
    }
    findings
}

/// Says each package of npm's lock file that ships (is no development tool) and may not, and each place it tells.
fn judge_npm(deny: &Deny, folder: &str, lock: &serde_json::Value) -> Vec<String> {
    let packages = lock["packages"]
        .as_object()
        .expect("a lock file of version 2 or 3");
    let mut findings = Vec::new();
    for (name, package) in packages.iter().filter(|(_, package)| package["dev"] != true) {
        let licence = package["license"].as_str().unwrap_or_default();
        if !matches!(spdx::satisfied(licence, &deny.licences), Ok(Some(_))) {
            findings.push(format!(
                "{folder}/package-lock.json: {name}: licence {licence:?} is not allowed"
            ));
        }
    }
    for (name, package) in packages
        .iter()
        .filter(|(_, package)| !package["resolved"].is_null())
    {
        findings.push(format!(
            "{folder}/package-lock.json: {name}: names where it was fetched: {}",
            package["resolved"]
        ));
    }
    findings
}

/// What cargo would say of these packages: name, version, licence, source.
fn sample(packages: &[(&str, &str, Option<&str>, Option<&str>)], features: &[&str]) -> Metadata {
    let of = |(name, version, license, source): &(&str, &str, Option<&str>, Option<&str>)| Package {
        name: (*name).to_owned(),
        version: (*version).to_owned(),
        id: format!("{name}@{version}"),
        license: license.map(str::to_owned),
        source: source.map(str::to_owned),
    };
    let packages: Vec<Package> = packages.iter().map(of).collect();
    let features: Vec<String> = features.iter().map(|feature| (*feature).to_owned()).collect();
    let nodes = packages.iter().map(|package| Node {
        id: package.id.clone(),
        features: features.clone(),
    });
    Metadata {
        resolve: Resolve {
            nodes: nodes.collect(),
        },
        packages,
    }
}

const RULES: &str = r#"
[licenses]
allow = [
    "MIT", # enough for most
]
[bans]
deny = [
    { crate = "openssl", reason = "x" },
]
skip = [
    { crate = "twice", reason = "x" },
]
[[bans.features]]
crate = "reqwest"
deny = ["default-tls"]
"#;

#[test]
fn each_kind_of_breach_is_found() {
    let (mit, home) = (Some("MIT"), Some("registry+x"));
    let sound = [
        ("twice", "1.0.0", mit, home),
        ("twice", "2.0.0", mit, home),
        ("fastness", "0.1.0", mit, None),
    ];
    let deny = Deny::read(RULES);
    assert_eq!(judge(&deny, &sample(&sound, &[])), [""; 0]);
    for (package, says) in [
        (("bad", "1.0.0", Some("GPL-3.0-only"), home), "is not allowed"),
        (
            ("bad", "1.0.0", Some("MIT AND GPL-3.0-only"), home),
            "is not allowed",
        ),
        (("bad", "1.0.0", Some("MIT OR"), home), "ends too early"),
        (("bad", "1.0.0", None, home), "states no licence"),
        (("openssl", "1.0.0", mit, home), "banned"),
        (("bad", "1.0.0", mit, Some("git+x")), "not from the registry"),
        (("bad", "1.0.0", mit, None), "not from the registry"),
        (("fastness", "9.0.0", mit, home), "2 versions"),
    ] {
        let packages = [&sound[..], &[package]].concat();
        let findings = judge(&deny, &sample(&packages, &[]));
        assert!(
            findings.len() == 1 && findings[0].contains(says),
            "{package:?}: {findings:?}"
        );
    }
    let reqwest = [&sound[..], &[("reqwest", "1.0.0", mit, home)]].concat();
    assert_eq!(judge(&deny, &sample(&reqwest, &["json"])), [""; 0]);
    assert_eq!(judge(&deny, &sample(&reqwest, &["default-tls"])).len(), 1);
}

#[test]
fn entries_that_nothing_needs_any_more_are_found() {
    let deny = Deny::read(&RULES.replace("\"MIT\",", "\"MIT\",\n\"ISC\","));
    let findings = judge(&deny, &sample(&[("fastness", "0.1.0", Some("MIT"), None)], &[]));
    assert!(
        findings
            .iter()
            .any(|says| says.contains("ISC is allowed and no dependency needs it")),
        "{findings:?}"
    );
    assert!(
        findings.iter().any(|says| says.contains("twice is skipped")),
        "{findings:?}"
    );
}

#[test]
fn a_package_from_npm_that_may_not_ship_is_found() {
    let deny = Deny::read(RULES);
    let lock = |package: serde_json::Value| serde_json::json!({"packages": {"node_modules/x": package}});
    for (package, breaches) in [
        (serde_json::json!({"license": "MIT"}), 0),
        (serde_json::json!({"license": "MPL-2.0", "dev": true}), 0),
        (serde_json::json!({"license": "MPL-2.0"}), 1),
        (serde_json::json!({}), 1),
        (serde_json::json!({"license": "MIT", "resolved": "somewhere"}), 1),
    ] {
        assert_eq!(
            judge_npm(&deny, "web", &lock(package.clone())).len(),
            breaches,
            "{package}"
        );
    }
}
