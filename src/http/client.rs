//! The web client, embedded in the binary with its compressed forms.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use super::problem::ApiError;

/// `make` builds it; `build.rs` says so where it is missing.
#[derive(RustEmbed)]
#[folder = "web-client/app/dist"]
struct Files;

/// The page, whatever it is opened for: it finds out by itself.
const PAGE: &str = "index.html";
/// Where the page is opened: with a link, and without one.
const PAGE_PATHS: [&str; 3] = ["", "j", "index.html"];
/// The bundler gives these names of their content: what has such a name never changes.
const HASHED: &str = "assets/";

/// A file, in the smallest form the browser takes.
pub(crate) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return ApiError::MethodNotAllowed.into_response();
    }
    let path = uri.path().trim_start_matches('/');
    let path = if PAGE_PATHS.contains(&path) { PAGE } else { path };
    // The compressed forms have no address of their own.
    if path.ends_with(".br") || path.ends_with(".gz") {
        return ApiError::NotFound.into_response();
    }
    let Some(content_type) = content_type(path) else { return ApiError::NotFound.into_response() };
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    let encodings = [("br", ".br"), ("gzip", ".gz")].into_iter().filter(|(name, _)| accepts(accepted, name));
    let compressed =
        encodings.filter_map(|(name, ending)| Some((Some(name), Files::get(&format!("{path}{ending}"))?)));
    let plain = Files::get(path).map(|file| (None, file));
    let Some((encoding, file)) = compressed.into_iter().next().or(plain) else {
        return ApiError::NotFound.into_response();
    };
    let etag = etag(&file.metadata.sha256_hash());
    let mut answer = HeaderMap::new();
    let caching = if path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(encoding) = encoding {
        answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    let known = headers.get(header::IF_NONE_MATCH) == Some(&etag);
    answer.insert(header::ETAG, etag);
    if known {
        return (StatusCode::NOT_MODIFIED, answer).into_response();
    }
    (answer, Body::from(file.data.into_owned())).into_response()
}

/// Whether `Accept-Encoding` names a coding, and not with a weight of zero (RFC 9110, section 12.5.3).
fn accepts(header: &str, coding: &str) -> bool {
    header.split(',').any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding));
        named && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

fn etag(sha256: &[u8; 32]) -> HeaderValue {
    let mut text = String::with_capacity(34);
    text.push('"');
    for byte in &sha256[..16] {
        text.push_str(&format!("{byte:02x}"));
    }
    text.push('"');
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("\"\""))
}

fn content_type(path: &str) -> Option<&'static str> {
    Some(match path.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "json" | "webmanifest" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(path: &str, accept: &str) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, accept.parse().unwrap());
        serve(Method::GET, path.parse().unwrap(), headers).await
    }

    #[tokio::test]
    async fn the_page_is_served_in_the_form_the_browser_takes() {
        for path in ["/", "/j", "/index.html"] {
            let response = get(path, "gzip, deflate, br").await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(response.headers()[header::CONTENT_ENCODING], "br");
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
        }
        assert_eq!(get("/", "br;q=0, gzip").await.headers()[header::CONTENT_ENCODING], "gzip");
        assert!(!get("/", "").await.headers().contains_key(header::CONTENT_ENCODING));
    }

    #[tokio::test]
    async fn a_page_that_is_known_is_not_sent_again() {
        let first = get("/", "br").await;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, "br".parse().unwrap());
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        let again = serve(Method::GET, "/".parse().unwrap(), headers).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }

    #[tokio::test]
    async fn nothing_else_is_served() {
        for path in ["/nothing", "/index.html.br", "/../Cargo.toml", "/assets/", "/assets/none.js"] {
            assert_eq!(get(path, "br").await.status(), StatusCode::NOT_FOUND, "{path}");
        }
        let response = serve(Method::POST, "/".parse().unwrap(), HeaderMap::new()).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
