//! Every target over its corpus, and over what becomes of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use aevon_fuzz::TARGETS;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use std::path::PathBuf;

/// Mutations of the corpus of each target.
const CASES: u32 = 2_000;

/// What is put in: what parsers trip over.
const PIECES: [&str; 24] = [
    "\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\\u0000",
    "\\ud800",
    "\u{0}",
    "1e999999",
    "-0",
    "0.1",
    "null",
    "&",
    "=",
    "%00",
    "%ff",
    "\n",
    "  ",
    "9999-12-31T23:59:60Z",
    "(((((((((",
    "data.",
    "\u{1f600}",
];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus", target]
        .iter()
        .collect();
    let files =
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// A cut of something, and what comes in its place.
fn edits() -> impl Strategy<Value = Vec<(Index, usize, Index)>> {
    prop::collection::vec((any::<Index>(), 0..6_usize, any::<Index>()), 0..6)
}

fn edit(bytes: &mut Vec<u8>, edits: &[(Index, usize, Index)]) {
    for (at, cut, piece) in edits {
        let from = at.index(bytes.len() + 1);
        let to = (from + cut).min(bytes.len());
        bytes.splice(from..to, PIECES[piece.index(PIECES.len())].bytes());
    }
}

#[test]
fn nothing_that_arrives_breaks_what_must_hold() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        corpus.iter().for_each(|bytes| target(bytes));
        let config = Config {
            cases: CASES,
            ..Config::default()
        };
        let strategy = (any::<Index>(), edits());
        let outcome = TestRunner::new(config).run(&strategy, |(seed, edits)| {
            let mut bytes = seed.get(&corpus).clone();
            edit(&mut bytes, &edits);
            target(&bytes);
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("{name}: {error}");
        }
    }
}
