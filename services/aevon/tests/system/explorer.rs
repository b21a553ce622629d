//! The page at `/`: whole in one answer, locked in, kept by its tag, and there for whoever has no key.

use crate::support::Service;
use aevon_testkit::TestDatabase;
use reqwest::Method;

#[tokio::test(flavor = "multi_thread")]
async fn the_explorer_is_one_answer_that_needs_no_key_and_can_be_switched_off() {
    let db = TestDatabase::create().await;
    let keyed = [
        ("AEVON_AUTH__MODE", "api_key"),
        ("AEVON_SERVER__HOST", "127.0.0.1"),
    ];
    let projection = Service::start("projection-svc", db.url(), &keyed).await;
    let page = projection.get("/").await;
    assert_eq!(page.status, 200, "{page:?}");
    let html = page.body.as_str().unwrap();
    assert!(html.starts_with("<!doctype html>"), "{html}");
    assert!(!html.contains("<script src") && !html.contains("stylesheet"));
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"));
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    assert_eq!(page.headers["referrer-policy"], "no-referrer");

    let tag = page.headers["etag"].to_str().unwrap();
    let ask = async |headers: &[(&str, &str)]| projection.send(Method::GET, "/", headers, "").await;
    let again = ask(&[("if-none-match", tag)]).await;
    assert_eq!((again.status, again.body.as_str()), (304, Some("")));
    assert_eq!(ask(&[("if-none-match", "W/\"another\"")]).await.status, 200);
    let packed = ask(&[("accept-encoding", "br, gzip")]).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert_eq!(packed.headers["etag"], page.headers["etag"]);
    let plain = ask(&[("accept-encoding", "gzip;q=0")]).await;
    assert!(!plain.headers.contains_key("content-encoding"));

    let mut off = keyed.to_vec();
    off.push(("AEVON_EXPLORER__ENABLED", "false"));
    let projection = Service::start("projection-svc", db.url(), &off).await;
    let refused = projection.get("/").await;
    assert_eq!(refused.status, 404, "{refused:?}");
    assert_eq!(refused.body["type"], "urn:aevon:problem:not-found");
}
