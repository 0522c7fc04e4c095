//! The cookie of a staff session. `__Host-` has browsers see to it that no other host and no plain connection set it
//! (RFC 6265bis, section 4.1.3.2); scripts do not see it, and no other site's page has it sent.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::accounts::{SESSION_LIFE, Secret};

const NAME: &str = "__Host-vestibule";
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Strict";

/// What the cookie of a request says.
pub(crate) fn read(headers: &HeaderMap) -> Option<Secret> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut ours = cookies.flat_map(|line| line.split(';')).filter_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == NAME).then_some(value)
    });
    Secret::parse(ours.next()?)
}

/// Sets it.
pub(crate) fn set(secret: &Secret) -> (HeaderName, HeaderValue) {
    answer(&format!("{NAME}={}; Max-Age={}; {ATTRIBUTES}", secret.reveal(), SESSION_LIFE.as_secs()))
}

/// Takes it away.
pub(crate) fn clear() -> (HeaderName, HeaderValue) {
    answer(&format!("{NAME}=; Max-Age=0; {ATTRIBUTES}"))
}

fn answer(text: &str) -> (HeaderName, HeaderValue) {
    let mut value = HeaderValue::try_from(text).expect("base64url and constants are visible ASCII");
    value.set_sensitive(true);
    (header::SET_COOKIE, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(cookie: &str) -> Option<Secret> {
        read(&HeaderMap::from_iter([(header::COOKIE, cookie.parse().unwrap())]))
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let secret = Secret::fresh();
        let text = secret.reveal();
        assert_eq!(said(&format!("a=b; {NAME}={text}; c=d")), Some(secret));
        for other in
            [format!("vestibule={text}"), format!("x{NAME}={text}"), format!("{NAME}=short"), String::new()]
        {
            assert_eq!(said(&other), None, "{other}");
        }
    }

    #[test]
    fn no_script_and_no_other_site_has_it() {
        let (name, value) = set(&Secret::fresh());
        assert_eq!(name, header::SET_COOKIE);
        assert!(value.is_sensitive());
        let text = value.to_str().unwrap();
        for part in
            ["__Host-vestibule=", "; Max-Age=43200;", "Path=/", "Secure", "HttpOnly", "SameSite=Strict"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("Domain"));
        assert!(clear().1.to_str().unwrap().starts_with("__Host-vestibule=; Max-Age=0;"));
    }
}
