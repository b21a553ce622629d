//! `aevon completion`: what a shell completes.

use crate::output::print;
use clap::Command;
use clap_complete::Shell;

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    source <(aevon completion bash)                             in ~/.bashrc\n  \
    aevon completion zsh > \"${fpath[1]}/_aevon\"\n  \
    aevon completion fish > ~/.config/fish/completions/aevon.fish";

/// Prints it.
pub(crate) fn run(shell: Shell, mut command: Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "aevon", &mut script);
    print(&String::from_utf8(script)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_completes_every_verb() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut crate::command(), "aevon", &mut script);
            let script = String::from_utf8(script).unwrap();
            for verb in crate::command().get_subcommands() {
                assert!(
                    script.contains(verb.get_name()),
                    "{shell}: {}",
                    verb.get_name()
                );
            }
        }
    }
}
