//! Tells the program which compiler made it, and for which target: counts depend on both.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let compiler = env::var_os("RUSTC").expect("cargo names its compiler");
    let output = Command::new(compiler)
        .arg("-vV")
        .output()
        .expect("the compiler says its version");
    let said = String::from_utf8_lossy(&output.stdout);
    let release = said
        .lines()
        .find_map(|line| line.strip_prefix("release: "))
        .expect("a release");
    let target = env::var("TARGET").expect("cargo names the target");
    println!("cargo:rustc-env=AEVON_HOT_RUSTC={release}");
    println!("cargo:rustc-env=AEVON_HOT_TARGET={target}");
}
