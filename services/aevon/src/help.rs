//! What `aevon --help` says, and the page that has the help of every command.
//!
//! Invariant: every command stands in one group, and its help ends with examples or says what it prints.

use clap::Command;
use std::fmt::Write as _;

/// Commands by what they are for, in the order in which a newcomer needs them.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Try it", &["dev", "send", "state", "explain", "tail"]),
    (
        "Look after an installation",
        &[
            "doctor", "ready", "migrate", "key", "rules", "verify", "rebuild",
        ],
    ),
    ("Move and erase", &["export", "import", "erase"]),
    (
        "Documents",
        &[
            "completion",
            "cli",
            "settings",
            "metrics",
            "openapi",
            "help",
        ],
    ),
];

const EXAMPLES: &str = "Examples:
  aevon dev                                        the whole system here, on http://127.0.0.1:8080
  aevon send --tenant acme --principal user_123 --type model.call --data '{\"tokens\": 12}'
  aevon state acme user_123                        what the events add up to
  aevon tail acme --from beginning                 everything that came in
  aevon doctor                                     is all well here, and what to do if not
  aevon migrate --partitions 16                    a database for AEVON_DATABASE__URL

Commands that ask services read AEVON_URL and AEVON_API_KEY; those that need the database read AEVON_DATABASE__URL.
Exit codes: 0 well, 1 not (standard error says why), 2 wrong usage.";

const HEAD: &str = "\
# The command line

Written by `make reference`; a test holds it to the program.

`aevon` is one program for whoever sends events, asks for states, or looks after an installation. Commands
that ask services (`send`, `state`, `explain`, `tail`, `doctor`) find them by `--url` or `AEVON_URL`, and
say who asks with `AEVON_API_KEY`; commands that need the database find it by `AEVON_DATABASE__URL`, as
[services do](settings.md).

- What was asked for goes to standard output, everything else (progress, warnings, faults) to standard
  error. `-o json` is for programs, `-o table`, the default, for people.
- Progress and colours are shown on a terminal alone; `NO_COLOR` switches colours off.
- `aevon completion SHELL` prints what bash, zsh, fish, elvish or PowerShell complete.

| exit code | of every command |
|---|---|
| 0 | it did what was asked for, and what it looked at is well |
| 1 | it failed, or something is not well: an event was not stored, buckets differ, a check fails; standard error says what |
| 2 | wrong usage; nothing was done |

";

/// A command with its commands in groups.
pub(crate) fn grouped(command: Command) -> Command {
    let listed = list(&command);
    command
        .disable_help_subcommand(false)
        .after_help(EXAMPLES)
        .help_template(format!(
            "{{about}}\n\n{{usage-heading}} {{usage}}\n{listed}\nOptions:\n{{options}}\n\n{{after-help}}"
        ))
}

fn about(command: &Command) -> String {
    command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn list(command: &Command) -> String {
    let mut text = String::new();
    for (title, names) in GROUPS {
        let _ = writeln!(text, "\n{title}:");
        for name in names {
            let found = command.find_subcommand(name).map(about);
            let found = found.unwrap_or_else(|| "Print this, or the help of a command".to_owned());
            let _ = writeln!(text, "  {name:<11} {found}");
        }
    }
    text
}

/// The document: the help of every command.
pub(crate) fn reference() -> String {
    let mut command = crate::command();
    command.build();
    let mut text = HEAD.to_owned();
    for (title, names) in GROUPS {
        let _ = writeln!(text, "## {title}\n");
        for name in names.iter().filter(|name| **name != "help") {
            if let Some(found) = command.find_subcommand_mut(name) {
                describe(found, &format!("aevon {name}"), &mut text);
            }
        }
    }
    text.trim_end().to_owned() + "\n"
}

fn describe(command: &mut Command, name: &str, text: &mut String) {
    // Not what this machine's environment says.
    let help = command.render_long_help().to_string();
    let lines = help
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n");
    let _ = writeln!(text, "### `{name}`\n\n```text\n{}\n```\n", lines.trim_end());
    for inner in command.get_subcommands_mut() {
        let inner_name = inner.get_name().to_owned();
        if inner_name != "help" {
            describe(inner, &format!("{name} {inner_name}"), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_is_current() {
        let written = include_str!("../../../docs/cli.md");
        assert!(written == reference(), "run `make reference`");
    }

    #[test]
    fn every_command_stands_in_one_group() {
        let command = crate::command();
        let known: BTreeSet<&str> = command.get_subcommands().map(Command::get_name).collect();
        let listed: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        let grouped: BTreeSet<&str> = listed
            .iter()
            .copied()
            .filter(|name| *name != "help")
            .collect();
        assert_eq!(known, grouped);
        assert_eq!(listed.len(), grouped.len() + 1, "none stands twice");
    }

    #[test]
    fn the_help_of_every_command_teaches_by_example_or_prints_a_document() {
        let mut command = crate::command();
        command.build();
        let documents = ["settings", "metrics", "openapi", "cli", "help"];
        for one in command.get_subcommands() {
            let own = one.get_after_help().is_some();
            let inner = one
                .get_subcommands()
                .any(|inner| inner.get_after_help().is_some());
            let name = one.get_name();
            assert!(
                own || inner || documents.contains(&name),
                "{name} has no example"
            );
        }
    }
}
