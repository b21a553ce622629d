//! `aevon explain`: what a value was made of, and the events behind it.

use crate::output::{Format, OutputArg, print};
use crate::remote::RemoteArgs;
use crate::state::QuestionArgs;
use crate::table::{aligned, titles};
use clap::Args;
use serde_json::Value;
use std::fmt::Write as _;

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    aevon explain acme user_123 --rule tokens_used\n  \
    aevon explain acme user_123 --rule tokens_used --start 2026-02-01T00:00:00Z --filter model=m1\n  \
    aevon explain acme user_123 --rule tokens_used --from-version 7:81003   what changed it since\n\n\
    -o json is one page of GET /v1/state/{tenant}/{principal}/explain. Exit codes: 0 answered, 1 refused \
    or unreachable\n(standard error says why), 2 wrong usage.";

/// Which value.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// The tenant
    tenant: String,
    /// The principal
    principal: String,
    /// The rule: NAME, or NAME:VERSION
    #[arg(long, value_name = "NAME[:VERSION]")]
    rule: String,
    #[command(flatten)]
    question: QuestionArgs,
    /// What has changed the value since this version
    #[arg(long, value_name = "VERSION")]
    from_version: Option<String>,
    /// Most events of the page
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// The next page: what the one before ends with
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Asks, and prints.
pub(crate) async fn run(args: ExplainArgs) -> anyhow::Result<()> {
    let mut query = args.question.parameters();
    let mut add = |name: &str, value: &str| query.push((name.to_owned(), value.to_owned()));
    add("principal_id", &args.principal);
    add("rule", &args.rule);
    add("limit", &args.limit.to_string());
    for (name, value) in [
        ("from_version", &args.from_version),
        ("cursor", &args.cursor),
    ] {
        if let Some(value) = value {
            add(name, value);
        }
    }
    let path = format!("/v1/explain/{}", aevon_client::path_segment(&args.tenant));
    let answer: Value = args.remote.client()?.get_json(&path, &query).await?;
    let text = match args.output.format {
        Format::Json => format!("{answer:#}\n"),
        Format::Table => as_table(&answer)?,
    };
    print(&text)?;
    Ok(())
}

/// A field as people read it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn as_table(answer: &Value) -> anyhow::Result<String> {
    let field = |name: &str| shown(&answer[name]);
    let mut text = format!(
        "{}:{} ({}) of {} is {} at version {}",
        field("rule"),
        field("rule_version"),
        field("operator"),
        field("principal_id"),
        field("value"),
        field("version"),
    );
    let _ = writeln!(
        text,
        ": {} events, {} skipped",
        field("event_count"),
        field("skipped_count")
    );
    if let Some(from) = answer["from"].as_object() {
        let (value, version) = (shown(&from["value"]), shown(&from["version"]));
        let _ = writeln!(
            text,
            "it was {value} at version {version}: the change is {}",
            field("change")
        );
    }
    let sources = &answer["sources"];
    let buckets = sources["buckets"].as_array().into_iter().flatten();
    let buckets: Vec<String> = buckets
        .map(|grain| format!("{} of {}", shown(&grain["rows"]), shown(&grain["grain"])))
        .collect();
    if !buckets.is_empty() {
        let raw = shown(&sources["raw_events"]);
        let _ = writeln!(
            text,
            "from buckets: {}; {raw} events from the log",
            buckets.join(", ")
        );
    }
    let names = [
        "position",
        "occurred at",
        "id",
        "verdict",
        "contribution",
        "adds",
        "why",
    ];
    let mut rows = vec![titles(&names)];
    for item in answer["items"].as_array().into_iter().flatten() {
        let verdict = if item["effect"].is_null() {
            &item["verdict"]
        } else {
            &item["effect"]
        };
        let why = [&item["reason"], &item["voided_by"]];
        let why = why.into_iter().find(|why| !why.is_null());
        let late = if item["late"] == true { "late" } else { "-" };
        rows.push(vec![
            shown(&item["position"]),
            shown(&item["occurred_at"]),
            shown(&item["id"]),
            shown(verdict),
            shown(&item["contribution"]),
            shown(&item["adds"]),
            why.map_or_else(|| late.to_owned(), shown),
        ]);
    }
    text.push('\n');
    text += &aligned(&rows)?;
    if let Some(next) = answer["next"].as_str() {
        let _ = writeln!(text, "\nthere is more: --cursor {next}");
    }
    Ok(text)
}
