//! Sends events to Aevon and reads the state that they add up to.
//!
//! ```no_run
//! use aevon_client::{Client, Event};
//! use serde_json::json;
//!
//! # async fn example() -> Result<(), aevon_client::Error> {
//! let client = Client::builder("http://localhost:8080").api_key("aevon_…").build()?;
//!
//! // One event, tried again until it is decided.
//! let event = Event::new("user_123", "model.call", json!({"tokens": 123}))
//!     .tenant("acme")
//!     .id("evt-001")
//!     .occurred_at("2026-02-11T10:30:00Z");
//! assert!(client.send(event).await.is_stored());
//!
//! // The state has it: the version that was acknowledged goes along as `min_version`.
//! let state = client.states("acme").of("user_123").rule("tokens_used").read().await?;
//! println!("{:?} as of {}", state.states[0].values[0].value, state.version);
//! # Ok(())
//! # }
//! ```
//!
//! # Many events
//!
//! A [`Producer`] is a bounded queue that sends batches:
//!
//! ```no_run
//! # use aevon_client::{Client, Event, Error};
//! # use serde_json::json;
//! # use std::time::Duration;
//! # async fn example(client: Client) -> Result<(), Error> {
//! let producer = client
//!     .producer()
//!     .linger(Duration::from_millis(5))
//!     .max_batch_events(500)
//!     .spool("/var/spool/myapp")
//!     .start()
//!     .await?;
//! // Waits where the queue is full; `try_send` refuses.
//! let delivery = producer
//!     .send(Event::new("user_123", "model.call", json!({"tokens": 123})).tenant("acme"))
//!     .await?;
//! println!("{} is {}", delivery.id().to_owned(), delivery.await);
//! let stats = producer.shutdown(Duration::from_secs(10)).await;
//! assert_eq!(stats.undelivered, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! - **Once.** What is sent again is sent as the same bytes under the same ids, so that it is a duplicate,
//!   which is success. [An event without an id gets one of its content](Event#ids).
//! - **Bounds.** Every wait has a deadline, and queue, bodies, answers and spool have bounds, which the
//!   builders name.
//! - **Retries** are for what may pass: no connection, no answer, 408, 425, 429, and every 5xx
//!   but those that say "never" (501, 505, 511 and their like). Waits double, with
//!   chance in them ([`Backoff`]), and are never shorter than `retry-after` asks for.
//! - **One outcome each.** A batch of which one event is refused is stored but for that one; a body that
//!   is too large is sent in halves.
//! - **Nothing silently lost.** What could not be delivered is [`Outcome::Undelivered`], or lies in the spool
//!   and goes first when services are back, be it in another process.
//!
//! What it does not do: proxies (`HTTP_PROXY`), compression, HTTP/2. TLS is rustls, with the authorities of
//! the machine or of [`ClientBuilder::ca_file`].

mod client;
mod error;
mod event;
mod feed;
mod http;
mod outcome;
mod patience;
mod producer;
mod retry;
mod spool;
mod state;
mod version;

pub use crate::http::Answer;
pub use client::{Client, ClientBuilder};
pub use error::{Error, Fault, Problem};
pub use event::Event;
pub use feed::Feed;
pub use outcome::{Outcome, Refusal};
pub use producer::{Delivery, Producer, ProducerBuilder, Stats};
pub use retry::Backoff;
pub use spool::REFUSED as SPOOL_REFUSED;
pub use state::{RuleState, State, StateQuery, StateReader, StateValue};
pub use version::Version;

/// A text, such as a tenant, as one segment of a path for [`Client::get`].
#[must_use]
pub fn path_segment(text: &str) -> String {
    client::encoded(text)
}

/// Most events that services take in a body.
pub const MAX_BODY_EVENTS: usize = 10_000;
/// Most bytes that services take in a body, by default.
pub const MAX_BODY_BYTES: usize = 10 << 20;
