//! States, as new as what was sent.

use crate::client::Client;
use crate::error::Error;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// The longest that a service waits for a version.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Reads the states of a tenant's principals.
///
/// Invariant: an answer is as new as everything that was acknowledged to the client and its clones, and as
/// everything that they have read; where a replica has not come so far, it waits, and is asked again.
#[derive(Clone, Debug)]
pub struct StateReader {
    client: Client,
    tenant_id: String,
    wait: Duration,
}

impl StateReader {
    pub(crate) fn new(client: Client, tenant_id: String) -> Self {
        Self {
            client,
            tenant_id,
            wait: Duration::from_secs(2),
        }
    }

    /// How long a service may wait until it has what was acknowledged; 2 s, 10 s at most.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait.min(LONGEST_WAIT);
        self
    }

    /// The state of a principal.
    pub fn of(&self, principal_id: impl Into<String>) -> StateQuery {
        self.query("principal_id", principal_id.into())
    }

    /// What all principals of the tenant add up to.
    pub fn total(&self) -> StateQuery {
        self.query("scope", "tenant".to_owned())
    }

    fn query(&self, name: &str, value: String) -> StateQuery {
        StateQuery {
            reader: self.clone(),
            parameters: vec![(name.to_owned(), value)],
            is_of_the_past: false,
        }
    }
}

/// A question for a state.
#[derive(Clone, Debug)]
#[must_use = "nothing is asked before `read`"]
pub struct StateQuery {
    reader: StateReader,
    parameters: Vec<(String, String)>,
    is_of_the_past: bool,
}

impl StateQuery {
    /// Any parameter of the route, such as `timezone`, `fill`, `cumulative`.
    pub fn with(mut self, parameter: impl Into<String>, value: impl Into<String>) -> Self {
        let parameter = parameter.into();
        self.is_of_the_past |= matches!(parameter.as_str(), "version" | "as_of");
        self.parameters.push((parameter, value.into()));
        self
    }

    /// Only this rule, by its name, or `name:version`.
    pub fn rule(self, rule: impl Into<String>) -> Self {
        self.with("rule", rule)
    }

    /// From this instant of valid time.
    pub fn start(self, start: impl Into<String>) -> Self {
        self.with("start", start)
    }

    /// Before this instant of valid time.
    pub fn end(self, end: impl Into<String>) -> Self {
        self.with("end", end)
    }

    /// `total`, `1m`, `1h`, `1d`, `1w` or `1mo`.
    pub fn granularity(self, granularity: impl Into<String>) -> Self {
        self.with("granularity", granularity)
    }

    /// Divides values by a dimension of the rule.
    pub fn group_by(self, dimension: impl Into<String>) -> Self {
        self.with("group_by", dimension)
    }

    /// Keeps groups with this value of a dimension.
    pub fn filter(self, dimension: &str, value: impl Into<String>) -> Self {
        self.with(format!("filter[{dimension}]"), value)
    }

    /// As it was known at an instant.
    pub fn as_of(self, instant: impl Into<String>) -> Self {
        self.with("as_of", instant)
    }

    /// As it was at a version.
    pub fn version(self, version: impl Into<String>) -> Self {
        self.with("version", version)
    }

    /// Asks.
    ///
    /// # Errors
    /// Where the answer is an error, or none came.
    pub async fn read(self) -> Result<State, Error> {
        let json = self.read_json().await?;
        serde_json::from_value(json).map_err(|error| Error::Unreadable(error.to_string()))
    }

    /// Asks, for the answer as it is.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_json(mut self) -> Result<Value, Error> {
        let StateReader {
            client,
            tenant_id,
            wait,
        } = self.reader;
        let known = client.version();
        if !self.is_of_the_past && !known.is_empty() {
            let mut add = |name: &str, value| self.parameters.push((name.to_owned(), value));
            add("min_version", known.to_string());
            add("wait", format!("{}ms", wait.as_millis()));
        }
        let path = format!("/v1/state/{}", crate::client::encoded(&tenant_id));
        let json: Value = client.get_json(&path, &self.parameters).await?;
        if let Some(Ok(version)) = json["version"].as_str().map(str::parse) {
            client.note(&version);
        }
        Ok(json)
    }
}

/// A state, by rule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct State {
    /// Whose.
    pub tenant_id: String,
    /// Of which principal; none for the tenant's total.
    #[serde(default)]
    pub principal_id: Option<String>,
    /// What it is a state of: asking for it again gives the same, for ever.
    pub version: String,
    /// When the newest event of the version was stored.
    pub as_of: Option<String>,
    /// By name and version of the rule.
    pub states: Vec<RuleState>,
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct RuleState {
    /// The name of the rule.
    pub rule: String,
    /// The version of the rule that answered.
    pub rule_version: i32,
    /// What it does.
    pub operator: String,
    /// What it counts.
    #[serde(default)]
    pub unit: Option<String>,
    /// By window, then by group.
    pub values: Vec<StateValue>,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct StateValue {
    /// From here on; none: from the beginning.
    pub window_start: Option<String>,
    /// Up to here; none: without an end.
    pub window_end: Option<String>,
    /// The labels of its group.
    #[serde(default)]
    pub group: Map<String, Value>,
    /// An exact decimal number; none where there is no value.
    pub value: Option<String>,
    /// Events that entered it.
    pub event_count: i64,
    /// Events without a usable value.
    pub skipped_count: i64,
}
