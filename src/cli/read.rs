//! What a command is given: files, standard input, keys, times; each read with a bound and refused by name.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::exit::{Exit, Failure};
use crate::disk::{self, OsDisk};
use crate::limits;
use crate::trust::{PublicKey, RootError, SignedRoot};

/// A file of at most `bytes_max` bytes.
///
/// # Errors
/// Usage: names the file.
pub fn file(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let read = disk::read_file(&OsDisk, path, bytes_max);
    read.map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())).into())
}

/// A file, or standard input for `-`.
///
/// # Errors
/// Usage: names the file.
pub fn file_or_stdin(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        return stdin(bytes_max);
    }
    file(path, bytes_max)
}

/// Standard input, to its end.
///
/// # Errors
/// Usage: more than `bytes_max` bytes, or what the system said.
pub fn stdin(bytes_max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = std::io::stdin()
        .lock()
        .take(bytes_max + 1)
        .read_to_end(&mut bytes);
    read.map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))?;
    if bytes.len() as u64 > bytes_max {
        return Err(Failure::usage(format!("standard input has more than {bytes_max} bytes")).into());
    }
    Ok(bytes)
}

/// A public key in SPKI PEM.
///
/// # Errors
/// Usage: names the file.
pub fn public_key(path: &Path) -> Result<PublicKey> {
    let bytes = file(path, limits::KEY_FILE_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes);
    PublicKey::from_pem(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())).into())
}

/// A root of trust, or a draft of one: who signed it is not judged.
///
/// # Errors
/// Usage: the file cannot be read. A document that breaks a rule ends the program as a malformed bundle does (14).
pub fn root(path: &Path) -> Result<SignedRoot> {
    let bytes = file(path, limits::ROOT_BYTES_MAX as u64)?;
    SignedRoot::parse(&bytes).map_err(|error| root_refused(path, 14, &error))
}

/// A root of trust that is to count: enough of its own root keys signed it.
///
/// # Errors
/// Those of [`root`]; one that too few signed, or somebody wrongly, ends the program as an untrusted bundle does (12).
pub fn vouched_root(path: &Path) -> Result<SignedRoot> {
    let root = root(path)?;
    root.check_own_voices()
        .map_err(|error| root_refused(path, 12, &error))?;
    Ok(root)
}

fn root_refused(path: &Path, code: u8, error: &RootError) -> anyhow::Error {
    let message = format!("{}: {}: {error}", path.display(), error.code());
    Failure::new(Exit::Refused(code), message).into()
}

/// A time such as `500ms`, `30s`, `5m`, `2h`.
///
/// # Errors
/// Says what is expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a time is a number with its unit: 500ms, 30s, 5m, 2h".to_owned()),
    };
    let ms = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_ms));
    ms.map(Duration::from_millis)
        .ok_or_else(|| "a time needs a number that fits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        for bad in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
