//! The archive format: what is written is read back, and what is not exactly that is refused.

use super::*;

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (name, content) in members {
        writer.begin(name, content.len() as u64).unwrap();
        writer.content(content).unwrap();
    }
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, TarError> {
    let mut reader = TarReader::new(bytes);
    let mut members = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        let mut buffer = [0; 100];
        loop {
            let read = reader.content(&mut buffer)?;
            if read == 0 {
                break;
            }
            content.extend_from_slice(&buffer[..read]);
        }
        members.push((entry.name, content));
    }
    Ok(members)
}

fn sample() -> Vec<(String, Vec<u8>)> {
    let long = "a/".repeat(49) + "bc";
    let sizes = [0, 1, 511, 512, 513, 1024, 70_000];
    let mut members: Vec<_> = sizes
        .iter()
        .map(|size| (format!("audit/m-{size}.x"), vec![b'x'; *size]))
        .collect();
    members.push((long, b"name of a hundred bytes".to_vec()));
    members
}

fn as_slices(members: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    members
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_slice()))
        .collect()
}

#[test]
fn bytes_equal_those_of_gnu_tar() {
    let members = sample();
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in &members {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let fixed = [
        "--format=ustar",
        "--blocking-factor=1",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
    ];
    let output = std::process::Command::new("tar")
        .current_dir(dir.path())
        .args(fixed)
        .args(["--numeric-owner", "--mode=0644", "-cf", "-"])
        .args(members.iter().map(|(name, _)| name))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.stdout == archive(&as_slices(&members)));
}

#[test]
fn the_tar_crate_reads_what_is_written() {
    let members = sample();
    let bytes = archive(&as_slices(&members));
    let mut seen = Vec::new();
    for entry in ::tar::Archive::new(bytes.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        assert_eq!(entry.header().mode().unwrap(), 0o644);
        seen.push((entry.path().unwrap().to_str().unwrap().to_owned(), content));
    }
    assert_eq!(seen, members);
}

#[test]
fn reading_gives_back_what_was_written() {
    let members = sample();
    assert_eq!(read(&archive(&as_slices(&members))).unwrap(), members);
    assert_eq!(read(&archive(&[])).unwrap(), []);
}

#[test]
fn names_are_refused_with_the_reason() {
    let check = |name: &str, why: &str| {
        let error = check_name(name).unwrap_err().to_string();
        assert_eq!(error, format!("name refused: {why}"), "{name}");
    };
    check("", "empty");
    check("/etc/passwd", "absolute");
    check("a/../b", "a part `..`");
    check("./a", "a part `.`");
    check("a//b", "an empty part");
    check("a/", "an empty part");
    check("a\\b", "a byte outside [a-z0-9._/-]");
    check("A", "a byte outside [a-z0-9._/-]");
    check("ä", "a byte outside [a-z0-9._/-]");
    check("a b", "a byte outside [a-z0-9._/-]");
    check("a\0b", "a byte outside [a-z0-9._/-]");
    check(&"a".repeat(101), "longer than 100 bytes");
    check_name(&"a".repeat(100)).unwrap();
}

#[test]
fn a_member_is_as_long_as_announced() {
    let mut writer = TarWriter::new(Vec::new());
    writer.begin("a", 3).unwrap();
    writer.content(b"ab").unwrap();
    assert!(matches!(
        writer.content(b"cd"),
        Err(TarError::Length {
            announced: 3,
            written: 4
        })
    ));
    assert!(matches!(
        writer.begin("b", 0),
        Err(TarError::Length {
            announced: 3,
            written: 2
        })
    ));
    assert!(matches!(
        writer.finish(),
        Err(TarError::Length {
            announced: 3,
            written: 2
        })
    ));
}

#[test]
fn a_member_of_eight_gibibytes_is_refused_and_one_byte_less_is_not() {
    let mut writer = TarWriter::new(Vec::new());
    assert!(matches!(
        writer.begin("a", 1 << 33),
        Err(TarError::SizeTooLarge(_))
    ));
    writer.begin("a", (1 << 33) - 1).unwrap();
    assert_eq!(
        read_size(&header("a", (1 << 33) - 1)[124..136]).unwrap(),
        (1 << 33) - 1
    );
}

#[test]
fn no_single_byte_of_a_header_may_differ() {
    let bytes = archive(&[("audit/a", b"content")]);
    for position in 0..512 {
        for flip in [1, 0x20, 0x80] {
            let mut changed = bytes.clone();
            changed[position] ^= flip;
            assert!(read(&changed).is_err(), "byte {position} ^ {flip:#x}");
            // With the checksum made right again all that can differ is another good name or size.
            let mut block: [u8; 512] = changed[..512].try_into().unwrap();
            resum(&mut block);
            if let Ok(entry) = read_header(&block) {
                assert!(position < 100 || (124..135).contains(&position) || (148..156).contains(&position));
                assert_eq!(header(&entry.name, entry.size), block);
            }
        }
    }
}

#[test]
fn every_cut_is_refused() {
    let bytes = archive(&[("a", b"content"), ("b", &[7; 600])]);
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "cut at {len}");
    }
}

fn resum(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..154], sum);
    block[154] = 0;
}
