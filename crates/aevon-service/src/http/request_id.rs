//! The id under which a request can be found in the log: the caller's, or a new one.
//!
//! Invariant: an id is 1 to 128 visible ASCII characters, so it can neither break a header nor a
//! line of the log.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

/// `x-request-id`.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

const MOST: usize = 128;

/// The id of a request that came through the server.
#[must_use]
pub fn request_id(request: &HttpRequest) -> &str {
    let id = request.headers().get(&HEADER);
    id.and_then(|id| id.to_str().ok()).unwrap_or_default()
}

/// The caller's id if there is one that can be used, or a new one.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.get(&HEADER) {
        Some(id) if usable(id.as_bytes()) => id.clone(),
        _ => new(),
    }
}

fn usable(id: &[u8]) -> bool {
    (1..=MOST).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// 16 bytes in hexadecimal: a counter through a hash that this process keyed at random.
fn new() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    static KEYED: LazyLock<(RandomState, RandomState)> =
        LazyLock::new(|| (RandomState::new(), RandomState::new()));
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let (high, low) = (KEYED.0.hash_one(count), KEYED.1.hash_one(count));
    let bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn given(id: &[u8]) -> HeaderValue {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(id).unwrap());
        of(&headers)
    }

    #[test]
    fn the_callers_id_is_kept_if_it_is_short_and_visible() {
        assert_eq!(given(b"abc-123_~"), "abc-123_~");
        assert_eq!(given(&[b'x'; 128]).len(), 128);
    }

    #[test]
    fn an_id_that_cannot_be_used_is_replaced() {
        for id in [&b""[..], &[b'x'; 129], b"a b", b"a\tb", "ä".as_bytes()] {
            assert_eq!(given(id).len(), 32, "{id:?}");
        }
    }

    #[test]
    fn new_ids_differ() {
        let ids: HashSet<HeaderValue> = (0..10_000).map(|_| new()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(
            ids.iter()
                .all(|id| id.as_bytes().iter().all(u8::is_ascii_hexdigit))
        );
    }
}
