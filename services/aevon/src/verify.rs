//! `aevon verify`: the buckets against the log, principal by principal.

use crate::output::{Format, OutputArg, print, say};
use crate::table::plain;
use crate::{identifier, reach};
use aevon_core::identity::partition_of;
use aevon_core::position::Position;
use aevon_core::time::{DAY_US, Timestamp};
use aevon_core::verify::is_sampled;
use aevon_schema::verify::{self, Ahead, Checked, Difference, Principal, Tenant, Versions};
use aevon_schema::{Connection, import, rules};
use aevon_service::settings::Settings;
use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    aevon verify                                    every principal, every total, every version\n  \
    aevon verify --tenant acme --rule tokens_used\n  \
    aevon verify --tenant acme --principal user_123 --rule tokens_used:3\n  \
    aevon verify --sample 0.01                      always the same hundredth of all principals\n  \
    aevon verify -o json | jq .differences\n\n\
    Reads only, takes no lock, needs SELECT alone, and works on a replica. Exit codes: 0 nothing \
    differs, 1 something does\n(standard error names the first difference) or it failed, 2 wrong \
    usage.";

/// How long one statement may take: Postgres sorts all events of a principal in one.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3600);
/// Principals of one snapshot.
const BATCH: i64 = 256;
/// Most partitions that a line lists.
const MAX_LISTED: usize = 8;

/// What to verify.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Only this tenant's principals
    #[arg(long, value_parser = identifier)]
    tenant: Option<String>,
    /// Only this principal
    #[arg(long, requires = "tenant", value_parser = identifier)]
    principal: Option<String>,
    /// Only this rule: every version of it, or one
    #[arg(long, value_name = "NAME[:VERSION]", value_parser = rule)]
    rule: Option<Versions>,
    /// Only this part of the principals, always the same ones
    #[arg(long, value_name = "FRACTION", default_value_t = 1.0, value_parser = fraction,
          conflicts_with = "principal")]
    sample: f64,
    #[command(flatten)]
    output: OutputArg,
}

fn rule(text: &str) -> Result<Versions, String> {
    let (name, version) = match text.split_once(':') {
        None => (text, None),
        Some((name, version)) => {
            let number = version.parse::<i32>().ok().filter(|version| *version > 0);
            let reason = || format!("{version:?} is not the number of a version");
            (name, Some(number.ok_or_else(reason)?))
        }
    };
    match name.is_empty() {
        true => Err("names no rule".to_owned()),
        false => Ok(Versions {
            name: Some(name.to_owned()),
            version,
        }),
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    let part = text.parse::<f64>().ok();
    let part = part.filter(|part| *part > 0.0 && *part <= 1.0);
    part.ok_or_else(|| "is not a number above 0, and 1 at most, such as 0.01".to_owned())
}

/// Verifies, and prints what was seen.
pub(crate) async fn run(settings: &Settings, args: VerifyArgs) -> anyhow::Result<()> {
    let (database, partitions) = reach(settings, "aevon verify", STATEMENT_TIMEOUT).await?;
    let mut connection = database.connect().await?;
    let versions = args.rule.clone().unwrap_or_default();
    check_exists(&mut connection, &versions).await?;
    let unfinished = import::unfinished(&mut connection).await?;
    if let Some(unfinished) = unfinished {
        eprintln!("warning: {unfinished}; what follows is of the part that is there");
    }
    let mut run = Run {
        connection,
        versions,
        bar: bar(),
        seen: Seen::default(),
    };
    match (&args.tenant, &args.principal) {
        (Some(tenant), Some(principal)) => run.one(tenant, principal, partitions).await?,
        (tenant, _) => run.many(tenant.as_deref(), args.sample, partitions).await?,
    }
    run.bar.finish_and_clear();
    match args.output.format {
        Format::Table => drop(print(&run.seen.report())?),
        Format::Json => say!("{:#}", run.seen.as_json()),
    }
    match (run.seen.first, run.seen.ahead.first()) {
        (Some(first), _) => bail!("buckets differ from the log; the first: {}", named(&first)),
        (None, Some(ahead)) => bail!("{}", ahead_of_log(ahead)),
        (None, None) => Ok(()),
    }
}

async fn check_exists(connection: &mut Connection, versions: &Versions) -> anyhow::Result<()> {
    let Some(name) = &versions.name else {
        return Ok(());
    };
    let known = rules::list(connection, Some(name)).await?;
    let is_known = |version: i32| known.iter().any(|rule| rule.version == version);
    match versions.version {
        _ if known.is_empty() => bail!("there is no rule {name}"),
        Some(version) if !is_known(version) => bail!("there is no rule {name}:{version}"),
        _ => Ok(()),
    }
}

/// Seen on a terminal only.
fn bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    let template = "{bar:20} {pos}/{len} principals, {eta} left; {wide_msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

struct Run {
    connection: Connection,
    versions: Versions,
    bar: ProgressBar,
    seen: Seen,
}

impl Run {
    async fn one(&mut self, tenant: &str, principal: &str, partitions: i32) -> anyhow::Result<()> {
        let partition = partition_of(tenant, principal, partitions);
        let found = verify::principal(&mut self.connection, partition, (tenant, principal)).await?;
        let found = found
            .with_context(|| format!("the log has no principal {principal} of tenant {tenant}"))?;
        self.bar.set_length(1);
        self.batch(partition, &[found]).await
    }

    async fn many(
        &mut self,
        tenant: Option<&str>,
        sample: f64,
        partitions: i32,
    ) -> anyhow::Result<()> {
        let all = verify::count(&mut self.connection, tenant).await?;
        if let (Some(tenant), 0) = (tenant, all) {
            bail!("the log has no principal of tenant {tenant}");
        }
        self.bar.set_length(all.unsigned_abs());
        for partition in 0..partitions {
            let mut after = (tenant.unwrap_or_default().to_owned(), String::new());
            loop {
                let behind = (after.0.as_str(), after.1.as_str());
                let mut page =
                    verify::principals(&mut self.connection, partition, behind, BATCH).await?;
                let Some(last) = page.last() else { break };
                after = (last.tenant_id.clone(), last.principal_id.clone());
                page.retain(|one| tenant.is_none_or(|tenant| one.tenant_id == tenant));
                let is_over = page.is_empty();
                let looked_at = page.len() as u64;
                page.retain(|one| is_sampled(&one.tenant_id, &one.principal_id, sample));
                let left_out = looked_at - page.len() as u64;
                self.batch(partition, &page).await?;
                self.bar.inc(left_out);
                if is_over {
                    break;
                }
            }
            self.totals(tenant, sample, partition).await?;
        }
        Ok(())
    }

    /// The totals of tenants in a partition.
    async fn totals(
        &mut self,
        tenant: Option<&str>,
        sample: f64,
        partition: i32,
    ) -> anyhow::Result<()> {
        let mut after = String::new();
        loop {
            let page = verify::tenants(&mut self.connection, partition, &after, BATCH).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after.clone_from(&last.tenant_id);
            let is_wanted = |one: &&Tenant| {
                tenant.is_none_or(|tenant| one.tenant_id == tenant)
                    && is_sampled(&one.tenant_id, "", sample)
            };
            for one in page.iter().filter(is_wanted) {
                let versions = &self.versions;
                let checked =
                    verify::check_totals(&mut self.connection, partition, one, versions).await?;
                self.seen.add_totals(partition, checked);
            }
        }
    }

    async fn batch(&mut self, partition: i32, principals: &[Principal]) -> anyhow::Result<()> {
        let checked =
            verify::check(&mut self.connection, partition, principals, &self.versions).await?;
        self.seen.add(partition, principals.len() as u64, checked);
        self.bar.inc(principals.len() as u64);
        let Seen {
            events,
            buckets,
            differences,
            ..
        } = &self.seen;
        let message = format!("{differences} differences, {events} events, {buckets} buckets");
        self.bar.set_message(message);
        Ok(())
    }
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    principals: u64,
    /// Totals of tenants, one for each partition that a tenant has principals in.
    totals: u64,
    events: u64,
    buckets: u64,
    differences: u64,
    first: Option<Difference>,
    swept: BTreeSet<String>,
    /// Partitions without a checkpoint, by rule version.
    unswept: BTreeMap<String, BTreeSet<i32>>,
    /// Partitions without totals of tenants, by rule version.
    without_totals: BTreeMap<String, BTreeSet<i32>>,
    ahead: Vec<Ahead>,
}

impl Seen {
    fn add(&mut self, partition: i32, principals: u64, checked: Checked) {
        self.principals += principals;
        self.events += checked.events;
        self.buckets += checked.buckets;
        self.differences += checked.differences;
        self.first = self.first.take().or(checked.first);
        self.swept.extend(checked.swept);
        for ahead in checked.ahead {
            // Every batch of a partition sees it again.
            if !self.ahead.contains(&ahead) {
                self.ahead.push(ahead);
            }
        }
        if principals > 0 {
            for name in checked.unswept {
                self.unswept.entry(name).or_default().insert(partition);
            }
        }
    }

    fn add_totals(&mut self, partition: i32, checked: Checked) {
        self.totals += 1;
        self.buckets += checked.buckets;
        self.differences += checked.differences;
        self.first = self.first.take().or(checked.first);
        for name in checked.unswept {
            let is_swept = self
                .unswept
                .get(&name)
                .is_none_or(|p| !p.contains(&partition));
            if is_swept {
                self.without_totals
                    .entry(name)
                    .or_default()
                    .insert(partition);
            }
        }
    }

    fn report(&self) -> String {
        let mut text = format!(
            "principals: {}, totals: {}, events: {}, buckets: {}, rule versions: {}, differences: {}\n",
            self.principals,
            self.totals,
            self.events,
            self.buckets,
            self.swept.len(),
            self.differences
        );
        for (name, partitions) in &self.unswept {
            text += &format!(
                "unswept: {name} has no checkpoint in {}\n",
                listed(partitions)
            );
        }
        for (name, partitions) in &self.without_totals {
            text += &format!(
                "no totals: {name} keeps none of tenants in {}; `aevon rebuild` makes them\n",
                listed(partitions)
            );
        }
        for ahead in &self.ahead {
            text += &format!("ahead: {}\n", ahead_of_log(ahead));
        }
        text
    }

    /// The same, for programs.
    fn as_json(&self) -> Value {
        let by_rule = |lists: &BTreeMap<String, BTreeSet<i32>>| -> Vec<Value> {
            let one = |(rule, partitions)| json!({"rule": rule, "partitions": partitions});
            lists.iter().map(one).collect()
        };
        json!({
            "principals": self.principals,
            "totals": self.totals,
            "events": self.events,
            "buckets": self.buckets,
            "rule_versions": self.swept,
            "differences": self.differences,
            "first_difference": self.first.as_ref().map(named),
            "unswept": by_rule(&self.unswept),
            "without_totals": by_rule(&self.without_totals),
            "ahead": self.ahead.iter().map(ahead_of_log).collect::<Vec<_>>(),
        })
    }
}

fn listed(partitions: &BTreeSet<i32>) -> String {
    let listed = partitions.iter().take(MAX_LISTED).map(ToString::to_string);
    let listed: Vec<String> = listed.collect();
    let more = match partitions.len() > MAX_LISTED {
        true => ", …",
        false => "",
    };
    format!(
        "{} of the partitions looked at ({}{more})",
        partitions.len(),
        listed.join(", ")
    )
}

fn ahead_of_log(ahead: &Ahead) -> String {
    format!(
        "{} has its checkpoint at {}, ahead of the newest event, {}: events to come would be passed over",
        ahead.rule,
        ahead.checkpoint,
        Position {
            seq: ahead.head,
            ..ahead.checkpoint
        }
    )
}

/// A difference in one line.
fn named(found: &Difference) -> String {
    let Principal {
        tenant_id,
        principal_id,
        ..
    } = &found.principal;
    let whose = match principal_id.is_empty() {
        true => "the total".to_owned(),
        false => format!("principal {principal_id}"),
    };
    let group = match &found.labels {
        None => "ungrouped".to_owned(),
        Some(labels) => format!("group {labels}"),
    };
    let day = match found.epoch {
        0 => "epoch 0".to_owned(),
        epoch => {
            let start = Timestamp::from_micros(i64::from(epoch).saturating_mul(DAY_US));
            let date: String = start
                .to_string()
                .chars()
                .take_while(|c| *c != 'T')
                .collect();
            format!("epoch {epoch} ({date})")
        }
    };
    plain(&format!(
        "tenant {tenant_id}, {whose}, rule {}, {group}, grain {}, window {}, {day}, \
         column {}: stored {}, folded {}",
        found.rule,
        found.grain.as_str(),
        found.window_start,
        found.column,
        found.stored,
        found.folded
    ))
}
