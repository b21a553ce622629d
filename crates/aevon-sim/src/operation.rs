//! What can happen. A list of these is all that a run depends on; printed, it is code.

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The clock moves on.
    Tick(i64),
    /// A group of bodies is appended.
    Append {
        /// By which of the writers.
        writer: u8,
        /// What callers sent.
        bodies: Vec<Body>,
        /// What befalls the writer.
        trouble: Option<Trouble>,
    },
    /// Two groups are appended at once: the first is held at a point while the second comes.
    Race {
        /// The group that is held.
        first: Vec<Body>,
        /// Where.
        point: Point,
        /// The group that comes meanwhile.
        second: Vec<Body>,
    },
    /// A slice is swept.
    Sweep {
        /// By which of the sweepers.
        sweeper: u8,
        /// What.
        slice: Slice,
        /// What befalls the sweeper.
        trouble: Option<Trouble>,
    },
    /// A slice is swept by one sweeper, which is held at a point while other things happen.
    During {
        /// What is swept.
        slice: Slice,
        /// Where its sweeper is held.
        point: Point,
        /// What happens meanwhile.
        meanwhile: Vec<Operation>,
    },
    /// Versions that have caught up, but for so many events, answer from now on.
    Activate(u8, Option<Trouble>),
    /// An aggregator starts with these rule files.
    Rules(RuleSet, Option<Trouble>),
    /// Two aggregators start with different rule files: the first is held at a point while the second
    /// comes.
    Contest {
        /// The files of the one that is held.
        first: RuleSet,
        /// Where.
        point: Point,
        /// The files of the one that comes meanwhile.
        second: RuleSet,
    },
    /// The buckets of a name are to be made anew.
    Rebuild(u8, Option<Trouble>),
    /// What was made anew answers from now on, if it has caught up.
    Switch(u8, Option<Trouble>),
    /// The rebuild of a name is given up.
    GiveUp(u8, Option<Trouble>),
    /// Buckets that nobody needs are deleted.
    Discard(Option<Trouble>),
    /// The state of a principal is asked for.
    Read {
        /// Whose.
        principal: u8,
        /// As of when.
        at: At,
        /// By which rules.
        by: By,
        /// What.
        ask: Ask,
    },
    /// The same by one rule, from buckets and from the log alone, as the product compares them itself.
    Compare {
        /// By which name.
        name: u8,
        /// Whose.
        principal: u8,
        /// As of when.
        at: At,
        /// What.
        ask: Ask,
    },
    /// The total of a tenant is asked for.
    Total {
        /// Of which one.
        tenant: u8,
        /// As of when.
        at: At,
        /// What.
        ask: Ask,
    },
    /// Every bucket that stands is held to the log, up to its checkpoint.
    Verify,
    /// The state of a principal is asked for over HTTP, by a caller that has the answer of before.
    Fetch(u8),
    /// All pages of the list of a tenant's principals are asked for.
    List {
        /// Of which one.
        tenant: u8,
        /// Principals on a page.
        limit: u8,
        /// What.
        ask: Ask,
    },
}

/// Rule files: names, and which of their variants.
pub type RuleSet = Vec<(u8, u8)>;

/// Events that were sent together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Whose; of all of them.
    pub principal: u8,
    /// Whether they are stored whole or not at all.
    pub is_atomic: bool,
    /// The events.
    pub events: Vec<Event>,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its identifier, within its principal.
    pub id: u16,
    /// When it occurred, in microseconds since the beginning of the world.
    pub at: i64,
    /// What it says.
    pub says: Says,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// A value of [`crate::model::VALUES`], a label of [`crate::model::LABELS`] and what the filter reads.
    Usage(u8, u8, u8),
    /// That the event of this identifier does not stand.
    Void(u16),
}

/// Events of a partition that are to be swept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Where.
    pub partition: u8,
    /// How many at most.
    pub events: u8,
    /// Of the rules that are furthest ahead, or of those behind.
    pub is_front: bool,
}

/// What befalls a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Where it is then.
    pub point: Point,
    /// Whether it is killed, or loses its connection and lives on.
    pub is_killed: bool,
}

/// A point in what a program says to Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The statement was not sent yet; whatever was before is done.
    Before(&'static str),
    /// The statement is done, and its answer has not arrived.
    After(&'static str),
}

/// As of when something is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Now.
    Newest,
    /// So many events before the newest.
    Back(u16),
    /// An instant of ingestion, so many microseconds ago.
    Ago(i64),
}

/// Which rules answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// All that answer.
    Every,
    /// The version that answers of a name.
    Name(u8),
    /// One of all versions that there ever were.
    Version(u8),
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The first instant, in microseconds since the beginning of the world.
    pub start: Option<i64>,
    /// The first instant behind.
    pub end: Option<i64>,
    /// The place of the granularity among all of them.
    pub granularity: u8,
    /// By how many dimensions the answer is divided.
    pub groups: u8,
    /// Whether some labels are kept.
    pub is_narrowed: bool,
    /// The place of the zone among [`crate::model::ZONES`].
    pub zone: u8,
    /// Whether windows where nothing happened are given: not, by nothing, by the value before.
    pub fill: u8,
    /// Whether values run on.
    pub is_cumulative: bool,
}
