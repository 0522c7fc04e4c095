//! Addresses of other servers, in the one form that is safe to keep: HTTPS, with a host and without credentials.
//!
//! Not every URL there is (RFC 3986): whatever two parsers might read differently is refused.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const SCHEME: &str = "https://";
/// The longest name of a host (RFC 1035, section 2.3.4, without the final dot).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// An `https` URL: a host, perhaps a port, a path and a query; no user, no fragment. Scheme and host are in lower case.
///
/// `Debug` shows the host alone: the path or the query of a webhook may be what lets one in there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpsUrl {
    text: String,
    /// Where the host ends in `text`; it begins after the scheme.
    host_end: usize,
}

/// Why a text is no such URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Longer than allowed.
    #[error("must have at most {} bytes", HttpsUrl::BYTES_MAX)]
    TooLong,
    /// A character that is not visible ASCII, or that a URL has only percent-encoded; or a `%` without two digits.
    #[error("has a character that no URL has")]
    Character,
    /// Another scheme, or none.
    #[error("must begin with https://")]
    NotHttps,
    /// A user, and perhaps a password, before the host.
    #[error("must not have a user or a password")]
    UserInfo,
    /// No host, or one that is no name and no address.
    #[error("must have a host: a name or an IP address")]
    Host,
    /// No port number after the colon.
    #[error("the port must be 1 to 65535")]
    Port,
    /// A fragment, which no server ever sees.
    #[error("must not have a fragment")]
    Fragment,
}

impl HttpsUrl {
    /// The longest allowed, in bytes.
    pub const BYTES_MAX: usize = 2048;

    /// Takes the URL apart, and puts scheme and host in lower case.
    ///
    /// # Errors
    /// What else it is.
    pub fn parse(text: impl AsRef<str>) -> Result<Self, UrlError> {
        let text = text.as_ref();
        if text.len() > Self::BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        check_characters(text)?;
        let scheme = text.get(..SCHEME.len()).ok_or(UrlError::NotHttps)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(UrlError::NotHttps);
        }
        let after_scheme = &text[SCHEME.len()..];
        let authority_end = after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len());
        let (authority, rest) = after_scheme.split_at(authority_end);
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (host, port) = split_port(authority)?;
        let host = host.to_ascii_lowercase();
        if !is_host(&host) {
            return Err(UrlError::Host);
        }
        let host_end = SCHEME.len() + host.len();
        Ok(Self { text: format!("{SCHEME}{host}{port}{rest}"), host_end })
    }

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host, in lower case and without the port. An IPv6 address is in brackets, as in the URL.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.text[SCHEME.len()..self.host_end]
    }
}

/// RFC 3986, section 2: what is neither reserved, unreserved, nor a percent sign before two hexadecimal digits is no
/// part of a URL. The backslash among it: browsers take it for a slash, other parsers do not.
fn check_characters(text: &str) -> Result<(), UrlError> {
    let bytes = text.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        let fits = match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => false,
            b'%' => {
                bytes.get(index + 1..index + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            }
            _ => byte.is_ascii_graphic(),
        };
        if !fits {
            return Err(UrlError::Character);
        }
    }
    Ok(())
}

/// Host and port, the latter with its colon, or empty.
fn split_port(authority: &str) -> Result<(&str, &str), UrlError> {
    let host_end = if authority.starts_with('[') {
        authority.find(']').ok_or(UrlError::Host)? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(host_end);
    if port.is_empty() {
        return Ok((host, port));
    }
    // Digits alone: `parse` by itself would take a plus sign.
    let number = port.strip_prefix(':').ok_or(UrlError::Host)?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match number.parse::<u16>() {
        Ok(1..) if digits => Ok((host, port)),
        _ => Err(UrlError::Port),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    // A name whose last part is a number is an address to a browser, in forms as 127.1 or 0x7f.1: only the plain one is.
    let last = host.rsplit('.').next().unwrap_or(host);
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    if numeric {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    host.len() <= NAME_BYTES_MAX && host.split('.').all(is_label)
}

/// A label of a name (RFC 1123, section 2.1).
fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for HttpsUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HttpsUrl({SCHEME}{}/…)", self.host())
    }
}

impl FromStr for HttpsUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for HttpsUrl {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

impl From<HttpsUrl> for String {
    fn from(url: HttpsUrl) -> Self {
        url.text
    }
}
