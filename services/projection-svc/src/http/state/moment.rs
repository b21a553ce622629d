//! Which moment of the log a question is about: as of when, and what it must know at least.

use crate::http::request::{Parameters, instant, invalid, wait};
use aevon_core::position::Version;
use aevon_core::time::Timestamp;
use aevon_schema::state::{AsOf, At};
use aevon_service::problem::{Code, Problem};
use std::time::Duration;
use utoipa::IntoParams;

/// Longest `wait`.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The parameters, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read")]
pub(crate) struct MomentParameters {
    /// Only what was ingested by this instant counts; the answer gives the stamp of the newest event
    /// that does. None: the newest.
    #[param(value_type = Option<String>, format = DateTime, example = "2026-02-11T10:30:05Z")]
    as_of: Option<String>,
    /// Only what stands at or below this position counts, without the voids that came later; excludes
    /// `as_of`. The `version` of an answer gives that answer again, for ever.
    #[param(pattern = "^[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*$")]
    version: Option<String>,
    /// Answer only once this position is visible: the `version` of an acknowledgement is read back on
    /// a replica so.
    #[param(pattern = "^[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*$")]
    min_version: Option<String>,
    /// How long to wait for `min_version`, and on a replica for `version`, at most `10s`. None: not at
    /// all.
    #[param(example = "2s")]
    wait: Option<String>,
}

/// The moment of a question.
pub(super) struct Moment {
    pub(super) at: Option<At>,
    pub(super) min_seq: i64,
    pub(super) wait: Duration,
}

impl Moment {
    /// Takes the parameters, for a principal of this partition. An `as_of` behind `latest` lies in the
    /// future.
    ///
    /// # Errors
    /// 400.
    pub(super) fn take(
        parameters: &mut Parameters,
        partition: i32,
        latest: Timestamp,
    ) -> Result<Self, Problem> {
        let at = match as_of(parameters, latest)? {
            None => None,
            Some(AsOf::Instant(at)) => Some(At::Instant(at)),
            Some(AsOf::Version(version)) => Some(At::Version(in_partition(&version, partition)?)),
        };
        let min_version = version(parameters, "min_version")?;
        Ok(Self {
            at,
            // It binds only what the answer touches.
            min_seq: min_version
                .and_then(|version| version.of(partition))
                .unwrap_or(0),
            wait: wait(parameters, MAX_WAIT)?,
        })
    }
}

/// The moment of a question over several partitions.
pub(super) struct TenantMoment {
    pub(super) as_of: Option<AsOf>,
    pub(super) min_version: Version,
    pub(super) wait: Duration,
}

impl TenantMoment {
    /// Takes the parameters. An `as_of` behind `latest` lies in the future.
    ///
    /// # Errors
    /// 400.
    pub(super) fn take(parameters: &mut Parameters, latest: Timestamp) -> Result<Self, Problem> {
        Ok(Self {
            as_of: as_of(parameters, latest)?,
            min_version: version(parameters, "min_version")?.unwrap_or_default(),
            wait: wait(parameters, MAX_WAIT)?,
        })
    }
}

fn as_of(parameters: &mut Parameters, latest: Timestamp) -> Result<Option<AsOf>, Problem> {
    let as_of = instant(parameters, "as_of")?;
    match (version(parameters, "version")?, as_of) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(invalid("version", "excludes as_of")),
        (None, Some(at)) if at > latest => {
            let detail = format!("as_of {at} lies ahead of {latest}, the latest that is taken");
            Err(Problem::new(Code::AsOfInFuture, detail))
        }
        (None, Some(at)) => Ok(Some(AsOf::Instant(at))),
        (Some(version), None) => Ok(Some(AsOf::Version(version))),
    }
}

/// Takes a version that must name the partition: its seq there.
///
/// # Errors
/// 400.
pub(super) fn seq(
    parameters: &mut Parameters,
    name: &str,
    partition: i32,
) -> Result<Option<i64>, Problem> {
    let version = version(parameters, name)?;
    let seq = version.map(|version| in_partition(&version, partition));
    seq.transpose()
}

fn in_partition(version: &Version, partition: i32) -> Result<i64, Problem> {
    version.of(partition).ok_or_else(|| {
        let detail = format!(
            "{version} names no position of partition {partition}, where this principal lives"
        );
        Problem::new(Code::VersionOfAnotherPartition, detail)
    })
}

fn version(parameters: &mut Parameters, name: &str) -> Result<Option<Version>, Problem> {
    let Some(text) = parameters.one(name)? else {
        return Ok(None);
    };
    let version = Version::parse(&text);
    let reason = || {
        invalid(
            name,
            format!("{text:?} is not of the form 7:90210 or 3:17,7:90210"),
        )
    };
    version.ok_or_else(reason).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn take(query: &str) -> Result<Moment, Problem> {
        let request = TestRequest::with_uri(&format!("/x?{query}")).to_http_request();
        let latest = Timestamp::parse("2026-02-11T00:00:00Z").unwrap();
        Moment::take(&mut Parameters::of(&request).unwrap(), 7, latest)
    }

    #[test]
    fn a_version_must_name_the_partition_and_a_least_one_binds_only_that() {
        let at = |query: &str| take(query).unwrap().at;
        assert_eq!(at(""), None);
        assert_eq!(at("version=7:12"), Some(At::Version(12)));
        assert_eq!(at("version=3:1,7:0"), Some(At::Version(0)));
        let latest = Timestamp::parse("2026-02-11T00:00:00Z").unwrap();
        assert_eq!(at("as_of=2026-02-11T00:00:00Z"), Some(At::Instant(latest)));
        let least = |query: &str| take(query).unwrap().min_seq;
        assert_eq!(
            [least("min_version=3:9"), least("min_version=3:9,7:4")],
            [0, 4]
        );
        assert_eq!(
            take("wait=1500ms").unwrap().wait,
            Duration::from_millis(1500)
        );
    }

    #[test]
    fn what_is_no_moment_is_named() {
        for (query, code) in [
            ("version=3:1", Code::VersionOfAnotherPartition),
            ("version=7", Code::InvalidParameter),
            ("version=7:-1", Code::InvalidParameter),
            ("version=", Code::InvalidParameter),
            ("version=7:1,", Code::InvalidParameter),
            (
                "version=7:1&as_of=2026-01-01T00:00:00Z",
                Code::InvalidParameter,
            ),
            ("as_of=2026-02-11T00:00:00.000001Z", Code::AsOfInFuture),
            ("as_of=now", Code::InvalidParameter),
            ("min_version=7:x", Code::InvalidParameter),
            ("wait=11s", Code::InvalidParameter),
            ("wait=soon", Code::InvalidParameter),
        ] {
            assert_eq!(
                take(query).err().map(|problem| problem.code),
                Some(code),
                "{query}"
            );
        }
    }
}
