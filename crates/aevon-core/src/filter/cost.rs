//! What an expression may cost on one event.
//!
//! A loop visits each item of a list or object; what is done to the items themselves adds up to the
//! size of the document, what is done to whole documents in a loop is done for each item anew. So
//! the cost of an event of S bytes whose longest array or object has n items is at most
//! S · (c₀ + c₁n + c₂n²), with factors that the expression alone decides.

use super::check::MAX_LOOPS;
use super::{Reads, Subject};
use cel::common::ast::{EntryExpr, Expr, IdedExpr};

/// Most that an event may cost, in steps of about a byte each: some milliseconds.
const MAX_STEPS: u64 = 20_000_000;

/// The factors, by how often the number of items comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost([u64; MAX_LOOPS + 1]);

impl Cost {
    pub(super) fn of(root: &IdedExpr) -> Self {
        let mut cost = Self::default();
        cost.add(root, 0);
        cost
    }

    /// True where an event stays within the bound.
    pub(super) fn allows(self, reads: Reads, subject: &Subject<'_>) -> bool {
        if self.0[1..].iter().all(|factor| *factor == 0) {
            // Without loops an expression reads a document a bounded number of times.
            return true;
        }
        let (mut bytes, mut items) = (1, 1);
        let documents = [
            reads.data.then(|| subject.data()),
            reads.metadata.then(|| subject.metadata()),
        ];
        for document in documents.into_iter().flatten() {
            bytes += document.bytes as u64;
            items = items.max(document.longest as u64);
        }
        let steps = self.0.iter().rev().try_fold(0_u64, |sum, factor| {
            sum.checked_mul(items)?.checked_add(*factor)
        });
        let steps = steps.and_then(|steps| steps.checked_mul(bytes));
        steps.is_some_and(|steps| steps <= MAX_STEPS)
    }

    /// Adds what `expr` costs within so many loops; says whether it reads a whole document, or one
    /// that is made of several.
    fn add(&mut self, expr: &IdedExpr, loops: usize) -> bool {
        let mut is_whole = false;
        let mut light = true;
        match &expr.expr {
            Expr::Unspecified | Expr::Literal(_) => return false,
            Expr::Ident(name) => is_whole = matches!(name.as_str(), "data" | "metadata"),
            Expr::Select(select) => is_whole = self.add(&select.operand, loops),
            Expr::List(list) => {
                for item in &list.elements {
                    is_whole |= self.add(item, loops);
                }
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        is_whole |= self.add(&entry.key, loops);
                        is_whole |= self.add(&entry.value, loops);
                    }
                }
            }
            Expr::Struct(_) => {}
            Expr::Call(call) => {
                for operand in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
                    is_whole |= self.add(operand, loops);
                }
                light = is_light(&call.func_name);
            }
            Expr::Comprehension(of) => {
                is_whole = self.add(&of.iter_range, loops);
                for part in [&of.loop_cond, &of.loop_step, &of.result] {
                    is_whole |= self.add(part, (loops + 1).min(MAX_LOOPS));
                }
                light = false;
            }
        }
        let times = match !light && is_whole {
            true => loops,
            false => loops.saturating_sub(1),
        };
        self.0[times] += 1;
        is_whole && !matches!(expr.expr, Expr::Call(_) if is_verdict(expr))
    }
}

/// Operators that look at no more than the smaller of their operands.
fn is_light(function: &str) -> bool {
    matches!(
        function,
        "_&&_"
            | "_||_"
            | "!_"
            | "_?_:_"
            | "_==_"
            | "_!=_"
            | "_<_"
            | "_<=_"
            | "_>_"
            | "_>=_"
            | "@not_strictly_false"
            | "_[_]"
    )
}

/// Calls whose result is a boolean, however large what they look at.
fn is_verdict(expr: &IdedExpr) -> bool {
    match &expr.expr {
        Expr::Call(call) => {
            is_light(&call.func_name) && call.func_name != "_[_]" && call.func_name != "_?_:_"
        }
        _ => false,
    }
}
