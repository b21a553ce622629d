//! `aevon state`: what the events of a principal, or of a whole tenant, add up to.

use crate::output::{Format, OutputArg, print};
use crate::remote::RemoteArgs;
use crate::table::{aligned, titles};
use aevon_client::{State, StateQuery, StateValue};
use aevon_core::state::{Fill, Granularity};
use clap::Args;
use clap::builder::PossibleValuesParser;

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    aevon state acme user_123\n  \
    aevon state acme user_123 --rule tokens_used --granularity 1d --start 2026-02-01T00:00:00Z\n  \
    aevon state acme user_123 --rule tokens_used --group-by model --filter region=eu\n  \
    aevon state acme user_123 --as-of 2026-02-01T00:00:00Z     as it was known then\n  \
    aevon state acme --rule tokens_used                        what all principals add up to\n\n\
    -o json is the answer of GET /v1/state. Exit codes: 0 answered, 1 refused or unreachable (standard \
    error says why),\n2 wrong usage.";

/// Whose state, and which.
#[derive(Args, Debug)]
pub(crate) struct StateArgs {
    /// The tenant
    tenant: String,
    /// The principal; without one, the total of the tenant
    principal: Option<String>,
    #[command(flatten)]
    question: QuestionArgs,
    /// One value, or windows
    #[arg(long, value_parser = named(Granularity::NAMES.map(|(name, _)| name)))]
    granularity: Option<String>,
    /// Whose hours, days, weeks and months are meant, such as Europe/Berlin
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// What stands where nothing happened
    #[arg(long, value_parser = named(Fill::NAMES.map(|(name, _)| name)))]
    fill: Option<String>,
    /// Running values from --start on
    #[arg(long)]
    cumulative: bool,
    /// Dimensions of the rule that divide the answer
    #[arg(long, value_name = "DIMENSION", value_delimiter = ',')]
    group_by: Vec<String>,
    /// Only these rules: NAME, or NAME:VERSION; repeatable
    #[arg(long = "rule", value_name = "NAME[:VERSION]")]
    rules: Vec<String>,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// What every question about a value may say.
#[derive(Args, Clone, Debug)]
pub(crate) struct QuestionArgs {
    /// The first instant that counts, such as 2026-02-01T00:00:00Z
    #[arg(long, value_name = "INSTANT")]
    start: Option<String>,
    /// The first instant that does not count any more
    #[arg(long, value_name = "INSTANT")]
    end: Option<String>,
    /// Keeps the groups with this label; repeatable
    #[arg(long = "filter", value_name = "DIMENSION=LABEL", value_parser = kept)]
    filters: Vec<(String, String)>,
    /// As it was known at this instant
    #[arg(long, value_name = "INSTANT", conflicts_with = "version")]
    as_of: Option<String>,
    /// As it was at this version, such as 7:90210
    #[arg(long)]
    version: Option<String>,
}

fn kept(text: &str) -> Result<(String, String), String> {
    let kept = text
        .split_once('=')
        .map(|(dimension, label)| (dimension.to_owned(), label.to_owned()));
    kept.ok_or_else(|| "is not of the form dimension=label".to_owned())
}

impl QuestionArgs {
    /// As parameters of a route.
    pub(crate) fn parameters(&self) -> Vec<(String, String)> {
        let single = [
            ("start", &self.start),
            ("end", &self.end),
            ("as_of", &self.as_of),
            ("version", &self.version),
        ];
        let single = single
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        let filters = self
            .filters
            .iter()
            .map(|(dimension, label)| (format!("filter[{dimension}]"), label.clone()));
        single.chain(filters).collect()
    }
}

/// One of these words.
fn named<const N: usize>(words: [&'static str; N]) -> PossibleValuesParser {
    PossibleValuesParser::new(words)
}

/// Asks, and prints.
pub(crate) async fn run(args: StateArgs) -> anyhow::Result<()> {
    let reader = args.remote.client()?.states(&args.tenant);
    let mut query = match &args.principal {
        Some(principal) => reader.of(principal),
        None => reader.total(),
    };
    for (name, value) in args.parameters() {
        query = query.with(name, value);
    }
    print(&answer(query, args.output.format).await?)?;
    Ok(())
}

impl StateArgs {
    fn parameters(&self) -> Vec<(String, String)> {
        let mut parameters = self.question.parameters();
        let mut add =
            |name: &str, value: &str| parameters.push((name.to_owned(), value.to_owned()));
        for (name, value) in [
            ("granularity", &self.granularity),
            ("timezone", &self.timezone),
            ("fill", &self.fill),
        ] {
            if let Some(value) = value {
                add(name, value);
            }
        }
        self.rules.iter().for_each(|rule| add("rule", rule));
        self.group_by
            .iter()
            .for_each(|dimension| add("group_by", dimension));
        if self.cumulative {
            add("cumulative", "true");
        }
        parameters
    }
}

async fn answer(query: StateQuery, format: Format) -> anyhow::Result<String> {
    match format {
        Format::Json => Ok(format!("{:#}\n", query.read_json().await?)),
        Format::Table => as_table(&query.read().await?),
    }
}

fn as_table(state: &State) -> anyhow::Result<String> {
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let names = [
        "rule", "from", "to", "group", "value", "unit", "events", "skipped",
    ];
    let mut rows = vec![titles(&names)];
    for rule in &state.states {
        for value in &rule.values {
            rows.push(vec![
                format!("{}:{}", rule.rule, rule.rule_version),
                dash(&value.window_start),
                dash(&value.window_end),
                group(value),
                dash(&value.value),
                dash(&rule.unit),
                value.event_count.to_string(),
                value.skipped_count.to_string(),
            ]);
        }
    }
    let as_of = dash(&state.as_of);
    Ok(format!(
        "{}\nversion {}, as of {as_of}\n",
        aligned(&rows)?,
        state.version
    ))
}

fn group(value: &StateValue) -> String {
    let label = |(name, label): (&String, &serde_json::Value)| match label.as_str() {
        Some(text) => format!("{name}={text}"),
        None => name.clone(),
    };
    match value.group.is_empty() {
        true => "-".to_owned(),
        false => value.group.iter().map(label).collect::<Vec<_>>().join(","),
    }
}
