//! `GET /api/v1/meters/{meter}/query`: usage as the SDKs of OpenMeter ask for it. A meter is a rule, a
//! subject a principal.
//!
//! Invariant: an answer is the state that the routes of state have, of one version, in other words;
//! whatever takes several reads takes all but the first at the version of the first.

mod asked;
mod shown;

use super::format::Format;
use super::not_ready;
use super::request::{Parameters, identifier, invalid};
use super::state::{insert_version, problem};
use crate::Projection;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use aevon_core::calendar::{Period, Zone};
use aevon_core::operator::Operator;
use aevon_core::position::Version;
use aevon_core::state::{Granularity, MAX_VALUES, Question, Range, TooLarge};
use aevon_core::time::Timestamp;
use aevon_schema::state::{
    self, AsOf, Listed, RuleState, Selection, StateError, StateList, TenantQuery, Which,
};
use aevon_service::auth::{Caller, Scope};
use aevon_service::openapi::{ByStatus, problems_of_route};
use aevon_service::problem::{Code, Problem};
use aevon_service::request::path_part;
use asked::Asked;
pub(crate) use asked::MeterParameters;
use shown::Usage;
use tokio::time::timeout;
use utoipa::IntoResponses;

/// Principals that are read at once where each is a subject of the answer.
const SUBJECTS: usize = 1_000;

struct Problems;

impl IntoResponses for Problems {
    fn responses() -> ByStatus {
        problems_of_route(&[
            Code::InvalidParameter,
            Code::RangeReversed,
            Code::RangeRequired,
            Code::TooManyWindows,
            Code::TooManyGroups,
            Code::UnknownRule,
            Code::QueryBudgetExceeded,
        ])
    }
}

/// Query a meter as OpenMeter's SDKs do
///
/// A meter is a rule, a subject a principal. Rows are exact: their values are those of the state of the
/// same range. Where nothing was counted there is no row. Without `windowSize` a row reaches from `from`
/// to `to`; where one of them is missing, to the bounds, in whole minutes, of the events that were
/// counted for the whole answer.
#[utoipa::path(
    get,
    path = "/api/v1/meters/{meter}/query",
    operation_id = "queryOpenMeterMeter",
    tag = "state",
    security(("key" = [])),
    params(
        ("meter" = String, Path, description = "A rule's name, or `name:version` to pin a version.",
         min_length = 1, example = "tokens_used"),
        MeterParameters,
    ),
    responses(
        (status = 200, description = "The usage", headers(("aevon-version" = String)), content(
            (Usage = "application/json", example = json!({
                "from": "2026-02-11T00:00:00Z", "to": "2026-02-12T00:00:00Z", "windowSize": "HOUR",
                "data": [{"value": 123.5, "windowStart": "2026-02-11T10:00:00Z",
                          "windowEnd": "2026-02-11T11:00:00Z", "subject": "user_123",
                          "groupBy": {"model": "m1"}}]
            })),
            (String = "text/csv", example = json!("window_start,window_end,subject,model,value\r\n\
             2026-02-11T10:00:00Z,2026-02-11T11:00:00Z,user_123,m1,123.5\r\n")),
        )),
        Problems
    )
)]
pub(crate) async fn query(
    projection: Data<Projection>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = projection.auth.caller(&request, Scope::Read).await?;
    let mut parameters = Parameters::of(&request)?;
    let tenant_id = tenant(&caller, &mut parameters)?;
    let meter = path_part(&request, "meter", 3)?;
    let asked = Asked::take(&mut parameters, &meter)?;
    parameters.finish()?;
    let partitions = *projection.partitions.get().ok_or_else(not_ready)?;
    let reading = Reading {
        projection: &projection,
        partitions,
        tenant_id,
    };
    // All reads together; each has the whole time, so that what it says of it is true.
    let read = timeout(projection.budget, reading.usage(&asked)).await;
    let out_of_time = |_| Err(problem(&StateError::BudgetExceeded(projection.budget)));
    let (counted, bounds) = read.unwrap_or_else(out_of_time)?;
    let usage = Usage::new(&asked, &counted, bounds)?;
    let format = match Format::of(&request) {
        Format::Csv => Format::Csv,
        Format::Json | Format::Ndjson => Format::Json,
    };
    let mut response = format.ok();
    insert_version(&mut response, &counted.version);
    Ok(match format {
        Format::Csv => response.body(usage.csv()?),
        _ => response.json(&usage),
    })
}

/// The key's tenant, or, with a platform key, the one that is named.
fn tenant(caller: &Caller, parameters: &mut Parameters) -> Result<String, Problem> {
    let named = parameters.one("tenant_id")?;
    let named = named
        .map(|named| identifier("tenant_id", named))
        .transpose()?;
    if let Some(named) = &named {
        caller.check_tenant(named)?;
    }
    let tenant_id = caller.tenant().map(str::to_owned).or(named);
    tenant_id.ok_or_else(|| invalid("tenant_id", "is required with a key of the platform"))
}

/// What a rule adds up to, of one version.
struct Counted {
    version: Version,
    /// By subject, or of all of them.
    states: Vec<(Option<String>, RuleState)>,
}

/// Of what time the events are that were counted.
type Bounds = (Timestamp, Timestamp);

/// Reads for one question.
struct Reading<'a> {
    projection: &'a Projection,
    partitions: i32,
    tenant_id: String,
}

impl Reading<'_> {
    async fn usage(&self, asked: &Asked) -> Result<(Counted, Option<Bounds>), Problem> {
        let question = &asked.question;
        let query = self.newest(asked.selection.clone(), question.clone());
        let counted = match (asked.subjects.as_slice(), asked.by_subject) {
            ([], false) => self.total(&query).await?,
            ([], true) => self.everybody(query).await?,
            (subjects, _) => self.named(&query, subjects).await?,
        };
        let is_whole = question.granularity == Granularity::Total;
        let is_open = question.range.start.is_none() || question.range.end.is_none();
        if !(is_whole && is_open) {
            return Ok((counted, None));
        }
        let Some((_, state)) = counted.states.first() else {
            return Ok((counted, None));
        };
        if state.rule.operator == Operator::WeightedSum && question.range.end.is_none() {
            let reason = "to is required: a weighted_sum grows until then";
            return Err(Problem::new(Code::RangeRequired, reason));
        }
        let pinned = Selection {
            names: Vec::new(),
            pinned: vec![(state.rule.name.clone(), state.rule_version)],
        };
        let mut query = self.newest(pinned, question.clone());
        query.as_of = Some(AsOf::Version(counted.version.clone()));
        query.question.grouping.by.clear();
        let bounds = self.bounds(query, &asked.subjects).await?;
        Ok((counted, bounds))
    }

    fn newest(&self, selection: Selection, question: Question) -> TenantQuery {
        TenantQuery::newest(&self.tenant_id, selection, question)
    }

    /// What all principals add up to.
    async fn total(&self, query: &TenantQuery) -> Result<Counted, Problem> {
        let Self { projection, .. } = self;
        let database = &projection.database;
        let read = state::total(database, self.partitions, query, projection.budget).await;
        let cost = |s: &state::TenantState| (s.states.len(), s.buckets, s.raw_events);
        projection.metrics.read_of_tenant(read.as_ref().map(cost));
        let found = read.map_err(|error| problem(&error))?;
        Ok(Counted {
            version: found.version,
            states: found.states.into_iter().map(|s| (None, s)).collect(),
        })
    }

    /// What each of these adds up to.
    async fn named(&self, query: &TenantQuery, names: &[String]) -> Result<Counted, Problem> {
        let page = self.list(query, &Which::Named(names.to_vec())).await?;
        Ok(Counted::of(page))
    }

    /// What each principal adds up to, of whom anything counts.
    async fn everybody(&self, mut query: TenantQuery) -> Result<Counted, Problem> {
        let question = query.question.clone();
        query.question.granularity = Granularity::Total;
        query.question.grouping.by.clear();
        let (after, limit) = (None, MAX_VALUES);
        let mut page = self.list(&query, &Which::ByValue { after, limit }).await?;
        if page.next.is_some() {
            return Err(problem(&StateError::TooLarge(TooLarge::Groups)));
        }
        page.items
            .sort_by(|a, b| a.principal_id.cmp(&b.principal_id));
        if query.question == question {
            return Ok(Counted::of(page));
        }
        query.as_of = Some(AsOf::Version(page.version.clone()));
        query.selection = Selection {
            names: Vec::new(),
            pinned: page.rules.clone(),
        };
        query.question = question;
        // Without anybody there is still a version.
        let mut counted = Counted {
            version: page.version,
            states: Vec::new(),
        };
        let names: Vec<String> = page.items.into_iter().map(|i| i.principal_id).collect();
        for names in names.chunks(SUBJECTS) {
            counted
                .states
                .extend(self.named(&query, names).await?.states);
            let values = counted.states.iter().map(|(_, state)| state.values.len());
            if values.sum::<usize>() > MAX_VALUES {
                return Err(problem(&StateError::TooLarge(TooLarge::Groups)));
            }
        }
        Ok(counted)
    }

    async fn list(&self, query: &TenantQuery, which: &Which) -> Result<StateList, Problem> {
        let Self { projection, .. } = self;
        let (database, budget) = (&projection.database, projection.budget);
        let read = state::list(database, self.partitions, query, which, budget).await;
        let cost = |l: &StateList| (l.rules.len(), l.buckets, l.raw_events);
        projection.metrics.read_of_tenant(read.as_ref().map(cost));
        read.map_err(|error| problem(&error))
    }

    /// The first and the last minute in which anything was counted, of these subjects or of all: by
    /// months, then by the days of the first and the last of them, and by their minutes.
    async fn bounds(
        &self,
        query: TenantQuery,
        subjects: &[String],
    ) -> Result<Option<Bounds>, Problem> {
        let whole = query.question.range;
        let months = self.span(&query, subjects, Period::Month, whole).await?;
        let Some((mut first, mut last)) = months else {
            return Ok(None);
        };
        let within = |bounds: Bounds| Range {
            start: Some(bounds.0),
            end: Some(bounds.1),
        };
        for period in [Period::Day, Period::Minute] {
            let in_first = self.span(&query, subjects, period, within(first)).await?;
            let in_last = match first == last {
                true => in_first,
                false => self.span(&query, subjects, period, within(last)).await?,
            };
            let Some((begins, ends)) = in_first.zip(in_last) else {
                return Ok(None);
            };
            (first, last) = (begins.0, ends.1);
        }
        Ok(Some((first.0, last.1)))
    }

    /// The first and the last window in which anything was counted.
    async fn span(
        &self,
        query: &TenantQuery,
        subjects: &[String],
        period: Period,
        range: Range,
    ) -> Result<Option<(Bounds, Bounds)>, Problem> {
        let mut query = query.clone();
        query.question.range = range;
        query.question.granularity = Granularity::Windows(period);
        query.question.zone = Zone::default();
        let mut windows = Vec::new();
        if subjects.is_empty() {
            windows.extend(self.total(&query).await?.windows());
        }
        // Each by itself: their windows together may be more than one answer may have.
        for subject in subjects {
            let counted = self.named(&query, std::slice::from_ref(subject)).await?;
            windows.extend(counted.windows());
        }
        let (first, last) = (windows.iter().min(), windows.iter().max());
        Ok(first.copied().zip(last.copied()))
    }
}

impl Counted {
    fn of(page: StateList) -> Self {
        let of_item = |item: Listed| {
            let subject = item.principal_id;
            let states = item.states.into_iter();
            states.map(move |state| (Some(subject.clone()), state))
        };
        Self {
            version: page.version,
            states: page.items.into_iter().flat_map(of_item).collect(),
        }
    }

    /// The first and the last window of an answer in which something was counted.
    fn windows(&self) -> impl Iterator<Item = Bounds> {
        let values = self.states.iter().flat_map(|(_, state)| &state.values);
        let mut counted = values
            .filter(|value| value.partial.event_count > 0)
            .filter_map(|value| value.window_start.zip(value.window_end));
        let first = counted.next();
        let last = counted.next_back();
        first.into_iter().chain(last)
    }
}
