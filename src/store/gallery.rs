//! Pictures and jobs of the whole history, a page at a time. A page begins after the last row of
//! the one before, by its key: however long the history, and whatever comes in meanwhile.

use sqlx::{QueryBuilder, Sqlite};

use super::queries::{PICTURES, shown_as};
use super::{HistoryRow, Result, Selection, Store, StoreError};
use crate::job::state::{ShownState, State};

/// Which pictures are listed: all unless something is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GalleryFilter {
    pub state: Option<ShownState>,
    /// Of jobs with this tag.
    pub tag: Option<String>,
    /// A part of the prompt, in any case of ASCII letters.
    pub text: Option<String>,
    pub degraded: Option<bool>,
    pub starred: Option<bool>,
    /// Asked for, in pixels: the width and the height.
    pub size: Option<(u32, u32)>,
    /// A part of the rung that made it.
    pub rung: Option<String>,
    /// The name of the model that made it.
    pub model: Option<String>,
    pub job_id: Option<i64>,
    /// These alone, each by its job and its place there.
    pub among: Option<Vec<(i64, u32)>>,
    /// Those that ended at this time (UTC, milliseconds since the epoch) or later.
    pub since_ms: Option<i64>,
    /// Those that ended before this time (UTC, milliseconds since the epoch).
    pub to_ms: Option<i64>,
    /// Those before this one: its job and its place there.
    pub before: Option<(i64, u32)>,
}

impl GalleryFilter {
    /// Conditions on a render `r`.
    fn narrow(&self, sql: &mut QueryBuilder<Sqlite>) {
        if let Some(state) = self.state {
            // The sign keeps an index by state from being used where that of the few starred is
            // better.
            let column = if self.starred == Some(true) { "+r.state" } else { "r.state" };
            shown_as(sql, column, state);
        }
        if let Some(tag) = &self.tag {
            sql.push(" AND EXISTS (SELECT 1 FROM jobs j, json_each(j.tags) WHERE j.id = r.job_id");
            sql.push(" AND value = ").push_bind(tag).push(")");
        }
        if let Some(text) = &self.text {
            sql.push(" AND instr(lower(r.prompt), lower(").push_bind(text).push(")) > 0");
        }
        if let Some(degraded) = self.degraded {
            sql.push(" AND r.degraded = ").push_bind(degraded);
        }
        if let Some(starred) = self.starred {
            // Written out, not bound: so the index of the few that are starred is used.
            sql.push(if starred { " AND r.starred = 1" } else { " AND r.starred = 0" });
        }
        if let Some((width, height)) = self.size {
            sql.push(" AND r.width = ").push_bind(width);
            sql.push(" AND r.height = ").push_bind(height);
        }
        self.narrow_making(sql);
        if let Some(since_ms) = self.since_ms {
            sql.push(" AND r.finished_at_ms >= ").push_bind(since_ms);
        }
        if let Some(to_ms) = self.to_ms {
            sql.push(" AND r.finished_at_ms < ").push_bind(to_ms);
        }
        self.narrow_places(sql);
    }

    /// Conditions on how it was made.
    fn narrow_making(&self, sql: &mut QueryBuilder<Sqlite>) {
        const MADE: &str = " AND EXISTS (SELECT 1 FROM attempts a JOIN workers w \
                            ON w.id = a.worker_id WHERE a.render_id = r.id AND a.outcome = 'done'";
        if let Some(rung) = &self.rung {
            sql.push(MADE).push(" AND instr(lower(a.rung_text), lower(").push_bind(rung);
            sql.push(")) > 0)");
        }
        if let Some(model) = &self.model {
            sql.push(MADE).push(" AND lower(w.model_name) = lower(").push_bind(model).push("))");
        }
    }

    /// Conditions on where it stands.
    fn narrow_places(&self, sql: &mut QueryBuilder<Sqlite>) {
        if let Some(job_id) = self.job_id {
            sql.push(" AND r.job_id = ").push_bind(job_id);
        }
        if let Some(among) = &self.among {
            sql.push(" AND (r.job_id, r.position) IN (");
            sql.push_values(among, |mut row, (job_id, position)| {
                row.push_bind(*job_id).push_bind(*position);
            });
            sql.push(")");
        }
        if let Some((job_id, position)) = self.before {
            sql.push(" AND (r.job_id, r.position) < (").push_bind(job_id);
            sql.push(", ").push_bind(position).push(")");
        }
    }
}

/// So many of the newest failures are looked at for those that nobody has repeated.
const FAILURES_MAX: u32 = 100;

impl Store {
    /// Renders that failed at `since_ms` (UTC, milliseconds since the epoch) or later and that no
    /// retry repeats, the newest first. A retry comes after its job, so only later jobs are read.
    pub async fn failed_since(&self, since_ms: i64, limit: u32) -> Result<Vec<HistoryRow>> {
        let mut sql = QueryBuilder::new(PICTURES);
        sql.push("r.id IN (SELECT r.id FROM (SELECT * FROM renders ")
            .push("WHERE state = 'failed' AND finished_at_ms >= ")
            .push_bind(since_ms)
            .push(" ORDER BY finished_at_ms DESC LIMIT ")
            .push_bind(FAILURES_MAX)
            .push(") r WHERE NOT EXISTS (SELECT 1 FROM jobs j JOIN renders n ON n.job_id = j.id ")
            .push("WHERE j.id > r.job_id AND j.retry_of = r.job_id AND n.position = r.position) ")
            .push("ORDER BY r.finished_at_ms DESC LIMIT ")
            .push_bind(limit)
            .push(") ORDER BY r.finished_at_ms DESC, job DESC, picture DESC");
        Ok(sql.build_query_as().fetch_all(&self.readers).await?)
    }

    /// Pictures that the filter lets through, those of the newest jobs first.
    pub async fn gallery(&self, filter: &GalleryFilter, limit: u32) -> Result<Vec<HistoryRow>> {
        let mut sql = QueryBuilder::new(PICTURES);
        sql.push("r.id IN (SELECT r.id FROM renders r WHERE true");
        filter.narrow(&mut sql);
        sql.push(" ORDER BY r.job_id DESC, r.position DESC LIMIT ").push_bind(limit);
        sql.push(") ORDER BY job DESC, picture DESC");
        Ok(sql.build_query_as().fetch_all(&self.readers).await?)
    }

    /// The picture that was done last of all before `until_ms` (UTC, milliseconds since the epoch):
    /// its job and its place there.
    pub async fn last_done_before(&self, until_ms: i64) -> Result<Option<(i64, u32)>> {
        let sql = "SELECT job_id, position FROM renders WHERE state = 'done' \
                   AND finished_at_ms < ? ORDER BY finished_at_ms DESC LIMIT 1";
        Ok(sqlx::query_as(sql).bind(until_ms).fetch_optional(&self.readers).await?)
    }

    /// Gives a picture a star, or takes it. Only what is done can have one.
    pub async fn star(&self, of: Selection, starred: bool) -> Result<()> {
        let (job_id, position) = of.parts();
        let mut transaction = self.begin().await?;
        let state = "SELECT state FROM renders WHERE job_id = ? AND position = ?";
        let state = sqlx::query_scalar(state).bind(job_id).bind(position);
        let state: Option<State> = state.fetch_optional(&mut *transaction).await?;
        match state.ok_or_else(|| of.absent())? {
            State::Done => (),
            _ if !starred => (),
            state => {
                let why = format!("{of} is {state}: only a picture that is done can have a star");
                return Err(StoreError::NothingToDo(why));
            }
        }
        let sql = "UPDATE renders SET starred = ? WHERE job_id = ? AND position = ?";
        let query = sqlx::query(sql).bind(starred).bind(job_id).bind(position);
        query.execute(&mut *transaction).await?;
        transaction.commit().await
    }
}
