//! The statements, and how rows become values. Compiled once for each database, with its types: `super` is the one at
//! hand. So a statement here is in the SQL that both understand, with `$1` for parameters, and a column has the type that
//! both give: text, 64-bit numbers, booleans, bytes.

mod accounts;
mod feed;
mod log;
mod quality;
mod resume;
mod retention;
mod row;
mod sessions;
mod tenants;
mod thread;
mod visits;

use sqlx::error::ErrorKind;

use super::{Connection, Driver, Handle, Row, lock_sequence, unavailable};
use crate::store::{Result, StoreError};

/// What an insert was refused for: `taken` is there already, or `owner` is not.
fn refused(error: sqlx::Error, taken: &'static str, owner: &'static str) -> StoreError {
    match error.as_database_error().map(|error| error.kind()) {
        Some(ErrorKind::UniqueViolation) => StoreError::Exists { what: taken },
        Some(ErrorKind::ForeignKeyViolation) => StoreError::Missing { what: owner },
        _ => unavailable(error),
    }
}

/// Names the column, never what is in it: it may be about a person.
fn damaged(column: &str) -> StoreError {
    StoreError::Corrupt { what: format!("the column {column} has a value it cannot have") }
}

/// A version or a count as the databases have it.
fn integer(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| damaged("version"))
}

/// A place in a list.
fn index(position: usize) -> i64 {
    i64::try_from(position).expect("the lists of a session are short")
}
