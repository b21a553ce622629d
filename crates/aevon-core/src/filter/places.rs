//! Which places of an event an expression reads.

use crate::json::Path;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use std::collections::BTreeSet;

/// A place that an expression reads, with all that stands below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In `data`; none: all of it.
    Data(Option<Path>),
    /// In `metadata`; none: all of it.
    Metadata(Option<Path>),
    /// `principal_id`.
    PrincipalId,
}

impl Place {
    /// Its name, as filters spell it where they can: `data.a.b`, `metadata`, `principal_id`.
    #[must_use]
    pub fn name(&self) -> String {
        let within = |document: &str, path: &Option<Path>| match path.as_ref().map(Path::short) {
            None => document.to_owned(),
            Some(pointer) if pointer.starts_with('/') => format!("{document}{pointer}"),
            Some(dotted) => format!("{document}.{dotted}"),
        };
        match self {
            Self::Data(path) => within("data", path),
            Self::Metadata(path) => within("metadata", path),
            Self::PrincipalId => "principal_id".to_owned(),
        }
    }

    /// Its name, and the names of all that it stands in.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let keys = match self {
            Self::Data(path) | Self::Metadata(path) => path.as_ref().map_or(&[][..], Path::keys),
            Self::PrincipalId => &[],
        };
        let above = |depth: usize| match self {
            Self::Data(_) => Self::Data(Path::of(keys[..depth].to_vec())),
            Self::Metadata(_) => Self::Metadata(Path::of(keys[..depth].to_vec())),
            Self::PrincipalId => Self::PrincipalId,
        };
        (0..=keys.len()).map(|depth| above(depth).name()).collect()
    }
}

/// What an expression reads. A key that is not written out may be any: then it reads all that it may
/// stand in.
pub(super) fn of(root: &IdedExpr) -> BTreeSet<Place> {
    let mut walk = Walk::default();
    walk.visit(root);
    walk.places
}

#[derive(Default)]
struct Walk<'x> {
    places: BTreeSet<Place>,
    /// Variables of the loops around.
    bound: Vec<&'x str>,
}

impl<'x> Walk<'x> {
    fn visit(&mut self, expr: &'x IdedExpr) {
        if let Some((root, tokens)) = self.chain(expr) {
            let path = Path::of(tokens);
            self.places.insert(match root {
                "data" => Place::Data(path),
                _ => Place::Metadata(path),
            });
            return;
        }
        match &expr.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => {
                if name == "principal_id" && !self.bound.contains(&name.as_str()) {
                    self.places.insert(Place::PrincipalId);
                }
            }
            Expr::Select(select) => self.visit(&select.operand),
            Expr::List(list) => list.elements.iter().for_each(|item| self.visit(item)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(of) => of.entries.iter().for_each(|entry| self.entry(&entry.expr)),
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(of) => self.comprehension(of),
        }
    }

    fn entry(&mut self, entry: &'x EntryExpr) {
        match entry {
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key);
                self.visit(&entry.value);
            }
            EntryExpr::StructField(field) => self.visit(&field.value),
        }
    }

    fn call(&mut self, call: &'x CallExpr) {
        let operands = call.target.iter().map(AsRef::as_ref).chain(&call.args);
        operands.for_each(|operand| self.visit(operand));
    }

    fn comprehension(&mut self, of: &'x ComprehensionExpr) {
        self.visit(&of.iter_range);
        let outside = self.bound.len();
        self.bound
            .extend([of.iter_var.as_str(), of.accu_var.as_str()]);
        self.bound.extend(of.iter_var2.as_deref());
        for part in [&of.accu_init, &of.loop_cond, &of.loop_step, &of.result] {
            self.visit(part);
        }
        self.bound.truncate(outside);
    }

    /// A document, and the way into it: `data.a["b"][0]`.
    fn chain(&self, expr: &'x IdedExpr) -> Option<(&'x str, Vec<String>)> {
        match &expr.expr {
            Expr::Ident(name) if self.bound.contains(&name.as_str()) => None,
            Expr::Ident(name) if matches!(name.as_str(), "data" | "metadata") => {
                Some((name, Vec::new()))
            }
            Expr::Select(select) => {
                let (root, mut tokens) = self.chain(&select.operand)?;
                tokens.push(select.field.clone());
                Some((root, tokens))
            }
            Expr::Call(call) if call.func_name == "_[_]" && call.target.is_none() => {
                let [from, key] = call.args.as_slice() else {
                    return None;
                };
                let (root, mut tokens) = self.chain(from)?;
                tokens.push(written_out(key)?);
                Some((root, tokens))
            }
            _ => None,
        }
    }
}

fn written_out(key: &IdedExpr) -> Option<String> {
    match &key.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
        Expr::Literal(LiteralValue::Int(index)) => {
            let index = usize::try_from(*index.inner()).ok()?;
            Some(index.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;

    #[test]
    fn places_are_found_and_what_may_be_any_key_reads_all() {
        let read = |text: &str| -> Vec<String> {
            let filter = Filter::compile(text).unwrap();
            filter.places().iter().map(Place::name).collect()
        };
        for (text, places) in [
            ("true", &[][..]),
            ("type == \"t\" && schema_version > 1", &[]),
            (
                "data.a.b > 1 && has(data.c.d)",
                &["data.a.b", "data.c.d"][..],
            ),
            (
                "data[\"a\"].b == data.list[0]",
                &["data.a.b", "data.list.0"],
            ),
            ("data[\"a.b\"] == 1", &["data/a.b"]),
            ("data[data.key] == 1", &["data", "data.key"]),
            ("data.list[data.n] == 1", &["data.list", "data.n"]),
            (
                "data.list.exists(x, x.n > data.m)",
                &["data.list", "data.m"],
            ),
            ("data.list.exists(data, data.n > 1)", &["data.list"]),
            ("size(data) > 1", &["data"]),
            ("\"a\" in metadata", &["metadata"]),
            (
                "metadata.a == principal_id",
                &["metadata.a", "principal_id"],
            ),
            (
                "(data.a ? data.b : data.c).d == 1",
                &["data.a", "data.b", "data.c"],
            ),
            (
                "{\"k\": data.a}[\"k\"] == [data.b][0]",
                &["data.a", "data.b"],
            ),
        ] {
            assert_eq!(read(text), places, "{text}");
        }
    }
}
