//! `GET /v1/state/{tenant}` of more than one principal: a tenant's total, and lists.

use super::asked::{question, selection};
use super::moment::TenantMoment;
use super::problem::problem;
use super::sending::{Sending, erasures, of_question, rules_of};
use super::shown::{Meta, RuleAnswer, StateBody};
use crate::Projection;
use crate::http::format::digest;
use crate::http::not_ready;
use crate::http::request::{Parameters, identifier, invalid};
use actix_web::{HttpRequest, HttpResponse};
use aevon_core::amount::Amount;
use aevon_core::calendar::tzdb;
use aevon_core::position::Version;
use aevon_core::state::{Granularity, Rank};
use aevon_core::time::Timestamp;
use aevon_schema::state::{self, AsOf, Listed, PageEnd, Selection, StateList, TenantQuery, Which};
use aevon_service::problem::Problem;
use aevon_service::request::{Page, cursor};
use aevon_service::telemetry;
use serde::{Deserialize, Serialize};
use std::iter::once;
use tracing::Instrument;
use tracing::field::Empty;
use utoipa::{IntoParams, ToSchema};

/// Principals of a page, unless the caller says.
const PAGE: usize = 100;
/// Most principals of a page.
const MAX_PAGE: usize = 1_000;
/// Most principals that may be named.
pub(crate) const MAX_NAMED: usize = 100;
/// Most digits of a value in a cursor: more than any sum of bounded numbers has.
const MAX_VALUE: usize = 300;

/// The parameters, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read")]
pub(crate) struct ManyParameters {
    /// Whose state; repeatable, up to 100 times. Just one gives the same answer as the route that has it
    /// in its path. None: a list of all.
    #[param(explode, example = json!(["user_123"]))]
    principal_id: Option<Vec<String>>,
    /// `tenant`: what all principals add up to, instead of a list.
    #[param(pattern = "^tenant$")]
    scope: Option<String>,
    /// The order of a list of all. By `value` it is of those that have anything in the range, the
    /// largest first, and asks for one rule, one total, and no groups.
    #[param(pattern = "^(principal_id|value)$")]
    order_by: Option<String>,
    /// Most items of a list of all.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next` of the page before, with everything else as it was.
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// The state of one principal, the total of the tenant, or a list.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = StateOfTenant)]
#[expect(dead_code, reason = "describes what is answered")]
pub(crate) enum OfTenant<'a> {
    One(StateBody<'a>),
    List(List<'a>),
}

/// A page of principals with their states.
#[derive(Serialize, ToSchema)]
#[schema(as = StateList)]
pub(crate) struct List<'a> {
    tenant_id: &'a str,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    start: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    end: Option<Timestamp>,
    granularity: &'static str,
    timezone: &'static str,
    /// The release of the tz database, where that is not UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^[0-9]{4}[a-z]+$")]
    tzdb: Option<&'static str>,
    /// Where every page stands, in all partitions that the list is about.
    #[schema(value_type = String)]
    version: &'a Version,
    /// The newest stamp of what the list knows.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    as_of: Option<Timestamp>,
    items: Vec<Item<'a>>,
    /// What to send as `cursor` for the next page; none where this is the last.
    #[schema(required)]
    next: Option<String>,
    meta: Meta,
}

/// One principal of a list.
#[derive(Serialize, ToSchema)]
#[schema(as = StateListItem)]
struct Item<'a> {
    principal_id: &'a str,
    states: Vec<RuleAnswer<'a>>,
}

/// Where a page ended: what the next one goes on with.
#[derive(Deserialize, Serialize)]
struct Ended {
    /// What was asked, as a digest.
    asked: String,
    version: String,
    /// Names with their versions.
    rules: Vec<(String, i32)>,
    principal_id: String,
    value: Option<String>,
}

/// The total of a tenant.
pub(super) async fn total(
    projection: &Projection,
    request: &HttpRequest,
    tenant_id: String,
    mut parameters: Parameters,
) -> Result<HttpResponse, Problem> {
    let sending = Sending::of(request);
    let partitions = *projection.partitions.get().ok_or_else(not_ready)?;
    let query = query(projection, tenant_id, &mut parameters)?;
    parameters.finish()?;
    let span = tracing::debug_span!(target: telemetry::WORK, "total", buckets = Empty, raw = Empty);
    let read = state::total(&projection.database, partitions, &query, projection.budget);
    let read = read.instrument(span.clone()).await;
    let cost = read
        .as_ref()
        .map(|s| (s.states.len(), s.buckets, s.raw_events));
    projection.metrics.read_of_tenant(cost);
    let state = read.map_err(|error| problem(&error))?;
    span.record("buckets", state.buckets);
    span.record("raw", state.raw_events);
    let answer = StateBody::total(&query, &state);
    let mut determinants = rules_of(&answer.states);
    determinants.extend(of_question(&query.tenant_id, &query.question));
    determinants.push(erasures(state.erasures));
    let states = once((None, answer.states.as_slice()));
    sending.send(
        &query.question,
        (&state.version, determinants),
        (&answer, None),
        states,
    )
}

/// A list: of those who are named, or of all.
pub(super) async fn list(
    projection: &Projection,
    request: &HttpRequest,
    tenant_id: String,
    names: Vec<String>,
    mut parameters: Parameters,
) -> Result<HttpResponse, Problem> {
    let sending = Sending::of(request);
    let partitions = *projection.partitions.get().ok_or_else(not_ready)?;
    let is_by_value = match parameters.one("order_by")?.as_deref() {
        Some(_) if !names.is_empty() => return Err(invalid("order_by", "excludes principal_id")),
        None | Some("principal_id") => false,
        Some("value") => true,
        Some(other) => {
            let reason = format!("{other:?} is not one of principal_id, value");
            return Err(invalid("order_by", reason));
        }
    };
    let mut query = query(projection, tenant_id, &mut parameters)?;
    if is_by_value {
        check_by_value(&query)?;
    }
    let asked = List::asked(&query, is_by_value);
    let which = match names.is_empty() {
        false => Which::Named(named(names)?),
        true => {
            let page: Page<Ended> = parameters.page(PAGE, MAX_PAGE)?;
            page_of(&mut query, page, (is_by_value, &asked))?
        }
    };
    parameters.finish()?;
    let span = tracing::debug_span!(target: telemetry::WORK, "list", buckets = Empty, raw = Empty);
    let read = state::list(
        &projection.database,
        partitions,
        &query,
        &which,
        projection.budget,
    );
    let read = read.instrument(span.clone()).await;
    let cost = read
        .as_ref()
        .map(|l| (l.rules.len(), l.buckets, l.raw_events));
    projection.metrics.read_of_tenant(cost);
    let list = read.map_err(|error| problem(&error))?;
    span.record("buckets", list.buckets);
    span.record("raw", list.raw_events);
    let shown = List::new(&query, &list, &asked);
    let rules = list
        .rules
        .iter()
        .map(|(name, version)| format!("{name}:{version}"));
    let mut determinants: Vec<String> = rules.collect();
    determinants.extend(of_question(&query.tenant_id, &query.question));
    determinants.push(format!("{which:?}"));
    determinants.push(erasures(list.erasures));
    let states = shown.items.iter();
    let states = states.map(|item| (Some(item.principal_id), item.states.as_slice()));
    let whole = (&shown, shown.next.as_deref());
    sending.send(
        &query.question,
        (&list.version, determinants),
        whole,
        states,
    )
}

fn query(
    projection: &Projection,
    tenant_id: String,
    parameters: &mut Parameters,
) -> Result<TenantQuery, Problem> {
    let moment = TenantMoment::take(parameters, projection.latest())?;
    Ok(TenantQuery {
        tenant_id,
        selection: selection(parameters)?,
        question: question(parameters)?,
        as_of: moment.as_of,
        min_version: moment.min_version,
        wait: moment.wait,
    })
}

/// A list by value is of one total each.
fn check_by_value(query: &TenantQuery) -> Result<(), Problem> {
    let Selection { names, pinned } = &query.selection;
    let wrong = |reason: &str| Err(invalid("order_by", format!("value asks for {reason}")));
    match &query.question {
        _ if names.len() + pinned.len() != 1 => wrong("exactly one rule"),
        question if question.granularity != Granularity::Total => wrong("granularity=total"),
        question if !question.grouping.by.is_empty() => wrong("no group_by; filter[…] narrows"),
        _ => Ok(()),
    }
}

/// Each once, by identifier.
fn named(mut names: Vec<String>) -> Result<Vec<String>, Problem> {
    if names.len() > MAX_NAMED {
        let reason = format!("may be given {MAX_NAMED} times");
        return Err(invalid("principal_id", reason));
    }
    names.sort_unstable();
    names.dedup();
    let names = names
        .into_iter()
        .map(|name| identifier("principal_id", name));
    names.collect()
}

/// Which page; the ones behind the first are of its version and its rules.
fn page_of(
    query: &mut TenantQuery,
    page: Page<Ended>,
    (is_by_value, asked): (bool, &str),
) -> Result<Which, Problem> {
    let Page { limit, cursor } = page;
    let Some(ended) = cursor else {
        return Ok(match is_by_value {
            true => Which::ByValue { after: None, limit },
            false => Which::ById {
                after: String::new(),
                limit,
            },
        });
    };
    let wrong = || invalid("cursor", "is none that this list gave");
    let version = Version::parse(&ended.version).ok_or_else(wrong)?;
    if ended.asked != asked || !is_of(query, &version, &ended.rules) {
        let reason = "is one of another list: all other parameters stay as they were";
        return Err(invalid("cursor", reason));
    }
    if is_older(&version, &query.min_version) {
        let reason = format!(
            "is of a list at {version}, which does not know min_version {}: ask for its first page anew",
            query.min_version
        );
        return Err(invalid("cursor", reason));
    }
    let principal_id = identifier("cursor", ended.principal_id)?;
    let value = ended.value.map(|text| amount(&text).ok_or_else(wrong));
    let value = value.transpose()?;
    if ended.rules.iter().any(|(name, _)| name.contains('\0')) {
        return Err(wrong());
    }
    query.as_of = Some(AsOf::Version(version));
    query.selection = Selection {
        names: Vec::new(),
        pinned: ended.rules,
    };
    if is_by_value {
        check_by_value(query).map_err(|_| wrong())?;
    }
    Ok(match is_by_value {
        true => Which::ByValue {
            after: Some(Rank {
                value,
                principal_id,
            }),
            limit,
        },
        false => Which::ById {
            after: principal_id,
            limit,
        },
    })
}

/// Whether a question may be the one that was answered at a version by these rules.
fn is_of(query: &TenantQuery, version: &Version, rules: &[(String, i32)]) -> bool {
    let Selection { names, pinned } = &query.selection;
    let is_there = |name: &String| rules.iter().any(|(other, _)| other == name);
    let is_every = names.is_empty() && pinned.is_empty();
    let is_named =
        |rule: &(String, i32)| is_every || names.contains(&rule.0) || pinned.contains(rule);
    let at = |partition| version.of(partition);
    let is_at_version = match &query.as_of {
        Some(AsOf::Version(asked)) => version.partitions().all(|p| asked.of(p) == at(p)),
        // The first page came down from there to the version that the cursor names.
        None | Some(AsOf::Instant(_)) => true,
    };
    is_at_version
        && names.iter().all(is_there)
        && pinned.iter().all(|rule| rules.contains(rule))
        && rules.iter().all(is_named)
}

/// Whether a version lies before another in any partition of both.
fn is_older(version: &Version, newest: &Version) -> bool {
    let is_older = |(at, newest)| at < newest;
    let positions = |p| version.of(p).zip(newest.of(p));
    newest.partitions().filter_map(positions).any(is_older)
}

/// A value as an answer shows it.
fn amount(text: &str) -> Option<Amount> {
    let is_plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let is_short = text.len() <= MAX_VALUE;
    (is_short && text.bytes().all(is_plain)).then(|| Amount::parse(text))?
}

impl<'a> List<'a> {
    /// What a cursor is good for, beside the version and the rules that it names: whether these were
    /// asked for, by which instant, or found makes no difference.
    fn asked(query: &TenantQuery, is_by_value: bool) -> String {
        let mut parts = of_question(&query.tenant_id, &query.question);
        parts.push(is_by_value.to_string());
        digest(&parts)
    }

    fn new(query: &'a TenantQuery, list: &'a StateList, asked: &str) -> Self {
        let item = |listed: &'a Listed| Item {
            principal_id: &listed.principal_id,
            states: listed.states.iter().map(RuleAnswer::new).collect(),
        };
        Self {
            tenant_id: &query.tenant_id,
            start: query.question.range.start,
            end: query.question.range.end,
            granularity: query.question.granularity.as_str(),
            timezone: query.question.zone.name(),
            tzdb: (!query.question.zone.is_utc()).then(tzdb),
            version: &list.version,
            as_of: list.data_through,
            items: list.items.iter().map(item).collect(),
            next: list
                .next
                .as_ref()
                .map(|end| cursor(&Ended::new(asked, list, end))),
            meta: Meta {
                data_through: list.data_through,
                staleness_seconds: list.staleness_seconds,
                lag_events: list.lag_events,
            },
        }
    }
}

impl Ended {
    fn new(asked: &str, list: &StateList, end: &PageEnd) -> Self {
        let (principal_id, value) = match end {
            PageEnd::Id(principal_id) => (principal_id, None),
            PageEnd::Rank(rank) => (&rank.principal_id, rank.value.as_ref()),
        };
        Self {
            asked: asked.to_owned(),
            version: list.version.to_string(),
            rules: list.rules.clone(),
            principal_id: principal_id.clone(),
            value: value.map(ToString::to_string),
        }
    }
}
