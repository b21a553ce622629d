//! Sends ten thousand events in batches, with a spool for what can't be delivered:
//! `cargo run --example producer -- http://127.0.0.1:8080`, with `make run` in another terminal. Stop the
//! services on the way, or don't start them at all: what is in the spool is sent by the next run.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use aevon_client::{Client, Error, Event};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1);
    let url = url.unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());
    let mut builder = Client::builder(url);
    if let Ok(key) = std::env::var("AEVON_API_KEY") {
        builder = builder.api_key(key);
    }
    let client = builder.build()?;
    let producer = client
        .producer()
        .linger(Duration::from_millis(5))
        .delivery_timeout(Duration::from_secs(5))
        .spool(std::env::temp_dir().join("aevon-example-spool"))
        .start()
        .await?;
    let began = Instant::now();
    for number in 0..10_000 {
        let principal = format!("user_{}", number % 100);
        let event = Event::new(
            principal,
            "model.call",
            json!({"tokens": number, "model": "m1"}),
        );
        // What tells this event from others with the same content: its place in what is sent.
        let event = event
            .tenant("acme")
            .occurred_at("2026-02-11T10:30:00Z")
            .key(number.to_string());
        // Waits where the queue is full. The delivery tells what became of the event; the counts below
        // do as well.
        drop(producer.send(event).await?);
    }
    let stats = producer.shutdown(Duration::from_secs(10)).await;
    println!(
        "in {:.1} s: {} stored, {} duplicates, {} refused, {} lie in the spool, {} lost",
        began.elapsed().as_secs_f64(),
        stats.stored,
        stats.duplicates,
        stats.conflicts + stats.rejected,
        stats.spool_events,
        stats.undelivered
    );
    if let Some(error) = stats.last_error {
        println!("the last trouble: {error}");
    }
    Ok(())
}
