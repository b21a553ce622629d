//! Rows 11 to 14: reads of state.

use anyhow::Result;

use super::Id;
use super::course::{PAST, READS, TAIL};
use super::run::Sitting;
use crate::bench::Bench;
use crate::past::{self, Past};
use crate::read::{CONNECTIONS, Found, Reads, SPANS, USUAL_SPAN_US, fill_tail};
use crate::report::{Section, ms};
use crate::sweep::sweep_all;

const NAME: &str = "goals_read";
const TAIL_NAME: &str = "goals_tail";
const PAST_NAME: &str = "goals_past";

fn checks() -> Section {
    Section::new("Checks", &[])
}

/// Rows 11, 12 and 14.
pub(super) async fn measure(bench: &mut Bench, sitting: &mut Sitting) -> Result<()> {
    bench.span = sitting.course.size.reads();
    sitting.course.part(READS);
    let mut reads = Reads::prepare(bench, NAME, checks()).await?;
    let service = reads.serve().await?;
    while sitting.course.next_round() {
        spans(&mut reads, sitting).await?;
        let asks = reads.hourly(USUAL_SPAN_US);
        let what = format!("30 d, {CONNECTIONS} connections");
        let limit = reads.limit(&what, &asks, CONNECTIONS).await?;
        let found = reads.http(&what, &asks, CONNECTIONS).await?;
        match limit {
            Some(limit) => sitting.card.beside(Id::Reads, found.rate, limit.rate),
            None => {
                sitting.card.figure(Id::Reads, found.rate);
                sitting
                    .card
                    .miss(Id::Reads, "there is no pgbench here to hold it to");
            }
        }
        sitting.card.generator(Id::Reads, found.generator);
    }
    drop(service);
    sitting.section.take_in(&reads.section);
    let url = reads.url.clone();
    drop(reads);
    tail(bench, sitting, url).await
}

type Figure = fn(&Found) -> f64;

/// Row 11: each span beside pgbench; the slowest of them is held to the goal.
async fn spans(reads: &mut Reads<'_>, sitting: &mut Sitting) -> Result<()> {
    let mut all: Vec<(&str, Found, Option<Found>)> = Vec::new();
    for (span, span_us) in SPANS {
        let asks = reads.hourly(span_us);
        let limit = reads.limit(span, &asks, 1).await?;
        let found = reads.http(span, &asks, 1).await?;
        if sitting.course.is_first_round() {
            reads.check(span, &asks).await?;
        }
        all.push((span, found, limit));
    }
    let card = &mut sitting.card;
    let told = |figure: Figure| {
        let each = all.iter().map(|(span, found, limit)| {
            let limit = limit.map_or(String::new(), |limit| format!(" ({})", ms(figure(&limit))));
            format!("{span} {}{limit}", ms(figure(found)))
        });
        let each: Vec<String> = each.collect();
        format!("{} ms, of pgbench in parentheses", each.join(", "))
    };
    let figures: [(Id, Figure); 2] = [(Id::ReadP50, |f| f.p50), (Id::ReadP99, |f| f.p99)];
    for (id, figure) in figures {
        let slowest = all
            .iter()
            .max_by(|a, b| figure(&a.1).total_cmp(&figure(&b.1)));
        match slowest {
            Some((_, found, Some(limit))) => card.beside(id, figure(found), figure(limit)),
            Some((_, found, None)) => card.figure(id, figure(found)),
            None => {}
        }
        card.note(id, told(figure));
    }
    if let [(_, hour, _), .., (_, year, _)] = &all[..] {
        card.beside(Id::ReadYear, year.p50, hour.p50);
        card.generator(Id::ReadP50, hour.generator);
    }
    Ok(())
}

/// Row 14: the same log with a tail that is not swept, and swept.
async fn tail(bench: &mut Bench, sitting: &mut Sitting, url: String) -> Result<()> {
    sitting.course.part(TAIL);
    let events = sitting.course.size.tail();
    let asks = fill_tail(bench, &url, events).await?;
    let swept_url = bench.rig.copy_database(NAME, TAIL_NAME).await?;
    sweep_all(bench, &swept_url, 1).await?;
    let mut swept = Reads::of(bench, swept_url, checks()).await?;
    swept.client.batch_execute("VACUUM (ANALYZE)").await?;
    let mut unswept = Reads::of(bench, url, checks()).await?;
    let services = (unswept.serve().await?, swept.serve().await?);
    let what = "30 d of any principal, with unswept events";
    while sitting.course.next_round() {
        let behind = unswept.http(what, &asks, 1).await?;
        let level = swept.http("the same, swept", &asks, 1).await?;
        sitting.card.beside(Id::Tail, behind.p50, level.p50);
        sitting.card.generator(Id::Tail, behind.generator);
        if sitting.course.is_first_round() {
            let before = unswept.check(what, &asks).await?;
            let after = swept.check("the same, swept", &asks).await?;
            swept.compare(&before, &after);
        }
    }
    let note = format!("{events} events of 10,000 principals");
    sitting.card.note(Id::Tail, note);
    drop(services);
    for reads in [unswept, swept] {
        sitting.section.take_in(&reads.section);
    }
    for name in [NAME, TAIL_NAME] {
        bench.rig.drop_database(name).await?;
    }
    Ok(())
}

/// Row 13: a principal with all events, as of random versions.
pub(super) async fn past(bench: &mut Bench, sitting: &mut Sitting) -> Result<()> {
    bench.span = sitting.course.size.reads();
    sitting.course.part(PAST);
    let mut past = Past::prepare(bench, PAST_NAME, checks()).await?;
    while sitting.course.next_round() {
        let mut pairs = Vec::new();
        for (span, span_us) in past::SPANS {
            let asks = past.asks(span_us);
            let newest = past.newest(span, &asks).await?;
            let found = past.at_versions(span, &asks).await?;
            if sitting.course.is_first_round() {
                past.check(span, &asks).await?;
            }
            pairs.push((span, found, newest));
        }
        let ratio = |(_, found, newest): &(&str, Found, Found)| found.p50 / newest.p50;
        let worst = pairs.iter().max_by(|a, b| ratio(a).total_cmp(&ratio(b)));
        if let Some((_, found, newest)) = worst {
            sitting.card.beside(Id::AsOf, found.p50, newest.p50);
            sitting.card.generator(Id::AsOf, found.generator);
        }
        let each = pairs.iter().map(|(span, found, newest)| {
            format!("{span} {} ms beside {}", ms(found.p50), ms(newest.p50))
        });
        let each: Vec<String> = each.collect();
        sitting.card.note(Id::AsOf, each.join(", "));
    }
    let section = past.end();
    sitting.section.take_in(&section);
    bench.rig.drop_database(PAST_NAME).await
}
