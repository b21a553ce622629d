//! `GET /v1/state/{tenant}/{principal}/explain`: why a total is what it is, and what changed it since.

mod shown;

use super::asked::{self, OneRuleParameters};
use super::{MomentParameters, moment, principal, problem, query};
use crate::Projection;
use crate::http::authorized_tenant;
use crate::http::request::{Parameters, invalid, path_identifier};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use aevon_core::identity::partition_of;
use aevon_core::json::Path;
use aevon_core::position::Version;
use aevon_core::state::{Granularity, Question};
use aevon_schema::state::At;
use aevon_schema::state::explain::{self, ExplainQuery};
use aevon_service::openapi::{ByStatus, VERSION_HEADER, problems_of_route};
use aevon_service::problem::{Code, Problem};
use aevon_service::request::Page;
use serde::{Deserialize, Serialize};
use shown::Explanation;
use std::collections::HashMap;
use utoipa::{IntoParams, IntoResponses};

/// Items of a page, unless the caller says.
const PAGE: usize = 100;
/// Most items of a page.
const MAX_PAGE: usize = 1_000;

/// The parameters, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read")]
pub(crate) struct ExplainParameters {
    /// Valid time, inclusive, any microsecond. None: unbounded.
    #[param(value_type = Option<String>, format = DateTime, example = "2026-02-11T10:29:30Z")]
    start: Option<String>,
    /// Valid time, exclusive. None: unbounded.
    #[param(value_type = Option<String>, format = DateTime, example = "2026-02-12T00:00:00Z")]
    end: Option<String>,
    /// `filter[dim]=label` keeps the groups with this label; repeatable. `filter[dim]` without `=` is
    /// the group without a value.
    #[param(style = DeepObject, explode, example = json!({"model": "m1"}))]
    filter: Option<HashMap<String, String>>,
    /// An earlier version: `items` are then what has changed the value since, and `from` and `change`
    /// say from what, and by how much.
    #[param(pattern = "^[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*$")]
    from_version: Option<String>,
    /// Most items.
    #[param(minimum = 1, maximum = 1000, example = 100)]
    limit: Option<usize>,
    /// The `next` of the page before: all pages are of the version that the first one names.
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// Where a page ended.
#[derive(Deserialize, Serialize)]
struct Ended {
    version: i64,
    rule_version: i32,
    after: i64,
}

pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> ByStatus {
        problems_of_route(&[
            Code::InvalidParameter,
            Code::RangeReversed,
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

/// Explain a value
///
/// The value of one rule over a range, what it was made of, and the events behind it, page by page.
/// With `from_version`: what has changed it since, events that came in and events that were voided. An
/// event that came in and was voided in between changes nothing and is in neither.
#[utoipa::path(
    get,
    path = "/v1/state/{tenant}/{principal}/explain",
    operation_id = "explainState",
    tag = "state",
    security(("key" = [])),
    params(
        ("tenant" = String, Path, description = "The tenant.", min_length = 1, max_length = 512,
         example = "acme"),
        ("principal" = String, Path, description = "The principal.", min_length = 1,
         max_length = 512, example = "user_123"),
        OneRuleParameters,
        ExplainParameters,
        MomentParameters,
    ),
    responses(
        (status = 200, description = "A page", body = Explanation,
         headers(("aevon-version" = String)), example = json!({
            "tenant_id": "acme", "principal_id": "user_123",
            "start": "2026-02-01T00:00:00Z", "end": "2026-03-01T00:00:00Z",
            "rule": "tokens_used", "rule_version": 3, "operator": "sum", "unit": "tokens",
            "version": "7:90210", "as_of": "2026-02-11T10:30:01.000017Z",
            "value": "123.5", "event_count": 7, "skipped_count": 0,
            "checkpoint": "7:90200",
            "sources": {
                "buckets": [{"grain": "1d", "rows": 2, "events": 6},
                            {"grain": "1h", "rows": 0, "events": 0},
                            {"grain": "1m", "rows": 0, "events": 0}],
                "raw_ranges": [{"first": "7:90201", "last": "7:90210", "reasons": ["tail"],
                                "events": 1}],
                "raw_range_count": 1, "raw_events": 1, "events_read": 1
            },
            "late_events": 0, "voids": 1,
            "items": [{
                "position": "7:90210", "id": "evt-001", "source": "gateway",
                "occurred_at": "2026-02-11T10:30:00Z",
                "ingested_at": "2026-02-11T10:30:01.000017Z",
                "verdict": "counted", "contribution": "23.5", "adds": "23.5",
                "group": {"model": "m1"}, "late": false
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

/// Explain a value of any principal
///
/// The same, for identifiers that proxies would mangle in a path.
#[utoipa::path(
    get,
    path = "/v1/explain/{tenant}",
    operation_id = "explainStateByParameter",
    tag = "state",
    security(("key" = [])),
    params(
        ("tenant" = String, Path, description = "The tenant.", min_length = 1, max_length = 512,
         example = "acme"),
        ("principal_id" = String, Query, description = "The principal.", min_length = 1,
         max_length = 512, example = "user_123"),
        OneRuleParameters,
        ExplainParameters,
        MomentParameters,
    ),
    responses(
        (status = 200, description = "A page", body = Explanation,
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

/// That one value is asked for.
fn check_one_value(question: &Question) -> Result<(), Problem> {
    let wrong = |name: &str, reason: &str| Err(invalid(name, reason));
    match question {
        q if q.granularity != Granularity::Total => {
            wrong("granularity", "is total here: one value is explained")
        }
        q if !q.grouping.by.is_empty() => {
            wrong("group_by", "has no place here: pick a group with filter")
        }
        q if !q.zone.is_utc() => wrong("timezone", "has no place here: there are no windows"),
        q if q.is_cumulative => wrong("cumulative", "has no place here: there are no windows"),
        _ => Ok(()),
    }
}

async fn answer(
    projection: &Projection,
    tenant_id: String,
    principal_id: String,
    mut parameters: Parameters,
) -> Result<HttpResponse, Problem> {
    let page: Page<Ended> = parameters.page(PAGE, MAX_PAGE)?;
    let (mut query, partitions) = query(projection, tenant_id, principal_id, &mut parameters)?;
    let partition = partition_of(&query.tenant_id, &query.principal_id, partitions);
    let from = moment::seq(&mut parameters, "from_version", partition)?;
    parameters.finish()?;
    asked::check_one_rule(&query.selection)?;
    check_one_value(&query.question)?;
    let mut after = 0;
    if let Some(ended) = page.cursor {
        query.at = Some(At::Version(ended.version));
        asked::pin(&mut query.selection, ended.rule_version);
        after = ended.after;
    }
    let query = ExplainQuery {
        state: query,
        from,
        after,
        limit: page.limit,
    };
    let explained =
        explain::explain(&projection.database, partitions, &query, projection.budget).await;
    projection.metrics.explained(&explained);
    let explained = explained.map_err(|error| problem(&error))?;
    let [ruled] = explained.state.states.as_slice() else {
        return Err(Problem::new(
            Code::Internal,
            "one rule was asked".to_owned(),
        ));
    };
    let names: Vec<String> = ruled.rule.group_by.iter().map(Path::short).collect();
    let version = Version::from(explained.state.position);
    Ok(HttpResponse::Ok()
        .insert_header((VERSION_HEADER, version.to_string()))
        .json(Explanation::new(&query, &explained, ruled, &names)))
}
