//! `aevon rebuild`: the buckets of a rule made anew from the log, beside those that answer.
//!
//! Invariant: answers stay right all the while. What is broken off goes on when it is asked for
//! again.

use crate::output::{Format, say};
use crate::reach;
use aevon_schema::rebuild::{self, Compared, Difference, Rebuild, Standing};
use aevon_schema::sweep::{self, Whose};
use aevon_schema::{Connection, discards};
use aevon_service::settings::{HumanDuration, Settings};
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    aevon rebuild --rule tokens_used              goes on where it was broken off\n  \
    aevon rebuild --rule tokens_used --give-up\n\n\
    Exit codes: 0 rebuilt, and the same as the log, 1 failed, 2 wrong usage.";

/// How long one statement may take: comparing the buckets of a thousand series.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(600);
/// Before looking again at partitions that others are sweeping.
const PAUSE: Duration = Duration::from_millis(200);
/// Where a bucket is; what differs beyond it is the difference.
const PLACE: [&str; 6] = [
    "tenant_id",
    "principal_id",
    "labels",
    "grain",
    "window_start",
    "epoch",
];

/// A rule's name; a version has no rebuild of its own.
pub(crate) fn rule_name(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        None => Ok(text.to_owned()),
        Some((name, _)) => Err(format!(
            "the active version is rebuilt, no other one is swept: --rule {name}"
        )),
    }
}

/// Gives up the rebuild of a rule, and deletes what there is of it.
pub(crate) async fn give_up(settings: &Settings, rule: &str, format: Format) -> anyhow::Result<()> {
    let (database, _) = reach(settings, "aevon rebuild", STATEMENT_TIMEOUT).await?;
    let connection = &mut database.connect().await?;
    if !rebuild::give_up(connection, rule).await? {
        bail!("no rebuild of a rule named {rule} was begun");
    }
    match format {
        Format::Table => say!("gave up the rebuild of {rule}; what answers was not touched"),
        Format::Json => say!("{:#}", json!({"rule": rule, "given_up": true})),
    }
    discard(settings, connection).await
}

/// Rebuilds the active version of the rule of this name.
pub(crate) async fn run(settings: &Settings, rule: &str, format: Format) -> anyhow::Result<()> {
    let (database, _) = reach(settings, "aevon rebuild", STATEMENT_TIMEOUT).await?;
    let connection = &mut database.connect().await?;
    let begun = rebuild::begin(connection, rule).await?;
    let rebuild = begun.with_context(|| {
        format!(
            "no version of a rule named {rule} is active: one that is still being filled has nothing \
             to rebuild, and a retired one is not swept; `aevon rules status` lists what there is"
        )
    })?;
    eprintln!(
        "rebuilding {rule}, version {}: generation {} beside {}",
        rebuild.version, rebuild.built, rebuild.live
    );
    let compared = build(connection, &rebuild, settings.aggregation.slice_events).await?;
    if !rebuild.switch(connection).await? {
        bail!("{rule} was retired, or somebody else ended this rebuild, meanwhile");
    }
    match format {
        Format::Table => report(&rebuild, &compared)?,
        Format::Json => say!("{:#}", as_json(&rebuild, &compared)),
    }
    discard(settings, connection).await
}

/// Fills the new generation up to where the live one is, in every partition, and compares them.
async fn build(
    connection: &mut Connection,
    rebuild: &Rebuild,
    slice_events: i64,
) -> anyhow::Result<Compared> {
    let bar = bar("{bar:40} {human_pos} of {human_len} events, {eta} left");
    let mut goals: BTreeMap<i32, i64> = BTreeMap::new();
    let (mut all, mut done) = (Compared::default(), BTreeSet::new());
    loop {
        let standing = rebuild.standing(connection).await?;
        for one in &standing {
            goals.entry(one.partition).or_insert(one.head);
        }
        show(&bar, &standing, &goals);
        let is_open = |one: &&Standing| !done.contains(&one.partition);
        let open: Vec<Standing> = standing.iter().filter(is_open).copied().collect();
        if open.is_empty() {
            bar.finish_and_clear();
            return Ok(all);
        }
        let mut moved = false;
        for one in open {
            if one.built < goals[&one.partition] || one.built != one.live {
                let swept =
                    sweep::sweep_once(connection, one.partition, slice_events, Whose::Behind);
                moved |= swept.await?.is_some();
            } else if let Some(found) = rebuild.compare(connection, one.partition).await? {
                done.insert(one.partition);
                all.buckets += found.buckets;
                all.different += found.different;
                all.first = all.first.or(found.first);
                moved = true;
            }
        }
        if !moved {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn show(bar: &ProgressBar, standing: &[Standing], goals: &BTreeMap<i32, i64>) {
    let built = |one: &Standing| one.built.min(goals[&one.partition]);
    let sum = |counts: i64| counts.unsigned_abs();
    bar.set_length(sum(goals.values().sum()));
    bar.set_position(sum(standing.iter().map(built).sum()));
}

/// Says what came of it.
fn report(rebuild: &Rebuild, compared: &Compared) -> anyhow::Result<()> {
    let Rebuild { rule, built, .. } = rebuild;
    say!(
        "{}, version {}: generation {built} answers now; {} buckets compared, {}",
        rule.name,
        rebuild.version,
        compared.buckets,
        match compared.different {
            0 => "none differs".to_owned(),
            1 => "1 was wrong and is not any more".to_owned(),
            many => format!("{many} were wrong and are not any more"),
        }
    );
    if let Some(first) = &compared.first {
        say!("the first: {}", describe(first));
    }
    Ok(())
}

/// The same, for programs.
fn as_json(rebuild: &Rebuild, compared: &Compared) -> Value {
    json!({
        "rule": rebuild.rule.name,
        "version": rebuild.version,
        "generation": rebuild.built,
        "buckets_compared": compared.buckets,
        "buckets_corrected": compared.different,
        "first_corrected": compared.first.as_ref().map(describe),
    })
}

/// Where a bucket is, and what of it differs.
fn describe(difference: &Difference) -> String {
    let row = |text: &Option<String>| -> Map<String, Value> {
        let read = text.as_deref().map(serde_json::from_str);
        read.and_then(Result::ok).unwrap_or_default()
    };
    let (was, is) = (row(&difference.live), row(&difference.built));
    let either = if is.is_empty() { &was } else { &is };
    let place = PLACE.map(|key| format!("{key} {}", either.get(key).unwrap_or(&Value::Null)));
    let place = place.join(", ");
    match (was.is_empty(), is.is_empty()) {
        (true, _) => format!("{place}: was missing"),
        (_, true) => format!("{place}: no event belongs there"),
        _ => {
            let passed = ["generation", "principal_no", "labels_hash"];
            let differs = |key: &&String| !passed.contains(&key.as_str()) && was[*key] != is[*key];
            let parts = is.keys().filter(differs);
            let parts: Vec<String> = parts
                .map(|key| format!("{key} was {}, is {}", was[key], is[key]))
                .collect();
            format!("{place}: {}", parts.join("; "))
        }
    }
}

/// Deletes what was replaced, until nothing is left of it.
async fn discard(settings: &Settings, connection: &mut Connection) -> anyhow::Result<()> {
    let keep_retired = settings.aggregation.keep_retired.map(HumanDuration::get);
    let bar = bar("{spinner} deleting what was replaced, {human_pos} steps");
    loop {
        let due = discards::due(connection, keep_retired).await?;
        if due.is_empty() {
            bar.finish_and_clear();
            return Ok(());
        }
        for one in due {
            match discards::delete_some(connection, &one).await? {
                Some(_) => bar.inc(1),
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// Shown on a terminal only.
fn bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_the_place_and_what_is_there() {
        let row = |value: &str| {
            let text = format!(
                "{{\"tenant_id\":\"acme\",\"principal_id\":\"p\",\"labels\":null,\"grain\":60,\
                 \"window_start\":\"2026-01-01T00:00:00+00:00\",\"epoch\":20454,\
                 \"generation\":{value},\"value\":{value}}}"
            );
            Some(text)
        };
        let place = "tenant_id \"acme\", principal_id \"p\", labels null, grain 60, \
                     window_start \"2026-01-01T00:00:00+00:00\", epoch 20454";
        let of = |live, built| describe(&Difference { live, built });
        assert_eq!(
            of(row("1"), row("2")),
            format!("{place}: value was 1, is 2")
        );
        assert_eq!(of(None, row("2")), format!("{place}: was missing"));
        assert_eq!(
            of(row("1"), None),
            format!("{place}: no event belongs there")
        );
    }
}
