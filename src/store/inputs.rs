//! Which of the kept pictures as input are still needed.

use sqlx::sqlite::SqlitePool;

use super::rows::to_json;
use super::{Result, Store};

/// The hashes of all pictures that renders which may still run or be retried begin with, or have
/// for a mask.
pub(super) async fn all_needed(connection: &SqlitePool) -> sqlx::Result<Vec<String>> {
    let sql = "SELECT init_image FROM renders WHERE init_image <> '' AND state <> 'done' \
               UNION SELECT mask FROM renders WHERE mask <> '' AND state <> 'done'";
    sqlx::query_scalar(sql).fetch_all(connection).await
}

impl Store {
    /// Those of the hashes that a render begins with, or has for a mask, which may still run or be
    /// retried.
    pub async fn needed_inputs(&self, hashes: &[String]) -> Result<Vec<String>> {
        let of_render = |column: &str| {
            format!(
                "EXISTS (SELECT 1 FROM renders WHERE {column} = value AND {column} <> '' \
                 AND state <> 'done')"
            )
        };
        let (begins, masked) = (of_render("init_image"), of_render("mask"));
        let sql = format!("SELECT value FROM json_each(?) WHERE {begins} OR {masked}");
        let needed = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(to_json(&hashes));
        Ok(needed.fetch_all(&self.readers).await?)
    }
}
