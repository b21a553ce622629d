//! A tenant's feed: everything that came in, to build other projections on.

use crate::client::{Client, encoded};
use crate::error::Error;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// The longest that a service holds an answer, with room for the way: less than the default time of a
/// request.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

/// A place in a tenant's feed.
///
/// Retry safety: the place moves on only with a page that was read whole.
#[derive(Clone, Debug)]
pub struct Feed {
    client: Client,
    tenant_id: String,
    after: Option<String>,
    types: Vec<String>,
    limit: u32,
    wait: Duration,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Value>,
    next: String,
}

impl Feed {
    pub(crate) fn new(client: Client, tenant_id: String) -> Self {
        Self {
            client,
            tenant_id,
            after: None,
            types: Vec::new(),
            limit: 1_000,
            wait: Duration::from_secs(10),
        }
    }

    /// What comes after a place: a version, or `newest` for what comes in from now on. Otherwise it
    /// begins with the first event.
    #[must_use]
    pub fn after(mut self, place: impl Into<String>) -> Self {
        self.after = Some(place.into());
        self
    }

    /// Only events of this type; repeatable.
    #[must_use]
    pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
        self.types.push(event_type.into());
        self
    }

    /// Most events of a page; 1,000, which is the most.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// How long a page may wait for its first event; 10 s, 25 s at most.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait.min(LONGEST_WAIT);
        self
    }

    /// Where it is: what to begin with next time.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// The next events; none where none came in time.
    ///
    /// # Errors
    /// Where the answer is an error, or none came.
    pub async fn next(&mut self) -> Result<Vec<Value>, Error> {
        let mut query = vec![("limit".to_owned(), self.limit.to_string())];
        query.extend(self.after.clone().map(|after| ("after".to_owned(), after)));
        let types = self.types.iter().cloned();
        query.extend(types.map(|one| ("type".to_owned(), one)));
        if !self.wait.is_zero() {
            query.push(("wait".to_owned(), format!("{}ms", self.wait.as_millis())));
        }
        let path = format!("/v1/events/{}", encoded(&self.tenant_id));
        let page: Page = self.client.get_json(&path, &query).await?;
        self.after = Some(page.next);
        Ok(page.items)
    }
}
