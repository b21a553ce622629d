//! Requests and whole answers.
//!
//! Invariant: a request ends within its time, and an answer has a bound.

use crate::error::{Error, Problem};
use crate::retry;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of an answer: the largest states are of some megabytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Less than services and the balancers before them keep an idle connection.
const IDLE: Duration = Duration::from_secs(15);

/// A client of HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    authorization: Option<HeaderValue>,
}

/// What a service answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status of HTTP: 2xx.
    pub status: u16,
    pub(crate) headers: HeaderMap,
    /// The whole of it.
    pub body: Bytes,
}

impl Answer {
    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Http {
    /// `roots`: certificates of authorities as PEM; without them those that the machine trusts.
    pub(crate) fn new(
        api_key: Option<&str>,
        roots: Option<&[u8]>,
        is_secure: bool,
        connect_timeout: Duration,
    ) -> Result<Self, Error> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect_timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(roots, is_secure)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        let authorization = api_key.map(|key| {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .map_err(|_| Error::Invalid("the API key is not of visible ASCII".to_owned()))?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Self {
            client,
            authorization: authorization.transpose()?,
        })
    }

    /// Asks; what is not 2xx is an error.
    pub(crate) async fn ask(
        &self,
        method: Method,
        url: &str,
        (content_type, body): (&'static str, Bytes),
        within: Duration,
    ) -> Result<Answer, Error> {
        let uri: Uri = url
            .parse()
            .map_err(|error| Error::Invalid(format!("{url} is no URL: {error}")))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        let place = uri.authority().map(ToString::to_string).unwrap_or_default();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        let agent = concat!("aevon-client/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        tokio::time::timeout(within, self.answer(request, &place))
            .await
            .unwrap_or(Err(Error::TimedOut(within)))
    }

    async fn answer(&self, request: Request<Full<Bytes>>, place: &str) -> Result<Answer, Error> {
        let unreachable = |error: &dyn std::error::Error| {
            Error::Unreachable(format!("{place}: {}", with_causes(error)))
        };
        let response = self.client.request(request).await;
        let response = response.map_err(|error| unreachable(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| unreachable(&*error))?.to_bytes();
        let answer = Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        };
        match head.status.is_success() {
            true => Ok(answer),
            false => Err(Error::Refused(Box::new(problem(&answer)))),
        }
    }
}

fn problem(answer: &Answer) -> Problem {
    let asked = answer.header(RETRY_AFTER.as_str());
    let asked = asked.and_then(|value| retry::retry_after(value, jiff::Timestamp::now()));
    Problem {
        retry_after: asked,
        request_id: answer.header("x-request-id").map(str::to_owned),
        ..Problem::read(answer.status, &answer.body)
    }
}

/// An error with what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn tls(roots: Option<&[u8]>, is_secure: bool) -> Result<ClientConfig, Error> {
    let invalid =
        |error: &dyn std::fmt::Display| Error::Invalid(format!("the authorities: {error}"));
    let mut store = RootCertStore::empty();
    match roots {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| invalid(&error))?;
                store.add(certificate).map_err(|error| invalid(&error))?;
            }
            if store.is_empty() {
                return Err(invalid(&"there is no certificate in the file"));
            }
        }
        // Those of the machine are read only where they are needed: that takes a while.
        None if is_secure => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        None => {}
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| invalid(&error))?;
    Ok(config.with_root_certificates(store).with_no_client_auth())
}
