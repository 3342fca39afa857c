//! Between our types and the columns' text.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row, Sqlite};

use crate::job::Render;
use crate::job::parameters::{Column, PARAMETERS, Parameter, ParameterValues};

/// A statement to which values are bound.
pub(super) type Query<'a> = sqlx::query::Query<'a, Sqlite, SqliteArguments>;

/// The columns of a render's parameters, each behind `prefix`, with commas between.
pub(super) fn render_columns(prefix: &str) -> String {
    PARAMETERS.map(|Parameter { name, .. }| format!("{prefix}{name}")).join(", ")
}

/// Binds what a render was asked for, in the order of [`render_columns`].
pub(super) fn bind_render<'a>(mut query: Query<'a>, render: &Render) -> Query<'a> {
    let values = render.values();
    for Parameter { name, column, .. } in PARAMETERS {
        let value = values.get(name);
        // What does not fit its column becomes NULL, which none of these columns takes.
        query = match column {
            Column::Text => query.bind(value.and_then(Value::as_str).map(str::to_owned)),
            Column::Whole => query.bind(value.and_then(Value::as_i64)),
            Column::Real => query.bind(value.and_then(Value::as_f64)),
        };
    }
    query
}

/// A render as it was accepted, from a row with its [`render_columns`].
pub(super) fn render(row: &SqliteRow) -> sqlx::Result<Render> {
    let mut values = ParameterValues::new();
    for Parameter { name, column, .. } in PARAMETERS {
        let value = match column {
            Column::Text => Value::from(row.try_get::<String, _>(name)?),
            Column::Whole => Value::from(row.try_get::<i64, _>(name)?),
            Column::Real => Value::from(row.try_get::<f64, _>(name)?),
        };
        values.insert(name.to_owned(), value);
    }
    Render::from_values(values).map_err(decode_error)
}

/// An enum from the word that [`to_word`] wrote.
pub(super) fn word<T: DeserializeOwned>(word: String) -> sqlx::Result<T> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(decode_error)
}

/// A unit enum's name in serde's spelling.
pub(super) fn to_word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("only unit enums are written as words: {other:?}"),
    }
}

pub(super) fn from_json<T: DeserializeOwned>(json: &str) -> sqlx::Result<T> {
    serde_json::from_str(json).map_err(decode_error)
}

pub(super) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own types have string keys only and cannot fail")
}

fn decode_error(error: serde_json::Error) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

/// SQLite has signed integers only; sizes in bytes and milliseconds never come near the limit.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
