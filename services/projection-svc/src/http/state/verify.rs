//! `GET /v1/state/{tenant}/{principal}/verify`: an answer from buckets against the log alone.

use super::asked::{self, OneRuleParameters};
use super::shown::Group;
use super::{MomentParameters, QuestionParameters, principal, problem, query};
use crate::Projection;
use crate::http::authorized_tenant;
use crate::http::operators;
use crate::http::request::{Parameters, path_identifier};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use aevon_core::operator::Operator;
use aevon_core::position::Version;
use aevon_core::state::Value;
use aevon_core::time::Timestamp;
use aevon_schema::state::compare::{Compared, Difference, compare};
use aevon_schema::state::{At, RuleState, StateError, StateQuery};
use aevon_service::openapi::{ByStatus, problems_of_route};
use aevon_service::problem::{Code, Problem};
use aevon_service::request::{Page, cursor};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, IntoResponses, ToSchema};

/// Differences of a page, unless the caller says.
const PAGE: usize = 100;
/// Most differences of a page.
const MAX_PAGE: usize = 1_000;

/// The parameters, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read")]
pub(crate) struct PageParameters {
    /// Most items.
    #[param(minimum = 1, maximum = 1000, example = 100)]
    limit: Option<usize>,
    /// The `next` of the page before: all pages are of the version that the first one names.
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// Whether buckets and log agree on an answer.
#[derive(Serialize, ToSchema)]
struct Verification<'a> {
    tenant_id: &'a str,
    principal_id: &'a str,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    start: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    end: Option<Timestamp>,
    granularity: &'static str,
    rule: &'a str,
    rule_version: i32,
    #[schema(schema_with = operators)]
    operator: Operator,
    #[schema(value_type = String)]
    version: Version,
    /// When that event was ingested.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    as_of: Option<Timestamp>,
    agrees: bool,
    /// Why buckets give no answer, where they can't even be read; every value then differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    unreadable: Option<String>,
    /// Values that the log gives.
    values: usize,
    /// Bucket rows of the answer as it is given, and the events that it reads beside them.
    buckets_read: u64,
    raw_events_read: u64,
    /// Events that the log alone takes.
    events_read: u64,
    difference_count: usize,
    /// The values that differ, by window and group.
    items: Vec<Differing<'a>>,
    /// What to send as `cursor` for the next page; none where this is the last.
    #[schema(required)]
    next: Option<String>,
}

/// A value that buckets and log don't agree on.
#[derive(Serialize, ToSchema)]
#[schema(as = Difference)]
struct Differing<'a> {
    #[schema(value_type = Option<String>, format = DateTime, required)]
    window_start: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    window_end: Option<Timestamp>,
    /// Only where the answer is divided into groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::HashMap<String, Option<String>>>, nullable = false)]
    group: Option<Group<'a>>,
    /// As the answer has it; none where it has no such value.
    #[schema(required)]
    from_buckets: Option<Side>,
    /// As the log has it; none where it has no such value.
    #[schema(required)]
    from_log: Option<Side>,
}

/// A value of one side.
#[derive(Serialize, ToSchema)]
#[schema(as = DifferingValue)]
struct Side {
    #[schema(required)]
    value: Option<String>,
    event_count: i64,
    skipped_count: i64,
}

/// Where a page ended.
#[derive(Deserialize, Serialize)]
struct Ended {
    version: i64,
    rule_version: i32,
    skip: usize,
}

struct Problems;

impl IntoResponses for Problems {
    fn responses() -> ByStatus {
        problems_of_route(&[
            Code::InvalidParameter,
            Code::RangeReversed,
            Code::RangeRequired,
            Code::TooManyWindows,
            Code::TooManyGroups,
            Code::VersionOfAnotherPartition,
            Code::AsOfInFuture,
            Code::UnknownRule,
            Code::UnknownVersion,
            Code::QueryBudgetExceeded,
            Code::VersionNotVisible,
        ])
    }
}

/// Verify an answer
///
/// The answer of one rule as it is given, and again from the raw log alone, as if there were no
/// buckets, at one version. Reads every event of the range.
#[utoipa::path(
    get,
    path = "/v1/state/{tenant}/{principal}/verify",
    operation_id = "verifyState",
    tag = "state",
    security(("key" = [])),
    params(
        ("tenant" = String, Path, description = "The tenant.", min_length = 1, max_length = 512,
         example = "acme"),
        ("principal" = String, Path, description = "The principal.", min_length = 1,
         max_length = 512, example = "user_123"),
        OneRuleParameters,
        QuestionParameters,
        PageParameters,
        MomentParameters,
    ),
    responses(
        (status = 200, description = "Whether they agree", body = Verification,
         headers(("aevon-version" = String)), example = json!({
            "tenant_id": "acme", "principal_id": "user_123", "start": null, "end": null,
            "granularity": "1d", "rule": "tokens_used", "rule_version": 3, "operator": "sum",
            "version": "7:90210", "as_of": "2026-02-11T10:30:01.000017Z", "agrees": false,
            "values": 2, "buckets_read": 2, "raw_events_read": 1, "events_read": 7,
            "difference_count": 1,
            "items": [{
                "window_start": "2026-02-11T00:00:00Z", "window_end": "2026-02-12T00:00:00Z",
                "from_buckets": {"value": "124.5", "event_count": 7, "skipped_count": 0},
                "from_log": {"value": "123.5", "event_count": 7, "skipped_count": 0}
            }],
            "next": null
        })),
        Problems
    )
)]
pub(crate) async fn get(
    projection: Data<Projection>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let tenant_id = authorized_tenant(&projection, &request).await?;
    let principal_id = path_identifier(&request, "principal_id", 3)?;
    let parameters = Parameters::of(&request)?;
    answer(&projection, tenant_id, principal_id, parameters).await
}

/// Verify an answer of any principal
///
/// The same, for identifiers that proxies would mangle in a path.
#[utoipa::path(
    get,
    path = "/v1/verify/{tenant}",
    operation_id = "verifyStateByParameter",
    tag = "state",
    security(("key" = [])),
    params(
        ("tenant" = String, Path, description = "The tenant.", min_length = 1, max_length = 512,
         example = "acme"),
        ("principal_id" = String, Query, description = "The principal.", min_length = 1,
         max_length = 512, example = "user_123"),
        OneRuleParameters,
        QuestionParameters,
        PageParameters,
        MomentParameters,
    ),
    responses(
        (status = 200, description = "Whether they agree", body = Verification,
         headers(("aevon-version" = String))),
        Problems
    )
)]
pub(crate) async fn get_by_parameter(
    projection: Data<Projection>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let tenant_id = authorized_tenant(&projection, &request).await?;
    let mut parameters = Parameters::of(&request)?;
    let principal_id = principal(&mut parameters)?;
    answer(&projection, tenant_id, principal_id, parameters).await
}

async fn answer(
    projection: &Projection,
    tenant_id: String,
    principal_id: String,
    mut parameters: Parameters,
) -> Result<HttpResponse, Problem> {
    let page: Page<Ended> = parameters.page(PAGE, MAX_PAGE)?;
    let (mut query, partitions) = query(projection, tenant_id, principal_id, &mut parameters)?;
    parameters.finish()?;
    asked::check_one_rule(&query.selection)?;
    let mut skip = 0;
    if let Some(ended) = page.cursor {
        query.at = Some(At::Version(ended.version));
        asked::pin(&mut query.selection, ended.rule_version);
        skip = ended.skip;
    }
    let compared = compare(&projection.database, partitions, &query, projection.budget).await;
    projection.metrics.compared(&compared);
    let compared = compared.map_err(|error| refusal(&error))?;
    let [ruled] = compared.from_log.states.as_slice() else {
        return Err(Problem::new(
            Code::Internal,
            "one rule was asked".to_owned(),
        ));
    };
    if !compared.agrees() {
        let differences = compared.differences.len();
        tracing::error!(
            rule = ruled.rule.name,
            differences,
            "buckets differ from the log"
        );
    }
    let version = Version::from(compared.from_log.position);
    Ok(HttpResponse::Ok()
        .insert_header(("aevon-version", version.to_string()))
        .json(Verification::new(
            &query,
            &compared,
            ruled,
            (skip, page.limit),
        )))
}

fn refusal(error: &StateError) -> Problem {
    match error {
        StateError::BudgetExceeded(_) => {
            let what_to_do = "every event of the range is read: narrow it with start and end, a part \
                              at a time";
            Problem::new(Code::QueryBudgetExceeded, format!("{error}; {what_to_do}"))
        }
        error => problem(error),
    }
}

impl<'a> Verification<'a> {
    fn new(
        query: &'a StateQuery,
        compared: &'a Compared,
        ruled: &'a RuleState,
        (skip, limit): (usize, usize),
    ) -> Self {
        let log = &compared.from_log;
        let standing = compared.from_buckets.as_ref();
        let differences = &compared.differences;
        let rest = differences.get(skip..).unwrap_or_default();
        let item = |difference: &'a Difference| Differing::new(difference, ruled);
        let ended = Ended {
            version: log.position.seq,
            rule_version: ruled.rule_version,
            skip: skip.saturating_add(limit),
        };
        Self {
            tenant_id: &query.tenant_id,
            principal_id: &query.principal_id,
            start: query.question.range.start,
            end: query.question.range.end,
            granularity: query.question.granularity.as_str(),
            rule: &ruled.rule.name,
            rule_version: ruled.rule_version,
            operator: ruled.rule.operator,
            version: log.position.into(),
            as_of: log.data_through,
            agrees: compared.agrees(),
            unreadable: standing.err().map(ToString::to_string),
            values: ruled.values.len(),
            buckets_read: standing.map_or(0, |state| state.buckets),
            raw_events_read: standing.map_or(0, |state| state.raw_events),
            events_read: log.raw_events,
            difference_count: differences.len(),
            items: rest.iter().take(limit).map(item).collect(),
            next: (rest.len() > limit).then(|| cursor(&ended)),
        }
    }
}

impl<'a> Differing<'a> {
    fn new(difference: &'a Difference, ruled: &'a RuleState) -> Self {
        let one = difference
            .from_log
            .as_ref()
            .or(difference.from_buckets.as_ref());
        let side = |value: &Value| Side {
            value: value.shown(ruled.rule.operator).value,
            event_count: value.partial.event_count,
            skipped_count: value.partial.skipped_count,
        };
        let group = one.filter(|_| !ruled.dimensions.is_empty());
        Self {
            window_start: one.and_then(|one| one.window_start),
            window_end: one.and_then(|one| one.window_end),
            group: group.map(|one| Group {
                dimensions: &ruled.dimensions,
                labels: &one.group.0,
            }),
            from_buckets: difference.from_buckets.as_ref().map(side),
            from_log: difference.from_log.as_ref().map(side),
        }
    }
}
