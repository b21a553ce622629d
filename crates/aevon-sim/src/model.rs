//! What the world ought to be: a list of events in the order in which they were stored, a list of rule
//! versions, and a clock.

use std::collections::BTreeMap;

use aevon_core::append::Verdict;
use aevon_core::event::{Fault, FaultCode, NewEvent, VOID_TYPE};
use aevon_core::identity::partition_of;
use aevon_core::position::Position;
use aevon_core::rule::Rule;
use aevon_core::time::Timestamp;
use aevon_schema::rules::Applied;
use aevon_testkit::oracle::{OracleEvent, standing};

use crate::operation::{At, Body, Event, Says};
use crate::rules;

/// Partitions of a simulated log.
pub const PARTITIONS: i32 = 3;
/// The beginning of the world: the evening before the clocks of Europe go forward.
pub const BEGINNING: Timestamp = Timestamp::from_micros(1_774_731_600_000_000);

/// Who there is: principals, each with the place of its tenant. Some share a partition.
pub const PRINCIPALS: [(usize, &str); 6] = [
    (0, "p0"),
    (0, "p1"),
    (0, "p2"),
    (1, "p0"),
    (1, "p1"),
    (0, "p3"),
];
/// What tenants' names begin with.
pub const TENANTS: [&str; 2] = ["acme", "other"];

/// What events carry: powers of two, so that whatever is lost or counted twice shows, at sizes where a
/// float has lost them; fractions; and what is no number.
pub const VALUES: [&str; 12] = [
    "1",
    "2",
    "1048576",
    "\"4\"",
    "18014398509481985",
    "1180591620717411303424",
    "0.1",
    "-8.25",
    "\"none\"",
    "null",
    "-36893488147419103232.000001",
    "16",
];
/// Labels.
pub const LABELS: [&str; 5] = ["\"a\"", "\"b\"", "1.0", "null", "[]"];
/// Zones whose clocks are asked about.
pub const ZONES: [&str; 5] = [
    "UTC",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Australia/Lord_Howe",
];

/// An event as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Where.
    pub position: Position,
    /// When.
    pub ingested_at: Timestamp,
    /// What.
    pub event: NewEvent,
}

/// A version of a rule.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its number.
    pub number: i32,
    /// What it computes.
    pub rule: Rule,
    /// Whether it answers, once it has caught up.
    pub is_active: bool,
    /// Whether it does not any more.
    pub is_retired: bool,
}

/// What ought to be.
#[derive(Clone, Debug)]
pub struct Model {
    /// The tenants' names.
    pub tenants: [String; TENANTS.len()],
    /// What the clock says.
    pub now: Timestamp,
    /// In the order of storing, which is that of positions within each partition.
    pub log: Vec<Stored>,
    /// The versions of each name, oldest first.
    pub rules: BTreeMap<String, Vec<Version>>,
}

/// Names of the tenants of a world that nobody has used in it before: a writer that has served another
/// seed knows nothing of theirs. They are such that each principal's partition is always the same.
fn tenants(age: u64) -> [String; TENANTS.len()] {
    let mut names = TENANTS.map(|name| name.to_owned());
    for (nth, base) in TENANTS.into_iter().enumerate().filter(|_| age > 0) {
        let is_alike = |name: &String| {
            let mut ours = PRINCIPALS.into_iter().filter(|(of, _)| *of == nth);
            ours.all(|(_, p)| partition((name.as_str(), p)) == partition((base, p)))
        };
        // Of names that end so, one in 81 or so will do.
        let mut all = (0..u64::from(u32::MAX)).map(|n| format!("{base}-{age}-{n}"));
        names[nth] = all.find(is_alike).unwrap_or_default();
    }
    names
}

/// The partition of a principal.
pub(crate) fn partition((tenant, principal): (&str, &str)) -> i32 {
    partition_of(tenant, principal, PARTITIONS)
}

/// The partition of a principal, in every world.
pub(crate) fn partition_of_principal(nth: u8) -> u8 {
    let (tenant, principal) = PRINCIPALS[usize::from(nth) % PRINCIPALS.len()];
    partition((TENANTS[tenant], principal)) as u8
}

/// An event as it is sent.
fn sent((tenant, principal): (&str, &str), event: &Event) -> NewEvent {
    let (event_type, data) = match event.says {
        Says::Usage(value, label, kind) => {
            let value = VALUES[usize::from(value) % VALUES.len()];
            let label = LABELS[usize::from(label) % LABELS.len()];
            let kind = match kind % 4 {
                3 => String::new(),
                kind => format!(", \"kind\": {kind}, \"deep\": {{\"h\": \"h{kind}\"}}"),
            };
            let data = format!("{{\"n\": {value}, \"g\": {label}{kind}}}");
            (rules::SOURCE_EVENT, data)
        }
        Says::Void(target) => {
            let data = format!("{{\"event_id\": \"e{target}\", \"reason\": \"simulated\"}}");
            (VOID_TYPE, data)
        }
    };
    NewEvent {
        tenant_id: tenant.to_owned(),
        principal_id: principal.to_owned(),
        event_id: format!("e{}", event.id),
        event_type: event_type.to_owned(),
        occurred_at: BEGINNING.plus_micros(event.at),
        is_time_received: false,
        schema_version: 0,
        data,
        metadata: "{}".to_owned(),
        refusals: Vec::new(),
    }
}

impl Model {
    /// Nothing, in a world in which so many others were before.
    pub fn new(age: u64) -> Self {
        Self {
            tenants: tenants(age),
            now: BEGINNING,
            log: Vec::new(),
            rules: BTreeMap::new(),
        }
    }

    /// A principal, with its tenant.
    pub(crate) fn principal(&self, nth: u8) -> (&str, &'static str) {
        let (tenant, principal) = PRINCIPALS[usize::from(nth) % PRINCIPALS.len()];
        (&self.tenants[tenant], principal)
    }

    /// The principals of a tenant.
    pub(crate) fn principals<'t>(
        &self,
        tenant: &'t str,
    ) -> impl Iterator<Item = (&'t str, &'static str)> + use<'_, 't> {
        let ours = PRINCIPALS.into_iter();
        let ours = ours.filter(move |(of, _)| self.tenants[*of] == tenant);
        ours.map(move |(_, principal)| (tenant, principal))
    }

    /// The events of bodies as they are sent, and which of them are stored whole or not at all.
    pub(crate) fn group(&self, bodies: &[Body]) -> (Vec<NewEvent>, Vec<std::ops::Range<usize>>) {
        let (mut events, mut atomic) = (Vec::new(), Vec::new());
        for body in bodies {
            let start = events.len();
            let of = self.principal(body.principal);
            events.extend(body.events.iter().map(|event| sent(of, event)));
            if body.is_atomic && events.len() > start {
                atomic.push(start..events.len());
            }
        }
        (events, atomic)
    }

    /// What a group ought to be told, and the log with it.
    pub(crate) fn appended(&self, bodies: &[Body]) -> (Vec<Verdict>, Vec<Stored>) {
        let (mut log, mut verdicts) = (self.log.clone(), Vec::new());
        // The stamp is that of the commit: what the group itself stores does not move it.
        let stamps: Vec<Timestamp> = (0..PARTITIONS).map(|at| self.stamp(at)).collect();
        for body in bodies {
            let before = log.len();
            let of = self.principal(body.principal);
            let of_body: Vec<Verdict> = body
                .events
                .iter()
                .map(|event| decide(&mut log, sent(of, event), &stamps))
                .collect();
            let is_refused = |v: &Verdict| matches!(v, Verdict::Refused(_) | Verdict::Conflict(_));
            if !(body.is_atomic && of_body.iter().any(is_refused)) {
                verdicts.extend(of_body);
                continue;
            }
            let taken_back: Vec<Position> = log.drain(before..).map(|s| s.position).collect();
            verdicts.extend(of_body.into_iter().map(|verdict| match verdict {
                Verdict::Accepted { position, .. } | Verdict::Duplicate { position, .. }
                    if taken_back.contains(&position) =>
                {
                    Verdict::Withheld
                }
                verdict => verdict,
            }));
        }
        (verdicts, log.split_off(self.log.len()))
    }

    /// The stamp of a commit in a partition.
    fn stamp(&self, partition: i32) -> Timestamp {
        let last = self.of_partition(partition).last();
        last.map_or(self.now, |last| {
            self.now.max(last.ingested_at.plus_micros(1))
        })
    }

    fn of_partition(&self, partition: i32) -> impl DoubleEndedIterator<Item = &Stored> {
        let ours = self.log.iter();
        ours.filter(move |stored| stored.position.partition == partition)
    }

    /// The newest seq of a partition.
    pub(crate) fn head(&self, partition: i32) -> i64 {
        self.of_partition(partition)
            .next_back()
            .map_or(0, |last| last.position.seq)
    }

    /// Where a partition stands then.
    pub(crate) fn seq_at(&self, partition: i32, at: At) -> i64 {
        let head = self.head(partition);
        match at {
            At::Newest => head,
            At::Back(events) => (head - i64::from(events)).max(0),
            At::Ago(micros) => {
                let instant = self.now.plus_micros(-micros);
                let known = self.of_partition(partition);
                let known = known.filter(|stored| stored.ingested_at <= instant);
                known.map(|stored| stored.position.seq).max().unwrap_or(0)
            }
        }
    }

    /// What of a principal stands at a place of its partition.
    pub(crate) fn standing(&self, of: (&str, &str), seq: i64) -> Vec<OracleEvent> {
        let ours = self.log.iter().filter(|stored| is_of(&stored.event, of));
        let events: Vec<OracleEvent> = ours
            .map(|stored| OracleEvent {
                seq: stored.position.seq,
                id: stored.event.event_id.clone(),
                occurred_at: stored.event.occurred_at,
                event_type: stored.event.event_type.clone(),
                data: stored.event.data.clone(),
            })
            .collect();
        standing(&events, seq)
    }

    /// Whether a principal has any event at or below a place of its partition.
    pub(crate) fn is_known(&self, of: (&str, &str), seq: i64) -> bool {
        let mut ours = self.log.iter().filter(|stored| is_of(&stored.event, of));
        ours.any(|stored| stored.position.seq <= seq)
    }

    /// Makes these files the set of rules; what that ought to say.
    pub(crate) fn apply(&mut self, set: &[Rule]) -> Applied {
        let mut applied = Applied::default();
        for rule in set {
            let versions = self.rules.entry(rule.name.clone()).or_default();
            let newest = versions.last();
            if newest.is_some_and(|v| !v.is_retired && v.rule.fingerprint() == rule.fingerprint()) {
                applied.unchanged.push(rule.name.clone());
                continue;
            }
            let number = newest.map_or(1, |version| version.number + 1);
            for version in versions.iter_mut().filter(|version| !version.is_active) {
                version.is_retired = true;
            }
            versions.push(Version {
                number,
                rule: rule.clone(),
                is_active: false,
                is_retired: false,
            });
            applied.registered.push((rule.name.clone(), number));
        }
        for (name, versions) in &mut self.rules {
            let stands = versions.last().is_some_and(|version| !version.is_retired);
            if stands && !set.iter().any(|rule| rule.name == *name) {
                for version in versions {
                    (version.is_active, version.is_retired) = (false, true);
                }
                applied.retired.push(name.clone());
            }
        }
        applied
    }

    /// The building version of a name answers from now on; false where there is none.
    pub(crate) fn activate(&mut self, name: &str) -> bool {
        let versions = self.rules.get_mut(name).map(Vec::as_mut_slice);
        let Some([before @ .., building]) = versions else {
            return false;
        };
        if building.is_active || building.is_retired {
            return false;
        }
        building.is_active = true;
        for version in before {
            (version.is_active, version.is_retired) = (false, true);
        }
        true
    }

    /// The version of a name that answers: the active one, or a new one while it builds.
    pub(crate) fn answering(&self, name: &str) -> Option<&Version> {
        let versions = self.rules.get(name)?;
        let active = versions.iter().find(|version| version.is_active);
        active.or_else(|| versions.last().filter(|version| !version.is_retired))
    }
}

fn is_of(event: &NewEvent, (tenant, principal): (&str, &str)) -> bool {
    event.tenant_id == tenant && event.principal_id == principal
}

/// The verdict on one event, which is stored where it is to be.
fn decide(log: &mut Vec<Stored>, event: NewEvent, stamps: &[Timestamp]) -> Verdict {
    let of = (event.tenant_id.as_str(), event.principal_id.as_str());
    let ours = || log.iter().filter(|stored| is_of(&stored.event, of));
    let find = |id: &str| ours().find(|stored| stored.event.event_id == id);
    if let Some(stored) = find(&event.event_id) {
        let fields = [
            ("type", stored.event.event_type == event.event_type),
            ("occurred_at", stored.event.occurred_at == event.occurred_at),
            ("data", stored.event.data == event.data),
        ];
        let differing = fields.into_iter().filter(|(_, same)| !same);
        let differing: Vec<&'static str> = differing.map(|(field, _)| field).collect();
        return match differing.is_empty() {
            true => Verdict::Duplicate {
                position: stored.position,
                ingested_at: stored.ingested_at,
            },
            false => Verdict::Conflict(differing),
        };
    }
    if let Some(target) = event.void_target() {
        let refused = |code| Verdict::Refused(vec![Fault::new(None, code, "")]);
        let is_void = |stored: &&Stored| stored.event.event_type == VOID_TYPE;
        if find(&target).is_none_or(|stored| is_void(&stored)) {
            return refused(FaultCode::UnknownVoidTarget);
        }
        let mut voids = ours().filter(is_void);
        if voids.any(|void| void.event.void_target().as_ref() == Some(&target)) {
            return refused(FaultCode::AlreadyVoided);
        }
    }
    let partition = partition(of);
    let head = log
        .iter()
        .filter(|stored| stored.position.partition == partition);
    let position = Position {
        partition,
        seq: head.map(|stored| stored.position.seq).max().unwrap_or(0) + 1,
    };
    let ingested_at = stamps[partition as usize];
    log.push(Stored {
        position,
        ingested_at,
        event,
    });
    Verdict::Accepted {
        position,
        ingested_at,
    }
}
