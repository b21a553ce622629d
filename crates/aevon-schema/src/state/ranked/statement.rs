//! The statements of lists by value, put together: by operator, by where buckets are looked up, and of the
//! parts of a plan that there are.

use aevon_core::operator::Operator;
use aevon_core::time::Grain;

const OF_SERIES: &str = include_str!("../../sql/ranked_buckets_of_series.sql");
/// What buckets add up to, and what such sums add up to.
const ADDS: &str = include_str!("../../sql/ranked_adds.sql");
/// The same of one bucket.
const ONE: &str = include_str!("../../sql/ranked_one.sql");
const MERGES: &str = include_str!("../../sql/ranked_merges.sql");
/// Where buckets are before what is asked for, and what grain they are of, in their places.
pub(super) const PARTS: [(bool, Grain); 8] = [
    (false, Grain::Day),
    (false, Grain::Hour),
    (false, Grain::Hour),
    (false, Grain::Minute),
    (false, Grain::Minute),
    (true, Grain::Day),
    (true, Grain::Hour),
    (true, Grain::Minute),
];

/// Where the buckets of many principals lie.
pub(crate) struct Many {
    /// The series of the totals that they are parts of.
    pub(super) totals: Vec<i64>,
    /// The places of the parts of the plan that there are, from 0.
    pub(super) places: Vec<usize>,
    /// Whether a principal may have several series.
    pub(super) is_grouped: bool,
    /// Whether the plan is one whole day, of which a series has one bucket.
    pub(super) is_one_day: bool,
}

fn adds_up(operator: Operator) -> bool {
    !matches!(operator, Operator::Latest | Operator::UniqueCount)
}

/// Whether what is added up is the one series of each principal, and not the principal.
fn is_of_series(operator: Operator, many: Option<&Many>) -> bool {
    adds_up(operator) && many.is_some_and(|many| !many.is_grouped)
}

/// The statement that gives what changed buckets of them were made of.
pub(crate) fn refined(operator: Operator, many: Option<&Many>) -> String {
    let unit = match is_of_series(operator, many) {
        true => "n.series_no",
        false => "n.principal_no",
    };
    include_str!("../../sql/ranked_refined.sql").replace("{unit}", unit)
}

/// The statement for an operator, with where its buckets come from, as of a version or of the newest.
pub(crate) fn statement(operator: Operator, many: Option<&Many>, is_newest: bool) -> String {
    let statement = statement_of(operator, many);
    // Of the newest everything stands.
    let (standing, and_standing) = match is_newest {
        true => ("", ""),
        false => (" FILTER (WHERE b.stands)", " AND b.stands"),
    };
    statement
        .replace("{standing}", standing)
        .replace("{and_standing}", and_standing)
}

fn statement_of(operator: Operator, many: Option<&Many>) -> String {
    match (adds_up(operator), many) {
        (false, None) => include_str!("../../sql/ranked_rows.sql").replace("{buckets}", OF_SERIES),
        (false, Some(many)) => {
            let parts = many.parts(str::to_owned);
            let buckets = include_str!("../../sql/ranked_buckets_of_time.sql");
            include_str!("../../sql/ranked_rows.sql")
                .replace("{buckets}", &buckets.replace("{parts}", &parts))
        }
        (true, None) => {
            let added = include_str!("../../sql/ranked_added_few.sql")
                .replace("{adds}", ADDS)
                .replace("{buckets}", OF_SERIES);
            sums(&added, true)
        }
        (true, Some(many)) => {
            // Each part by itself: so two processes can share the work.
            let parts = many.parts(|part| match many.is_one_day {
                true => format!("SELECT b.series_no AS no, {ONE}FROM (\n{part}) b\n"),
                false => format!(
                    "SELECT b.series_no AS no, {ADDS}FROM (\n{part}) b\nGROUP BY b.series_no\n"
                ),
            });
            match (many.is_grouped, many.places.as_slice()) {
                (true, _) => {
                    let added = include_str!("../../sql/ranked_added_groups.sql")
                        .replace("{merges}", MERGES)
                        .replace("{parts}", &parts);
                    sums(&added, true)
                }
                (false, [_]) => sums(&parts, false),
                (false, _) => {
                    let added = format!("SELECT b.no, {MERGES}FROM ({parts}) b\nGROUP BY b.no\n");
                    sums(&added, false)
                }
            }
        }
    }
}

/// The statement that adds up, whether what it adds up are principals, or the one series of each.
fn sums(added: &str, of_principals: bool) -> String {
    let (unit, series, named) = match of_principals {
        true => (
            "p.principal_no",
            "",
            include_str!("../../sql/ranked_name.sql"),
        ),
        false => (
            "s.series_no",
            include_str!("../../sql/ranked_series_of.sql"),
            include_str!("../../sql/ranked_name_of_series.sql"),
        ),
    };
    include_str!("../../sql/ranked_sums.sql")
        .replace("{unit}", unit)
        .replace("{series}", series)
        .replace("{named}", named)
        .replace("{added}", added)
}

impl Many {
    /// The totals in two halves, each read and added up by itself: what is added up in the memory of half of
    /// the principals is found there faster. Of one day there is nothing to add up.
    pub(super) fn halves(&self) -> (&[i64], &[i64]) {
        let all = self.totals.len();
        let middle = if self.is_one_day {
            all
        } else {
            all.div_ceil(2)
        };
        self.totals.split_at(middle)
    }

    /// The parts of the plan that there are, each half of each made into something, under each other. A
    /// principal has its buckets in one of the halves.
    fn parts(&self, of_part: impl Fn(&str) -> String) -> String {
        let halves: &[&str] = if self.is_one_day {
            &["$15"]
        } else {
            &["$15", "$16"]
        };
        let places = self.places.iter();
        let both = places.flat_map(|at| halves.iter().map(move |totals| (at, totals)));
        let part = |(at, totals): (&usize, &&str)| {
            let (is_before, grain) = PARTS[*at];
            let part = include_str!("../../sql/ranked_part.sql")
                .replace("{totals}", totals)
                .replace("{before}", if is_before { "true" } else { "false" })
                .replace("{grain}", &grain.minutes().to_string())
                .replace("{place}", &(at + 1).to_string());
            of_part(&part)
        };
        let parts: Vec<String> = both.map(part).collect();
        parts.join("UNION ALL\n")
    }
}
