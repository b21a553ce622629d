//! Services, as their callers see them.

use super::Check;
use super::database::{MAX_SKEW, skew};
use crate::remote::AccessArgs;
use aevon_client::{Answer, Error};
use jiff::Timestamp;
use std::time::Duration;

/// How long a service is asked: whether it is ready now, and not whether it will be.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether a service is ready, and what time it has.
pub(super) async fn checks(access: &AccessArgs, url: &str) -> Vec<Check> {
    let asked = Timestamp::now();
    let answer = match access.client_of(url, access.patience.get().min(PATIENCE)) {
        Ok(client) => client.get("/readyz", &[]).await,
        Err(error) => Err(error),
    };
    let answered = Timestamp::now();
    match answer {
        Ok(answer) => {
            let mut checks = vec![Check::well(url, "ready")];
            checks.extend(clock(url, &answer, (asked, answered)));
            checks
        }
        Err(Error::Refused(problem)) => {
            let to_do = "what it says is what to mend; docs/operating.md has it by condition";
            vec![Check::bad(url, problem.to_string(), to_do)]
        }
        Err(error) => {
            let to_do = "is it running, and does its port answer from here?";
            vec![Check::bad(url, error.to_string(), to_do)]
        }
    }
}

/// The clock of the service's `date`, which has seconds.
fn clock(url: &str, answer: &Answer, (asked, answered): (Timestamp, Timestamp)) -> Option<Check> {
    let date = jiff::fmt::rfc2822::parse(answer.header("date")?).ok()?;
    // Half a second on, on average.
    let at = date.timestamp().as_millisecond() + 500;
    let off = skew(at, asked.as_millisecond(), answered.as_millisecond());
    let name = format!("clock of {url}");
    Some(match off.abs() > MAX_SKEW.as_secs_f64() {
        true => Check::bad(
            &name,
            format!("{off:+.0} s from here"),
            "run NTP on both machines",
        ),
        false => Check::well(&name, "agrees to the second or so"),
    })
}
