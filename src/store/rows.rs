//! Between our types and the columns' text.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{
    SqliteArguments, SqliteArgumentsBuffer, SqliteRow, SqliteTypeInfo, SqliteValueRef,
};
use sqlx::{Row, Sqlite};

use crate::attempt::{ErrorCode, Outcome, Predicted};
use crate::engine::provenance::{PartLoad, PartOrigin};
use crate::job::event::EventKind;
use crate::job::hook::{HookChannel, HookEvent};
use crate::job::origin::OriginKind;
use crate::job::parameters::{Column, PARAMETERS, Parameter, ParameterValues};
use crate::job::state::State;
use crate::job::{AskedPrecision, Render, SamplerKind};
use crate::ladder::Stage;
use crate::planner::Prediction;

/// What the column `corrected` holds. Rows of earlier versions do not say what was missing.
#[derive(Serialize, Deserialize)]
pub(super) struct Corrected {
    #[serde(flatten)]
    pub(super) prediction: Prediction,
    #[serde(default)]
    pub(super) missing_bytes: u64,
}

impl From<&Predicted> for Corrected {
    fn from(predicted: &Predicted) -> Corrected {
        let Predicted { corrected, missing_bytes, .. } = *predicted;
        Corrected { prediction: corrected, missing_bytes }
    }
}

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
            Column::Json => query.bind(value.map(Value::to_string)),
        };
    }
    query
}

/// A render as it was accepted, from a row with its [`render_columns`] and `asked_prompt`.
pub(super) fn render(row: &SqliteRow) -> sqlx::Result<Render> {
    let mut values = ParameterValues::new();
    for Parameter { name, column, .. } in PARAMETERS {
        let value = match column {
            Column::Text => Value::from(row.try_get::<String, _>(name)?),
            Column::Whole => Value::from(row.try_get::<i64, _>(name)?),
            Column::Real => Value::from(row.try_get::<f64, _>(name)?),
            Column::Json => from_json(&row.try_get::<String, _>(name)?)?,
        };
        values.insert(name.to_owned(), value);
    }
    let render = Render::from_values(values).map_err(decode_error)?;
    Ok(Render { asked_prompt: row.try_get("asked_prompt")?, ..render })
}

/// Stores a unit enum as the word that serde calls it.
macro_rules! stored_as_word {
    ($($name:ty),+) => {$(
        impl sqlx::Type<Sqlite> for $name {
            fn type_info() -> SqliteTypeInfo {
                <str as sqlx::Type<Sqlite>>::type_info()
            }
        }

        impl<'r> sqlx::Decode<'r, Sqlite> for $name {
            fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
                let word = <&str as sqlx::Decode<Sqlite>>::decode(value)?;
                let word: StrDeserializer<'_, serde::de::value::Error> = word.into_deserializer();
                Ok(Self::deserialize(word)?)
            }
        }

        impl sqlx::Encode<'_, Sqlite> for $name {
            fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
                sqlx::Encode::<Sqlite>::encode(to_word(self), buffer)
            }
        }
    )+};
}

stored_as_word!(State, EventKind, Outcome, ErrorCode, OriginKind, Stage, SamplerKind);
stored_as_word!(AskedPrecision, HookChannel, HookEvent);

/// The words to find a job by, which its row holds as a JSON list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(transparent)]
pub struct Tags(pub Vec<String>);

impl TryFrom<String> for Tags {
    type Error = serde_json::Error;

    fn try_from(json: String) -> Result<Tags, serde_json::Error> {
        serde_json::from_str(&json).map(Tags)
    }
}

/// What the parts of a model are, which its worker's row holds as a JSON list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(transparent)]
pub struct ModelParts(pub Vec<PartOrigin>);

impl TryFrom<String> for ModelParts {
    type Error = serde_json::Error;

    fn try_from(json: String) -> Result<ModelParts, serde_json::Error> {
        serde_json::from_str(&json).map(ModelParts)
    }
}

/// How long the parts of a model took to load, as a row has it.
#[derive(Clone, Debug)]
pub struct PartLoads(pub Vec<PartLoad>);

impl TryFrom<String> for PartLoads {
    type Error = serde_json::Error;

    fn try_from(json: String) -> Result<PartLoads, serde_json::Error> {
        serde_json::from_str(&json).map(PartLoads)
    }
}

/// A unit enum's name in serde's spelling.
fn to_word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("only unit enums are stored as words: {other:?}"),
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
