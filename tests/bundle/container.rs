//! Containers that must be refused, each by name.

use super::fixture::{Parts, bundle, compress, decompress, refused, report};

/// Refused with code 14 by the first check, for this reason.
#[track_caller]
fn container(file: &[u8], why: &str) {
    let check = refused(file, 14);
    assert_eq!(check.n, 1, "{check:?}");
    let detail = check.detail.unwrap();
    assert!(detail.contains(why), "{detail}");
}

#[test]
fn hostile_frames_are_refused() {
    let good = bundle(5, 12);
    let skippable = [0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    for cut in [0, 3, 4, 10, good.len() / 2, good.len() - 4, good.len() - 1] {
        container(&good[..cut], "truncated zstd frame");
    }
    let mut bad_sum = good.clone();
    *bad_sum.last_mut().unwrap() ^= 1;
    container(&bad_sum, "damaged zstd frame");
    container(&[good.as_slice(), &good].concat(), "second zstd frame");
    container(&[good.as_slice(), &skippable].concat(), "skippable zstd frame");
    container(&[skippable.as_slice(), &good].concat(), "skippable zstd frame");
    container(&[good.as_slice(), b"\n"].concat(), "trailing bytes");
    container(b"PK\x03\x04", "not a zstd frame");
    let frame = |descriptor: u8, window: u8| [&good[..4], &[descriptor, window], &good[6..]].concat();
    container(&frame(good[4], 0x89), "window over 128 MiB");
    container(&frame(good[4], 0xff), "window over 128 MiB");
    container(&frame(good[4] | 0x03, good[5]), "dictionary id");
    container(&frame(good[4] & !0x04, good[5]), "without a checksum");
}

#[test]
fn a_bomb_is_refused_by_what_it_is() {
    // 2 GiB of zeros in a few hundred kilobytes: refused at the third block, whatever follows.
    let tar = decompress(&bundle(5, 12));
    let mut frame = fastness::bundle::transport::FrameWriter::new(Vec::new()).unwrap();
    std::io::Write::write_all(&mut frame, &tar).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..2_048).for_each(|_| std::io::Write::write_all(&mut frame, &zeros).unwrap());
    let bomb = frame.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    container(&bomb, "data after the end");
    // A member far beyond its signed size is not read.
    let mut parts = Parts::small();
    parts.member("verify.txt").resize(4 << 20, b'x');
    let check = refused(&parts.file(), 10);
    assert_eq!((check.n, check.member.as_deref()), (3, Some("audit/verify.txt")));
}

/// Changes the header of the second member and makes its checksum right again.
fn header(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut tar = decompress(&bundle(5, 12));
    let first = u64::from_str_radix(std::str::from_utf8(&tar[124..135]).unwrap(), 8).unwrap();
    let at = 512 + first.div_ceil(512) as usize * 512;
    let header = &mut tar[at..at + 512];
    assert!(header.starts_with(b"audit/checkpoint\0"));
    change(header);
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    compress(&tar)
}

#[test]
fn hostile_headers_are_refused() {
    let put = |at: usize, bytes: &'static [u8]| {
        header(move |header| header[at..at + bytes.len()].copy_from_slice(bytes))
    };
    let name = |bytes: &'static [u8]| {
        header(move |header| {
            header[..100].fill(0);
            header[..bytes.len()].copy_from_slice(bytes);
        })
    };
    container(&put(156, b"L"), "a GNU long name");
    container(&put(156, b"K"), "a GNU long name");
    container(&put(156, b"x"), "a pax header");
    container(&put(156, b"g"), "a pax header");
    container(&put(156, b"S"), "a sparse file");
    container(&put(156, b"1"), "a link");
    container(&put(156, b"2"), "a link");
    container(&put(156, b"3"), "a device");
    container(&put(156, b"4"), "a device");
    container(&put(156, b"5"), "a folder");
    container(&put(156, b"6"), "a fifo");
    container(&put(156, b"\0"), "an unknown type");
    container(&put(257, b"ustar  \0"), "not a ustar header");
    container(&put(100, b"0000755\0"), "mode");
    container(&put(108, b"0001750\0"), "owner id");
    container(&put(116, b"0001750\0"), "owner id");
    container(&put(136, b"14000000000\0"), "modification time");
    container(&put(157, b"target"), "link name");
    container(&put(265, b"root"), "owner name");
    container(&put(297, b"root"), "owner name");
    container(&put(329, b"\0\0\0\0\0\0\0\0"), "device number");
    container(&put(345, b"prefix"), "name prefix");
    container(
        &put(124, b"\x80\0\0\0\0\0\0\0\0\0\x01\0"),
        "size is not 11 octal digits",
    );
    container(&put(124, b"       1234 "), "size is not 11 octal digits");
    container(&put(124, b"000000001234"), "size is not 11 octal digits");
    container(&name(b"/etc/passwd"), "absolute");
    container(&name(b"audit/../checkpoint"), "`..`");
    container(&name(b"./audit/checkpoint"), "`.`");
    container(&name(b"audit//checkpoint"), "empty part");
    container(&name(b"audit\\checkpoint"), "outside [a-z0-9._/-]");
    container(&name("audit/checkpoint\u{e9}".as_bytes()), "outside [a-z0-9._/-]");
    container(&name(b"audit/\xff"), "outside [a-z0-9._/-]");
    container(&name(b"audit/Checkpoint"), "outside [a-z0-9._/-]");
    container(&name(b"audit/check\0point"), "bytes after NUL");
    container(&name(b""), "empty");
}

#[test]
fn a_wrong_checksum_of_a_header_is_refused() {
    let mut tar = decompress(&bundle(5, 12));
    tar[150] ^= 1;
    container(&compress(&tar), "bad header checksum");
}

#[test]
fn padding_and_end_must_be_zeros_and_nothing_may_follow() {
    let tar = decompress(&bundle(5, 12));
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut tar = tar.clone();
        change(&mut tar);
        compress(&tar)
    };
    container(
        &with(&|tar| {
            let end = tar.len() - 1_025;
            tar[end] = 1;
        }),
        "non-zero padding",
    );
    container(
        &with(&|tar| tar.truncate(tar.len() - 1_024)),
        "before the end blocks",
    );
    container(&with(&|tar| tar.truncate(tar.len() - 512)), "one block of zeros");
    container(
        &with(&|tar| tar.truncate(tar.len() - 1)),
        "the archive ends inside the end blocks",
    );
    container(&with(&|tar| *tar.last_mut().unwrap() = 1), "one block of zeros");
    container(&with(&|tar| tar.extend([0; 512])), "data after the end");
    container(&with(&|tar| tar.push(b'x')), "data after the end");
    container(
        &with(&|tar| tar.extend_from_slice(&tar.clone())),
        "data after the end",
    );
}

#[test]
fn members_out_of_order_or_twice_are_refused() {
    let mut parts = Parts::small();
    parts.0.swap(2, 3);
    container(&parts.file(), "wrong order");
    let mut parts = Parts::small();
    let again = parts.0[1].clone();
    parts.0.insert(2, again.clone());
    container(&parts.file(), "a second member of this name");
    parts.0.remove(2);
    parts.0.insert(4, again);
    container(&parts.file(), "wrong order or a second member");
}

#[test]
fn missing_members_are_incomplete_and_extra_ones_tampering() {
    let good = Parts::small();
    for index in 1..good.0.len() {
        let mut parts = good.clone();
        let (name, _) = parts.0.remove(index);
        let check = refused(&parts.file(), 11);
        assert_eq!((check.n, check.member.as_deref()), (3, Some(name.as_str())));
    }
    let mut parts = good.clone();
    parts.0.remove(0);
    assert_eq!(refused(&parts.file(), 11).n, 2);
    for name in [
        "audit/secret".to_owned(),
        format!("audit/logs/{}", "ab".repeat(32)),
    ] {
        let mut parts = good.clone();
        let at = parts.index("verify.txt");
        parts.0.insert(at, (name.clone(), b"extra".to_vec()));
        let check = refused(&parts.file(), 10);
        assert_eq!((check.n, check.member), (3, Some(name)));
    }
    assert_eq!(refused(&compress(&[0; 1024]), 11).n, 2);
    let mut parts = good;
    parts.0[0].0 = "something".to_owned();
    assert_eq!(refused(&parts.file(), 14).n, 2);
}

#[test]
fn a_fault_of_the_container_is_named_with_its_member() {
    let mut tar = decompress(&bundle(5, 12));
    tar.truncate(tar.len() - 2_000);
    let check = report(&compress(&tar)).first_failure().unwrap().clone();
    assert_eq!(check.member.as_deref(), Some("audit/verify.txt"));
}
