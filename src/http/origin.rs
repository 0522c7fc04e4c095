//! Where a request comes from, as browsers say it: a page of another site must not speak for the person in front of it.

use axum::http::{HeaderMap, HeaderName, Method, header};

use crate::config::PublicUrl;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What the `Origin` of a request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A page of ours: of the address links begin with, or of the one it was asked by.
    Ours,
    /// Another site's page.
    Others,
    /// Nothing: a program that is no browser, or a browser that reads.
    Unsaid,
}

impl Origin {
    pub(crate) fn of(headers: &HeaderMap, ours: &PublicUrl) -> Self {
        let Some(origin) = headers.get(header::ORIGIN) else { return Self::Unsaid };
        let Ok(origin) = origin.to_str() else { return Self::Others };
        if origin.eq_ignore_ascii_case(&ours.to_string()) {
            return Self::Ours;
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        match (origin.split_once("://"), host) {
            (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host) => Self::Ours,
            _ => Self::Others,
        }
    }
}

/// Whether a signaling socket may be opened: by a page of ours or of an origin that was allowed, and by programs that are no
/// browser and say none.
pub(crate) fn may_connect(headers: &HeaderMap, ours: &PublicUrl, allowed: &[PublicUrl]) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let is_allowed = |origin: &str| allowed.iter().any(|one| origin.eq_ignore_ascii_case(&one.to_string()));
    Origin::of(headers, ours) != Origin::Others || origin.is_some_and(is_allowed)
}

/// Whether a request that a cookie speaks for comes from a page of ours. Reading changes nothing, and no other site's page
/// is shown the answer.
pub(crate) fn is_ours(method: &Method, headers: &HeaderMap, ours: &PublicUrl) -> bool {
    let site = headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "same-origin");
    method.is_safe() || site || Origin::of(headers, ours) == Origin::Ours
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn ours() -> PublicUrl {
        "https://visit.example.org".parse().unwrap()
    }

    #[test]
    fn a_page_is_ours_by_the_public_address_or_by_the_one_it_was_asked_by() {
        let of = |pairs: &[_]| Origin::of(&headers(pairs), &ours());
        assert_eq!(of(&[(header::HOST, "a:1")]), Origin::Unsaid);
        assert_eq!(of(&[(header::HOST, "a:1"), (header::ORIGIN, "http://a:1")]), Origin::Ours);
        assert_eq!(
            of(&[(header::HOST, "10.0.0.1:8080"), (header::ORIGIN, "https://visit.example.org")]),
            Origin::Ours
        );
        assert_eq!(of(&[(header::HOST, "a:1"), (header::ORIGIN, "http://b:1")]), Origin::Others);
        assert_eq!(of(&[(header::HOST, "a:1"), (header::ORIGIN, "null")]), Origin::Others);
        assert_eq!(of(&[(header::ORIGIN, "http://a:1")]), Origin::Others);
    }

    #[test]
    fn a_socket_is_for_our_pages_and_those_that_were_allowed() {
        let allowed = ["https://portal.example.org".parse().unwrap()];
        let may = |origin: &'static str| {
            let headers = headers(&[(header::HOST, "a:1"), (header::ORIGIN, origin)]);
            may_connect(&headers, &ours(), &allowed)
        };
        assert!(may("https://visit.example.org") && may("http://a:1") && may("https://portal.example.org"));
        for other in [
            "http://portal.example.org",
            "https://portal.example.org:8443",
            "https://portal.example.org.evil",
            "https://evil",
            "null",
            "",
        ] {
            assert!(!may(other), "{other}");
        }
        assert!(may_connect(&headers(&[(header::HOST, "a:1")]), &ours(), &[]));
        let by_cookie = headers(&[(header::HOST, "a:1"), (header::ORIGIN, "https://portal.example.org")]);
        assert!(!is_ours(&Method::POST, &by_cookie, &ours()), "it speaks for nobody who is signed in");
    }

    #[test]
    fn what_changes_something_by_a_cookie_is_asked_by_a_page_of_ours() {
        let allowed = |method: Method, pairs: &[_]| is_ours(&method, &headers(pairs), &ours());
        assert!(allowed(Method::GET, &[]));
        assert!(!allowed(Method::POST, &[]), "whoever does not say where they come from");
        assert!(!allowed(Method::POST, &[(header::HOST, "a:1"), (header::ORIGIN, "http://b:1")]));
        assert!(!allowed(Method::DELETE, &[(SEC_FETCH_SITE, "cross-site")]));
        assert!(!allowed(Method::PATCH, &[(SEC_FETCH_SITE, "same-site")]));
        assert!(allowed(Method::POST, &[(header::HOST, "a:1"), (header::ORIGIN, "http://a:1")]));
        assert!(allowed(Method::PATCH, &[(SEC_FETCH_SITE, "same-origin")]));
    }
}
