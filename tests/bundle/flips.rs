//! Any changed byte is found, and what was changed is named.

use super::fixture::{Parts, bundle, compress, decompress, refused};

#[test]
fn one_flipped_byte_in_any_member_names_it() {
    let good = Parts::small();
    let mut seen = 0;
    for (index, (name, content)) in good.0.iter().enumerate() {
        if content.is_empty() {
            assert_eq!(name, "audit/disclosures.jsonl");
            continue;
        }
        // One in the beginning, the middle and the end.
        for at in [0, content.len() / 2, content.len() - 1] {
            let mut parts = good.clone();
            parts.0[index].1[at] ^= 1;
            // A manifest that is no longer JSON is malformed; in its middle a changed letter makes another payload.
            let is_edge = at != content.len() / 2;
            let code = if index == 0 && is_edge { 14 } else { 10 };
            let check = refused(&parts.file(), code);
            assert_eq!(
                check.member.as_deref(),
                Some(name.as_str()),
                "byte {at}: {check:?}"
            );
            seen += 1;
        }
    }
    assert_eq!(seen, 42);
}

/// Where a byte of an archive lies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lies {
    /// In a header, in padding, or in the blocks at the end.
    InContainer,
    /// In a member's content, so far from its begin.
    In(String, usize),
}

/// Of each byte of the archive.
fn places(parts: &Parts, len: usize) -> Vec<Lies> {
    let mut places = Vec::new();
    for (name, content) in &parts.0 {
        places.resize(places.len() + 512, Lies::InContainer);
        places.extend((0..content.len()).map(|at| Lies::In(name.clone(), at)));
        places.resize(places.len().next_multiple_of(512), Lies::InContainer);
    }
    places.resize(len, Lies::InContainer);
    places
}

#[test]
fn a_changed_byte_anywhere_in_the_archive_is_named_by_where_it_lies() {
    let bundle = bundle(5, 60);
    let (parts, tar) = (Parts::of(&bundle), decompress(&bundle));
    let history = parts.clone().member("history.jsonl").clone();
    let places = places(&parts, tar.len());
    let mut seen = std::collections::BTreeMap::<String, u64>::new();
    // A step that is no factor of a block meets every part of a header.
    for at in (0..tar.len()).step_by(23) {
        let mut changed = tar.clone();
        changed[at] ^= 1 << (at % 8);
        let changed = compress(&changed);
        let (name, within) = match &places[at] {
            Lies::InContainer => {
                let check = refused(&changed, 14);
                assert_eq!(check.n, 1, "byte {at}: {check:?}");
                *seen.entry("container".to_owned()).or_default() += 1;
                continue;
            }
            Lies::In(name, within) => (name, *within),
        };
        *seen.entry(name.clone()).or_default() += 1;
        if name == "audit/manifest.dsse.json" {
            let report = super::fixture::report(&changed);
            let check = report.first_failure().unwrap();
            assert_eq!(check.member.as_ref(), Some(name));
            assert!(matches!(report.exit_code, 10 | 12 | 14), "byte {at}: {check:?}");
            continue;
        }
        let check = refused(&changed, 10);
        assert_eq!(check.member.as_ref(), Some(name), "byte {at}: {check:?}");
        if name == "audit/history.jsonl" {
            let line = history[..within].iter().filter(|byte| **byte == b'\n').count() as u64;
            assert_eq!(
                (check.line, check.seq),
                (Some(line + 1), Some(line + 5)),
                "byte {at}"
            );
        }
    }
    println!("{seen:?}");
    let mut large = parts.0.iter().filter(|(_, content)| content.len() >= 23);
    assert!(large.all(|(name, _)| seen.contains_key(name)), "{seen:?}");
}

#[test]
fn any_flipped_bit_of_the_manifest_is_found() {
    let good = Parts::small();
    for at in 0..good.0[0].1.len() {
        let mut parts = good.clone();
        parts.0[0].1[at] ^= 1 << (at % 8);
        let report = super::fixture::report(&parts.file());
        let check = report.first_failure().unwrap_or_else(|| panic!("byte {at}"));
        assert_eq!(check.member.as_deref(), Some("audit/manifest.dsse.json"));
        assert!(matches!(report.exit_code, 10 | 12 | 14), "byte {at}: {check:?}");
    }
}

#[test]
fn the_very_event_whose_byte_was_changed_is_named() {
    let good = Parts::of(&bundle(37, 300));
    let history = good.clone().member("history.jsonl").clone();
    let mut start = 0;
    for (line, event) in history.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let mut parts = good.clone();
        // Each line at another place, its LF included.
        parts.member("history.jsonl")[start + (line * 31) % event.len()] ^= 1;
        start += event.len();
        let check = refused(&parts.file(), 10);
        let place = (check.n, check.line, check.seq);
        assert_eq!(
            place,
            (3, Some(line as u64 + 1), Some(line as u64 + 37)),
            "{check:?}"
        );
        assert_eq!(check.member.as_deref(), Some("audit/history.jsonl"));
        assert!(
            check
                .detail
                .unwrap()
                .ends_with(&format!("differs is {}", line + 37))
        );
    }
}

#[test]
fn events_dropped_added_swapped_or_repeated_are_named() {
    let change = |edit: &dyn Fn(&mut Vec<Vec<u8>>), seq: u64| {
        let mut parts = Parts::small();
        let history = parts.member("history.jsonl");
        let mut lines: Vec<Vec<u8>> = history
            .split_inclusive(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        edit(&mut lines);
        *history = lines.concat();
        let check = refused(&parts.file(), 10);
        assert_eq!((check.n, check.seq), (3, Some(seq)), "{check:?}");
    };
    change(&|lines| drop(lines.pop()), 11);
    change(&|lines| drop(lines.remove(0)), 5);
    change(&|lines| drop(lines.remove(3)), 8);
    change(&|lines| lines.push(lines[0].clone()), 12);
    change(&|lines| lines.insert(2, lines[1].clone()), 7);
    change(&|lines| lines.swap(2, 5), 7);
    change(&|lines| lines.clear(), 5);
    change(&|lines| lines[6].truncate(100), 11);
}
