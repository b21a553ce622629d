//! A private PostgreSQL for development and tests: finds the programs (or installs them), makes a
//! cluster, starts a server on 127.0.0.1 and stops it again. Blocking; no client is in here.
//!
//! Invariant: a server started here never outlives the process that started it.
//! Invariant: as root, nothing of PostgreSQL runs as root; see [`Account`].

mod account;
mod cluster;
mod install;
mod place;
mod process;
mod programs;
mod server;

pub use account::Account;
pub use install::debian_program;
pub use place::{ELSEWHERE, reachable};
pub use programs::{MIN_MAJOR, Programs};
pub use server::{Server, ServerOptions, USER};
