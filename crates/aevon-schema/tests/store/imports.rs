//! An import that was broken off goes on where nobody else has written since, and nowhere else.

use crate::dice::Dice;
use crate::erasure::{ANN, erase_of, refusal_of, world};
use crate::support::{World, at, event, void};
use aevon_core::append::Verdict;
use aevon_core::event::NewEvent;
use aevon_core::export::{Event, Line, Principal, Progress};
use aevon_core::identity::partition_of;
use aevon_schema::erasure::Refusal;
use aevon_schema::import::{self, Foreign, Import, ImportError, Part};
use aevon_schema::{Connection, export};

const WHO: [&str; 3] = [ANN, "bob@example.org", "cid@example.org"];

/// A log of three principals in two partitions, with voids, and its export.
async fn exported(dice: &mut Dice) -> (World, Vec<String>) {
    let here = world().await;
    for group in 0..4 {
        let one = |n| {
            let (who, id) = (dice.pick(&WHO), format!("{group}/{n}"));
            event(who, &id, at("2026-01-01T00:00:00Z"), "1.50")
        };
        let events: Vec<NewEvent> = (0..5).map(one).collect();
        here.store(&events).await;
        let (who, target) = (&events[0].principal_id, &events[0].event_id);
        here.store(&[void(who, &format!("{group}/v"), target)])
            .await;
    }
    let lines = export_of(&here).await;
    (here, lines)
}

async fn export_of(world: &World) -> Vec<String> {
    let connection = &mut world.connection().await;
    let mut progress = Progress::default();
    let mut lines = export::begin(connection, 2).await.unwrap();
    for line in &lines {
        progress.take(line.trim_end()).unwrap();
    }
    let header = progress.header().cloned().unwrap();
    lines.extend(export::principals(connection, &header, 0).await.unwrap());
    for head in &header.heads {
        lines.extend(
            export::events(connection, &header, head.partition, 0)
                .await
                .unwrap(),
        );
    }
    let mut progress = Progress::default();
    for line in &lines {
        progress.take(line.trim_end()).unwrap();
    }
    lines.push(progress.end().text());
    lines
        .iter()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// What an import knows once it has read its file.
struct Reading<'l> {
    progress: Progress,
    part: Part,
    principals: Vec<Principal<'l>>,
    events: Vec<Event<'l>>,
}

async fn read<'l>(connection: &mut Connection, lines: &'l [String]) -> Reading<'l> {
    let mut reading = Reading {
        progress: Progress::default(),
        part: Part::look(connection, 2).await.unwrap(),
        principals: Vec::new(),
        events: Vec::new(),
    };
    for text in lines {
        let line = reading.progress.take(text).unwrap();
        reading.part.take(connection, &line).await.unwrap();
        match line {
            Line::Principal(principal) => reading.principals.push(principal),
            Line::Event(event) => reading.events.push(event),
            _ => {}
        }
    }
    let header = reading.progress.header().cloned().unwrap();
    reading.part.end(connection, &header).await.unwrap();
    reading
}

impl Reading<'_> {
    async fn standing(&self, connection: &mut Connection) -> Result<Import, ImportError> {
        import::standing(connection, &self.part, self.progress.sum()).await
    }

    /// Begins, and writes so many principals and events.
    async fn begin(&self, connection: &mut Connection, principals: usize, events: usize) -> Import {
        let mut import = self.standing(connection).await.unwrap();
        import::begin(connection, self.progress.sum(), &[], &[])
            .await
            .unwrap();
        import::principals(connection, &mut import, &self.principals[..principals])
            .await
            .unwrap();
        import::events(connection, &mut import, &self.events[..events])
            .await
            .unwrap();
        import
    }

    /// Writes the rest, and ends.
    async fn go_on(
        &self,
        connection: &mut Connection,
        import: &mut Import,
    ) -> Result<(), ImportError> {
        import::principals(connection, import, &self.principals).await?;
        for batch in self.events.chunks(3) {
            import::events(connection, import, batch).await?;
        }
        self.finish(connection, import).await
    }

    async fn finish(
        &self,
        connection: &mut Connection,
        import: &Import,
    ) -> Result<(), ImportError> {
        let header = self.progress.header().unwrap();
        import::finish(connection, import, header, self.progress.sum()).await
    }
}

fn foreign(error: ImportError) -> Foreign {
    match error {
        ImportError::Foreign(foreign) => foreign,
        other => panic!("foreign, not {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_from_anywhere_but_where_somebody_else_has_written() {
    let mut dice = Dice::new(0x0A11_CE5E_ED00_77A1);
    let (_here, lines) = exported(&mut dice).await;
    for round in 0..12 {
        let there = world().await;
        let mut connection = there.connection().await;
        let connection = &mut connection;
        let reading = read(connection, &lines).await;
        let (all, some) = (reading.events.len(), 1 + dice.roll(23) as usize);
        // Also with everything there but the end.
        let some = if round == 0 { all } else { some.min(all) };
        reading.begin(connection, 3, some).await;
        // Somebody who is known, under an id that the export has or not, or somebody new.
        let who = ["somebody new", WHO[round % 3]][usize::from(dice.roll(3) > 0)];
        let id = ["0/1", "2/3", "mine"][dice.roll(2) as usize];
        let sent = event(who, id, at("2026-01-01T00:00:00Z"), "1.50");
        let verdicts = there.appender().append(&[&sent]).await.unwrap();
        let standing = read(connection, &lines).await.standing(connection).await;
        match &verdicts[0] {
            Verdict::Accepted { position, .. } => {
                let found = foreign(standing.unwrap_err());
                let (partition, seq) = (position.partition, position.seq);
                assert_eq!(found, Foreign::Event { partition, seq }, "round {round}");
                assert_eq!(there.count("events").await as usize, some + 1);
            }
            // A retry of what is here already changes nothing.
            _ => {
                let mut import = standing.unwrap();
                reading.go_on(connection, &mut import).await.unwrap();
                assert!(import::unfinished(connection).await.unwrap().is_none());
                assert!(export_of(&there).await == lines, "round {round}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_the_exports_only_where_all_of_it_is() {
    let (_here, lines) = exported(&mut Dice::new(0x0DD5_EED0_1234_5678)).await;
    let columns = [
        ("seq", "seq"),
        ("principal_no", "principal_no + 1"),
        ("occurred_at", "occurred_at + interval '1 microsecond'"),
        ("ingested_at", "ingested_at + interval '1 microsecond'"),
        ("schema_version", "7"),
        ("event_id", "event_id || 'x'"),
        ("type", "type || 'x'"),
        ("data", "data || '{\"n\": 1.51}'"),
        ("metadata", "metadata || '{\"n\": 1}'"),
    ];
    for (column, other) in columns {
        let there = world().await;
        let mut connection = there.connection().await;
        let reading = read(&mut connection, &lines).await;
        // The last event that is no void, with all before it.
        let last = reading.events.iter().rposition(|one| one.voids.is_none());
        reading.begin(&mut connection, 3, last.unwrap() + 1).await;
        let at = &reading.events[last.unwrap()];
        let (partition, seq) = (at.partition, at.seq);
        let change = format!(
            "ALTER TABLE events DISABLE TRIGGER events_are_immutable;
             UPDATE events SET {column} = {other} WHERE partition = {partition} AND seq = {seq}"
        );
        there
            .db
            .client()
            .await
            .batch_execute(&change)
            .await
            .unwrap();
        let reading = read(&mut connection, &lines).await;
        let standing = reading.standing(&mut connection).await;
        match column {
            "seq" => assert!(standing.unwrap().is_begun),
            _ => assert_eq!(
                foreign(standing.unwrap_err()),
                Foreign::Event { partition, seq },
                "{column}"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_while_an_import_runs_is_noticed_before_it_ends() {
    let (_here, lines) = exported(&mut Dice::new(0x5EED_0BAD_CAFE_F00D)).await;
    let sent = |who: &str| event(who, "mine", at("2026-01-01T00:00:00Z"), "1");
    // While principals are written: a number is given to somebody else.
    let there = world().await;
    let mut connection = there.connection().await;
    let connection = &mut connection;
    let reading = read(connection, &lines).await;
    let mut import = reading.begin(connection, 1, 0).await;
    there.store(&[sent("somebody new")]).await;
    let stopped = reading.go_on(connection, &mut import).await.unwrap_err();
    assert!(matches!(foreign(stopped), Foreign::Principal(_)));
    assert_eq!(there.count("principals").await, 2);

    // Behind the last event, in a partition with which the import is done.
    for (who, is_finishing) in [(WHO[1], true), (WHO[2], true), (WHO[0], false)] {
        let there = world().await;
        let mut connection = there.connection().await;
        let connection = &mut connection;
        let reading = read(connection, &lines).await;
        let events = if is_finishing {
            reading.events.len()
        } else {
            1
        };
        let mut import = reading.begin(connection, 3, events).await;
        let at = there.store(&[sent(who)]).await[0];
        let stopped = match is_finishing {
            true => reading.finish(connection, &import).await,
            false => reading.go_on(connection, &mut import).await,
        };
        let stopped = stopped.unwrap_err();
        let ImportError::Moved {
            partition, found, ..
        } = stopped
        else {
            panic!("moved, not {stopped}")
        };
        assert_eq!((partition, found), (at.partition, at.seq));
        assert!(import::unfinished(connection).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_erased_in_half_a_log_and_if_somebody_was_the_rest_stays_away() {
    let (_here, lines) = exported(&mut Dice::new(0x1234_5678_9ABC_DEF1)).await;
    let there = world().await;
    let mut connection = there.connection().await;
    let connection = &mut connection;
    let reading = read(connection, &lines).await;
    reading.begin(connection, 3, 20).await;
    let numbers = reading.principals.iter();
    let number = numbers
        .filter(|one| one.principal_id == ANN)
        .map(|one| one.principal_no);
    let numbers: Vec<i64> = number.collect();
    let its = reading.events[..20].iter();
    let its = its
        .filter(|one| numbers.contains(&one.principal_no))
        .count();
    for (is_forced, is_rehearsal) in [(false, false), (true, false), (false, true)] {
        let refused = erase_of(&there, &[], is_forced, is_rehearsal).await;
        let (found, why) = refusal_of(refused.unwrap_err());
        assert!(matches!(why, Refusal::Importing(_)), "{why}");
        assert_eq!(found.events, its as i64);
    }
    // By somebody who does not ask.
    let past = format!(
        "BEGIN; SELECT erase_principal('acme', '{ANN}', {}, 'erased-x', '{{}}', '{{}}', false, NULL)",
        partition_of("acme", ANN, 2)
    );
    let client = there.db.client().await;
    client
        .batch_execute(&format!("{past}; COMMIT"))
        .await
        .unwrap();
    let again = read(connection, &lines).await;
    let stopped = again.standing(connection).await.unwrap_err();
    assert_eq!(foreign(stopped), Foreign::Erasure);

    // When it is finished, erasures are done again.
    let there = world().await;
    let mut connection = there.connection().await;
    let connection = &mut connection;
    let mut import = reading.begin(connection, 3, 20).await;
    reading.go_on(connection, &mut import).await.unwrap();
    let erased = erase_of(&there, &[], false, false).await.unwrap();
    assert!(erased.events >= its as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn erasures_are_counted_where_they_were_when_they_are_imported() {
    let (here, _) = exported(&mut Dice::new(7)).await;
    erase_of(&here, &[], false, false).await.unwrap();
    let lines = export_of(&here).await;
    let there = world().await;
    let connection = &mut there.connection().await;
    let reading = read(connection, &lines).await;
    let erasures = lines
        .iter()
        .filter_map(|text| match serde_json::from_str(text) {
            Ok(Line::Erasure(erasure)) => Some(erasure),
            _ => None,
        });
    let erasures: Vec<_> = erasures.collect();
    import::begin(connection, reading.progress.sum(), &[], &erasures)
        .await
        .unwrap();
    let counts = async |world: &World| -> Vec<i64> {
        let client = world.db.client().await;
        let query = "SELECT erasures FROM partitions ORDER BY partition";
        let rows = client.query(query, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let expected = counts(&here).await;
    assert_eq!(expected.iter().sum::<i64>(), 1);
    assert_eq!(counts(&there).await, expected);
}
