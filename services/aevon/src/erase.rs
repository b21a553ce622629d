//! `aevon erase`: a principal's name and what may say whose its events are leave the log.
//!
//! Invariant: the old name is printed nowhere and logged nowhere.

use crate::output::{Format, OutputArg, say};
use crate::{identifier, reach};
use aevon_core::erasure::{Choice, Obstacle, Spelled};
use aevon_schema::erasure::{self, Erased, Erasure, ErasureError, Found, Refusal};
use aevon_service::settings::Settings;
use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "Examples:\n  \
    aevon erase --tenant acme --principal ann@example.org --dry-run\n  \
    aevon erase --tenant acme --principal ann@example.org --keep data.region --keep data.status\n  \
    aevon erase --tenant acme --principal ann@example.org --keep data.region --force\n\n\
    Needs the owner of the schema, and no import under way. It can't be undone; backups, and exports that\n\
    were made before, still have the events, and a rule that spells the name out keeps it.\n\n\
    Exit codes: 0 erased, 1 refused (standard error lists which rule reads which place) or failed,\n\
    2 wrong usage.";

/// How long one statement may take: it blanks every event of the principal.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3600);

/// Whom to erase.
#[derive(Debug, Args)]
pub(crate) struct EraseArgs {
    /// The tenant
    #[arg(long, value_name = "TENANT", value_parser = identifier)]
    tenant: String,
    /// The principal
    #[arg(long, value_name = "PRINCIPAL", value_parser = identifier)]
    principal: String,
    /// A place that a rule reads and that says nothing of anybody, so that it stays: data.region
    #[arg(long, value_name = "PLACE")]
    keep: Vec<String>,
    /// A place that a rule reads as a number and that says who it was: data.phone
    #[arg(long, value_name = "PLACE", requires = "force")]
    blank: Vec<String>,
    /// Blanks also what rules read, and folds the principal's buckets anew: answers change
    #[arg(long)]
    force: bool,
    /// Does everything, takes all of it back, and says what it would have been
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// Erases.
pub(crate) async fn run(settings: &Settings, args: EraseArgs) -> anyhow::Result<()> {
    let (database, partitions) = reach(settings, "aevon erase", STATEMENT_TIMEOUT).await?;
    let mut connection = database.connect().await?;
    let erasure = Erasure {
        tenant_id: args.tenant,
        principal_id: args.principal,
        choice: Choice {
            keep: args.keep.into_iter().collect(),
            blank: args.blank.into_iter().collect(),
        },
        is_forced: args.force,
        is_rehearsal: args.dry_run,
    };
    match erasure::erase(&mut connection, partitions, &erasure, random).await {
        Ok(erased) => {
            match args.output.format {
                Format::Table => report(&erased, args.dry_run)?,
                Format::Json => say!("{:#}", as_json(&erased, args.dry_run)),
            }
            warn(&erased.spelled);
            Ok(())
        }
        Err(ErasureError::Refused { found, why }) => {
            if args.output.format == Format::Json {
                say!("{:#}", refused_json(&found, &why, args.dry_run));
            } else if args.dry_run {
                say!(
                    "{} events would be blanked; {} rejected events would be deleted; but it is refused",
                    found.events,
                    found.rejected
                );
            }
            warn(&found.spelled);
            refuse(why)
        }
        Err(error) => Err(error.into()),
    }
}

/// Says why nothing was done.
fn refuse(why: Refusal) -> anyhow::Result<()> {
    let Refusal::InTheWay(obstacles) = why else {
        return Err(why.into());
    };
    list(&obstacles);
    bail!(
        "nothing was erased: rules read the above; --keep what says nothing of anybody, or \
         --force, which blanks it and changes answers"
    )
}

/// One line a rule that keeps the name.
fn warn(spelled: &[Spelled]) {
    for Spelled { rule, fields } in spelled {
        eprintln!(
            "warning: rule {rule} has the name in its {}, and keeps it: an erasure changes no rule, and no \
             version of one is ever deleted",
            fields.join(", ")
        );
    }
}

fn random() -> Result<u128, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    Ok(u128::from_ne_bytes(bytes))
}

/// One line a place.
fn list(obstacles: &[Obstacle]) {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for Obstacle {
        place,
        rule,
        manner,
    } in obstacles
    {
        places
            .entry(place)
            .or_default()
            .push(format!("{rule} ({manner})"));
    }
    for (place, rules) in places {
        eprintln!("{place}: {}", rules.join(", "));
    }
}

fn report(erased: &Erased, is_rehearsal: bool) -> anyhow::Result<()> {
    let did = match is_rehearsal {
        true => "would be",
        false => "were",
    };
    match &erased.pseudonym {
        Some(pseudonym) => say!(
            "{} events {did} blanked, of {pseudonym} from now on; {} rejected events {did} deleted",
            erased.events,
            erased.rejected
        ),
        None => say!(
            "no event was stored; {} rejected events {did} deleted",
            erased.rejected
        ),
    }
    if !erased.blanked.is_empty() {
        eprintln!("blanked though rules read it; their buckets {did} folded anew:");
        list(&erased.blanked);
    }
    Ok(())
}

/// The same, for programs.
fn as_json(erased: &Erased, is_rehearsal: bool) -> Value {
    json!({
        "is_erased": !is_rehearsal,
        "is_dry_run": is_rehearsal,
        "pseudonym": erased.pseudonym,
        "events": erased.events,
        "rejected_events": erased.rejected,
        "blanked_though_read": places_json(&erased.blanked),
        "spelled_out_in": spelled_json(&erased.spelled),
    })
}

/// What there is, and why nothing was done.
fn refused_json(found: &Found, why: &Refusal, is_rehearsal: bool) -> Value {
    let read = match why {
        Refusal::InTheWay(obstacles) => places_json(obstacles),
        _ => Value::from(Vec::<Value>::new()),
    };
    json!({
        "is_erased": false,
        "is_dry_run": is_rehearsal,
        "refusal": why.to_string(),
        "events": found.events,
        "rejected_events": found.rejected,
        "read": read,
        "spelled_out_in": spelled_json(&found.spelled),
    })
}

fn places_json(obstacles: &[Obstacle]) -> Value {
    let one = |obstacle: &Obstacle| {
        json!({
            "place": obstacle.place,
            "rule": obstacle.rule,
            "manner": obstacle.manner,
        })
    };
    obstacles.iter().map(one).collect()
}

fn spelled_json(spelled: &[Spelled]) -> Value {
    let one = |spelled: &Spelled| json!({"rule": spelled.rule, "fields": spelled.fields});
    spelled.iter().map(one).collect()
}
