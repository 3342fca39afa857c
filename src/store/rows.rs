//! Between our types and the columns' text.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::job::Render;

/// The columns that [`render`] reads, of the table `renders` under the name `r`.
pub(super) const RENDER_COLUMNS: &str = "r.prompt, r.negative_prompt, r.width, r.height, r.steps, r.guidance, r.seed, \
     r.on_oom, r.min_side, r.min_steps, r.output, r.format";

/// A render as it was accepted.
pub(super) fn render(row: &SqliteRow) -> sqlx::Result<Render> {
    Ok(Render {
        prompt: row.try_get("prompt")?,
        negative_prompt: row.try_get("negative_prompt")?,
        width: row.try_get("width")?,
        height: row.try_get("height")?,
        steps: row.try_get("steps")?,
        guidance: row.try_get("guidance")?,
        seed: row.try_get::<i64, _>("seed")?.unsigned_abs(),
        on_oom: word(row.try_get("on_oom")?)?,
        min_side: row.try_get("min_side")?,
        min_steps: row.try_get("min_steps")?,
        output: row.try_get("output")?,
        format: word(row.try_get("format")?)?,
    })
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
