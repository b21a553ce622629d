//! Filters: a CEL expression that says which events a rule folds.
//!
//! Invariant: the verdict is a function of the event alone. An expression knows no clock and
//! nothing of ingestion, and none that depends on the order of keys is taken (see `check`).
//! Invariant: compiled once; what one event may cost is bounded (see `cost`).

mod check;
mod cost;
mod kind;
mod literals;
mod places;
mod subject;

pub use places::Place;
pub use subject::Subject;

use cel::extractors::This;
use cel::parser::ParseError;
use cel::{Context, Env, ExecutionError, ParseErrors, Program, Value};
use check::Checked;
use regex::Regex;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
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

/// Why it failed, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A key that the event does not have.
    #[error("there is no key {0}")]
    NoKey(String),
    /// An array that is not that long.
    #[error("an array is not that long")]
    NoItem,
    /// A division by 0.
    #[error("it divides by 0")]
    DivisionByZero,
    /// A number beyond 64 bits.
    #[error("a number is beyond 64 bits")]
    Overflow,
    /// A function or an operator that can't take what stands there.
    #[error("types don't fit")]
    Types,
    /// Something that is neither true nor false.
    #[error("it gives neither true nor false")]
    NoBoolean,
    /// More work than the bound.
    #[error("it would take too long on an event of this size")]
    TooDear,
}

impl From<ExecutionError> for Failure {
    fn from(error: ExecutionError) -> Self {
        match error {
            ExecutionError::NoSuchKey(key) => Self::NoKey(key.to_string()),
            ExecutionError::IndexOutOfBounds(_) => Self::NoItem,
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                Self::DivisionByZero
            }
            ExecutionError::Overflow(..) => Self::Overflow,
            _ => Self::Types,
        }
    }
}

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
        let program = ENV
            .compile(text)
            .map_err(|errors| unreadable(text, &errors))?;
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

    /// The places of an event that it reads, each with all that stands below it.
    pub fn places(&self) -> BTreeSet<Place> {
        places::of(self.program.expression())
    }

    /// The texts that are spelled out in it.
    pub fn literals(&self) -> Vec<String> {
        literals::of(self.program.expression())
    }

    /// Whether documents of so many bytes at most may be too large for it, so that its verdict depends on
    /// more than [`Filter::places`].
    pub fn may_be_too_dear(&self, data_bytes: u64, metadata_bytes: u64) -> bool {
        let reads = self.checked.reads;
        !self
            .checked
            .cost
            .allows_all(reads, data_bytes, metadata_bytes)
    }

    /// What it gives where that is never a boolean, so that it fails on every event.
    pub fn never_boolean(&self) -> Option<&'static str> {
        kind::never_boolean(self.program.expression())
    }

    /// Whether the rule folds an event.
    ///
    /// # Errors
    /// [`Failed`] where the expression fails on the event.
    pub fn admits(&self, subject: &Subject<'_>) -> Result<bool, Failed> {
        self.judge(subject).map_err(|_| Failed)
    }

    /// The same, with the reason.
    ///
    /// # Errors
    /// Why the expression fails on the event.
    pub fn judge(&self, subject: &Subject<'_>) -> Result<bool, Failure> {
        if !self.checked.cost.allows(self.checked.reads, subject) {
            return Err(Failure::TooDear);
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
                .map_err(|_| Failure::Types)?;
        }
        context.set_variable_resolver(subject);
        match self.program.execute(&context)? {
            Value::Bool(verdict) => Ok(verdict),
            _ => Err(Failure::NoBoolean),
        }
    }
}

/// Most characters that are shown of what can't be read.
const MAX_SHOWN_CHARS: usize = 24;

/// Where a text stops being an expression, and why. The library's own words are about its grammar.
fn unreadable(text: &str, errors: &ParseErrors) -> String {
    let is_syntax = |error: &&ParseError| error.msg.starts_with("Syntax error");
    let errors = || errors.errors.iter();
    let first = errors().find(is_syntax).or_else(|| errors().next());
    let (place, said) = first.map_or(((0, 0), ""), |first| (first.pos, first.msg.as_str()));
    let index = |place: isize| usize::try_from(place).ok()?.checked_sub(1);
    // A parser that gives up says so, or has no place (they count from 1), or misses parts of its
    // tree.
    let gives_up = ["ecursion", "No `", "Incomplete"];
    let is_whole = !gives_up.iter().any(|words| said.contains(words));
    let (Some(line), Some(column), true) = (index(place.0), index(place.1), is_whole) else {
        return "is nested too deeply to be read".to_owned();
    };
    let line = text.lines().nth(line).unwrap_or_default();
    let rest: String = line.chars().skip(column).take(MAX_SHOWN_CHARS).collect();
    let why = match rest.trim_end() {
        "" => return "is no CEL expression: it ends too early".to_owned(),
        rest if said.contains("int literal") => {
            format!("{rest:?} begins with an integer beyond 64 bits")
        }
        rest if said.contains("reserved") => {
            format!("{rest:?} begins with a word that CEL keeps for itself")
        }
        rest => format!("{rest:?} can't stand where it does"),
    };
    let (line, character) = place;
    format!("is no CEL expression: {why} (line {line}, character {character})")
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
