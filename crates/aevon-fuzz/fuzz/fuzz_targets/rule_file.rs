#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aevon_fuzz::rule_file(bytes));
