//! The spool's files: whatever a crash leaves of the last record, the others are there, in order.

use super::*;
use proptest::prelude::*;

const ROOM: u64 = 1 << 30;

fn body(number: usize, events: usize) -> Vec<Written> {
    let line = |nth: usize| Written {
        id: String::new(),
        line: format!("{{\"id\":\"{number}-{nth}\",\"text\":\"aevon-spool 1 1 2 é\"}}\n"),
    };
    (0..events).map(line).collect()
}

/// Everything that waits, in order; it is delivered thereby.
fn drain(spool: &mut Spool) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(record) = spool.first().unwrap() {
        lines.extend(record.lines.iter().map(|written| written.line.clone()));
        spool.advance(&record).unwrap();
    }
    assert_eq!(spool.size().events, 0);
    lines
}

fn segment(folder: &Path) -> PathBuf {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|ending| ending == ENDING);
    paths.find(is_segment).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_torn_record_at_the_end_is_cut_off_and_the_others_are_there_in_order(
        sizes in proptest::collection::vec(1_usize..5, 1..6),
        torn in 0.0..1.0_f64, zeros in 0_usize..40,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), ROOM).unwrap();
        let (mut expected, mut before_last) = (Vec::new(), 0);
        for (number, events) in sizes.iter().enumerate() {
            before_last = spool.size().bytes;
            spool.append(&body(number, *events)).unwrap();
            if number + 1 < sizes.len() {
                expected.extend(body(number, *events).into_iter().map(|written| written.line));
            }
        }
        let whole = spool.size().bytes;
        drop(spool);
        let path = segment(folder.path());
        let original = std::fs::read(&path).unwrap();
        let mut bytes = original.clone();
        // Some of the last record, and what a disk may have in place of the rest.
        let kept = before_last + ((whole - before_last) as f64 * torn) as u64;
        bytes.truncate(kept as usize);
        bytes.resize(bytes.len() + zeros, 0);
        prop_assume!(!bytes.starts_with(&original));
        std::fs::write(&path, &bytes).unwrap();
        let mut spool = Spool::open(folder.path(), ROOM).unwrap();
        prop_assert_eq!(spool.size().events, expected.len() as u64);
        // What comes next is behind what was there.
        spool.append(&body(99, 1)).unwrap();
        expected.push(body(99, 1)[0].line.clone());
        prop_assert_eq!(drain(&mut spool), expected);
    }
}

#[test]
fn damage_anywhere_is_reported_and_nothing_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), ROOM).unwrap();
    for number in 0..3 {
        spool.append(&body(number, 2)).unwrap();
    }
    drop(spool);
    let path = segment(folder.path());
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = Spool::open(folder.path(), ROOM).unwrap_err().to_string();
        assert!(error.contains("is damaged at byte"), "{at}: {error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing was touched");
    }
    for of_others in ["", "x", "aevon-spool 2 1 2 0\n{}"] {
        std::fs::write(&path, of_others).unwrap();
        let opened = Spool::open(folder.path(), ROOM);
        assert_eq!(opened.is_err(), !of_others.is_empty(), "{of_others}");
        assert_eq!(path.exists(), !of_others.is_empty(), "{of_others}");
    }
}

#[test]
fn a_spool_has_a_bound_frees_what_was_delivered_and_belongs_to_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), 600).unwrap();
    let error = Spool::open(folder.path(), 600).unwrap_err().to_string();
    assert!(error.contains("is used by another process"), "{error}");
    let mut kept = 0;
    while spool.append(&body(kept, 1)).is_ok() {
        kept += 1;
    }
    assert!(matches!(spool.append(&body(kept, 1)), Err(Error::Full)));
    assert!((3..9).contains(&kept), "{kept}");
    assert_eq!(drain(&mut spool).len(), kept);
    assert_eq!(spool.size(), Size::default());
    spool.append(&body(7, 1)).unwrap();
    let refusal = Outcome::Rejected(crate::Refusal::default());
    spool.note_refused(&body(7, 1), &[refusal]).unwrap();
    assert!(spool.size().bytes > 150, "what was refused takes room, too");
    drop(spool);
    let mut spool = Spool::open(folder.path(), 600).unwrap();
    assert_eq!(drain(&mut spool), [body(7, 1)[0].line.clone()]);
}

#[test]
fn segments_are_read_in_order_and_go_away_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), ROOM).unwrap();
    let long = |number: usize| {
        let line = format!(
            "{{\"id\":\"{number}\",\"text\":\"{}\"}}\n",
            "x".repeat(6 << 20)
        );
        let id = String::new();
        vec![Written { id, line }]
    };
    let mut expected = Vec::new();
    for number in 0..7 {
        spool.append(&long(number)).unwrap();
        expected.push(long(number)[0].line.clone());
    }
    assert_eq!(spool.segments.len(), 3);
    drop(spool);
    let mut spool = Spool::open(folder.path(), ROOM).unwrap();
    assert_eq!(spool.size().events, 7);
    assert!(drain(&mut spool) == expected);
    assert!(spool.segments.is_empty());
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "the lock"
    );
}
