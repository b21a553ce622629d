//! Rules that come, change, go and return, and buckets that are made anew.

use aevon_core::rule::Rule;
use aevon_schema::rules::Applied;
use aevon_schema::{Connection, StoreError, rebuild, rules};

use super::appending::COMMITTED;
use super::held::two_at_once;
use super::{World, unless_killed};
use crate::model::PARTITIONS;
use crate::operation::{Point, Trouble};
use crate::rules::{name, rule};
use crate::run::Violation;
use crate::wire::Action;

/// Every version, with whether it answers.
const VERSIONS: &str = "SELECT name, version, status FROM rules ORDER BY name, version";

/// What whoever rules was told of a transaction.
enum Told<T> {
    All(T),
    /// Nothing: it was killed, or its connection was cut.
    Nothing {
        is_committed: bool,
    },
}

impl World {
    /// The connection of whoever looks at rules and buckets without being in trouble.
    pub(super) async fn ruler(&mut self) -> Result<&mut Connection, Violation> {
        let ruler = &mut self.rulers[0];
        let connection = ruler.take().await?;
        Ok(ruler.kept.insert(connection))
    }

    /// Has the first ruler do something, in one transaction.
    async fn rule<T>(
        &mut self,
        trouble: Option<Trouble>,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<Told<T>, Violation> {
        let mut connection = self.rulers[0].take().await?;
        let ruler = &self.rulers[0];
        ruler.set(trouble);
        let done = unless_killed(&ruler.wire, trouble, work(&mut connection)).await;
        let sprung = ruler.wire.clear();
        self.counted.troubles += u64::from(sprung);
        let is_committed = sprung && trouble.is_some_and(|trouble| trouble.point == COMMITTED);
        if sprung {
            self.check_log().await?;
        }
        match done {
            Some(Ok(_)) if is_committed => {
                Violation::of("rules were changed well by a commit that was not answered")
            }
            Some(Ok(told)) => {
                self.rulers[0].kept = Some(connection);
                Ok(Told::All(told))
            }
            Some(Err(error)) if !sprung => Violation::of_store("rules failed", &error),
            None | Some(Err(_)) => Ok(Told::Nothing { is_committed }),
        }
    }

    pub(super) async fn apply(
        &mut self,
        set: &[(u8, u8)],
        trouble: Option<Trouble>,
    ) -> Result<(), Violation> {
        let files = files(set);
        let work = async |connection: &mut Connection| rules::apply(connection, &files).await;
        match self.rule(trouble, work).await? {
            Told::All(applied) => self.applied(&files, &applied)?,
            Told::Nothing { is_committed: true } => drop(self.model.apply(&files)),
            Told::Nothing { .. } => {}
        }
        self.check_rules().await
    }

    /// Two sets of files at once.
    pub(super) async fn contest(
        &mut self,
        first: &[(u8, u8)],
        point: Point,
        second: &[(u8, u8)],
    ) -> Result<(), Violation> {
        let (first, second) = (files(first), files(second));
        let mut one = self.rulers[0].take().await?;
        let mut other = self.rulers[1].take().await?;
        let wire = &self.rulers[0].wire;
        wire.set(point, Action::Hold);
        let (came, done, other_done) = two_at_once(
            &self.observer,
            wire,
            rules::apply(&mut one, &first),
            rules::apply(&mut other, &second),
        )
        .await;
        self.counted.races += u64::from(came);
        // The lock decides who comes first; whoever comes last has the last word.
        let is_first = !came || point != Point::Before("LOCK");
        let mut in_order = [(first, done), (second, other_done)];
        if !is_first {
            in_order.reverse();
        }
        for (files, done) in in_order {
            let applied = done.map_err(Violation::from_store)?;
            self.applied(&files, &applied)?;
        }
        self.rulers[0].kept = Some(one);
        self.rulers[1].kept = Some(other);
        self.check_rules().await
    }

    fn applied(&mut self, files: &[Rule], applied: &Applied) -> Result<(), Violation> {
        let expected = self.model.apply(files);
        match *applied == expected {
            true => Ok(()),
            false => Violation::of(format!("{applied:?}, and not {expected:?}")),
        }
    }

    /// The versions of rules are what they ought to be.
    pub(super) async fn check_rules(&self) -> Result<(), Violation> {
        let rows = self.observer.query(VERSIONS, &[]).await;
        let rows = rows.map_err(Violation::from_observer)?;
        let stand = rows.iter().map(|row| {
            let (name, version, status): (&str, i32, &str) = (row.get(0), row.get(1), row.get(2));
            format!("{name}:{version} {status}")
        });
        let versions = self.model.rules.iter();
        let versions = versions.flat_map(|(name, all)| all.iter().map(move |one| (name, one)));
        let ought = versions.map(|(name, version)| {
            let status = match (version.is_active, version.is_retired) {
                (true, _) => "active",
                (_, true) => "retired",
                _ => "building",
            };
            format!("{name}:{} {status}", version.number)
        });
        let (stand, ought): (Vec<_>, Vec<_>) = (stand.collect(), ought.collect());
        match stand == ought {
            true => Ok(()),
            false => Violation::of(format!("the rules are {stand:?}, and not {ought:?}")),
        }
    }

    pub(super) async fn activate(
        &mut self,
        slack: u8,
        trouble: Option<Trouble>,
    ) -> Result<(), Violation> {
        let work =
            async |connection: &mut Connection| rules::activate(connection, slack.into()).await;
        let names = match self.rule(trouble, work).await? {
            Told::All(names) => names,
            Told::Nothing { is_committed: true } => self.answering_since().await?,
            Told::Nothing { .. } => Vec::new(),
        };
        for name in names {
            if !self.model.activate(&name) {
                return Violation::of(format!("{name} was activated, and none of it was building"));
            }
        }
        self.check_rules().await
    }

    /// Names of which another version answers than anybody was told.
    async fn answering_since(&self) -> Result<Vec<String>, Violation> {
        let rows = self.observer.query(VERSIONS, &[]).await;
        let rows = rows.map_err(Violation::from_observer)?;
        let active = rows.iter().filter(|row| row.get::<_, &str>(2) == "active");
        let active = active.map(|row| (row.get::<_, String>(0), row.get::<_, i32>(1)));
        let is_news = |(name, version): &(String, i32)| {
            let mut known = self.model.rules.get(name).into_iter().flatten();
            !known.any(|known| known.is_active && known.number == *version)
        };
        Ok(active.filter(is_news).map(|(name, _)| name).collect())
    }

    pub(super) async fn rebuild(
        &mut self,
        nth: u8,
        trouble: Option<Trouble>,
    ) -> Result<(), Violation> {
        let name = name(nth);
        let work = async |connection: &mut Connection| rebuild::begin(connection, &name).await;
        // Whoever was told nothing asks for it again some time.
        let Told::All(begun) = self.rule(trouble, work).await? else {
            return Ok(());
        };
        let versions = self.model.rules.get(&name);
        let is_active = versions.is_some_and(|versions| versions.iter().any(|v| v.is_active));
        if begun.is_some() != is_active {
            return Violation::of(format!(
                "{name}: a rebuild begins where a version is active"
            ));
        }
        if let Some(begun) = begun {
            self.rebuilds.insert(name, begun);
        }
        Ok(())
    }

    /// Compares what was made anew with what answers, and puts it in its place.
    pub(super) async fn switch(
        &mut self,
        nth: u8,
        trouble: Option<Trouble>,
    ) -> Result<(), Violation> {
        let name = name(nth);
        let Some(rebuild) = self.rebuilds.get(&name).cloned() else {
            return Ok(());
        };
        let is_live = self.is_live(&name, &rebuild);
        let connection = self.ruler().await?;
        for partition in 0..PARTITIONS {
            let compared = rebuild.compare(connection, partition).await;
            let compared = compared.map_err(Violation::from_store)?;
            // A generation whose place was taken may be on its way out.
            if let Some(compared) = compared.filter(|compared| compared.different > 0)
                && is_live
            {
                return Violation::of(format!("{name}: generations differ: {compared:?}"));
            }
        }
        let work = async |connection: &mut Connection| rebuild.switch(connection).await;
        match self.rule(trouble, work).await? {
            Told::All(true) | Told::Nothing { is_committed: true } => {
                self.rebuilds.remove(&name);
            }
            _ => {}
        }
        Ok(())
    }

    fn is_live(&self, name: &str, rebuild: &rebuild::Rebuild) -> bool {
        let versions = self.model.rules.get(name).into_iter().flatten();
        let mut active = versions.filter(|version| version.is_active);
        active.any(|version| version.number == rebuild.version)
    }

    pub(super) async fn give_up(
        &mut self,
        nth: u8,
        trouble: Option<Trouble>,
    ) -> Result<(), Violation> {
        let name = name(nth);
        let is_begun = self.is_rebuilding(&name).await?;
        let work = async |connection: &mut Connection| rebuild::give_up(connection, &name).await;
        match self.rule(trouble, work).await? {
            Told::All(given_up) if given_up != is_begun => {
                return Violation::of(format!("{name}: given up: {given_up}, begun: {is_begun}"));
            }
            Told::All(_) | Told::Nothing { is_committed: true } => {
                if self.is_rebuilding(&name).await? {
                    return Violation::of(format!("{name}: its rebuild was given up and goes on"));
                }
                self.rebuilds.remove(&name);
            }
            Told::Nothing { .. } => {}
        }
        Ok(())
    }

    async fn is_rebuilding(&self, name: &str) -> Result<bool, Violation> {
        let query =
            "SELECT EXISTS (SELECT FROM rules WHERE name = $1 AND next_generation IS NOT NULL)";
        let row = self.observer.query_one(query, &[&name]).await;
        Ok(row.map_err(Violation::from_observer)?.get(0))
    }
}

/// Rule files, one a name.
fn files(set: &[(u8, u8)]) -> Vec<Rule> {
    let mut files = std::collections::BTreeMap::new();
    for (nth, variant) in set {
        files.insert(name(*nth), rule(*nth, *variant));
    }
    files.into_values().collect()
}
