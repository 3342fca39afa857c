//! Which sizes fit on which cards, with what was measured here and what is published beside it.

use super::data::MatrixCell;
use super::own_queue::MeasuringQueue;
use super::published::published_cell;
use crate::engine::CARD_CONTEXT_BYTES;
use crate::planner::Allowance;
use crate::queue::{self, FitAnswer, FitQuestion, UsualTable};
use crate::store::Store;

/// The matrix, and of which model it tells.
pub struct FitMatrix {
    pub cells: Vec<MatrixCell>,
    pub model: String,
}

/// For all usual sizes and cards, and for this device; of Z-Image-Turbo where the miniature is
/// configured, which fits everywhere.
pub async fn matrix(measuring: &MeasuringQueue, store: &Store) -> anyhow::Result<FitMatrix> {
    let UsualTable { answers: table, is_miniature } =
        queue::usual_table(measuring.config(), store).await?;
    let mut cells: Vec<MatrixCell> = table.iter().map(|answer| cell(answer, false)).collect();
    let mut sizes: Vec<_> = table.iter().map(|answer| (answer.width, answer.height)).collect();
    sizes.dedup();
    for size in sizes {
        let question =
            FitQuestion { size: Some(size), turbo: is_miniature, ..FitQuestion::default() };
        let answer = queue::fit(measuring.config(), Some(store), &question).await?;
        cells.push(cell(&answer, true));
    }
    Ok(FitMatrix { cells, model: table.first().map(|one| one.model.clone()).unwrap_or_default() })
}

/// What a card of so many GiB leaves for a render, by the configured reserve.
pub fn usable_bytes(measuring: &MeasuringQueue, gib: u64) -> Option<u64> {
    let Allowance { reserve_bytes, .. } = measuring.config().allowance();
    let available_bytes = (gib << 30).saturating_sub(CARD_CONTEXT_BYTES);
    Allowance { limit_bytes: None, reserve_bytes }.budget_bytes(Some(available_bytes), gib << 30)
}

fn cell(answer: &FitAnswer, is_this_device: bool) -> MatrixCell {
    let measured = answer.seen.as_ref().map(|seen| seen.mean_ms / 1000.0);
    let estimated = answer.estimate.as_ref().map(|one| one.time.total_ms as f64 / 1000.0);
    let size = (answer.width, answer.height);
    let published = (!is_this_device).then(|| published_cell(answer.device_bytes >> 30, size));
    MatrixCell {
        width: answer.width,
        height: answer.height,
        device_bytes: answer.device_bytes,
        is_this_device,
        fits: answer.fits(),
        is_degraded: answer.is_degraded(),
        rung: match answer.is_degraded() {
            true => answer.rung.to_string(),
            false => answer.rung.way(),
        },
        predicted_bytes: answer.prediction.peak_bytes(),
        seconds: measured.or(estimated),
        is_measured: measured.is_some(),
        published: published.flatten(),
    }
}
