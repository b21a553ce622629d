//! What an expression may hold: variables and functions that are known, nothing that depends on the
//! order of keys, on a time zone or on a pattern that an event brings along.

use super::cost::Cost;
use super::subject::VARIABLES;
use super::{Pattern, Patterns, Reads};
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use regex::RegexBuilder;
use std::sync::Arc;

/// Deepest nesting of brackets, and of `all` and `exists` in one another.
const MAX_BRACKETS: usize = 32;
pub(super) const MAX_LOOPS: usize = 2;
/// Deepest nesting of an expression, however it is written: `a + b + c` is two levels. Whatever
/// walks one recurses, on stacks of 2 MiB.
const MAX_DEPTH: usize = 200;
/// Largest regular expression, compiled.
const MAX_PATTERN_BYTES: usize = 64 * 1024;
/// Bytes of a compiled pattern for which a byte of text is looked at once more.
const WEIGHT_BYTES: usize = 128;

/// The named functions; operators and what macros become are not named so that one could call them.
const FUNCTIONS: [&str; 25] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "dyn",
    "type",
    "timestamp",
    "duration",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];
/// What is no function but a form of its own: it is gone from an expression where it was used right.
const MACROS: [(&str, &str); 5] = [
    ("has", "has(data.a)"),
    ("all", "data.list.all(x, x > 1)"),
    ("exists", "data.list.exists(x, x > 1)"),
    ("exists_one", "data.list.exists_one(x, x > 1)"),
    ("existsOne", "data.list.existsOne(x, x > 1)"),
];
/// Of the functions, the ones that take a time zone, whose rules change.
const ZONED: &str = "get";

/// An expression that may be used.
pub(super) struct Checked {
    pub(super) reads: Reads,
    pub(super) patterns: Arc<Patterns>,
    pub(super) cost: Cost,
}

/// Refuses texts on which a parser would recurse too deeply, before there is one.
pub(super) fn nesting(text: &str) -> Result<(), String> {
    let (mut depth, mut run) = (0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        run = match byte {
            b'!' | b'-' | b'?' => run + 1,
            b' ' | b'\t' | b'\n' => run,
            _ => 0,
        };
        if depth.max(run) > MAX_BRACKETS {
            return Err(format!("is nested deeper than {MAX_BRACKETS} levels"));
        }
    }
    Ok(())
}

/// Walks an expression.
pub(super) fn expression(root: &IdedExpr, text: usize) -> Result<Checked, String> {
    depth(root)?;
    let mut walk = Walk::default();
    walk.visit(root)?;
    Ok(Checked {
        reads: walk.reads,
        cost: Cost::of(root, text, &walk.patterns)?,
        patterns: Arc::new(walk.patterns),
    })
}

/// Refuses what is nested too deeply to be walked; walks itself without recursion.
fn depth(root: &IdedExpr) -> Result<(), String> {
    let mut waiting = vec![(root, 1)];
    while let Some((expr, depth)) = waiting.pop() {
        if depth > MAX_DEPTH {
            return Err(format!("is nested deeper than {MAX_DEPTH} levels"));
        }
        waiting.extend(parts(expr).into_iter().map(|part| (part, depth + 1)));
    }
    Ok(())
}

/// What an expression is made of.
pub(super) fn parts(expr: &IdedExpr) -> Vec<&IdedExpr> {
    match &expr.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) | Expr::Struct(_) => Vec::new(),
        Expr::Select(select) => vec![&select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => {
            let entries = map.entries.iter().flat_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
                EntryExpr::StructField(field) => vec![&field.value],
            });
            entries.collect()
        }
        Expr::Call(call) => {
            let target = call.target.iter().map(AsRef::as_ref);
            target.chain(&call.args).collect()
        }
        Expr::Comprehension(of) => vec![
            &of.iter_range,
            &of.accu_init,
            &of.loop_cond,
            &of.loop_step,
            &of.result,
        ],
    }
}

#[derive(Default)]
struct Walk<'x> {
    reads: Reads,
    patterns: Patterns,
    /// Variables of the loops around.
    bound: Vec<&'x str>,
    loops: usize,
}

impl<'x> Walk<'x> {
    fn visit(&mut self, expr: &'x IdedExpr) -> Result<(), String> {
        match &expr.expr {
            Expr::Unspecified => Err("is no expression".to_owned()),
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.visit(&select.operand),
            Expr::List(list) => list.elements.iter().try_for_each(|item| self.visit(item)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.visit(&entry.key)?;
                    self.visit(&entry.value)
                }
                EntryExpr::StructField(field) => self.visit(&field.value),
            }),
            Expr::Struct(object) => Err(format!("there is no type {}", object.type_name)),
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn variable(&mut self, name: &'x str) -> Result<(), String> {
        if self.bound.contains(&name) {
            return Ok(());
        }
        match name {
            "data" => self.reads.data = true,
            "metadata" => self.reads.metadata = true,
            "principal_id" => self.reads.principal_id = true,
            // Types are values, as in `type(data.n) == int`.
            "int" | "uint" | "double" | "string" | "bytes" | "bool" | "list" | "map"
            | "null_type" => {}
            _ if VARIABLES.contains(&name) => {}
            _ => {
                let known = VARIABLES.join(", ");
                return Err(format!("there is no variable {name} ({known})"));
            }
        }
        Ok(())
    }

    fn call(&mut self, call: &'x CallExpr) -> Result<(), String> {
        let name = call.func_name.as_str();
        let is_named = name.starts_with(|first: char| first.is_ascii_alphabetic());
        if matches!(name, "map" | "filter") {
            return Err(format!("{name} makes lists: use exists, all or exists_one"));
        }
        if let Some((_, usage)) = MACROS.iter().find(|(known, _)| *known == name) {
            return Err(format!("{name} is used like {usage}"));
        }
        if is_named && !FUNCTIONS.contains(&name) {
            return Err(format!(
                "there is no function {name} ({})",
                FUNCTIONS.join(", ")
            ));
        }
        if name.starts_with(ZONED) && !call.args.is_empty() {
            return Err(format!(
                "{name} takes no time zone: the rules of zones change"
            ));
        }
        if name == "matches" {
            self.pattern(call)?;
        }
        call.target
            .iter()
            .try_for_each(|target| self.visit(target))?;
        call.args.iter().try_for_each(|arg| self.visit(arg))
    }

    fn pattern(&mut self, call: &CallExpr) -> Result<(), String> {
        let Some(Expr::Literal(LiteralValue::String(text))) = call.args.last().map(|a| &a.expr)
        else {
            return Err("matches takes a pattern that is written out".to_owned());
        };
        let compile = |bytes| RegexBuilder::new(text.inner()).size_limit(bytes).build();
        let regex = compile(MAX_PATTERN_BYTES)
            .map_err(|error| format!("{:?} is no pattern: {error}", text.inner()))?;
        // A pattern does not say how large it is, but where it would be too large.
        let mut bytes = 1024;
        while bytes < MAX_PATTERN_BYTES && compile(bytes).is_err() {
            bytes *= 2;
        }
        let weight = (bytes / WEIGHT_BYTES) as u64;
        let pattern = Pattern { regex, weight };
        self.patterns.insert(text.inner().to_owned(), pattern);
        Ok(())
    }

    fn comprehension(&mut self, of: &'x ComprehensionExpr) -> Result<(), String> {
        // `map` and `filter` begin with an empty list. Over an object, theirs would have the order
        // of its keys, which is none.
        if matches!(of.accu_init.expr, Expr::List(_)) {
            return Err("map and filter make lists: use exists, all or exists_one".to_owned());
        }
        self.visit(&of.iter_range)?;
        self.loops += 1;
        if self.loops > MAX_LOOPS {
            return Err(format!("loops are nested deeper than {MAX_LOOPS} levels"));
        }
        let outside = self.bound.len();
        self.bound
            .extend([of.iter_var.as_str(), of.accu_var.as_str()]);
        self.bound.extend(of.iter_var2.as_deref());
        for part in [&of.accu_init, &of.loop_cond, &of.loop_step, &of.result] {
            self.visit(part)?;
        }
        self.bound.truncate(outside);
        self.loops -= 1;
        Ok(())
    }
}
