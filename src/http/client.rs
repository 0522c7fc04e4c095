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
/// Where the page is opened: with a link, and without one; by staff; and where the API is described.
const PAGE_PATHS: [&str; 6] = ["", "j", "index.html", "staff", "setup", "api"];
/// The bundler gives these names of their content: what has such a name never changes.
const HASHED: &str = "assets/";

/// The page or a file, in the smallest form the browser takes.
pub(crate) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return ApiError::MethodNotAllowed.into_response();
    }
    let path = uri.path().trim_start_matches('/');
    if PAGE_PATHS.contains(&path.strip_suffix('/').unwrap_or(path)) {
        return file(PAGE, &headers).unwrap_or_else(|| ApiError::NotFound.into_response());
    }
    // The compressed forms have no address of their own.
    let is_compressed = path.ends_with(".br") || path.ends_with(".gz");
    let found = if is_compressed { None } else { file(path, &headers) };
    found.unwrap_or_else(|| nothing(path, &headers))
}

/// There is nothing: the page says it to people, and a problem to programs.
fn nothing(path: &str, headers: &HeaderMap) -> Response {
    let is_api = path == "v1" || path.starts_with("v1/");
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if is_api || !accepted.contains("text/html") {
        return ApiError::NotFound.into_response();
    }
    // Nobody has it already: whoever asks is told anew.
    let mut fresh = headers.clone();
    fresh.remove(header::IF_NONE_MATCH);
    let Some(mut page) = file(PAGE, &fresh) else { return ApiError::NotFound.into_response() };
    *page.status_mut() = StatusCode::NOT_FOUND;
    page.headers_mut().remove(header::ETAG);
    page.headers_mut().insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    page
}

/// A file, if there is one of that name.
fn file(path: &str, headers: &HeaderMap) -> Option<Response> {
    let content_type = content_type(path)?;
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    let encodings = [("br", ".br"), ("gzip", ".gz")].into_iter().filter(|(name, _)| accepts(accepted, name));
    let compressed =
        encodings.filter_map(|(name, ending)| Some((Some(name), Files::get(&format!("{path}{ending}"))?)));
    let plain = Files::get(path).map(|file| (None, file));
    let (encoding, file) = compressed.into_iter().next().or(plain)?;
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
        return Some((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    Some((answer, Body::from(file.data.into_owned())).into_response())
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
        for path in
            ["/", "/j", "/j/", "/index.html", "/staff", "/staff/", "/setup", "/setup/", "/api", "/api/"]
        {
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
        let response = get("/nothing", "br").await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let response = serve(Method::POST, "/".parse().unwrap(), HeaderMap::new()).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn people_are_told_by_the_page_that_there_is_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8".parse().unwrap());
        let page = get("/", "").await;
        headers.insert(header::IF_NONE_MATCH, page.headers()[header::ETAG].clone());
        for path in ["/nothing", "/staff/nobody", "/index.html.br"] {
            let response = serve(Method::GET, path.parse().unwrap(), headers.clone()).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
            assert!(!response.headers().contains_key(header::ETAG));
        }
        for path in ["/v1", "/v1/nothing"] {
            let response = serve(Method::GET, path.parse().unwrap(), headers.clone()).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        }
    }
}
