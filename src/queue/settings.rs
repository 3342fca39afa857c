//! A picture's own job: the text that makes it again.

use super::Queue;
use crate::job::lora::Lora;
use crate::store::{HistoryRow, Result, Selection};

impl Queue<'_> {
    /// What is asked for one picture, as the text of a job.
    pub async fn settings(&self, job_id: i64, index: u32) -> Result<String> {
        let rows = self.store.history(Selection::Render { job_id, index }).await?;
        Ok(rows.first().map(settings).unwrap_or_default())
    }
}

fn settings(row: &HistoryRow) -> String {
    let mut table = toml::Table::new();
    let mut put = |key: &str, value: toml::Value| drop(table.insert(key.to_owned(), value));
    put("prompt", row.prompt.clone().into());
    put("width", row.asked_width.into());
    put("height", row.asked_height.into());
    put("steps", row.asked_steps.into());
    put("seed", row.seed.into());
    put("guidance", row.guidance.into());
    put("guidance_normalization", row.guidance_normalization.into());
    put("guidance_truncation", row.guidance_truncation.into());
    put("sampler", row.sampler.word().into());
    // Also what is usual: `[defaults]` may say otherwise where the text is used.
    put("precision", row.precision.word().into());
    put("negative_prompt", row.negative_prompt.clone().into());
    if !row.lora.0.is_empty() {
        put("lora", row.lora.0.iter().map(lora).collect::<Vec<_>>().into());
    }
    if !row.model_key.is_empty() {
        put("model", row.model_key.clone().into());
    }
    if !row.init_image.is_empty() {
        put("init_image", row.init_image.clone().into());
        put("strength", row.strength.into());
    }
    if !row.mask.is_empty() {
        put("mask", row.mask.clone().into());
    }
    toml::to_string(&table).unwrap_or_default()
}

fn lora(Lora { name, weight, allow_unknown, .. }: &Lora) -> toml::Table {
    let path = ("path".to_owned(), name.clone().into());
    let weight = ("weight".to_owned(), (*weight).into());
    let unknown = allow_unknown.then(|| ("allow_unknown".to_owned(), true.into()));
    [path, weight].into_iter().chain(unknown).collect()
}
