//! Pages of lists: how many, and from where. A cursor is what the list is sorted by, in base64url: nothing to be made by
//! hand, and nothing secret.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::ApiError;
use crate::store::Page;

/// Entries of a page unless the caller says, and at most.
const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 100;

/// One page.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listed<T> {
    /// The entries, in the order of the list.
    pub(crate) items: Vec<T>,
    /// The `cursor` of the next page; null on the last one.
    pub(crate) next: Option<String>,
}

/// A page one longer than asked for, to know whether there is another.
pub(crate) fn page<Key: std::str::FromStr>(
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<Key>, ApiError> {
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::Invalid { field: "limit", problem: format!("must be 1 to {LIMIT_MAX}") });
    }
    let after = cursor.map(|cursor| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        text.and_then(|text| text.parse().ok())
            .ok_or(ApiError::Invalid { field: "cursor", problem: "must be the `next` of an answer".into() })
    });
    Ok(Page { after: after.transpose()?, limit: limit + 1 })
}

/// What was found, as a page of `limit`.
pub(crate) fn listed<Row, T>(
    mut rows: Vec<Row>,
    limit: u32,
    key: impl Fn(&Row) -> String,
    item: impl Fn(Row) -> T,
) -> Listed<T> {
    let asked = limit as usize - 1;
    let more = rows.len() > asked;
    rows.truncate(asked);
    let next = if more { rows.last().map(|row| BASE64_URL_SAFE_NO_PAD.encode(key(row))) } else { None };
    Listed { items: rows.into_iter().map(item).collect(), next }
}
