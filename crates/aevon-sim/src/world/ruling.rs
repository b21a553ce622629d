//! Rules that come, change, go and return, and buckets that are made anew.

use aevon_schema::{Connection, rebuild, rules};

use super::World;
use crate::model::PARTITIONS;
use crate::rules::{name, rule};
use crate::run::Violation;

impl World {
    /// The connection of whoever rules; it is never in trouble.
    pub(super) async fn ruler(&mut self) -> Result<&mut Connection, Violation> {
        let ruler = &mut self.ruler;
        if ruler
            .kept
            .as_mut()
            .is_none_or(|connection| !connection.is_usable())
        {
            ruler.kept = Some(
                ruler
                    .database
                    .connect()
                    .await
                    .map_err(Violation::from_store)?,
            );
        }
        ruler
            .kept
            .as_mut()
            .ok_or_else(|| Violation("nobody rules".to_owned()))
    }

    pub(super) async fn apply(&mut self, set: &[(u8, u8)]) -> Result<(), Violation> {
        let mut files = std::collections::BTreeMap::new();
        for (nth, variant) in set {
            files.insert(name(*nth), rule(*nth, *variant));
        }
        let files: Vec<_> = files.into_values().collect();
        let applied = rules::apply(self.ruler().await?, &files).await;
        let applied = applied.map_err(Violation::from_store)?;
        let expected = self.model.apply(&files);
        match applied == expected {
            true => Ok(()),
            false => Violation::of(format!("{applied:?}, and not {expected:?}")),
        }
    }

    pub(super) async fn activate(&mut self, slack: u8) -> Result<(), Violation> {
        let names = rules::activate(self.ruler().await?, slack.into()).await;
        for name in names.map_err(Violation::from_store)? {
            if !self.model.activate(&name) {
                return Violation::of(format!("{name} was activated, and none of it was building"));
            }
        }
        Ok(())
    }

    pub(super) async fn rebuild(&mut self, nth: u8) -> Result<(), Violation> {
        let name = name(nth);
        let begun = rebuild::begin(self.ruler().await?, &name).await;
        let begun = begun.map_err(Violation::from_store)?;
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
    pub(super) async fn switch(&mut self, nth: u8) -> Result<(), Violation> {
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
        let switched = rebuild.switch(connection).await;
        if switched.map_err(Violation::from_store)? {
            self.rebuilds.remove(&name);
        }
        Ok(())
    }

    fn is_live(&self, name: &str, rebuild: &rebuild::Rebuild) -> bool {
        let versions = self.model.rules.get(name).into_iter().flatten();
        let mut active = versions.filter(|version| version.is_active);
        active.any(|version| version.number == rebuild.version)
    }

    pub(super) async fn give_up(&mut self, nth: u8) -> Result<(), Violation> {
        let name = name(nth);
        let given_up = rebuild::give_up(self.ruler().await?, &name).await;
        given_up.map_err(Violation::from_store)?;
        self.rebuilds.remove(&name);
        Ok(())
    }
}
