//! Takes what a step left: artifacts and `key=value` outputs.
//!
//! Nothing of the step runs any more. Still, everything it left is hostile: no link is followed, nothing outside the
//! work folder is opened, only regular files are read, and everything is bounded.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::error::RunnerError;
use super::leases::Artifact;
use super::workspace::OUTPUTS;
use crate::domain::pack::{ArtifactFrom, ArtifactSpec};
use crate::limits;
use crate::output::{AttemptKey, AttemptSummary, Blob, BlobWriter, Output, OutputError, Stream, mime};

/// Stores one artifact.
pub(super) fn artifact(
    output: &Output,
    key: &AttemptKey,
    logs: &AttemptSummary,
    dir: &Path,
    asked: &ArtifactSpec,
) -> Result<Artifact, RunnerError> {
    let failed = |cause| RunnerError::Artifact {
        name: asked.name.clone(),
        cause,
    };
    let refused = |path: &str, reason| RunnerError::ArtifactRefused {
        name: asked.name.clone(),
        path: path.to_owned(),
        reason,
    };
    let blob = match &asked.from {
        ArtifactFrom::Stdout if logs.stdout.truncated => {
            return Err(refused("stdout", "it was cut at the bound of the output"));
        }
        ArtifactFrom::Stdout => store(output, |blob| copy_stdout(output, key, blob)).map_err(failed)?,
        ArtifactFrom::Path(path) => match open_below(dir, path) {
            Ok(mut file) => store(output, |blob| blob.copy_from(&mut file)).map_err(failed)?,
            Err(Unopened::Missing) => {
                return Err(RunnerError::ArtifactMissing {
                    name: asked.name.clone(),
                    path: path.clone(),
                });
            }
            Err(Unopened::Refused(reason)) => return Err(refused(path, reason)),
            Err(Unopened::Disk(cause)) => return Err(RunnerError::workspace("open", &dir.join(path))(cause)),
        },
    };
    Ok(Artifact {
        name: asked.name.clone(),
        sha256: blob.sha256,
        bytes: blob.bytes,
        mime: mime(asked.name.as_str()),
    })
}

fn store(
    output: &Output,
    fill: impl FnOnce(&mut BlobWriter) -> Result<(), OutputError>,
) -> Result<Blob, OutputError> {
    let mut blob = output.blobs().create(limits::ARTIFACT_BYTES_MAX)?;
    fill(&mut blob)?;
    blob.finish()
}

fn copy_stdout(output: &Output, key: &AttemptKey, blob: &mut BlobWriter) -> Result<(), OutputError> {
    let mut offset = 0;
    loop {
        let bytes = output.read_raw(key, Stream::Stdout, offset..u64::MAX)?;
        if bytes.is_empty() {
            return Ok(());
        }
        blob.write(&bytes)?;
        offset += bytes.len() as u64;
    }
}

/// Reads the lines that the step wrote to `$FASTNESS_OUTPUT`. A later line with the same key counts.
pub(super) fn outputs(dir: &Path) -> Result<BTreeMap<String, String>, RunnerError> {
    let file = match open_below(dir, OUTPUTS) {
        Ok(file) => file,
        Err(Unopened::Missing) => return Ok(BTreeMap::new()),
        Err(Unopened::Refused(reason)) => return Err(RunnerError::Outputs(reason.to_owned())),
        Err(Unopened::Disk(cause)) => return Err(RunnerError::workspace("open", &dir.join(OUTPUTS))(cause)),
    };
    let mut bytes = Vec::new();
    file.take(limits::STEP_OUTPUT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(RunnerError::workspace("read", &dir.join(OUTPUTS)))?;
    parse_outputs(&bytes).map_err(RunnerError::Outputs)
}

fn parse_outputs(bytes: &[u8]) -> Result<BTreeMap<String, String>, String> {
    if bytes.len() > limits::STEP_OUTPUT_BYTES_MAX {
        return Err(format!("more than {} bytes", limits::STEP_OUTPUT_BYTES_MAX));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "they are not UTF-8".to_owned())?;
    let mut found = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() {
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .filter(|(key, _)| is_key(key))
            .ok_or_else(|| format!("line {number} is not key=value with a key of [A-Za-z0-9_-]"))?;
        found.insert(key.to_owned(), value.to_owned());
        if found.len() > limits::STEP_OUTPUTS_MAX {
            return Err(format!("more than {} keys", limits::STEP_OUTPUTS_MAX));
        }
    }
    Ok(found)
}

fn is_key(key: &str) -> bool {
    (1..=limits::NAME_BYTES_MAX).contains(&key.len())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Why a file was not opened.
#[derive(Debug)]
enum Unopened {
    Missing,
    Refused(&'static str),
    Disk(io::Error),
}

/// Opens a regular file below `dir`, one component after the other, following no link.
fn open_below(dir: &Path, relative: &str) -> Result<File, Unopened> {
    let mut names = Vec::new();
    for component in Path::new(relative).components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(Unopened::Refused("it leads out of the work folder"));
            }
        }
    }
    let Some(last) = names.pop() else {
        return Err(Unopened::Refused("it names no file"));
    };
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let refused = |error: Errno| match error {
        Errno::NOENT => Unopened::Missing,
        Errno::LOOP | Errno::NOTDIR => Unopened::Refused("a link or a file stands in its way"),
        error => Unopened::Disk(error.into()),
    };
    let folder = flags | OFlags::DIRECTORY | OFlags::RDONLY;
    let mut at: OwnedFd = openat(CWD, dir, folder, Mode::empty()).map_err(refused)?;
    for name in names {
        at = openat(&at, name, folder, Mode::empty()).map_err(refused)?;
    }
    // A pipe without a writer would block for ever.
    let file = flags | OFlags::RDONLY | OFlags::NONBLOCK;
    let file = match openat(&at, last, file, Mode::empty()) {
        Ok(file) => File::from(file),
        // What opening a socket answers.
        Err(Errno::NXIO) => return Err(Unopened::Refused("it is not a regular file")),
        Err(error) => return Err(refused(error)),
    };
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(Unopened::Refused("it is not a regular file")),
        Err(error) => Err(Unopened::Disk(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_bounded_key_value_lines_and_the_last_one_counts() {
        let found = parse_outputs(b"a=1\n\nb_c-D=x=y\na=2\nempty=").unwrap();
        let expected = [("a", "2"), ("b_c-D", "x=y"), ("empty", "")];
        assert_eq!(
            found,
            expected
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into()
        );
        for bad in [&b"no equals"[..], b"=x", b"a b=1", b"a=\xff", "ä=1".as_bytes()] {
            assert!(parse_outputs(bad).is_err(), "{bad:?}");
        }
        let lines = |count: usize| (0..count).map(|n| format!("k{n}=v\n")).collect::<String>();
        assert!(parse_outputs(lines(limits::STEP_OUTPUTS_MAX).as_bytes()).is_ok());
        assert!(parse_outputs(lines(limits::STEP_OUTPUTS_MAX + 1).as_bytes()).is_err());
        let long = |len: usize| format!("k={}", "v".repeat(len - 2));
        assert!(parse_outputs(long(limits::STEP_OUTPUT_BYTES_MAX).as_bytes()).is_ok());
        assert!(parse_outputs(long(limits::STEP_OUTPUT_BYTES_MAX + 1).as_bytes()).is_err());
    }

    #[test]
    fn only_regular_files_below_the_folder_are_opened() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("work");
        std::fs::create_dir_all(dir.join("out")).unwrap();
        std::fs::write(root.path().join("secret"), "s").unwrap();
        std::fs::write(dir.join("out/good"), "g").unwrap();
        std::os::unix::fs::symlink("../../secret", dir.join("out/link")).unwrap();
        std::os::unix::fs::symlink("good", dir.join("out/inner-link")).unwrap();
        std::os::unix::fs::symlink("..", dir.join("up")).unwrap();
        rustix::fs::mknodat(
            CWD,
            dir.join("out/pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.join("out/socket")).unwrap();
        assert!(open_below(&dir, "out/good").is_ok());
        assert!(open_below(&dir, "./out/good").is_ok());
        let refused = [
            "out/link",
            "out/inner-link",
            "up/secret",
            "../secret",
            "out/../../secret",
            "/etc/passwd",
            "out/pipe",
            "out/socket",
            "out",
            "",
            ".",
            "out/good/x",
        ];
        for path in refused {
            let opened = open_below(&dir, path);
            assert!(matches!(opened, Err(Unopened::Refused(_))), "{path}: {opened:?}");
        }
        assert!(matches!(open_below(&dir, "out/none"), Err(Unopened::Missing)));
        assert!(matches!(open_below(&dir, "none/good"), Err(Unopened::Missing)));
    }
}
