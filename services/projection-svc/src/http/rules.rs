//! `GET /v1/rules` and `GET /v1/rules/{name}`: what is computed, and how far the buckets are.

use super::not_ready;
use super::request::{Parameters, path_identifier};
use super::state::plain;
use crate::Projection;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use aevon_core::json::Path;
use aevon_core::operator::Operator;
use aevon_core::time::Timestamp;
use aevon_schema::rules::{self, RuleVersion, Status};
use aevon_schema::status::{self, Progress, VersionStatus};
use aevon_service::auth::Scope;
use aevon_service::openapi::{ByStatus, problems_of_route};
use aevon_service::problem::{Code, Problem};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

struct ListProblems;

impl IntoResponses for ListProblems {
    fn responses() -> ByStatus {
        problems_of_route(&[Code::InvalidParameter, Code::QueryBudgetExceeded])
    }
}

/// List rules
///
/// The version of each rule that answers.
#[utoipa::path(
    get,
    path = "/v1/rules",
    operation_id = "listRules",
    tag = "state",
    security(("key" = [])),
    responses(
        (status = 200, description = "The rules", body = List, example = json!({"rules": [{
            "name": "tokens_used", "version": 3, "fingerprint": "92b2", "status": "active",
            "source_event": "model.call", "operator": "sum", "field": "/tokens",
            "filter": "data.status == \"ok\"", "group_by": ["model"], "unit": "tokens",
            "lag_events": 12, "lag_seconds": 0.8,
            "last_swept_at": "2026-02-11T10:29:58.104211Z", "sweep_seconds": 0.041,
            "building": {"version": 4, "lag_events": 90000}
        }]})),
        ListProblems
    )
)]
pub(crate) async fn list(
    projection: Data<Projection>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    projection.auth.caller(&request, Scope::Read).await?;
    Parameters::of(&request)?.finish()?;
    projection.partitions.get().ok_or_else(not_ready)?;
    let versions = projection
        .ask(async |connection| rules::list(connection, None).await)
        .await?;
    let names = versions.chunk_by(|a, b| a.rule.name == b.rule.name);
    let rules = names.filter_map(answering).collect();
    Ok(HttpResponse::Ok().json(List { rules }))
}

struct GetProblems;

impl IntoResponses for GetProblems {
    fn responses() -> ByStatus {
        problems_of_route(&[
            Code::InvalidParameter,
            Code::UnknownRule,
            Code::QueryBudgetExceeded,
        ])
    }
}

/// Read a rule
///
/// Every version of it, and where its buckets stand in each partition that has events.
#[utoipa::path(
    get,
    path = "/v1/rules/{name}",
    operation_id = "getRule",
    tag = "state",
    security(("key" = [])),
    params(("name" = String, Path, description = "The rule's name.", min_length = 1,
            max_length = 512, example = "tokens_used")),
    responses(
        (status = 200, description = "Its versions", body = Versions, example = json!({
            "name": "api_requests",
            "versions": [{"name": "api_requests", "version": 1, "fingerprint": "92b2",
                          "status": "active", "source_event": "api.request", "operator": "count",
                          "lag_events": 0, "lag_seconds": 0,
                          "last_swept_at": "2026-02-11T10:29:58.104211Z", "sweep_seconds": 0.041,
                          "partitions": [{
                              "partition": 7, "checkpoint": 90210, "lag_events": 0,
                              "lag_seconds": 0, "last_swept_at": "2026-02-11T10:29:58.104211Z",
                              "sweep_seconds": 0.041}]}]
        })),
        GetProblems
    )
)]
pub(crate) async fn get(
    projection: Data<Projection>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    projection.auth.caller(&request, Scope::Read).await?;
    let name = path_identifier(&request, "name", 2)?;
    Parameters::of(&request)?.finish()?;
    projection.partitions.get().ok_or_else(not_ready)?;
    let (versions, standing) = projection
        .ask(async |connection| {
            let versions = rules::list(connection, Some(&name)).await?;
            Ok((versions, status::read(connection, Some(&name)).await?))
        })
        .await?;
    if versions.is_empty() {
        let detail = format!("there is no rule {name}");
        return Err(Problem::new(Code::UnknownRule, detail));
    }
    Ok(HttpResponse::Ok().json(Versions {
        name: &name,
        versions: versions
            .iter()
            .map(|version| Item::new(version).with_partitions(&standing))
            .collect(),
    }))
}

/// The version of one name that answers, with the one that is to replace it. None where all of
/// them are retired.
fn answering(versions: &[RuleVersion]) -> Option<Item<'_>> {
    let newest = |status| versions.iter().rev().find(|v| v.status == status);
    let building = newest(Status::Building);
    match newest(Status::Active) {
        Some(active) => Some(Item {
            building: building.map(|next| Building {
                version: next.version,
                lag_events: next.lag_events,
            }),
            ..Item::new(active)
        }),
        None => building.map(Item::new),
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Rules)]
struct List<'a> {
    rules: Vec<Item<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RuleVersions)]
struct Versions<'a> {
    name: &'a str,
    versions: Vec<Item<'a>>,
}

/// A version of a rule.
#[derive(Serialize, ToSchema)]
#[schema(as = Rule)]
struct Item<'a> {
    name: &'a str,
    version: i32,
    /// Of all that an answer shows or depends on.
    fingerprint: &'a str,
    #[schema(pattern = "^(building|active|retired)$")]
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<&'a str>,
    source_event: &'a str,
    #[schema(schema_with = super::operators)]
    operator: Operator,
    /// A JSON Pointer into `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<String>,
    /// In CEL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    filter: Option<&'a str>,
    /// The names of its dimensions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    group_by: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    unit: Option<&'a str>,
    /// Events of the whole log that its buckets don't hold yet.
    lag_events: i64,
    /// The age of the oldest of them.
    #[serde(serialize_with = "plain")]
    lag_seconds: f64,
    /// When its buckets were written last; null before the first time.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_swept_at: Option<Timestamp>,
    /// How long that took, from taking the lease to writing the buckets.
    #[schema(required)]
    sweep_seconds: Option<f64>,
    /// True while its buckets are made anew beside those that answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    rebuilding: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    retired_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    building: Option<Building>,
    /// Of one rule: where it stands in each partition that has events.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    partitions: Option<Vec<Standing>>,
}

/// Where a version stands in a partition.
#[derive(Serialize, ToSchema)]
#[schema(as = RuleStanding)]
struct Standing {
    partition: i32,
    /// Its buckets hold every event up to this position; 0 where there are none.
    checkpoint: i64,
    lag_events: i64,
    #[serde(serialize_with = "plain")]
    lag_seconds: f64,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_swept_at: Option<Timestamp>,
    #[schema(required)]
    sweep_seconds: Option<f64>,
}

/// The version that answers next.
#[derive(Serialize, ToSchema)]
struct Building {
    version: i32,
    lag_events: i64,
}

impl<'a> Item<'a> {
    fn new(version: &'a RuleVersion) -> Self {
        let rule = &version.rule;
        Self {
            name: &rule.name,
            version: version.version,
            fingerprint: &version.fingerprint,
            status: version.status.as_str(),
            description: rule.description.as_deref(),
            source_event: &rule.source_event,
            operator: rule.operator,
            field: rule.field.as_ref().map(Path::canonical),
            filter: rule.filter.as_ref().map(aevon_core::filter::Filter::text),
            group_by: rule.group_by.iter().map(Path::short).collect(),
            unit: rule.unit.as_deref(),
            lag_events: version.lag_events,
            lag_seconds: version.lag_seconds,
            last_swept_at: version.swept_at,
            sweep_seconds: version.sweep_seconds,
            rebuilding: version.is_rebuilding,
            retired_at: version.retired_at,
            building: None,
            partitions: None,
        }
    }

    fn with_partitions(self, standing: &[VersionStatus]) -> Self {
        let ours = standing.iter().find(|one| one.version == self.version);
        let partitions = ours.map(|ours| {
            let has_events = |one: &&Progress| one.head > 0;
            let partitions = ours.partitions.iter().filter(has_events);
            partitions.map(Standing::new).collect()
        });
        Self { partitions, ..self }
    }
}

impl Standing {
    fn new(progress: &Progress) -> Self {
        Self {
            partition: progress.partition,
            checkpoint: progress.checkpoint,
            lag_events: progress.lag_events(),
            lag_seconds: progress.age_seconds,
            last_swept_at: progress.swept_at,
            sweep_seconds: progress.sweep_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aevon_core::rule::Rule;

    fn version(version: i32, status: Status) -> RuleVersion {
        RuleVersion {
            version,
            rule: Rule::from_yaml("name: a\nsource_event: t\noperator: count").unwrap(),
            fingerprint: String::new(),
            status,
            lag_events: i64::from(version),
            lag_seconds: 0.0,
            swept_at: None,
            sweep_seconds: None,
            is_rebuilding: false,
            retired_at: None,
        }
    }

    #[test]
    fn the_active_version_answers_else_the_newest_that_builds_else_none() {
        use Status::{Active, Building, Retired};
        let of = |statuses: &[Status]| {
            let versions: Vec<_> = (1..).zip(statuses).map(|(n, s)| version(n, *s)).collect();
            answering(&versions).map(|item| (item.version, item.building.map(|b| b.version)))
        };
        assert_eq!(of(&[Retired, Active, Building]), Some((2, Some(3))));
        assert_eq!(of(&[Retired, Building]), Some((2, None)));
        assert_eq!(of(&[Active]), Some((1, None)));
        assert_eq!(of(&[Retired, Retired]), None);
    }
}
