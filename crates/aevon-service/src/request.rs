//! What a request says: parts of the path, parameters of the query, pages of a list.
//!
//! Invariant: bytes are taken as they were sent. What is not UTF-8 is refused, never replaced, so
//! that no two requests could be taken for one another.

use std::borrow::Cow;

use actix_web::HttpRequest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::{Code, Problem};

/// Most parameters of a request.
const MAX_PARAMETERS: usize = 200;

/// A problem that names a parameter.
pub fn invalid(name: &str, reason: impl std::fmt::Display) -> Problem {
    Problem::new(Code::InvalidParameter, format!("{name}: {reason}"))
}

/// The `index`th part of the path, from 0, which is `name`; decoded.
///
/// # Errors
/// 400.
pub fn path_part(request: &HttpRequest, name: &str, index: usize) -> Result<String, Problem> {
    // Raw: the router has decoded a part of it already.
    let part = request.uri().path().split('/').nth(index + 1);
    decode(name, part.unwrap_or_default(), false)
}

/// The parameters of a query, each to be taken once; a name without `=` has no value.
#[derive(Debug)]
pub struct Parameters(Vec<(String, Option<String>)>);

impl Parameters {
    /// Reads the query of a request.
    ///
    /// # Errors
    /// 400.
    pub fn of(request: &HttpRequest) -> Result<Self, Problem> {
        Self::parse(request.query_string())
    }

    /// Reads a query, which is what stands behind the `?`.
    ///
    /// # Errors
    /// 400.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let mut found = Vec::new();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            if found.len() == MAX_PARAMETERS {
                let detail = format!("a request may have {MAX_PARAMETERS} parameters");
                return Err(Problem::new(Code::InvalidParameter, detail));
            }
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (pair, None),
            };
            let name = decode("the query", name, true)?;
            let value = value.map(|value| decode(&name, value, true)).transpose()?;
            found.push((name, value));
        }
        Ok(Self(found))
    }

    /// Takes every value of a parameter, in order.
    pub fn all(&mut self, name: &str) -> Vec<String> {
        let is_it = |(found, _): &mut (String, Option<String>)| found == name;
        self.0
            .extract_if(.., is_it)
            .map(|(_, value)| value.unwrap_or_default())
            .collect()
    }

    /// Takes every parameter of the form `name[key]`, in order: its key and its value.
    pub fn keyed(&mut self, name: &str) -> Vec<(String, Option<String>)> {
        let key = |found: &str| {
            let bracketed = found.strip_prefix(name)?.strip_prefix('[')?;
            bracketed.strip_suffix(']').map(str::to_owned)
        };
        let is_it = |(found, _): &mut (String, Option<String>)| key(found).is_some();
        let taken: Vec<_> = self.0.extract_if(.., is_it).collect();
        let keyed = |(found, value): (String, _)| Some((key(&found)?, value));
        taken.into_iter().filter_map(keyed).collect()
    }

    /// Takes the value of a parameter that may be given once.
    ///
    /// # Errors
    /// 400 where it is given more than once.
    pub fn one(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.all(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(invalid(name, "is given more than once")),
        }
    }

    /// Takes `limit` and `cursor`: which page of a list is asked for.
    ///
    /// # Errors
    /// 400.
    pub fn page<C: DeserializeOwned>(
        &mut self,
        default: usize,
        most: usize,
    ) -> Result<Page<C>, Problem> {
        let limit = match self.one("limit")? {
            None => default,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=most).contains(limit))
                .ok_or_else(|| {
                    invalid("limit", format!("{text:?} is no number from 1 to {most}"))
                })?,
        };
        let cursor = self.one("cursor")?.map(|text| {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok();
            let cursor = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            cursor.ok_or_else(|| invalid("cursor", "is none that this list gave"))
        });
        Ok(Page {
            limit,
            cursor: cursor.transpose()?,
        })
    }

    /// All parameters must have been taken: one that promises something is not passed over in
    /// silence.
    ///
    /// # Errors
    /// 400.
    pub fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(invalid(name, "is no parameter of this route")),
        }
    }
}

/// Which page of a list is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Page<C> {
    /// Most items.
    pub limit: usize,
    /// Where the last page ended.
    pub cursor: Option<C>,
}

/// One page of a list, as callers read it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Listed<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to send as `cursor` for the next page; none where this is the last.
    #[schema(required)]
    pub next: Option<String>,
}

/// A cursor as callers send it back. What it is made of is nobody's business.
pub fn cursor(made_of: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(made_of).unwrap_or_default())
}

/// Percent-decodes a text; in a query `+` is a space.
fn decode(name: &str, text: &str, in_query: bool) -> Result<String, Problem> {
    let spaced = match in_query && text.contains('+') {
        true => text.replace('+', " "),
        false => text.to_owned(),
    };
    percent_decode_str(&spaced)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| invalid(name, "is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    fn parameters(query: &str) -> Result<Parameters, Problem> {
        let uri = format!("/x?{query}");
        Parameters::of(&TestRequest::with_uri(&uri).to_http_request())
    }

    #[test]
    fn keys_stand_in_brackets_and_a_value_may_be_missing_or_empty() {
        let mut found = parameters("f[a]=x&f[b]=&f%5Ba.b%5D&f=1&f[c=2&g[d]=3").unwrap();
        let text = |text: &str| Some(text.to_owned());
        let expected = [("a", text("x")), ("b", text("")), ("a.b", None)];
        assert_eq!(
            found.keyed("f"),
            expected.map(|(key, value)| (key.to_owned(), value))
        );
        assert_eq!(found.all("f"), ["1"]);
        assert!(found.finish().is_err());
    }

    #[test]
    fn parameters_are_decoded_once_and_what_is_left_over_is_refused() {
        let mut found = parameters("a=1%2B&b=x+y&a=%252F&c").unwrap();
        assert_eq!(found.all("a"), ["1+", "%2F"]);
        assert_eq!(found.one("b").unwrap().as_deref(), Some("x y"));
        assert!(found.finish().unwrap_err().detail.starts_with("c: "));
        assert!(parameters("a=%ff").is_err());
        assert!(parameters("a=1&a=2").unwrap().one("a").is_err());
        assert!(parameters("").unwrap().finish().is_ok());
        assert!(parameters(&"a&".repeat(MAX_PARAMETERS + 1)).is_err());
    }

    #[test]
    fn a_page_is_asked_for_by_limit_and_the_cursor_of_the_last_one() {
        let page = |query: &str| parameters(query).unwrap().page::<(String, i32)>(100, 1000);
        let made_of = ("a/b".to_owned(), 7);
        let asked = page(&format!("limit=5&cursor={}", cursor(&made_of))).unwrap();
        assert_eq!((asked.limit, asked.cursor), (5, Some(made_of)));
        assert_eq!(page("").unwrap().limit, 100);
        let of_another_list = format!("cursor={}", cursor(&[1, 2, 3]));
        for wrong in [
            "limit=0",
            "limit=1001",
            "limit=x",
            "cursor=x",
            &of_another_list,
        ] {
            assert_eq!(
                page(wrong).unwrap_err().code,
                Code::InvalidParameter,
                "{wrong}"
            );
        }
    }

    #[test]
    fn parts_of_the_path_are_taken_byte_by_byte() {
        let read = |uri: &str, index| {
            let request = TestRequest::with_uri(uri).to_http_request();
            path_part(&request, "tenant", index)
        };
        assert_eq!(read("/v1/state/a%2Fb+c/%2525", 2).unwrap(), "a/b+c");
        assert_eq!(read("/v1/state/a%2Fb+c/%2525?x=/", 3).unwrap(), "%25");
        assert_eq!(
            read("/v1/state/%ff", 2).unwrap_err().code,
            Code::InvalidParameter
        );
    }

    /// What cursors are made of.
    type MadeOf = (String, i64, Vec<(String, i32)>, Option<String>);

    proptest! {
        #[test]
        fn a_cursor_is_read_back_as_it_was_made(made_of in any::<MadeOf>(), limit in 1..=1000_usize) {
            let query = format!("limit={limit}&cursor={}", cursor(&made_of));
            let page = Parameters::parse(&query).unwrap().page::<MadeOf>(100, 1000);
            let cursor = Some(made_of);
            prop_assert_eq!(page.unwrap(), Page { limit, cursor });
        }

        #[test]
        fn a_query_of_rubbish_is_refused_with_a_reason(
            query in "([a-z&=+%\\[\\]0-9]|%[0-9a-fA-F]{2}|\\PC){0,60}",
            cursor in any::<String>(),
        ) {
            for query in [&query, &format!("cursor={cursor}"), &format!("limit={query}")] {
                let page = Parameters::parse(query).and_then(|mut found| {
                    let page = found.page::<MadeOf>(100, 1000)?;
                    found.finish().map(|()| page)
                });
                match page {
                    Ok(page) => prop_assert!((1..=1000).contains(&page.limit)),
                    Err(problem) => prop_assert!(
                        problem.code == Code::InvalidParameter && !problem.detail.is_empty()
                    ),
                }
            }
        }
    }
}
