//! Columns as values of the domain.

use jiff::Timestamp;
use sqlx::Row as _;
use vestibule_domain::{Actor, ParticipantId, StaffId};

use super::{Driver, Result, Row, damaged};

pub(super) fn column<'r, T>(row: &'r Row, name: &'static str) -> Result<T>
where
    T: sqlx::Decode<'r, Driver> + sqlx::Type<Driver>,
{
    row.try_get(name).map_err(|_| damaged(name))
}

pub(super) fn parsed<T: std::str::FromStr>(row: &Row, name: &'static str) -> Result<T> {
    column::<String>(row, name)?.parse().map_err(|_| damaged(name))
}

pub(super) fn optional_parsed<T: std::str::FromStr>(row: &Row, name: &'static str) -> Result<Option<T>> {
    let text: Option<String> = column(row, name)?;
    text.map(|text| text.parse().map_err(|_| damaged(name))).transpose()
}

pub(super) fn optional_time(row: &Row, name: &'static str) -> Result<Option<Timestamp>> {
    let milliseconds: Option<i64> = column(row, name)?;
    milliseconds.map(|value| Timestamp::from_millisecond(value).map_err(|_| damaged(name))).transpose()
}

pub(super) fn time(row: &Row, name: &'static str) -> Result<Timestamp> {
    optional_time(row, name)?.ok_or_else(|| damaged(name))
}

pub(super) fn natural(row: &Row, name: &'static str) -> Result<u64> {
    u64::try_from(column::<i64>(row, name)?).map_err(|_| damaged(name))
}

pub(super) fn small<T: TryFrom<i64>>(row: &Row, name: &'static str) -> Result<T> {
    T::try_from(column::<i64>(row, name)?).map_err(|_| damaged(name))
}

pub(super) fn optional_small<T: TryFrom<i64>>(row: &Row, name: &'static str) -> Result<Option<T>> {
    let value: Option<i64> = column(row, name)?;
    value.map(|value| T::try_from(value).map_err(|_| damaged(name))).transpose()
}

pub(super) fn from_json<T: serde::de::DeserializeOwned>(row: &Row, name: &'static str) -> Result<T> {
    serde_json::from_str(&column::<String>(row, name)?).map_err(|_| damaged(name))
}

pub(super) fn optional_json<T: serde::de::DeserializeOwned>(
    row: &Row,
    name: &'static str,
) -> Result<Option<T>> {
    let text: Option<String> = column(row, name)?;
    text.map(|text| serde_json::from_str(&text).map_err(|_| damaged(name))).transpose()
}

pub(super) fn actor_columns(actor: &Actor) -> (&'static str, Option<String>) {
    match actor {
        Actor::Participant(id) => ("participant", Some(id.to_string())),
        Actor::Staff(id) => ("staff", Some(id.as_str().to_owned())),
        Actor::System => ("system", None),
        Actor::Timer => ("timer", None),
    }
}

pub(super) fn actor(row: &Row, kind: &'static str, id: &'static str) -> Result<Actor> {
    match column::<String>(row, kind)?.as_str() {
        "participant" => Ok(Actor::Participant(parsed::<ParticipantId>(row, id)?)),
        "staff" => Ok(Actor::Staff(parsed::<StaffId>(row, id)?)),
        "system" => Ok(Actor::System),
        "timer" => Ok(Actor::Timer),
        _ => Err(damaged(kind)),
    }
}
