//! `GET /`: the explorer, a page that shows states over time, as they are known and as they were.
//!
//! Invariant: the page is what `make explorer` built from `explorer/`, and nothing of the installation
//! is in it, so that anybody may have it; whatever it shows, it asks the other routes for, with its
//! user's key.

use super::format::{Known, digest};
use crate::Projection;
use actix_web::http::header::{
    AcceptEncoding, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, Encoding,
    EntityTag, Header, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use aevon_service::openapi::{ByStatus, problems_of_open_route};
use aevon_service::problem::{Code, Problem};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::sync::LazyLock;
use utoipa::IntoResponses;

const PAGE: &str = include_str!("../../explorer/dist/index.html");
/// Allows the page's own script and style, by their hashes, and requests to where it came from.
const POLICY: &str = include_str!("../../explorer/dist/content-security-policy");

/// Every browser unpacks it.
static PACKED: LazyLock<Bytes> = LazyLock::new(|| {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    let packed = packer
        .write_all(PAGE.as_bytes())
        .and_then(|()| packer.finish());
    // Memory takes whatever is written to it.
    Bytes::from(packed.unwrap_or_default())
});

static TAG: LazyLock<EntityTag> =
    LazyLock::new(|| EntityTag::new_weak(digest(&[PAGE.to_owned(), POLICY.to_owned()])));

struct Problems;

impl IntoResponses for Problems {
    fn responses() -> ByStatus {
        problems_of_open_route(&[Code::NotFound])
    }
}

/// The explorer
///
/// A page that shows states over time, as they are known now and as they were at any moment, with the
/// events behind them. It needs no network but the way to this service, and no key; what it shows, it
/// asks for with the key that its user gives it. 404 where `explorer.enabled` is off.
#[utoipa::path(
    get,
    path = "/",
    operation_id = "getExplorer",
    tag = "explorer",
    responses(
        (status = 200, description = "The page", body = String,
         content_type = "text/html; charset=utf-8", headers(("etag" = String))),
        (status = 304, description = "What the caller has, by `if-none-match`, is this very page",
         headers(("etag" = String))),
        Problems
    )
)]
pub(crate) async fn get(
    projection: Data<Projection>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    if !projection.has_explorer {
        return Err(Problem::new(Code::NotFound, "the explorer is switched off"));
    }
    if let Some(mut response) = Known::of(&request).not_modified(&TAG) {
        return Ok(response.insert_header((VARY, "accept-encoding")).finish());
    }
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY.trim()))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        // Asked for again each time: a program that was replaced has another page.
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((ETAG, TAG.clone()))
        .insert_header((VARY, "accept-encoding"));
    Ok(match takes_gzip(&request) {
        true => response
            .insert_header((CONTENT_ENCODING, "gzip"))
            .body(PACKED.clone()),
        false => response.body(PAGE),
    })
}

fn takes_gzip(request: &HttpRequest) -> bool {
    let offered = [Encoding::gzip(), Encoding::identity()];
    let accepted = AcceptEncoding::parse(request).ok();
    accepted.and_then(|accepted| accepted.negotiate(offered.iter())) == Some(Encoding::gzip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest as _, Sha256};

    #[test]
    fn the_policy_allows_the_script_and_the_style_of_this_page_and_no_others() {
        for (open, close, directive) in [
            ("<script type=\"module\">", "</script>", "script-src"),
            ("<style>", "</style>", "style-src"),
        ] {
            let parts: Vec<&str> = PAGE.split(open).collect();
            let [_, rest] = parts[..] else {
                panic!("there is not exactly one {open}");
            };
            let content = rest.split(close).next().unwrap();
            let hash = STANDARD.encode(Sha256::digest(content));
            let allowed = format!("{directive} 'sha256-{hash}';");
            assert!(POLICY.contains(&allowed), "{allowed} is not in {POLICY}");
        }
        assert!(!POLICY.contains("unsafe"), "{POLICY}");
        assert!(POLICY.starts_with("default-src 'none';"), "{POLICY}");
    }
}
