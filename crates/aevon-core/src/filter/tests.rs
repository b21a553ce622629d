//! Filters: what is taken, what is refused and why, what fails on an event, what one may cost.

use super::*;
use crate::fold::Fact;
use crate::position::Position;
use crate::time::Timestamp;

fn judge(filter: &str, data: &str) -> Result<bool, Failed> {
    let fact = Fact {
        position: Position {
            partition: 0,
            seq: 1,
        },
        occurred_at: Timestamp::parse("2026-02-11T10:30:00.5Z").unwrap(),
        event_type: "model.call",
        schema_version: 3,
        principal_id: "user_ada",
        data,
        metadata: r#"{"region":"eu"}"#,
    };
    let filter = Filter::compile(filter).unwrap_or_else(|reason| panic!("{filter}: {reason}"));
    filter.admits(&Subject::new(fact))
}

const DATA: &str = r#"{"status":"ok","n":5,"x":0.5,"whole":1.0,"tags":["a","b"],
    "calls":[{"ms":3},{"ms":40}],"big":9223372036854775808,"deep":{"k":null},"text":"gpt-4o"}"#;

#[test]
fn data_metadata_and_the_envelope_can_be_asked_for() {
    for filter in [
        "data.status == 'ok'",
        "metadata.region == \"eu\" && type == 'model.call'",
        "principal_id.startsWith('user_') && schema_version == 3",
        "occurred_at < timestamp('2027-01-01T00:00:00Z')",
        "occurred_at.getHours() == 10 && occurred_at.getMilliseconds() == 500",
        "data.n > 4 && data.n < 5.5 && data.n + 1 == 6",
        "data.x == 0.5 && data.x * 2.0 == 1.0",
        "data.whole == 1 && type(data.whole) == int && type(data.big) == double",
        "'a' in data.tags && !('c' in data.tags) && size(data.tags) == 2",
        "data.calls.exists(c, c.ms > 30) && data.calls.all(c, c.ms > 0)",
        "has(data.deep) && !has(data.nothing) && data.deep.k == null",
        "data.text.matches('^gpt-[0-9]') && !matches(data.text, '^o')",
        "data['status'] == 'ok' || data.nothing",
        "data.exists(key, key == 'n')",
        "(data.n > 100 ? data.nothing : true)",
    ] {
        assert_eq!(judge(filter, DATA), Ok(true), "{filter}");
    }
    assert_eq!(judge("data.status != 'ok'", DATA), Ok(false));
}

#[test]
fn what_fails_on_an_event_is_neither_true_nor_false() {
    for filter in [
        "data.nothing == 1",
        "data.status",
        "data.n",
        "data.status > 3",
        "data.n + 0.5 > 1.0",
        "data.n / 0 == 1",
        "data.tags[7] == 'a'",
        "data.n.exists(x, true)",
        "data.status + data.n == 'x'",
        "9223372036854775807 + data.n > 0",
    ] {
        assert_eq!(judge(filter, DATA), Err(Failed), "{filter}");
    }
    assert_eq!(judge("data.nothing == 1 || data.n == 5", DATA), Ok(true));
}

#[test]
fn what_could_never_be_used_is_refused_with_a_reason() {
    let brackets = format!("{}data.n{} == 1", "(".repeat(40), ")".repeat(40));
    let (minus, not) = (
        format!("{}1 == 1", "-".repeat(40)),
        format!("{}true", "! ".repeat(40)),
    );
    let long = format!("data.s == '{}'", "x".repeat(MAX_FILTER_BYTES));
    let sum = format!("data.n{} == 1", " + 1".repeat(300));
    for (filter, says) in [
        ("data.n =", "no CEL expression"),
        ("", "no CEL expression"),
        ("dta.n == 1", "no variable dta (data, metadata, type"),
        ("ingested_at > occurred_at", "no variable ingested_at"),
        ("now() > occurred_at", "no function now"),
        ("data.l.map(x, x)[0] == 1", "use exists"),
        ("data.l.filter(x, x > 1) == []", "use exists"),
        ("data.s.matches(data.p)", "written out"),
        ("data.s.matches('(')", "no pattern"),
        ("data.s.matches('(a{1000}){1000}')", "no pattern"),
        ("occurred_at.getHours('Europe/Berlin') == 1", "time zone"),
        ("data.l.all(x, x.all(y, y.all(z, z)))", "deeper than 2"),
        ("data.?n.orValue(1) == 1", "no CEL expression"),
        ("Thing{a: 1} == data", "no type Thing"),
        (&brackets, "deeper than 32"),
        (&minus, "deeper than 32"),
        (&not, "deeper than 32"),
        (&long, "2048 at most"),
        (&sum, "deeper than 200"),
        ("(data.l + data.l).exists(x, x == 1)", "not over a sum"),
    ] {
        let reason = Filter::compile(filter).map(|_| ()).unwrap_err();
        assert!(reason.contains(says), "{filter}: {reason}");
    }
}

#[test]
fn what_is_never_true_or_false_is_known_and_what_may_be_is_not() {
    let gives = |filter: &str| Filter::compile(filter).unwrap().never_boolean();
    for (filter, what) in [
        ("1 + 1", "a sum"),
        ("data.n * 2", "a number"),
        ("-data.n", "a number"),
        ("data", "an object"),
        ("type", "a text"),
        ("occurred_at", "an instant"),
        ("int", "a type"),
        ("'true'", "a text"),
        ("null", "null"),
        ("[true]", "a list"),
        ("{'a': true}", "an object"),
        ("size(data.l)", "a number"),
        ("occurred_at.getHours()", "a number"),
        ("dyn(1)", "a number"),
        ("!data.n.size()", "a number"),
        ("data.a == 1 && 7", "a number"),
        ("data.a || metadata", "an object"),
        ("data.a ? 1 : 'x'", "a number"),
        ("1 ? true : false", "a number"),
    ] {
        assert_eq!(gives(filter), Some(what), "{filter}");
    }
    for filter in [
        "true",
        "data.a",
        "data['a']",
        "has(data.a)",
        "data.a ? data.b : 1",
        "dyn(data.a)",
        "bool('true')",
        "1 in data.l",
        "data.l.exists(type, type)",
        "data.s.contains('x') && !data.b",
    ] {
        assert_eq!(gives(filter), None, "{filter}");
    }
}

#[test]
fn a_text_that_is_no_expression_is_told_in_our_words() {
    let ternary = "true ? true : ".repeat(120) + "true";
    let deep = "[".repeat(31) + &"a.b(".repeat(31);
    for (filter, says) in [
        ("data.n >", "it ends too early"),
        (
            "data.n = 1",
            "\"= 1\" can't stand where it does (line 1, character 8)",
        ),
        (
            "data.n == 1 &&\n  @x",
            "\"@x\" can't stand where it does (line 2, character 3)",
        ),
        (
            "data.l.exists_one(x)",
            "is used like data.list.exists_one(x, x > 1)",
        ),
        ("data.l.all(x)", "is used like data.list.all(x, x > 1)"),
        ("has()", "is used like has(data.a)"),
        ("data.l.exists(1, true)", "no CEL expression"),
        ("99999999999999999999 > data.n", "an integer beyond 64 bits"),
        ("for == 1", "a word that CEL keeps for itself"),
        (&ternary, "is nested too deeply to be read"),
        (&deep, ""),
    ] {
        let reason = Filter::compile(filter).map(|_| ()).unwrap_err();
        assert!(reason.contains(says), "{filter}: {reason}");
        for word in [
            "Syntax",
            "token",
            "ecursion",
            "input",
            "EOF",
            "expecting",
            "overload",
        ] {
            assert!(!reason.contains(word), "{filter}: {reason}");
        }
    }
}

#[test]
fn a_failure_has_its_reason() {
    let reason = |filter: &str| {
        let fact = Fact {
            position: Position {
                partition: 0,
                seq: 1,
            },
            occurred_at: Timestamp::from_micros(0),
            event_type: "t",
            schema_version: 0,
            principal_id: "",
            data: DATA,
            metadata: "{}",
        };
        let filter = Filter::compile(filter).unwrap();
        filter.judge(&Subject::new(fact)).unwrap_err()
    };
    assert_eq!(reason("data.no == 1"), Failure::NoKey("no".to_owned()));
    assert_eq!(reason("data.status"), Failure::NoBoolean);
    assert_eq!(reason("data.status > 3"), Failure::Types);
    assert_eq!(reason("data.n / 0 == 1"), Failure::DivisionByZero);
    assert_eq!(reason("data.tags[7] == 'a'"), Failure::NoItem);
    assert_eq!(
        reason("9223372036854775807 + data.n > 0"),
        Failure::Overflow
    );
}

#[test]
fn long_flat_and_deep_texts_are_taken_or_refused_and_never_overflow() {
    let names = (0..300)
        .map(|n| format!("'m{n}'"))
        .collect::<Vec<_>>()
        .join(",");
    assert_eq!(judge(&format!("data.status in [{names}]"), DATA), Ok(false));
    for text in [
        "true || ".repeat(500) + "true",
        "1 + ".repeat(1000) + "1 == 1",
        "true ? true : ".repeat(250) + "true",
        "data".to_owned() + &".a".repeat(2000),
        "[".repeat(31) + &"]".repeat(31),
        "a(".repeat(31),
        "\u{1F600}".repeat(1000),
    ] {
        if let Ok(filter) = Filter::compile(&text) {
            let verdict = judge(filter.text(), DATA);
            assert!(verdict.is_ok() || verdict == Err(Failed));
        }
    }
}

#[test]
fn an_event_that_would_cost_too_much_fails_at_once_and_an_ordinary_one_does_not() {
    let list = |items: usize| format!("{{\"l\":[{}]}}", vec!["7"; items].join(","));
    for (filter, items, verdict) in [
        ("data.l.exists(x, x == 8)", 100_000, Ok(false)),
        ("data.l.all(x, x in data.l)", 500, Ok(true)),
        ("data.l.all(x, x in data.l)", 100_000, Err(Failed)),
        ("data.l.all(x, data.l.all(y, y == x))", 100, Ok(true)),
        ("data.l.all(x, data.l.all(y, y == x))", 100_000, Err(Failed)),
        (
            "data.l.all(x, size(data.l + data.l) > 0)",
            100_000,
            Err(Failed),
        ),
    ] {
        assert_eq!(
            judge(filter, &list(items)),
            verdict,
            "{filter} over {items}"
        );
    }
}

#[test]
fn sums_patterns_and_literals_have_their_cost_too() {
    let text = |bytes: usize| format!("{{\"s\":\"{}\",\"l\":[1,2]}}", "ab".repeat(bytes / 2));
    let sum = format!("(data.s{}).size() > 0", " + data.s".repeat(40));
    let ones = vec!["1"; 40].join(",");
    let literal = format!("[{ones}].exists(x, [{ones}].exists(y, data.s.contains('zz')))");
    for (filter, bytes, verdict) in [
        ("data.s.matches('b$')", 200_000, Ok(true)),
        ("data.s.matches('(a|b)*a(a|b){200}c')", 1_000, Ok(false)),
        ("data.s.matches('(a|b)*a(a|b){200}c')", 200_000, Err(Failed)),
        (&sum, 100, Ok(true)),
        (&sum, 200_000, Err(Failed)),
        (&literal, 100, Ok(false)),
        (&literal, 200_000, Err(Failed)),
    ] {
        assert_eq!(
            judge(filter, &text(bytes)),
            verdict,
            "{filter} over {bytes}"
        );
    }
}

#[test]
fn keys_that_mean_something_to_the_library_are_keys_like_others() {
    let data = r#"{"n":{"$serde_json::private::Number":"1"}}"#;
    assert_eq!(judge("data.n == 1", data), Ok(false));
    assert_eq!(judge("size(data.n) == 1", data), Ok(true));
}
