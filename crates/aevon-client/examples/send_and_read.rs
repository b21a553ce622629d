//! Sends an event and reads the state that has it:
//! `cargo run --example send_and_read -- http://127.0.0.1:8080`, with `make run` in another terminal. Where
//! ingest-svc and projection-svc have addresses of their own, the second one comes behind the first.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use aevon_client::{Client, Error, Event};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut urls = std::env::args().skip(1);
    let url = urls.next();
    let mut builder = Client::builder(url.unwrap_or_else(|| "http://127.0.0.1:8080".to_owned()));
    if let Some(url) = urls.next() {
        builder = builder.read_url(url);
    }
    if let Ok(key) = std::env::var("AEVON_API_KEY") {
        builder = builder.api_key(key);
    }
    let client = builder.build()?;

    let event = Event::new(
        "user_ada",
        "model.call",
        json!({"tokens": 1234, "model": "small"}),
    );
    let outcome = client.send(event.tenant("acme")).await;
    println!("the event is {outcome}, at version {}", client.version());

    // The version goes along, so that the answer has the event, whichever replica gives it.
    let question = client.states("acme").of("user_ada").rule("tokens_used");
    let state = question.group_by("model").read().await?;
    for value in state.states.iter().flat_map(|state| &state.values) {
        let amount = value.value.as_deref().unwrap_or("nothing");
        println!(
            "{:?}: {amount} of {} events",
            value.group, value.event_count
        );
    }
    Ok(())
}
