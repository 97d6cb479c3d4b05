//! What is written verifies, and is always the same.

use std::io::{Cursor, Read};

use fastness::bundle::manifest::file_name;
use fastness::bundle::{BundleWriter, Member, Status, WriteError};
use fastness::disk::OsDisk;
use fastness::domain::Digest;

use super::fixture::{
    ORIGIN, bundle, decompress, export_key, frontier_at, options, outcome, range, report, writer,
};

#[test]
fn bundles_of_every_kind_of_range_verify() {
    for (first, size) in [
        (0, 0),
        (0, 1),
        (0, 8),
        (0, 300),
        (1, 2),
        (5, 12),
        (37, 300),
        (256, 257),
        (12, 12),
    ] {
        let report = report(&bundle(first, size));
        assert!(report.ok && report.exit_code == 0, "{first}..{size}: {report:#?}");
        let done = report
            .checks
            .iter()
            .filter(|check| check.status == Status::Ok)
            .map(|check| check.n);
        assert_eq!(done.collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7], "{first}..{size}");
    }
}

#[test]
fn the_same_range_and_keys_give_the_same_bytes() {
    assert!(bundle(37, 300) == bundle(37, 300));
}

#[test]
fn what_was_written_is_what_verification_saw() {
    let mut bytes = Vec::new();
    let written = writer(5, 12).write(&export_key(), &mut bytes).unwrap();
    let outcome = outcome(&bytes, options());
    assert_eq!(outcome.tar_sha256, Some(written.tar_sha256));
    let tar = decompress(&bytes);
    assert_eq!(
        (tar.len() as u64, Digest::of(&tar)),
        (written.tar_bytes, written.tar_sha256)
    );
    let predicate = outcome.statement.unwrap().predicate;
    assert_eq!(
        (predicate.first, predicate.size, predicate.root),
        (5, 12, frontier_at(12).root())
    );
}

#[test]
fn the_report_is_the_row_of_the_interface() {
    let text = serde_json::to_string(&report(&bundle(0, 3))).unwrap();
    let start = "{\"ok\":true,\"exitCode\":0,\"checks\":[{\"n\":1,\"name\":\"container\",\"status\":\"ok\",\"member\":null,\
                 \"line\":null,\"seq\":null,\"detail\":null,\"meaning\":null},";
    assert!(text.starts_with(start), "{text}");
    assert!(
        text.contains("{\"n\":10,\"name\":\"replay\",\"status\":\"skipped\""),
        "{text}"
    );
    assert!(text.contains("needs the state at 0"), "{text}");
}

#[test]
fn a_file_is_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(file_name(ORIGIN, 5, 12));
    assert!(path.ends_with("fastness-00112233445566ff-acme-5-12.audit.tar.zst"));
    std::fs::write(&path, "old").unwrap();
    writer(5, 12).write_file(&export_key(), &OsDisk, &path).unwrap();
    assert!(std::fs::read(&path).unwrap() == bundle(5, 12));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_member_that_changes_between_the_passes_is_no_bundle() {
    let calls = std::cell::Cell::new(0_u8);
    let open = move || {
        calls.set(calls.get() + 1);
        Ok(Box::new(Cursor::new(vec![calls.get(); 5])) as Box<dyn Read>)
    };
    let mut writer = writer(5, 12);
    let member = Member::Log(Digest::of(b"x"));
    writer.add(member, Box::new(open)).unwrap();
    assert!(
        matches!(writer.write(&export_key(), &mut Vec::new()), Err(WriteError::Changed(found)) if found == member)
    );
}

#[test]
fn a_range_that_needs_members_of_eight_gibibytes_is_too_large() {
    let mut writer = writer(5, 12);
    let measure = fastness::bundle::Measure {
        size: 1 << 33,
        sha256: Digest::of(b""),
        lines: 0,
    };
    writer.add_measured(
        Member::History,
        measure,
        Box::new(|| Ok(Box::new(std::io::empty()))),
    );
    assert!(matches!(
        writer.write(&export_key(), &mut Vec::new()),
        Err(WriteError::RangeTooLarge { .. })
    ));
}

#[test]
fn events_must_end_with_a_line_feed_and_checkpoints_must_be_given() {
    let mut writer = BundleWriter::new(range(0, 1));
    let open = || Ok(Box::new(Cursor::new(b"{}".to_vec())) as Box<dyn Read>);
    assert!(matches!(
        writer.add_history(Box::new(open)),
        Err(WriteError::NoLineFeed(Member::History))
    ));
    let error = writer.write(&export_key(), &mut Vec::new()).unwrap_err();
    assert!(
        error.to_string().contains("audit/checkpoint is not among"),
        "{error}"
    );
}
