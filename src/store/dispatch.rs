//! What the dispatcher asks and begins; how attempts end stands in `outcome`.

use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};

use super::rows::{Corrected, from_json, render, render_columns, signed, to_json};
use super::transition::{About, Current, Facts, log, transition};
use super::writing::Writing;
use super::{Guarded, NewWorker, Result, Store};
use crate::attempt::{Candidate, History, Outcome, Planned, Reached};
use crate::engine::provenance::PartOrigin;
use crate::job::event::EventKind;
use crate::job::state::{RenderEvent, State};
use crate::ladder::{Rung, Stage};
use crate::planner::ModelHead;

/// So many models are told apart; daemon.toml may name fewer.
const MODELS_MAX: u32 = 100;

/// So many of the prompts that come next are handed to the engine, which may encode them together
/// with a render's own.
const NEXT_PROMPTS_MAX: u32 = 8;

/// Several renders in a row may share a prompt, or have other LoRAs than those that are loaded: so
/// many are looked at.
const RENDERS_LOOKED_AT_MAX: u32 = 64;

/// The LoRAs of a render, as [`ModelHead`] has them.
const LORAS: &str = "(SELECT coalesce(group_concat(sha256, ' '), '') FROM \
                     (SELECT DISTINCT value ->> 'sha256' AS sha256 FROM json_each(r.lora) ORDER BY 1))";

/// The text encoder sees about so much of a prompt.
const PROMPT_CHARACTERS_MAX: u32 = 4096;

impl FromRow<'_, SqliteRow> for ModelHead {
    fn from_row(row: &SqliteRow) -> sqlx::Result<ModelHead> {
        Ok(ModelHead {
            render_id: row.try_get("render_id")?,
            model: row.try_get("model")?,
            loras: row.try_get("loras")?,
            priority: row.try_get("priority")?,
        })
    }
}

impl Store {
    /// Of each model the render to run next: priority, then order of arrival; and of the first
    /// renders of `loaded`, a model and its LoRAs, the one that has these. None while the queue is
    /// paused. One whose job's row is missing is passed over, and so is `beside`. Costs the same
    /// however many wait.
    pub async fn model_heads(
        &self,
        loaded: Option<(&str, &str)>,
        beside: Option<i64>,
        now_ms: i64,
    ) -> Result<Vec<ModelHead>> {
        self.release_due(now_ms).await?;
        // What may be started of one model, in its order.
        let startable = "FROM renders r INDEXED BY renders_to_claim JOIN jobs j ON j.id = r.job_id \
                         WHERE r.state = 'queued' AND r.timed = 0 \
                         AND r.id IS NOT ?2 AND (r.run_until_ms IS NULL OR r.run_until_ms > ?1)";
        // The names are found by one look-up each: to list them SQLite would walk through the
        // index.
        let sql = format!(
            "WITH RECURSIVE names (model) AS (\
             SELECT min(model) FROM renders INDEXED BY renders_to_claim \
             WHERE state = 'queued' AND timed = 0 UNION ALL \
             SELECT (SELECT min(model) FROM renders INDEXED BY renders_to_claim \
             WHERE state = 'queued' AND timed = 0 AND model > names.model) \
             FROM names WHERE model IS NOT NULL LIMIT ?3), \
             firsts (id) AS (SELECT (SELECT r.id {startable} AND r.model = names.model \
             ORDER BY r.priority DESC, r.id LIMIT 1) FROM names WHERE model IS NOT NULL \
             UNION SELECT (SELECT r.id FROM (SELECT r.id, r.lora, r.priority {startable} \
             AND r.model = ?4 ORDER BY r.priority DESC, r.id LIMIT ?6) r \
             WHERE {LORAS} = ?5 ORDER BY r.priority DESC, r.id LIMIT 1)) \
             SELECT r.id AS render_id, r.model, r.priority, {LORAS} AS loras \
             FROM firsts CROSS JOIN renders r USING (id) WHERE NOT EXISTS (SELECT 1 FROM pause)"
        );
        let (model, loras) = loaded.unzip();
        let heads = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(now_ms)
            .bind(beside)
            .bind(MODELS_MAX)
            .bind(model)
            .bind(loras)
            .bind(RENDERS_LOOKED_AT_MAX);
        Ok(heads.fetch_all(&self.readers).await?)
    }

    /// What is to be known before an attempt at a render; `None` where it, or its job, is gone.
    pub async fn candidate(&self, render_id: i64) -> Result<Option<Candidate>> {
        let sql = format!(
            "SELECT r.job_id, r.position, j.file_name, j.tags, r.asked_prompt, {} \
             FROM renders r JOIN jobs j ON j.id = r.job_id WHERE r.id = ?",
            render_columns("r.")
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(render_id);
        let Some(row) = row.fetch_optional(&self.readers).await? else { return Ok(None) };
        let file_name: String = row.try_get("file_name")?;
        Ok(Some(Candidate {
            render_id,
            job_id: row.try_get("job_id")?,
            job_name: file_name.strip_suffix(".toml").unwrap_or(&file_name).to_owned(),
            file_name,
            tags: from_json(row.try_get("tags")?)?,
            index: row.try_get("position")?,
            render: render(&row)?,
            history: self.attempts_before(render_id).await?,
            next_prompts: self.next_prompts(render_id).await?,
        }))
    }

    /// Prompts of the renders of the same model that could be started after this one. A prompt of
    /// usual length alone is handed on.
    async fn next_prompts(&self, render_id: i64) -> Result<Vec<String>> {
        let sql = "SELECT DISTINCT prompt FROM (\
                   SELECT r.prompt FROM renders r INDEXED BY renders_to_claim \
                   WHERE r.model = (SELECT model FROM renders WHERE id = ?1) \
                   AND r.state = 'queued' AND r.timed = 0 AND r.id <> ?1 \
                   ORDER BY r.priority DESC, r.id LIMIT ?2) WHERE length(prompt) <= ?3 LIMIT ?4";
        let prompts = sqlx::query_scalar(sql)
            .bind(render_id)
            .bind(RENDERS_LOOKED_AT_MAX)
            .bind(PROMPT_CHARACTERS_MAX)
            .bind(NEXT_PROMPTS_MAX);
        Ok(prompts.fetch_all(&self.readers).await?)
    }

    /// The attempts at a render that have ended.
    pub(super) async fn attempts_before(&self, render_id: i64) -> Result<History> {
        let sql = "SELECT outcome, stage, rung, worker_died, lost_step FROM attempts \
                   WHERE render_id = ? ORDER BY number";
        let attempts = sqlx::query(sql).bind(render_id).fetch_all(&self.readers).await?;
        let mut history = History::default();
        for attempt in &attempts {
            note(&mut history, attempt)?;
        }
        Ok(history)
    }

    /// Writes the attempt row, with its rung and the picture's final name, and sets the render
    /// running. From queued for the first attempt, from running (with no attempt running) for a
    /// ladder step. `None`: it stands otherwise by now, cancelled for instance, and nothing was
    /// changed.
    pub async fn begin_attempt(
        &self,
        render_id: i64,
        planned: &Planned,
        path: &str,
        now_ms: i64,
    ) -> Result<Option<i64>> {
        let mut transaction = self.begin().await?;
        let Some(render) = attemptable(&mut transaction, render_id).await? else {
            transaction.rollback().await?;
            return Ok(None);
        };
        if render.state == State::Queued {
            transition(&mut transaction, render, RenderEvent::Claimed, Facts::Nothing, now_ms)
                .await?;
        }
        let attempt_id = insert_attempt(&mut transaction, render_id, planned, path, now_ms).await?;
        let about = About::Attempt(render, attempt_id);
        log(&mut transaction, EventKind::Attempt, about, &planned.rung.to_string(), now_ms).await?;
        transaction.commit().await?;
        Ok(Some(attempt_id))
    }

    /// The picture could not get its recorded name: records another before the rename.
    pub async fn rename_attempt(&self, attempt_id: i64, path: &str) -> Result<Guarded> {
        let mut transaction = self.begin().await?;
        let changed =
            sqlx::query("UPDATE attempts SET path = ? WHERE id = ? AND outcome = 'running'")
                .bind(path)
                .bind(attempt_id)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
        transaction.commit().await?;
        Ok(if changed == 1 { Guarded::Changed } else { Guarded::Stale })
    }

    /// Whether the user wants this render cancelled. Whoever removes its row does.
    pub async fn cancel_wanted(&self, render_id: i64) -> Result<bool> {
        let sql = "SELECT cancel_wanted FROM renders WHERE id = ?";
        let wanted = sqlx::query_scalar(sql).bind(render_id).fetch_optional(&self.readers);
        Ok(wanted.await?.unwrap_or(true))
    }

    /// Notes a started worker with its model; the attempts that follow are its own.
    pub async fn worker_loaded(&self, worker: &NewWorker, now_ms: i64) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO workers (loaded_at_ms, version, device, model_name, model_key, model_hash, parts, load_ms, load_parts, idle_bytes, total_bytes) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(now_ms)
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(&worker.device)
        .bind(&worker.model_name)
        .bind(&worker.model_key)
        .bind(&worker.model_hash)
        .bind(to_json(&worker.parts))
        .bind(signed(worker.load_ms))
        .bind(to_json(&worker.part_loads))
        .bind(signed(worker.idle_bytes))
        .bind(signed(worker.total_bytes))
        .execute(&mut *transaction)
        .await?;
        log(&mut transaction, EventKind::Loaded, About::Queue, &worker.model_name, now_ms).await?;
        transaction.commit().await
    }

    /// The model that rows call `provisional` has this hash: all its workers, those of earlier
    /// starts too, and with them their attempts, are given it.
    pub async fn model_hashed(
        &self,
        provisional: &str,
        model_hash: &str,
        parts: &[PartOrigin],
    ) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE workers SET model_hash = ?, parts = ? WHERE model_hash = ?")
            .bind(model_hash)
            .bind(to_json(&parts))
            .bind(provisional)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// True when no render is queued or running. One whose job's row is missing, or whose time has
    /// come and whose model is none of `models`, is passed over.
    pub async fn is_idle(&self, models: &[&str]) -> Result<bool> {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM json_each(?) m \
                   CROSS JOIN renders r INDEXED BY renders_to_claim \
                   WHERE r.model = m.value AND r.state = 'queued' AND r.timed = 0 \
                   AND EXISTS (SELECT 1 FROM jobs WHERE id = r.job_id)) \
                   AND NOT EXISTS (SELECT 1 FROM renders r INDEXED BY renders_by_time \
                   WHERE r.state = 'queued' AND r.timed = 1 \
                   AND EXISTS (SELECT 1 FROM jobs WHERE id = r.job_id)) \
                   AND NOT EXISTS (SELECT 1 FROM renders WHERE state = 'running')";
        Ok(sqlx::query_scalar(sql).bind(to_json(&models)).fetch_one(&self.readers).await?)
    }
}

/// The render, when it is queued or stands between two attempts, and its job is there.
pub(super) async fn attemptable(
    transaction: &mut Writing,
    render_id: i64,
) -> sqlx::Result<Option<Current>> {
    let row = sqlx::query(
        "SELECT job_id, state FROM renders WHERE id = ? AND state IN ('queued', 'running') \
         AND EXISTS (SELECT 1 FROM jobs WHERE id = renders.job_id) AND NOT EXISTS \
         (SELECT 1 FROM attempts a WHERE a.render_id = renders.id AND a.outcome = 'running')",
    )
    .bind(render_id)
    .fetch_optional(&mut **transaction)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Current { render_id, job_id: row.try_get("job_id")?, state: row.try_get("state")? }))
}

async fn insert_attempt(
    transaction: &mut Writing,
    render_id: i64,
    Planned { rung, predicted }: &Planned,
    path: &str,
    now_ms: i64,
) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "INSERT INTO attempts (render_id, number, worker_id, outcome, rung, rung_text, \
         predicted_bytes, predicted, corrected, width, height, steps, path, queued_ms, \
         started_at_ms) \
         SELECT r.id, \
             (SELECT coalesce(max(number), 0) + 1 FROM attempts WHERE render_id = r.id), \
             (SELECT max(id) FROM workers), 'running', ?, ?, ?, ?, ?, ?, ?, ?, ?, \
             max(? - max(j.accepted_at_ms, r.run_after_ms), 0), ? \
         FROM renders r JOIN jobs j ON j.id = r.job_id WHERE r.id = ? RETURNING id",
    )
    .bind(to_json(rung))
    .bind(rung.to_string())
    .bind(predicted.map(|predicted| signed(predicted.corrected.peak_bytes())))
    .bind(predicted.map(|predicted| to_json(&predicted.uncorrected)))
    .bind(predicted.map(|predicted| to_json(&Corrected::from(&predicted))))
    .bind(rung.width)
    .bind(rung.height)
    .bind(rung.steps)
    .bind(path)
    .bind(now_ms)
    .bind(now_ms)
    .bind(render_id)
    .fetch_one(&mut **transaction)
    .await
}

/// Adds what an earlier attempt says. One that has not ended says nothing.
fn note(history: &mut History, attempt: &SqliteRow) -> sqlx::Result<()> {
    let outcome: Option<Outcome> = attempt.try_get("outcome")?;
    let stage: Option<Stage> = attempt.try_get("stage")?;
    let lost_step: Option<u32> = attempt.try_get("lost_step")?;
    if outcome == Some(Outcome::Crashed) {
        history.deaths += 1;
    }
    history.lost.extend(lost_step.map(|step| Reached { stage, step }));
    if let (Some(Outcome::OutOfMemory), Some(stage)) = (outcome, stage) {
        let rung: Rung = from_json(attempt.try_get("rung")?)?;
        history.note_out_of_memory(rung, stage, attempt.try_get("worker_died")?);
    }
    Ok(())
}
