//! `GET /v1/events/{tenant}`: a tenant's feed, which other projections are built on.

use super::events::{self, Item, Listed, MAX_PAGE, PAGE, Problems};
use super::format::Format;
use super::request::{Parameters, identifier, invalid, wait};
use super::{authorized_tenant, not_ready};
use crate::Projection;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use aevon_core::position::{Position, Version};
use aevon_schema::log::{self, Logged, Reach};
use aevon_service::problem::{Code, Problem};
use aevon_service::request::Page;
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// The longest wait for something new.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Between two looks for something new.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long a feed looks through what is not its own before it says how far it came.
const LOOKING: Duration = Duration::from_secs(1);

/// Part of a tenant's feed.
#[derive(Serialize, ToSchema)]
pub(super) struct Feed<'a> {
    items: Vec<Item<'a>>,
    /// What to send as `after` for what comes next. There is always something next.
    #[schema(value_type = String)]
    next: Version,
}

/// What the route answers, whatever is asked of it.
struct Followed;

impl PartialSchema for Followed {
    fn schema() -> RefOr<Schema> {
        let names = [Feed::name(), Listed::name(), Item::name()];
        let any = names.iter().fold(AnyOfBuilder::new(), |any, name| {
            any.item(Ref::from_schema_name(name.as_ref()))
        });
        any.into()
    }
}

impl ToSchema for Followed {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Feed::name().into_owned(), Feed::schema()));
        Feed::schemas(schemas);
    }
}

/// Follow the events of a tenant
///
/// Everything that came in behind a token, each principal's events in their order, and as a whole
/// about in the order of ingestion. What an answer's `next` is sent as `after` goes on exactly
/// behind it, so that nothing is missed and nothing comes twice. An answer may be empty and still
/// go on: where the tenant's events are few among others.
///
/// With `principal_id` it lists that principal's events, and with `id` it is one event: for
/// identifiers that proxies would mangle in a path.
#[utoipa::path(
    get,
    path = "/v1/events/{tenant}",
    operation_id = "followEvents",
    tag = "events",
    security(("key" = [])),
    params(
        ("tenant" = String, Path, description = "The tenant.", min_length = 1, max_length = 512,
         example = "acme"),
        ("after" = Option<String>, Query,
         description = "The `next` of the answer before, such as `3:17,7:90210`; none: from the first \
                        event; `newest`: what comes in from now on.", example = "newest"),
        ("limit" = Option<usize>, Query, description = "Most items; a page also ends after 2 MiB.",
         minimum = 1, maximum = 1000, example = 100),
        ("type" = Option<Vec<String>>, Query, explode, description = "Keeps these types; repeatable.",
         example = json!(["api.request"])),
        ("wait" = Option<String>, Query,
         description = "How long to wait for something new, 30s at most.", example = "10s"),
        ("principal_id" = Option<String>, Query, description = "Lists this principal's events \
         instead, with the parameters of that route.", min_length = 1, max_length = 512),
        ("id" = Option<String>, Query, description = "With `principal_id`: one event.",
         min_length = 1, max_length = 512),
        ("source" = Option<String>, Query, description = "With `id`: its source.", min_length = 1,
         max_length = 512),
        ("start" = Option<String>, Query, format = DateTime,
         description = "With `principal_id`: valid time, inclusive."),
        ("end" = Option<String>, Query, format = DateTime,
         description = "With `principal_id`: valid time, exclusive."),
        ("order" = Option<String>, Query, pattern = "^-?(position|occurred_at)$",
         description = "With `principal_id`: in which order."),
        ("cursor" = Option<String>, Query, description = "With `principal_id`: the `next` of the \
         page before.", min_length = 1),
    ),
    responses(
        (status = 200, description = "What comes next; with `principal_id` what that route answers",
         body = Followed, example = json!({
            "items": [{
                "position": "7:90210", "ingested_at": "2026-02-11T10:30:01.000017Z",
                "tenant_id": "acme", "principal_id": "user_123", "id": "evt-001",
                "source": "gateway", "type": "api.request",
                "occurred_at": "2026-02-11T10:30:00Z", "schema_version": 1,
                "data": {"tokens": 123, "model": "m1"}, "metadata": {"region": "eu"}
            }],
            "next": "3:17,7:90210"
        })),
        Problems
    )
)]
pub(crate) async fn follow(
    projection: Data<Projection>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let tenant_id = authorized_tenant(&projection, &request).await?;
    let mut parameters = Parameters::of(&request)?;
    let format = Format::of(&request);
    let Some(principal_id) = parameters.one("principal_id")? else {
        return feed(&projection, format, &tenant_id, parameters).await;
    };
    let principal_id = identifier("principal_id", principal_id)?;
    match parameters.one("id")? {
        None => events::listing(&projection, format, &tenant_id, principal_id, parameters).await,
        Some(id) => {
            let id = identifier("id", id)?;
            let whose = (tenant_id.as_str(), principal_id.as_str());
            events::one(&projection, format, whose, &id, parameters).await
        }
    }
}

async fn feed(
    projection: &Projection,
    format: Format,
    tenant_id: &str,
    mut parameters: Parameters,
) -> Result<HttpResponse, Problem> {
    let types = events::types(&mut parameters)?;
    let after = parameters.one("after")?;
    let wait = wait(&mut parameters, MAX_WAIT)?;
    let page: Page<()> = parameters.page(PAGE, MAX_PAGE)?;
    if page.cursor.is_some() {
        return Err(invalid("cursor", "is `after` here"));
    }
    parameters.finish()?;
    let count = *projection.partitions.get().ok_or_else(not_ready)?;
    let after = match after.as_deref() {
        Some("newest") => None,
        None => Some(Version::default()),
        Some(text) => Some(token(text, count)?),
    };
    let (began, mut heads) = (Instant::now(), fresh_heads(projection).await?);
    if let Some(version) = &after {
        check_reached(projection, &heads, version).await?;
    }
    let mut reaches: Vec<Reach> = heads
        .iter()
        .map(|head| Reach {
            partition: head.partition,
            after: match &after {
                None => head.seq,
                Some(version) => version.of(head.partition).unwrap_or(0),
            },
            head: head.seq,
        })
        .collect();
    let events = loop {
        for (reach, head) in reaches.iter_mut().zip(&heads) {
            // A token may be ahead of a replica.
            reach.head = head.seq.max(reach.after);
        }
        let (events, is_left) =
            next(projection, tenant_id, &types, &mut reaches, page.limit).await?;
        let is_over = began.elapsed() >= if is_left { LOOKING } else { wait };
        if !events.is_empty() || is_over {
            break events;
        }
        if !is_left {
            sleep(LOOK_INTERVAL).await;
            heads = projection
                .heads
                .get(LOOK_INTERVAL, || fresh_heads(projection))
                .await?;
        }
    };
    let mut next = Version::default();
    for reach in reaches.iter().filter(|reach| reach.after > 0) {
        next.raise(Position {
            partition: reach.partition,
            seq: reach.after,
        });
    }
    let items = Item::all(tenant_id, &events)?;
    let feed = Feed { items, next };
    let next = Some(feed.next.to_string());
    events::send(format, format.ok(), &feed, &feed.items, next)
}

/// A token that an answer gave.
fn token(text: &str, partitions: i32) -> Result<Version, Problem> {
    let reason = || format!("{text:?} is none that this feed gave");
    let version =
        Version::parse(text).filter(|version| version.partitions().all(|p| p < partitions));
    version.ok_or_else(|| invalid("after", reason()))
}

/// That the log has come to where a token stands. A log that was put back to an earlier state is found
/// out so, instead of being passed over.
async fn check_reached(
    projection: &Projection,
    heads: &[Position],
    after: &Version,
) -> Result<(), Problem> {
    let is_ahead = |head: &Position| after.of(head.partition).is_some_and(|seq| seq > head.seq);
    if !heads.iter().any(is_ahead) {
        return Ok(());
    }
    let head = projection
        .ask(async |connection| log::ahead(connection, after).await)
        .await?;
    head.map_or(Ok(()), |head| {
        let detail = format!("after: {after} is ahead of the log, which is at {head}");
        Err(Problem::new(Code::UnknownVersion, detail))
    })
}

async fn fresh_heads(projection: &Projection) -> Result<Vec<Position>, Problem> {
    projection
        .ask(async |connection| log::heads(connection, None).await)
        .await
}

/// The next events where there may be any.
async fn next(
    projection: &Projection,
    tenant_id: &str,
    types: &[String],
    reaches: &mut [Reach],
    limit: usize,
) -> Result<(Vec<Logged>, bool), Problem> {
    if reaches.iter().all(|reach| reach.after == reach.head) {
        return Ok((Vec::new(), false));
    }
    projection
        .ask(async |connection| log::feed(connection, tenant_id, types, reaches, limit).await)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_that_this_log_could_have_given_is_taken_and_no_other(
            positions in prop::collection::btree_map(0..20_i32, 0..i64::MAX, 1..5),
            rubbish in prop_oneof!["[0-9:,-]{0,20}", any::<String>()],
            partitions in 1..20_i32,
        ) {
            let mut version = Version::default();
            for (partition, seq) in positions {
                version.raise(Position { partition, seq });
            }
            let is_of_log = version.partitions().all(|partition| partition < partitions);
            let taken = token(&version.to_string(), partitions).ok();
            prop_assert_eq!(taken, is_of_log.then_some(version));
            match token(&rubbish, partitions) {
                Ok(taken) => prop_assert!(taken.partitions().all(|partition| partition < partitions)),
                Err(refused) => prop_assert!(refused.detail.contains("after")),
            }
        }
    }
}
