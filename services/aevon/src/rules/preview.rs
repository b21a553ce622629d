//! `aevon rules preview`: what a rule would answer over real history, before it is deployed.

use super::faults;
use crate::output::{Format, OutputArg, print, say};
use crate::table::{aligned, plain, titles};
use crate::{identifier, instant, reach};
use aevon_core::calendar::Zone;
use aevon_core::json::Path;
use aevon_core::labels::Grouping;
use aevon_core::rule::Rule;
use aevon_core::state::{Granularity, Question, Range, Value};
use aevon_core::time::Timestamp;
use aevon_schema::preview;
use aevon_schema::state::{RuleState, Selection, State, StateError, StateQuery};
use aevon_service::settings::{HumanDuration, Settings};
use aggregator_svc::rule_files;
use anyhow::{Context, ensure};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

pub(super) const EXAMPLES: &str = "Examples:\n  \
    aevon rules preview rules/tokens.yaml --tenant acme --principal user_123\n  \
    aevon rules preview rules/tokens.yaml --tenant acme --principal user_123 \\\n      \
    --start 2026-02-01T00:00:00Z --end 2026-03-01T00:00:00Z --granularity 1d \\\n      \
    --group-by model,region --filter model=m1 -o json\n\n\
    Needs SELECT alone, takes no lock, and reads every event of the principal and type: run it \
    where there is room,\non a replica if there is one.";

/// Beyond the deadline of the whole, that of a statement, which then says less.
const STATEMENT_SLACK: Duration = Duration::from_secs(5);

/// What to answer.
#[derive(Args, Debug)]
pub(crate) struct PreviewArgs {
    /// The rule: one YAML file
    file: PathBuf,
    /// Whose principal
    #[arg(long, value_parser = identifier)]
    tenant: String,
    /// Whose state
    #[arg(long, value_parser = identifier)]
    principal: String,
    /// The first instant that counts, such as 2026-02-01T00:00:00Z
    #[arg(long, value_parser = instant)]
    start: Option<Timestamp>,
    /// The first instant that does not count any more
    #[arg(long, value_parser = instant)]
    end: Option<Timestamp>,
    /// One value, or windows: total, 1m, 1h, 1d, 1w, 1mo
    #[arg(long, default_value = "total", value_parser = granularity)]
    granularity: Granularity,
    /// Whose hours, days, weeks and months are meant, such as Europe/Berlin
    #[arg(long, default_value = "UTC", value_parser = zone)]
    timezone: Zone,
    /// Dimensions of the rule that divide the answer
    #[arg(long, value_name = "DIMENSION", value_delimiter = ',', value_parser = Path::parse)]
    group_by: Vec<Path>,
    /// Keeps the groups with this label; repeatable. Without =, the group that has none
    #[arg(long = "filter", value_name = "DIMENSION=LABEL", value_parser = kept)]
    filters: Vec<(Path, Option<String>)>,
    /// How long it may take
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    deadline: HumanDuration,
    #[command(flatten)]
    output: OutputArg,
}

fn granularity(text: &str) -> Result<Granularity, String> {
    let names = Granularity::NAMES;
    let found = names.iter().find(|(name, _)| *name == text);
    found.map(|(_, granularity)| *granularity).ok_or_else(|| {
        let known = names.map(|(name, _)| name).join(", ");
        format!("is not one of {known}")
    })
}

fn zone(name: &str) -> Result<Zone, String> {
    Zone::named(name).ok_or_else(|| "is no zone of the tz database".to_owned())
}

fn kept(text: &str) -> Result<(Path, Option<String>), String> {
    let (dimension, label) = match text.split_once('=') {
        Some((dimension, label)) => (dimension, Some(label.to_owned())),
        None => (text, None),
    };
    Ok((Path::parse(dimension)?, label))
}

/// Answers and prints.
pub(super) async fn run(settings: &Settings, args: PreviewArgs) -> anyhow::Result<()> {
    let rule = rule_files::load_one(&args.file).map_err(|error| faults(error, "the rule"))?;
    let (format, deadline) = (args.output.format, args.deadline.get());
    let query = query(args)?;
    let timeout = deadline + STATEMENT_SLACK;
    let (database, partitions) = reach(settings, "aevon rules preview", timeout).await?;
    let read = preview::read(&database, partitions, &rule, &query, deadline);
    let state = read.await.map_err(|error| match error {
        StateError::BudgetExceeded(_) => anyhow::Error::from(error)
            .context("give it longer with --deadline, or ask for a shorter range"),
        error => error.into(),
    })?;
    match format {
        Format::Json => {
            let body = projection_svc::answer_body(&query, &state);
            say!("{}", serde_json::to_string(&body)?);
        }
        Format::Table => {
            print(&shown(&rule, &query, &state)?)?;
        }
    }
    Ok(())
}

fn query(args: PreviewArgs) -> anyhow::Result<StateQuery> {
    let range = Range {
        start: args.start,
        end: args.end,
    };
    if let (Some(start), Some(end)) = (range.start, range.end) {
        ensure!(start <= end, "--start {start} lies behind --end {end}");
    }
    let mut grouping = Grouping::default();
    for path in args.group_by {
        if !grouping.by.contains(&path) {
            grouping.by.push(path);
        }
    }
    for (path, label) in args.filters {
        grouping.keep(&path, label);
    }
    Ok(StateQuery {
        tenant_id: args.tenant,
        principal_id: args.principal,
        selection: Selection::default(),
        question: Question {
            range,
            granularity: args.granularity,
            grouping,
            zone: args.timezone,
            ..Question::default()
        },
        at: None,
        min_seq: 0,
        wait: Duration::ZERO,
    })
}

/// The answer for people.
fn shown(rule: &Rule, query: &StateQuery, state: &State) -> anyhow::Result<String> {
    let answer = state.states.first().context("the answer has no state")?;
    let unit = rule.unit.as_deref().map(|unit| format!(" {unit}"));
    let heading = format!(
        "{} ({}{}), version {}, of {}/{} at {}",
        rule.name,
        rule.operator.as_str(),
        unit.unwrap_or_default(),
        answer.rule_version,
        plain(&query.tenant_id),
        plain(&query.principal_id),
        state.position,
    );
    let table = values(answer)?;
    let events = state.raw_events;
    Ok(format!(
        "{heading}\n{table}{events} events were read from the log\n"
    ))
}

fn values(answer: &RuleState) -> anyhow::Result<String> {
    let dimensions = answer.dimensions.iter().map(|name| plain(name));
    let mut names = titles(&["start", "end"]);
    names.extend(dimensions);
    names.extend(titles(&["value", "events", "skipped"]));
    let mut rows = vec![names];
    rows.extend(answer.values.iter().map(|value| row(answer, value)));
    aligned(&rows)
}

fn row(answer: &RuleState, value: &Value) -> Vec<String> {
    let bound = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let label = |label: &Option<String>| label.clone().unwrap_or_else(|| "(none)".to_owned());
    let shown = value.shown(answer.rule.operator);
    let about = match shown.relative_error {
        Some(error) => format!(" (±{:.2} %)", error * 100.0),
        None => String::new(),
    };
    let mut row = vec![bound(value.window_start), bound(value.window_end)];
    row.extend(value.group.0.iter().map(label));
    row.push(shown.value.unwrap_or_else(|| "null".to_owned()) + &about);
    row.push(value.partial.event_count.to_string());
    row.push(value.partial.skipped_count.to_string());
    row
}
