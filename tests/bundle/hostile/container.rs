//! Frames and tars that are not the one form allowed.

use std::io::Write;

use fastness::bundle::transport::FrameWriter;

use super::super::fixture::{Parts, bundle, compress, decompress};
use super::{Case, FIRST, SIZE, Script, Section};

const FRAME: Script = Script::Leaves(
    "the scripts judge the tar; rules about the frame around it are left to `fastness verify`",
);

pub fn cases() -> Vec<Case> {
    let mut all = frames();
    all.extend(headers());
    all.extend(names());
    all.extend(ends());
    all.extend(members());
    all
}

fn case(name: &'static str, wrong: &'static str, says: &'static str, file: Vec<u8>) -> Case {
    Case::new(Section::Container, name, wrong, file)
        .refused(14, 1, says)
        .member("manifest.dsse.json")
}

fn frames() -> Vec<Case> {
    let good = bundle(FIRST, SIZE);
    let skippable = [0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let head = |descriptor: u8, window: u8| [&good[..4], &[descriptor, window], &good[6..]].concat();
    let mut bad_sum = good.clone();
    *bad_sum.last_mut().unwrap() ^= 1;
    let last = |case: Case| case.member("verify.txt");
    vec![
        case(
            "frame-empty",
            "The file has no byte.",
            "truncated zstd frame",
            Vec::new(),
        )
        .script(Script::Same),
        case(
            "frame-cut-in-its-head",
            "The file breaks off within the frame's head.",
            "truncated zstd frame",
            good[..6].to_vec(),
        ),
        case(
            "frame-cut-in-the-middle",
            "The file breaks off half way.",
            "truncated zstd frame",
            good[..good.len() / 2].to_vec(),
        ),
        last(case(
            "frame-cut-before-its-checksum",
            "The frame's checksum is cut off.",
            "truncated zstd frame",
            good[..good.len() - 4].to_vec(),
        )),
        last(case(
            "frame-bad-checksum",
            "The frame's checksum is that of other content.",
            "damaged zstd frame",
            bad_sum,
        )),
        last(case(
            "frame-second",
            "A second frame with the same archive follows the first.",
            "second zstd frame",
            [good.as_slice(), &good].concat(),
        )),
        last(case(
            "frame-skippable-behind",
            "A skippable frame, in which anything can hide, follows the bundle.",
            "skippable zstd frame",
            [good.as_slice(), &skippable].concat(),
        ))
        .script(FRAME),
        case(
            "frame-skippable-before",
            "A skippable frame, in which anything can hide, stands before the bundle.",
            "skippable zstd frame",
            [skippable.as_slice(), &good].concat(),
        )
        .script(FRAME),
        last(case(
            "frame-trailing-bytes",
            "A line feed follows the frame.",
            "trailing bytes",
            [good.as_slice(), b"\n"].concat(),
        )),
        case(
            "frame-not-zstd",
            "The file is a ZIP archive by its first bytes.",
            "not a zstd frame",
            b"PK\x03\x04".to_vec(),
        ),
        case(
            "frame-window-too-large",
            "The frame asks for a window of more than 128 MiB.",
            "window over 128 MiB",
            head(good[4], 0x89),
        ),
        case(
            "frame-window-absurd",
            "The frame asks for the largest window that can be written down.",
            "window over 128 MiB",
            head(good[4], 0xff),
        ),
        case(
            "frame-dictionary",
            "The frame needs a dictionary.",
            "dictionary id",
            head(good[4] | 0x03, good[5]),
        ),
        case(
            "frame-without-checksum",
            "The frame says that it has no checksum.",
            "without a checksum",
            head(good[4] & !0x04, good[5]),
        ),
        case(
            "frame-reserved-bit",
            "A bit of the frame's head is set that the format reserves.",
            "reserved bit",
            head(good[4] | 0x08, good[5]),
        ),
        last(case(
            "bomb-behind-the-end",
            "64 MiB of zeros follow the archive, in a few kilobytes.",
            "data after the end",
            bomb(),
        )),
    ]
}

fn bomb() -> Vec<u8> {
    let mut frame = FrameWriter::new(Vec::new()).unwrap();
    frame.write_all(&decompress(&bundle(FIRST, SIZE))).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..64).for_each(|_| frame.write_all(&zeros).unwrap());
    frame.finish().unwrap()
}

/// Offset of the second member's header.
fn second(tar: &[u8]) -> usize {
    let first = u64::from_str_radix(std::str::from_utf8(&tar[124..135]).unwrap(), 8).unwrap();
    512 + first.div_ceil(512) as usize * 512
}

fn sum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Changes the header of the second member and makes its checksum right again.
fn header(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut tar = decompress(&bundle(FIRST, SIZE));
    let at = second(&tar);
    let header = &mut tar[at..at + 512];
    assert!(header.starts_with(b"audit/checkpoint\0"));
    change(header);
    sum(header);
    compress(&tar)
}

fn put(at: usize, bytes: &[u8]) -> Vec<u8> {
    header(|header| header[at..at + bytes.len()].copy_from_slice(bytes))
}

fn headers() -> Vec<Case> {
    let mut bad_sum = decompress(&bundle(FIRST, SIZE));
    let at = second(&bad_sum);
    bad_sum[at + 150] ^= 1;
    let mut spaced = decompress(&bundle(FIRST, SIZE));
    let field = &mut spaced[at + 148..at + 156];
    field.rotate_right(1);
    vec![
        case(
            "tar-bad-header-checksum",
            "A header's checksum is that of another header.",
            "bad header checksum",
            compress(&bad_sum),
        ),
        case(
            "tar-header-checksum-in-another-form",
            "A header's checksum is right and written with its space in front.",
            "bad header checksum",
            compress(&spaced),
        ),
        case(
            "tar-gnu-long-name",
            "A member is a GNU long name, which renames the next one.",
            "a GNU long name",
            put(156, b"L"),
        ),
        case(
            "tar-gnu-long-link",
            "A member is a GNU long link name.",
            "a GNU long name",
            put(156, b"K"),
        ),
        case(
            "tar-pax-header",
            "A member is a pax header, which can change any field of the next one.",
            "a pax header",
            put(156, b"x"),
        ),
        case(
            "tar-pax-size-override",
            "A pax header gives the next member another size than its own header does.",
            "a pax header",
            pax_size(),
        ),
        case(
            "tar-pax-global-header",
            "A member is a pax header for all that follow.",
            "a pax header",
            put(156, b"g"),
        ),
        case(
            "tar-sparse",
            "A member is a sparse file, whose content is not what stands in the archive.",
            "a sparse file",
            put(156, b"S"),
        ),
        case(
            "tar-hard-link",
            "A member is a hard link.",
            "a link",
            put(156, b"1"),
        ),
        case(
            "tar-symbolic-link",
            "A member is a symbolic link.",
            "a link",
            put(156, b"2"),
        ),
        case(
            "tar-character-device",
            "A member is a character device.",
            "a device",
            put(156, b"3"),
        ),
        case(
            "tar-block-device",
            "A member is a block device.",
            "a device",
            put(156, b"4"),
        ),
        case("tar-folder", "A member is a folder.", "a folder", put(156, b"5")),
        case("tar-fifo", "A member is a fifo.", "a fifo", put(156, b"6")),
        case(
            "tar-contiguous-file",
            "A member is a contiguous file, which some programs read as a plain one.",
            "an unknown type",
            put(156, b"7"),
        ),
        case(
            "tar-old-style-file",
            "A member has the type of tars from before ustar.",
            "an unknown type",
            put(156, b"\0"),
        ),
        case(
            "tar-gnu-magic",
            "A header is of GNU's own format.",
            "not a ustar header",
            put(257, b"ustar  \0"),
        ),
        case("tar-mode", "A member may be run.", "mode", put(100, b"0000755\0")),
        case(
            "tar-mode-setuid",
            "A member has the setuid bit.",
            "mode",
            put(100, b"0004644\0"),
        ),
        case(
            "tar-user-id",
            "A member has an owner.",
            "owner id",
            put(108, b"0001750\0"),
        ),
        case(
            "tar-group-id",
            "A member has a group.",
            "owner id",
            put(116, b"0001750\0"),
        ),
        case(
            "tar-user-name",
            "A member's owner is named.",
            "owner name",
            put(265, b"root"),
        ),
        case(
            "tar-group-name",
            "A member's group is named.",
            "owner name",
            put(297, b"root"),
        ),
        case(
            "tar-modification-time",
            "A member has a time, so that two exports differ.",
            "modification time",
            put(136, b"14000000000\0"),
        ),
        case(
            "tar-link-name",
            "A plain file has a link's target.",
            "link name",
            put(157, b"target"),
        ),
        case(
            "tar-device-number",
            "The fields for device numbers are empty instead of zero.",
            "device number",
            put(329, b"\0\0\0\0\0\0\0\0"),
        ),
        case(
            "tar-name-prefix",
            "A member's name has a second part in the prefix field.",
            "name prefix",
            put(345, b"prefix"),
        ),
        case(
            "tar-hidden-bytes-in-a-header",
            "Bytes hide behind the last field of a header.",
            "name prefix",
            put(500, b"hidden"),
        ),
        case(
            "tar-size-base-256",
            "A size is written in GNU's base 256.",
            "size is not 11 octal digits",
            put(124, b"\x80\0\0\0\0\0\0\0\0\0\x01\0"),
        ),
        case(
            "tar-size-padded-with-spaces",
            "A size is padded with spaces.",
            "size is not 11 octal digits",
            put(124, b"       1234 "),
        ),
        case(
            "tar-size-without-end",
            "A size has twelve digits and no end.",
            "size is not 11 octal digits",
            put(124, b"000000001234"),
        ),
    ]
}

/// A pax header with `size=1` before the second member.
fn pax_size() -> Vec<u8> {
    let mut tar = decompress(&bundle(FIRST, SIZE));
    let at = second(&tar);
    let record = b"10 size=1\n";
    let mut pax = tar[at..at + 512].to_vec();
    pax[..100].fill(0);
    pax[..17].copy_from_slice(b"audit/paxheaders0");
    pax[124..136].copy_from_slice(format!("{:011o}\0", record.len()).as_bytes());
    pax[156] = b'x';
    sum(&mut pax);
    pax.extend_from_slice(record);
    pax.resize(1_024, 0);
    tar.splice(at..at, pax);
    compress(&tar)
}

fn names() -> Vec<Case> {
    let name = |bytes: &[u8]| {
        header(|header| {
            header[..100].fill(0);
            header[..bytes.len()].copy_from_slice(bytes);
        })
    };
    let outside = "outside [a-z0-9._/-]";
    const NAME: Script = Script::Other(
        10,
        "the script does not judge how a member is called; it misses the member that the manifest names",
    );
    vec![
        case(
            "name-absolute",
            "A member's name is absolute.",
            "absolute",
            name(b"/etc/passwd"),
        )
        .script(NAME),
        case(
            "name-parent-folder",
            "A member's name leads out of its folder.",
            "`..`",
            name(b"audit/../checkpoint"),
        )
        .script(NAME),
        case(
            "name-own-folder",
            "A member's name begins with `./`.",
            "`.`",
            name(b"./audit/checkpoint"),
        )
        .script(NAME),
        case(
            "name-empty-part",
            "A member's name has two slashes.",
            "empty part",
            name(b"audit//checkpoint"),
        )
        .script(NAME),
        case(
            "name-backslash",
            "A member's name has a backslash, which is a folder elsewhere.",
            outside,
            name(b"audit\\checkpoint"),
        )
        .script(NAME),
        case(
            "name-beyond-ascii",
            "A member's name has a letter beyond ASCII.",
            outside,
            name("audit/checkpoint\u{e9}".as_bytes()),
        )
        .script(NAME),
        case(
            "name-not-utf8",
            "A member's name is no text.",
            outside,
            name(b"audit/\xff"),
        ),
        case(
            "name-differs-in-case",
            "A member's name differs from the right one in the case of a letter alone.",
            outside,
            name(b"audit/Checkpoint"),
        )
        .script(NAME),
        case(
            "name-nul-inside",
            "Bytes follow the NUL that ends a member's name.",
            "bytes after NUL",
            name(b"audit/check\0point"),
        )
        .script(NAME),
        case("name-empty", "A member has no name.", "empty", name(b"")).script(NAME),
    ]
}

fn ends() -> Vec<Case> {
    let tar = decompress(&bundle(FIRST, SIZE));
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut tar = tar.clone();
        change(&mut tar);
        compress(&tar)
    };
    let case = |name, wrong, says, file| case(name, wrong, says, file).member("verify.txt");
    vec![
        case(
            "tar-padding",
            "A byte stands in the padding behind the last member.",
            "non-zero padding",
            with(&|tar| {
                let end = tar.len() - 1_025;
                tar[end] = 1;
            }),
        ),
        case(
            "tar-without-end",
            "The two blocks of zeros at the end are missing.",
            "before the end blocks",
            with(&|tar| tar.truncate(tar.len() - 1_024)),
        ),
        case(
            "tar-half-an-end",
            "One block of zeros ends the archive, where two belong.",
            "one block of zeros",
            with(&|tar| tar.truncate(tar.len() - 512)),
        ),
        case(
            "tar-end-cut-by-a-byte",
            "The last byte of the archive is missing.",
            "the archive ends inside the end blocks",
            with(&|tar| tar.truncate(tar.len() - 1)),
        ),
        case(
            "tar-end-not-zero",
            "The last byte of the archive is not zero.",
            "one block of zeros",
            with(&|tar| *tar.last_mut().unwrap() = 1),
        ),
        case(
            "tar-third-end-block",
            "A third block of zeros ends the archive, as other blocking factors make it.",
            "data after the end",
            with(&|tar| tar.extend([0; 512])),
        ),
        case(
            "tar-byte-behind-the-end",
            "A byte follows the archive.",
            "data after the end",
            with(&|tar| tar.push(b'x')),
        ),
        case(
            "tar-second-archive",
            "A second archive follows the first.",
            "data after the end",
            with(&|tar| tar.extend_from_slice(&tar.clone())),
        ),
        case(
            "tar-cut-in-a-member",
            "The archive breaks off within its last member.",
            "the archive ends inside",
            with(&|tar| tar.truncate(tar.len() - 2_000)),
        ),
    ]
}

fn members() -> Vec<Case> {
    let with = |change: &dyn Fn(&mut Parts)| {
        let mut parts = Parts::small();
        change(&mut parts);
        parts.file()
    };
    let incomplete =
        |name, wrong, file| Case::new(Section::Container, name, wrong, file).refused(11, 3, "it is missing");
    let extra =
        |name, wrong, says, file| Case::new(Section::Container, name, wrong, file).refused(10, 3, says);
    let log = format!("audit/logs/{}", "ab".repeat(32));
    let mut all = vec![
        case(
            "members-in-another-order",
            "Two members changed places.",
            "wrong order",
            with(&|parts| parts.0.swap(2, 3)),
        )
        .member("checkpoint.prev"),
        case(
            "member-twice-in-a-row",
            "A member is there twice, one behind the other.",
            "a second member of this name",
            with(&|parts| {
                let again = parts.0[1].clone();
                parts.0.insert(2, again);
            }),
        )
        .member("checkpoint"),
        case(
            "member-twice",
            "A member is there twice, with another one between.",
            "wrong order or a second member",
            with(&|parts| {
                let again = parts.0[1].clone();
                parts.0.insert(4, again);
            }),
        )
        .member("checkpoint"),
        Case::new(
            Section::Container,
            "member-manifest-missing",
            "There is no manifest.",
            with(&|parts| drop(parts.0.remove(0))),
        )
        .refused(11, 2, "the first member is not the manifest")
        .member("manifest.dsse.json"),
        Case::new(
            Section::Container,
            "member-first-is-not-ours",
            "The first member has a name that no member of a bundle has.",
            with(&|parts| parts.0[0].0 = "something".to_owned()),
        )
        .refused(14, 2, "the first member is not the manifest")
        .member("manifest.dsse.json"),
        Case::new(
            Section::Container,
            "archive-empty",
            "The archive has no member.",
            compress(&[0; 1024]),
        )
        .refused(11, 2, "the first member is not the manifest")
        .member("manifest.dsse.json"),
        extra(
            "member-extra",
            "A member of a name of its own was added.",
            "no member of a bundle",
            with(&|parts| {
                let at = parts.index("verify.txt");
                parts.0.insert(at, ("audit/secret".to_owned(), b"extra".to_vec()));
            }),
        )
        .member("secret"),
        extra(
            "member-extra-log",
            "A log was added that the manifest does not list.",
            "not among the subjects",
            with(&|parts| {
                let at = parts.index("verify.txt");
                parts.0.insert(at, (log.clone(), b"extra".to_vec()));
            }),
        )
        .member(&format!("logs/{}", "ab".repeat(32))),
        extra(
            "member-beyond-its-size",
            "A member is far longer than the manifest says.",
            "bytes where the manifest says",
            with(&|parts| {
                parts.member("verify.txt").resize(4 << 20, b'x');
            }),
        )
        .member("verify.txt"),
        extra(
            "member-changed-artifact",
            "An artifact was changed by its exporter and signed, and kept its name.",
            "unlike its name",
            {
                let mut parts = Parts::small();
                artifact(&mut parts).1.push(b'x');
                parts.sign_again(|_| {});
                parts.file()
            },
        )
        .member(artifact(&mut Parts::small()).0.strip_prefix("audit/").unwrap()),
    ];
    let missing: [(&'static str, &'static str, &'static str); 4] = [
        (
            "member-history-missing",
            "The events are missing.",
            "history.jsonl",
        ),
        (
            "member-checkpoint-missing",
            "The checkpoint is missing.",
            "checkpoint",
        ),
        (
            "member-disclosures-missing",
            "An empty member is missing.",
            "disclosures.jsonl",
        ),
        ("member-jobs-missing", "The jobs are missing.", "jobs.jsonl"),
    ];
    all.extend(missing.map(|(name, wrong, member)| {
        let without = |parts: &mut Parts| drop(parts.0.remove(parts.index(member)));
        incomplete(name, wrong, with(&without)).member(member)
    }));
    all
}

fn artifact(parts: &mut Parts) -> &mut (String, Vec<u8>) {
    let mut found = parts
        .0
        .iter_mut()
        .filter(|part| part.0.starts_with("audit/artifacts/"));
    found.next().unwrap()
}
