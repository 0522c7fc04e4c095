//! What is counted is for the operator's monitoring alone.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode, header};
use tower::ServiceExt as _;

use super::{BODY_BYTES_MAX, METRICS_TOKEN, Server};

const HERE: &str = "127.0.0.1:50000";
const ELSEWHERE: &str = "192.0.2.7:50000";

async fn asked(
    server: &Server,
    from: &str,
    headers: &[(header::HeaderName, &str)],
) -> (StatusCode, String, String) {
    let mut request = Request::builder().uri("/metrics");
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(from.parse::<SocketAddr>().unwrap()));
    let response = server.router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let bytes = to_bytes(response.into_body(), BODY_BYTES_MAX).await.unwrap();
    (status, kind, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn they_are_read_on_this_machine_or_by_the_token_and_are_not_there_for_others() {
    let server = Server::start().await;
    let bearer = format!("Bearer {METRICS_TOKEN}");
    let token = (header::AUTHORIZATION, bearer.as_str());
    for (from, headers) in [
        (HERE, vec![]),
        ("[::1]:50000", vec![]),
        ("[::ffff:127.0.0.1]:50000", vec![]),
        (ELSEWHERE, vec![token.clone()]),
        (HERE, vec![token.clone(), (header::FORWARDED, "for=192.0.2.7")]),
    ] {
        let (status, kind, text) = asked(&server, from, &headers).await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8"));
        for line in [
            "vestibule_core_rtp_in_total{shard=\"0\"} 0",
            "vestibule_participants{level=\"bad\"} 0",
            "vestibule_quality_steps_total{level=\"bad\",reason=\"uplink_loss\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
    }
    let wrong = (header::AUTHORIZATION, "Bearer another token");
    let other_scheme = format!("Basic {METRICS_TOKEN}");
    for (from, headers) in [
        (ELSEWHERE, vec![]),
        (ELSEWHERE, vec![wrong]),
        (ELSEWHERE, vec![(header::AUTHORIZATION, other_scheme.as_str())]),
        (HERE, vec![(header::FORWARDED, "for=192.0.2.7")]),
        (HERE, vec![(header::HeaderName::from_static("x-forwarded-for"), "192.0.2.7")]),
    ] {
        let (status, kind, _) = asked(&server, from, &headers).await;
        assert_eq!((status, kind.as_str()), (StatusCode::NOT_FOUND, "application/problem+json"), "{from}");
    }
}

#[tokio::test]
async fn every_line_is_of_the_format_and_every_name_is_told_once() {
    let server = Server::start().await;
    let (_, _, text) = asked(&server, HERE, &[]).await;
    let mut names = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(names.insert(rest.split(' ').next().unwrap()), "{line} a second time");
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let bare = name.split('{').next().unwrap();
            let suffixes = ["", "_bucket", "_sum", "_count"];
            let known = suffixes
                .iter()
                .any(|suffix| bare.strip_suffix(suffix).is_some_and(|name| names.contains(name)));
            assert!(known, "{line} before its type");
        }
    }
    assert!(names.len() > 60, "{names:?}");
}
