//! What an expression may cost on one event.
//!
//! Let S be the bytes of the documents that it reads and of its own text, and n the items of the
//! longest array or object of either. Then no value of an expression is larger than its `copies`
//! times S: a place in a document is one, a sum (`+`) as many as its parts. What is done to the
//! items of a list adds up to S; what is done to whole values in a loop is done for each item anew.
//! So an event costs at most S · (c₀ + c₁n + c₂n²), with factors that the expression alone decides.

use super::check::MAX_LOOPS;
use super::{Patterns, Reads, Subject};
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

/// Most that an event may cost, in steps of about a byte each. Interpreted, they take up to 0.2 s.
const MAX_STEPS: u64 = 4_000_000;
/// Literals of more bytes or items than this count as a copy of a document.
const SMALL_LITERAL: usize = 32;

/// The factors, by how often the number of items comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    factors: [u64; MAX_LOOPS + 1],
    /// Bytes of the expression.
    text: u64,
    /// Items of its longest literal.
    longest: u64,
}

impl Cost {
    /// The cost of an expression of so many bytes, whose patterns are known.
    ///
    /// # Errors
    /// A sentence that says what has no bound.
    pub(super) fn of(root: &IdedExpr, text: usize, patterns: &Patterns) -> Result<Self, String> {
        let mut walk = Walk {
            cost: Self {
                text: text as u64,
                ..Self::default()
            },
            patterns,
        };
        walk.copies(root, 0)?;
        Ok(walk.cost)
    }

    /// True where an event stays within the bound.
    pub(super) fn allows(self, reads: Reads, subject: &Subject<'_>) -> bool {
        let (mut bytes, mut items) = (self.text, self.longest.max(1));
        let has_loops = self.factors[1..].iter().any(|factor| *factor > 0);
        if reads.data {
            bytes += subject.fact.data.len() as u64;
            if has_loops {
                items = items.max(subject.data().longest as u64);
            }
        }
        if reads.metadata {
            bytes += subject.fact.metadata.len() as u64;
            if has_loops {
                items = items.max(subject.metadata().longest as u64);
            }
        }
        self.is_within(bytes, items)
    }

    /// The same of all documents of so many bytes, whatever is in them: as text, an item of an array
    /// takes three bytes and one of an object more.
    pub(super) fn allows_all(self, reads: Reads, data: u64, metadata: u64) -> bool {
        let read = [(reads.data, data), (reads.metadata, metadata)];
        let read = read.iter().filter(|(is_read, _)| *is_read);
        let (bytes, items) = read.fold(
            (self.text, self.longest.max(1)),
            |(sum, most), (_, bytes)| (sum.saturating_add(*bytes), most.max(bytes / 3 + 1)),
        );
        self.is_within(bytes, items)
    }

    fn is_within(self, bytes: u64, items: u64) -> bool {
        let steps = self.factors.iter().rev().try_fold(0_u64, |sum, factor| {
            sum.checked_mul(items)?.checked_add(*factor)
        });
        let steps = steps.and_then(|steps| steps.checked_mul(bytes));
        steps.is_some_and(|steps| steps <= MAX_STEPS)
    }
}

struct Walk<'p> {
    cost: Cost,
    patterns: &'p Patterns,
}

impl Walk<'_> {
    /// Adds what an expression costs within so many loops; how large its value may be, in copies.
    fn copies(&mut self, expr: &IdedExpr, loops: usize) -> Result<u64, String> {
        Ok(match &expr.expr {
            Expr::Unspecified | Expr::Struct(_) => 0,
            Expr::Literal(LiteralValue::String(text)) => {
                u64::from(text.inner().len() > SMALL_LITERAL)
            }
            Expr::Literal(_) => 0,
            Expr::Ident(name) => u64::from(matches!(name.as_str(), "data" | "metadata")),
            Expr::Select(select) => self.copies(&select.operand, loops)?,
            Expr::List(list) => {
                let items = list.elements.iter();
                self.literal(items, list.elements.len(), loops)?
            }
            Expr::Map(map) => {
                let parts = map.entries.iter().flat_map(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
                    EntryExpr::StructField(field) => vec![&field.value],
                });
                self.literal(parts, map.entries.len(), loops)?
            }
            Expr::Call(call) => self.call(call, loops)?,
            Expr::Comprehension(of) => {
                if holds_sum(&of.iter_range) {
                    return Err("a loop goes over what is in an event, not over a sum (+)".into());
                }
                let range = self.copies(&of.iter_range, loops)?;
                for part in [&of.accu_init, &of.loop_cond, &of.loop_step, &of.result] {
                    self.copies(part, (loops + 1).min(MAX_LOOPS))?;
                }
                self.charge(range, 1, loops);
                0
            }
        })
    }

    fn literal<'e>(
        &mut self,
        parts: impl Iterator<Item = &'e IdedExpr>,
        items: usize,
        loops: usize,
    ) -> Result<u64, String> {
        self.cost.longest = self.cost.longest.max(items as u64);
        let mut copies = u64::from(items > SMALL_LITERAL);
        for part in parts {
            copies = copies.saturating_add(self.copies(part, loops)?);
        }
        // Made anew each time.
        self.charge(copies, 1, loops);
        Ok(copies)
    }

    fn call(&mut self, call: &CallExpr, loops: usize) -> Result<u64, String> {
        let mut operands = Vec::new();
        for operand in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
            operands.push(self.copies(operand, loops)?);
        }
        let all = operands
            .iter()
            .fold(0_u64, |sum, one| sum.saturating_add(*one));
        let largest = operands.iter().max().copied().unwrap_or(0);
        let smallest = operands.iter().min().copied().unwrap_or(0);
        let (charged, copies) = match call.func_name.as_str() {
            "_&&_" | "_||_" | "!_" | "@not_strictly_false" => (0, 0),
            "_?_:_" => (0, largest),
            "_[_]" => (0, operands.first().copied().unwrap_or(0)),
            // They look at no more than the smaller of their operands.
            "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => (smallest, 0),
            "_+_" => (all, all),
            "string" | "bytes" | "dyn" => (all, all),
            _ => (all, 0),
        };
        self.charge(charged, self.weight(call), loops);
        Ok(copies)
    }

    /// How much more than a look at each byte a call is.
    fn weight(&self, call: &CallExpr) -> u64 {
        let pattern = match call.args.last().map(|argument| &argument.expr) {
            Some(Expr::Literal(LiteralValue::String(text))) if call.func_name == "matches" => {
                self.patterns.get(text.inner())
            }
            _ => None,
        };
        pattern.map_or(1, |pattern| pattern.weight)
    }

    /// Adds work on so many copies, or on what is no document: the items of a loop, which add up
    /// to one for each loop around.
    fn charge(&mut self, copies: u64, weight: u64, loops: usize) {
        let (times, copies) = match (copies, loops) {
            (0, 0) if weight == 1 => return,
            (0, _) => (loops.saturating_sub(1), 1),
            _ => (loops, copies),
        };
        let factor = &mut self.cost.factors[times];
        *factor = factor.saturating_add(copies.saturating_mul(weight));
    }
}

/// Whether an expression adds anything up.
fn holds_sum(expr: &IdedExpr) -> bool {
    match &expr.expr {
        Expr::Call(call) => {
            let mut operands = call.target.iter().map(AsRef::as_ref).chain(&call.args);
            call.func_name == "_+_" || operands.any(holds_sum)
        }
        Expr::Select(select) => holds_sum(&select.operand),
        Expr::List(list) => list.elements.iter().any(holds_sum),
        Expr::Map(map) => map.entries.iter().any(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => holds_sum(&entry.key) || holds_sum(&entry.value),
            EntryExpr::StructField(field) => holds_sum(&field.value),
        }),
        // What a loop makes is a boolean.
        _ => false,
    }
}
