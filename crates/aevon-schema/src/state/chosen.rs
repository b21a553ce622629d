//! The rules of a question: which versions answer it, and whether they can.

use super::{Selection, StateError, StateQuery};
use crate::error::StoreError;
use crate::rules::read_definition;
use crate::statement::Statement;
use crate::values::JsonString;
use aevon_core::operator::Operator;
use aevon_core::rule::Rule;
use aevon_core::state::{Answer, Fill};
use diesel::sql_types::{Array, BigInt, Bool, Integer, Jsonb, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// A rule that answers.
#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) rule_no: i32,
    pub(super) version: i32,
    pub(super) rule: Rule,
    pub(super) checkpoint: Option<i64>,
}

/// A selection, column by column.
pub(super) struct Selected<'a> {
    pub(super) every: bool,
    pub(super) names: &'a [String],
    pub(super) pinned_names: Vec<&'a str>,
    pub(super) pinned_versions: Vec<i32>,
}

impl<'a> Selected<'a> {
    pub(super) fn new(selection: &'a Selection) -> Self {
        let pinned = &selection.pinned;
        Self {
            every: selection.names.is_empty() && pinned.is_empty(),
            names: &selection.names,
            pinned_names: pinned.iter().map(|(name, _)| name.as_str()).collect(),
            pinned_versions: pinned.iter().map(|(_, version)| *version).collect(),
        }
    }
}

/// The rules of a question, and their checkpoints.
pub(super) async fn chosen(
    mut pg: &AsyncPgConnection,
    partition: i32,
    selection: &Selection,
) -> Result<Vec<Chosen>, StoreError> {
    let selected = Selected::new(selection);
    let query = diesel::sql_query(include_str!("../sql/state_rules.sql"))
        .bind::<Integer, _>(partition)
        .bind::<Bool, _>(selected.every)
        .bind::<Array<Text>, _>(selected.names)
        .bind::<Array<Text>, _>(selected.pinned_names)
        .bind::<Array<Integer>, _>(selected.pinned_versions);
    let rows: Vec<(i32, String, i32, JsonString, Option<i64>)> =
        Statement::<_, (Integer, Text, Integer, Jsonb, Nullable<BigInt>)>::new(query)
            .load(&mut pg)
            .await?;
    rows.into_iter()
        .map(|(rule_no, _, version, definition, checkpoint)| {
            let rule = read_definition(&definition.0)?;
            Ok(Chosen {
                rule_no,
                version,
                rule,
                checkpoint,
            })
        })
        .collect()
}

/// The answer of a rule, if its buckets are licensed.
pub(super) fn licensed<'s, 'a>(
    answers: &'s mut [Answer<'a>],
    chosen: &'s [Chosen],
    rule_no: i32,
) -> Option<(&'s mut Answer<'a>, &'s Rule)> {
    let mut both = answers.iter_mut().zip(chosen);
    let (answer, chosen) = both.find(|(_, c)| c.rule_no == rule_no && c.checkpoint.is_some())?;
    Some((answer, &chosen.rule))
}

/// That the rules are there which were asked for, and have the dimensions that were.
pub(super) fn check_question(query: &StateQuery, chosen: &[Chosen]) -> Result<(), StateError> {
    check_selection(&query.selection, chosen)?;
    check_dimensions(query, chosen)?;
    check_fill(query, chosen)
}

/// Everything that was named must have been found.
fn check_selection(selection: &Selection, chosen: &[Chosen]) -> Result<(), StateError> {
    for name in &selection.names {
        if !chosen.iter().any(|c| c.rule.name == *name) {
            return Err(StateError::UnknownRule(name.clone()));
        }
    }
    for (name, version) in &selection.pinned {
        if !chosen
            .iter()
            .any(|c| c.rule.name == *name && c.version == *version)
        {
            return Err(StateError::UnknownRule(format!("{name}:{version}")));
        }
    }
    Ok(())
}

/// Every rule must be of an operator whose values can be carried on, where they are to be.
fn check_fill(query: &StateQuery, chosen: &[Chosen]) -> Result<(), StateError> {
    let is_carried = query.question.fill == Fill::Previous;
    let other = |c: &&Chosen| is_carried && c.rule.operator != Operator::Latest;
    match chosen.iter().find(other) {
        None => Ok(()),
        Some(other) => Err(StateError::NotLatest(Box::new(other.rule.clone()))),
    }
}

/// Every rule must have the dimensions that were asked for: none is passed over in silence.
fn check_dimensions(query: &StateQuery, chosen: &[Chosen]) -> Result<(), StateError> {
    for Chosen { rule, .. } in chosen {
        if let Some(dimension) = query.question.grouping.missing(&rule.group_by) {
            let rule = Box::new(rule.clone());
            return Err(StateError::UnknownDimension { rule, dimension });
        }
    }
    Ok(())
}
