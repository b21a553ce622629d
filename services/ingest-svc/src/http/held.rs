//! An answer that holds a part of a bound until it has gone out: a caller who reads slowly, or not
//! at all, takes no memory that nobody counts.

use crate::shares::Share;
use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Bytes that are given out at once. The server copies what it gets, and asks for more when that
/// has gone out.
const CHUNK_BYTES: usize = 16 * 1024;

/// The same answer, holding `share` until its body has gone out.
pub(super) fn hold(response: HttpResponse, share: Share) -> HttpResponse {
    response.map_body(|_, body| match body.try_into_bytes() {
        Ok(bytes) => BoxBody::new(Held {
            bytes,
            _share: share,
        }),
        Err(body) => body,
    })
}

struct Held {
    bytes: Bytes,
    _share: Share,
}

impl MessageBody for Held {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.bytes.len() as u64)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let bytes = &mut self.get_mut().bytes;
        if bytes.is_empty() {
            return Poll::Ready(None);
        }
        let chunk = bytes.split_to(bytes.len().min(CHUNK_BYTES));
        Poll::Ready(Some(Ok(chunk)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shares::{Flow, Shares, Size};
    use std::future::poll_fn;

    #[actix_web::test]
    async fn a_part_is_held_until_the_whole_body_has_gone_out() {
        let shares = Shares::new(Size::of_bytes(100_000));
        let share = shares
            .take(&Flow::from("a"), Size::of_bytes(40_000))
            .unwrap();
        let sent = "x".repeat(40_000);
        let mut body = hold(HttpResponse::Ok().body(sent.clone()), share).into_body();
        assert_eq!(body.size(), BodySize::Sized(40_000));
        let mut received = Vec::new();
        while let Some(chunk) = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await {
            received.extend_from_slice(&chunk.unwrap());
            assert_eq!(shares.level().0.bytes, 40_000);
        }
        assert!(received == sent.as_bytes());
        drop(body);
        assert_eq!(shares.level().0.bytes, 0);
    }
}
