//! OpenSSL reads our keys and verifies our signatures, and the other way round.

use std::fs;
use std::path::Path;
use std::process::Command;

use fastness::disk::OsDisk;
use fastness::trust::{KeyFolder, PrivateKey, PublicKey, Signature};

fn openssl(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(dir)
        .output()
        .expect("openssl is installed");
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn openssl_reads_our_keys_and_verifies_our_signatures() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut fill = 41;
    let mut random = |bytes: &mut [u8]| {
        fill += 1;
        bytes.fill(fill);
    };
    let keys = KeyFolder::open_or_create(&OsDisk, dir, &mut random).unwrap();
    let public = openssl(dir, &["pkey", "-in", "log.pem", "-pubout"]);
    assert_eq!(public, fs::read_to_string(dir.join("log.pub.pem")).unwrap());
    assert_eq!(PublicKey::from_pem(&public).unwrap(), keys.log().public());

    fs::write(dir.join("message"), "a message").unwrap();
    fs::write(dir.join("signature"), keys.log().sign(b"a message").as_bytes()).unwrap();
    let verify = [
        "pkeyutl",
        "-verify",
        "-rawin",
        "-pubin",
        "-inkey",
        "log.pub.pem",
        "-in",
        "message",
        "-sigfile",
        "signature",
    ];
    assert!(openssl(dir, &verify).contains("Verified Successfully"));

    openssl(
        dir,
        &[
            "pkey",
            "-pubin",
            "-in",
            "log.pub.pem",
            "-outform",
            "DER",
            "-out",
            "log.der",
        ],
    );
    let digest = openssl(dir, &["dgst", "-sha256", "-r", "log.der"]);
    assert!(
        digest.starts_with(&keys.log().public().id().to_string()),
        "{digest}"
    );
}

#[test]
fn we_read_the_keys_of_openssl_and_verify_its_signatures() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    openssl(dir, &["genpkey", "-algorithm", "ed25519", "-out", "theirs.pem"]);
    fs::write(dir.join("message"), "their message").unwrap();
    openssl(
        dir,
        &[
            "pkeyutl",
            "-sign",
            "-rawin",
            "-inkey",
            "theirs.pem",
            "-in",
            "message",
            "-out",
            "signature",
        ],
    );
    let key = PrivateKey::from_pem(&fs::read_to_string(dir.join("theirs.pem")).unwrap()).unwrap();
    let signature: [u8; 64] = fs::read(dir.join("signature")).unwrap().try_into().unwrap();
    assert_eq!(&signature, key.sign(b"their message").as_bytes());
    key.public()
        .verify(b"their message", &Signature::from_bytes(signature))
        .unwrap();
    openssl(dir, &["genpkey", "-algorithm", "x25519", "-out", "other.pem"]);
    let other = fs::read_to_string(dir.join("other.pem")).unwrap();
    assert!(PrivateKey::from_pem(&other).is_err(), "a key of another kind");
}
