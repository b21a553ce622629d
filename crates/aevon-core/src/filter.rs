//! Filters: a CEL expression that says which events a rule folds.
//!
//! Invariant: the verdict is a function of the event alone. An expression knows no clock and
//! nothing of ingestion, and none that depends on the order of keys is taken (see `check`).
//! Invariant: compiled once; what one event may cost is bounded (see `cost`).

mod check;
mod cost;
mod subject;

pub use subject::Subject;

use cel::extractors::This;
use cel::{Context, Env, Program, Value};
use check::Checked;
use regex::Regex;
use rustc_hash::FxHashMap;
use std::sync::{Arc, LazyLock};

/// Longest expression, in bytes.
pub const MAX_FILTER_BYTES: usize = 2048;

/// The functions of CEL, without regular expressions: these are compiled once, here.
static ENV: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// A compiled expression.
#[derive(Clone)]
pub struct Filter {
    text: String,
    program: Arc<Program>,
    checked: Arc<Checked>,
}

/// The expression failed on an event: a key that is not there, types that don't fit, no boolean,
/// or a cost beyond the bound. The event is skipped, and counted as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// What an expression reads besides `type`, `occurred_at` and `schema_version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// `data`.
    pub data: bool,
    /// `metadata`.
    pub metadata: bool,
    /// `principal_id`.
    pub principal_id: bool,
}

impl Filter {
    /// Compiles an expression.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn compile(text: &str) -> Result<Self, String> {
        if text.len() > MAX_FILTER_BYTES {
            return Err(format!(
                "has {} bytes; {MAX_FILTER_BYTES} at most",
                text.len()
            ));
        }
        check::nesting(text)?;
        let program = ENV.compile(text).map_err(|errors| {
            let first = errors.errors.first().map(|error| error.msg.clone());
            format!("is no CEL expression: {}", first.unwrap_or_default())
        })?;
        let checked = check::expression(program.expression(), text.len())?;
        Ok(Self {
            text: text.to_owned(),
            program: Arc::new(program),
            checked: Arc::new(checked),
        })
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it reads of an event.
    pub fn reads(&self) -> Reads {
        self.checked.reads
    }

    /// Whether the rule folds an event.
    ///
    /// # Errors
    /// [`Failed`] where the expression fails on the event.
    pub fn admits(&self, subject: &Subject<'_>) -> Result<bool, Failed> {
        if !self.checked.cost.allows(self.checked.reads, subject) {
            return Err(Failed);
        }
        let mut context = Context::with_env(Arc::clone(&ENV));
        if !self.checked.patterns.is_empty() {
            let patterns = Arc::clone(&self.checked.patterns);
            let matches = move |This(text): This<Arc<String>>, pattern: Arc<String>| {
                patterns
                    .get(pattern.as_str())
                    .is_some_and(|pattern| pattern.regex.is_match(&text))
            };
            context
                .add_function("matches", matches)
                .map_err(|_| Failed)?;
        }
        context.set_variable_resolver(subject);
        match self.program.execute(&context) {
            Ok(Value::Bool(verdict)) => Ok(verdict),
            _ => Err(Failed),
        }
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for Filter {}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Filter").field(&self.text).finish()
    }
}

/// A compiled regular expression.
struct Pattern {
    regex: Regex,
    /// How often it may look at a byte, about.
    weight: u64,
}

/// Patterns by their text.
type Patterns = FxHashMap<String, Pattern>;

#[cfg(test)]
mod tests;
