//! The documented views, row by row, as they are, and how long pictures took.

use serde_json::{Map, Value};
use sqlx::sqlite::SqliteRow;
use sqlx::{Column, Row, TypeInfo, ValueRef};

use super::speeds::SPEEDS;
use super::{Result, Store};

/// A view that people know from docs/history.md, or what the page of the history draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatisticsView {
    Throughput,
    OutOfMemory,
    Memory,
    History,
    /// How long each picture took.
    Seconds,
}

impl StatisticsView {
    /// Newest rows first, of those since a moment.
    fn sql(self) -> &'static str {
        match self {
            StatisticsView::Throughput => {
                "SELECT * FROM throughput \
                 WHERE day >= date(? / 1000.0, 'unixepoch', 'localtime') ORDER BY day DESC LIMIT ?"
            }
            StatisticsView::OutOfMemory => {
                "SELECT * FROM oom WHERE at >= datetime(? / 1000.0, 'unixepoch', 'localtime') \
                 ORDER BY job DESC, picture DESC LIMIT ?"
            }
            StatisticsView::Memory => {
                "SELECT * FROM memory WHERE at >= datetime(? / 1000.0, 'unixepoch', 'localtime') \
                 ORDER BY job DESC, picture DESC LIMIT ?"
            }
            StatisticsView::History => {
                "SELECT * FROM history WHERE job > \
                 (SELECT coalesce(max(id), 0) FROM jobs WHERE accepted_at_ms < ?) \
                 ORDER BY job DESC, picture DESC LIMIT ?"
            }
            StatisticsView::Seconds => SPEEDS,
        }
    }
}

impl Store {
    /// Rows of the view since a moment (UTC, milliseconds since the epoch), newest first.
    pub async fn view(
        &self,
        view: StatisticsView,
        since_ms: i64,
        limit: u32,
    ) -> Result<Vec<Map<String, Value>>> {
        let rows = sqlx::query(view.sql()).bind(since_ms).bind(limit);
        let rows = rows.fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok(object(row)?)).collect()
    }
}

fn object(row: &SqliteRow) -> sqlx::Result<Map<String, Value>> {
    let mut object = Map::new();
    for column in row.columns() {
        let at = column.ordinal();
        let raw = row.try_get_raw(at)?;
        // The type of what is not there would be the column's.
        let kind =
            if raw.is_null() { "NULL".to_owned() } else { raw.type_info().name().to_owned() };
        let value = match kind.as_str() {
            "NULL" => Value::Null,
            "INTEGER" | "BOOLEAN" => row.try_get::<i64, _>(at)?.into(),
            "REAL" => row.try_get::<f64, _>(at)?.into(),
            _ => row.try_get::<String, _>(at)?.into(),
        };
        object.insert(column.name().to_owned(), value);
    }
    Ok(object)
}
