//! The client: where services are, who asks, and how often it is tried.

use crate::error::Error;
use crate::event::{Event, Written};
use crate::http::{Answer, Http};
use crate::outcome::{self, Outcome};
use crate::patience::Patience;
use crate::producer::ProducerBuilder;
use crate::retry::Backoff;
use crate::state::StateReader;
use crate::version::Version;
use crate::{Feed, MAX_BODY_BYTES, MAX_BODY_EVENTS};
use bytes::Bytes;
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What stands as it is in a query: the unreserved characters of RFC 3986.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// How a client is made. Every wait has a bound, which is named here.
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    url: String,
    read_url: Option<String>,
    api_key: Option<String>,
    ca_file: Option<PathBuf>,
    connect_timeout: Duration,
    request_timeout: Duration,
    patience: Duration,
    backoff: Backoff,
}

impl ClientBuilder {
    /// Where states and events are read, if not where events are sent.
    #[must_use]
    pub fn read_url(mut self, url: impl Into<String>) -> Self {
        self.read_url = Some(url.into());
        self
    }

    /// Who asks.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// The authorities to trust (PEM), in place of those of the machine.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// How long a connection may take to come up; 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, within: Duration) -> Self {
        self.connect_timeout = within;
        self
    }

    /// How long one request may take; 30 s.
    #[must_use]
    pub fn request_timeout(mut self, within: Duration) -> Self {
        self.request_timeout = within;
        self
    }

    /// How long all attempts of a request may take together; 60 s.
    #[must_use]
    pub fn patience(mut self, within: Duration) -> Self {
        self.patience = within;
        self
    }

    /// How long to wait between attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The client; nothing is reached yet.
    ///
    /// # Errors
    /// Where a URL is none, or the authorities can't be read.
    pub fn build(self) -> Result<Client, Error> {
        let url = base(&self.url)?;
        let read_url = self.read_url.as_deref().map(base).transpose()?;
        let read_url = read_url.unwrap_or_else(|| url.clone());
        let roots = self.ca_file.map(|path| {
            let unreadable =
                |error| Error::Invalid(format!("cannot read {}: {error}", path.display()));
            std::fs::read(&path).map_err(unreadable)
        });
        let is_secure = [&url, &read_url].iter().any(|url| url.starts_with("https"));
        let http = Http::new(
            self.api_key.as_deref(),
            roots.transpose()?.as_deref(),
            is_secure,
            self.connect_timeout,
        )?;
        Ok(Client(Arc::new(Inner {
            http,
            url,
            read_url,
            request_timeout: self.request_timeout,
            patience: self.patience,
            backoff: self.backoff,
            version: Mutex::default(),
        })))
    }
}

/// An address without a slash at its end.
fn base(url: &str) -> Result<String, Error> {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    match rest.filter(|rest| !rest.is_empty() && !rest.contains(['?', '#', ' '])) {
        Some(_) => Ok(url.trim_end_matches('/').to_owned()),
        None => Err(Error::Invalid(format!(
            "{url:?} is no address of a service, such as http://localhost:8080"
        ))),
    }
}

/// A way to an installation of Aevon; clones share it.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: Http,
    url: String,
    read_url: String,
    request_timeout: Duration,
    patience: Duration,
    backoff: Backoff,
    /// The newest positions that were acknowledged to this client, or read by it.
    version: Mutex<Version>,
}

/// What came of lines: outcomes of the first ones, and why there are no more.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) error: Option<Error>,
    pub(crate) retries: u64,
}

impl Client {
    /// For services at a URL, such as `http://localhost:8080`.
    #[must_use]
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            url: url.into(),
            read_url: None,
            api_key: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            patience: Duration::from_secs(60),
            backoff: Backoff::default(),
        }
    }

    /// Sends an event, again and again until it is decided or the patience ends.
    pub async fn send(&self, event: Event) -> Outcome {
        let mut outcomes = self.send_all([event]).await;
        outcomes
            .pop()
            .unwrap_or(Outcome::Undelivered(Error::Closed))
    }

    /// Sends events in order, body by body; outcomes are in the same order. What comes after a body that
    /// could not be delivered is not tried.
    pub async fn send_all(&self, events: impl IntoIterator<Item = Event>) -> Vec<Outcome> {
        let lines: Vec<Written> = events.into_iter().map(Event::written).collect();
        let mut outcomes = Vec::with_capacity(lines.len());
        while outcomes.len() < lines.len() {
            let body = first_body(&lines[outcomes.len()..]);
            let patience = Patience::lasting(self.0.patience);
            let delivered = self.deliver(body, &patience).await;
            outcomes.extend(delivered.outcomes);
            if let Some(error) = delivered.error {
                outcomes.resize(lines.len(), Outcome::Undelivered(error));
            }
        }
        outcomes
    }

    /// A queue that sends what is put into it, in batches.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.clone())
    }

    /// States of a tenant, each as new as anything that this client has sent or seen.
    #[must_use]
    pub fn states(&self, tenant_id: impl Into<String>) -> StateReader {
        StateReader::new(self.clone(), tenant_id.into())
    }

    /// A tenant's feed: everything that came in.
    #[must_use]
    pub fn feed(&self, tenant_id: impl Into<String>) -> Feed {
        Feed::new(self.clone(), tenant_id.into())
    }

    /// The newest positions that were acknowledged to this client and its clones, or read by them.
    #[must_use]
    pub fn version(&self) -> Version {
        let version = self.0.version.lock();
        version.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes sure that later reads are as new as this, such as what another process was told.
    pub fn note(&self, version: &Version) {
        let known = self.0.version.lock();
        known.unwrap_or_else(PoisonError::into_inner).merge(version);
    }

    /// Asks a route that reads, such as `/v1/rules`, until it is answered or the patience ends.
    ///
    /// # Errors
    /// Where the answer is an error, or none came.
    pub async fn get(&self, path: &str, query: &[(String, String)]) -> Result<Answer, Error> {
        let mut url = format!("{}{path}", self.0.read_url);
        for (nth, (name, value)) in query.iter().enumerate() {
            let mark = if nth == 0 { '?' } else { '&' };
            let (name, value) = (encoded(name), encoded(value));
            let _ = write!(url, "{mark}{name}={value}");
        }
        let patience = Patience::lasting(self.0.patience);
        let ask = || {
            let none = ("application/json", Bytes::new());
            let http = &self.0.http;
            http.ask(Method::GET, &url, none, self.0.request_timeout)
        };
        self.again(&patience, &mut 0, ask).await
    }

    /// The same, read as JSON.
    ///
    /// # Errors
    /// As [`Self::get`], and where the answer is another one.
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(String, String)],
    ) -> Result<T, Error> {
        let answer = self.get(path, query).await?;
        let read = serde_json::from_slice(&answer.body);
        read.map_err(|error| Error::Unreadable(format!("{error} in the answer to {path}")))
    }

    /// Delivers lines in order, the same bytes at each attempt.
    pub(crate) async fn deliver(&self, lines: &[Written], patience: &Patience) -> Delivered {
        let mut delivered = Delivered {
            outcomes: Vec::with_capacity(lines.len()),
            error: None,
            retries: 0,
        };
        let mut parts = Vec::from([lines]);
        while let Some(part) = parts.pop() {
            let body: String = part.iter().map(|written| written.line.as_str()).collect();
            let body = Bytes::from(body);
            let post = || self.post(body.clone(), part.len());
            match self.again(patience, &mut delivered.retries, post).await {
                Ok(outcomes) => delivered.outcomes.extend(outcomes),
                Err(error) if error.is_too_large() && part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(error) => {
                    delivered.error = Some(error);
                    break;
                }
            }
        }
        delivered
    }

    /// Does it until it is well, or wrong for good, or the patience ends.
    async fn again<T, F: Future<Output = Result<T, Error>>>(
        &self,
        patience: &Patience,
        retries: &mut u64,
        attempt: impl Fn() -> F,
    ) -> Result<T, Error> {
        let (mut failures, mut last) = (0_u32, Error::TimedOut(self.0.request_timeout));
        loop {
            match patience.within(attempt()).await {
                None => return Err(last),
                Some(Err(error)) if error.is_temporary() => last = error,
                Some(done) => return done,
            }
            failures = failures.saturating_add(1);
            let wait = self.0.backoff;
            let wait = wait.wait(failures, last.retry_after(), fastrand::f64());
            if patience.within(tokio::time::sleep(wait)).await.is_none() {
                return Err(last);
            }
            *retries += 1;
        }
    }

    async fn post(&self, body: Bytes, lines: usize) -> Result<Vec<Outcome>, Error> {
        let url = format!("{}/v1/events", self.0.url);
        let body = ("application/x-ndjson", body);
        let asked = self
            .0
            .http
            .ask(Method::POST, &url, body, self.0.request_timeout);
        match asked.await {
            Ok(answer) => {
                let (outcomes, version) = outcome::stored(&answer.body, lines)?;
                self.note(&version);
                Ok(outcomes)
            }
            Err(Error::Refused(problem)) => {
                let refused = outcome::all_refused(&problem, lines);
                refused.ok_or(Error::Refused(problem))
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn longest_wait(&self) -> Duration {
        self.0.backoff.longest
    }
}

/// As many of the first lines as a body may have; one at least.
fn first_body(lines: &[Written]) -> &[Written] {
    let mut bytes = 0;
    let fits = lines.iter().take(MAX_BODY_EVENTS).take_while(|written| {
        bytes += written.line.len();
        bytes <= MAX_BODY_BYTES
    });
    let many = fits.count().max(1);
    &lines[..many]
}

/// A text as it stands in a query, or as one segment of a path.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}
