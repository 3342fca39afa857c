//! What is said of a render while somebody still thinks about it: how it fits, and how the same
//! would be in other sizes.

use super::fit::{FitAnswer, is_on_device};
use super::timing::Timing;
use crate::config::Config;
use crate::job::Render;
use crate::ladder::Rung;
use crate::planner::Plan;
use crate::store::Store;

/// A render and its likes, as the device would make them.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    /// `None` before a device was used, and of an engine that needs no memory.
    pub fit: Option<FitAnswer>,
    /// The same render in other sizes, as far as its model makes them.
    pub sizes: Vec<SizeForecast>,
}

/// A render in another size.
#[derive(Clone, Copy, Debug)]
pub struct SizeForecast {
    /// Pixels, as are all sides.
    pub width: u32,
    pub height: u32,
    /// `None` where nobody knows the memory, or needs to.
    plan: Option<Plan>,
    /// How long it takes; `None` where nobody can know.
    pub work_ms: Option<f64>,
}

impl SizeForecast {
    /// How it would be made.
    pub fn rung(&self) -> Option<&Rung> {
        self.plan.as_ref().map(|plan| &plan.rung)
    }

    /// Whether the device makes it, smaller perhaps.
    pub fn fits(&self) -> bool {
        self.plan.is_none_or(is_on_device)
    }

    /// What would be made of it where that is less than its size.
    pub fn made_smaller(&self) -> Option<(u32, u32)> {
        let made = self.rung().map(|rung| (rung.width, rung.height));
        made.filter(|made| *made != (self.width, self.height))
    }
}

/// What becomes of `render`, and of the same in `sizes`, on the device that was used last. `config`
/// is its model's.
pub async fn forecast(
    config: &Config,
    store: &Store,
    render: &Render,
    sizes: &[(u32, u32)],
) -> Forecast {
    let Ok(timing) = Timing::now(config, &render.model, Some(store)).await else {
        return Forecast::default();
    };
    let fit = match timing.fitting() {
        Some(fitting) => fitting.answer(render, fitting.device_bytes).await.ok(),
        None => None,
    };
    let sizes = sizes.iter().filter_map(|size| in_size(&timing, render, *size)).collect();
    Forecast { fit, sizes }
}

fn in_size(timing: &Timing, render: &Render, size: (u32, u32)) -> Option<SizeForecast> {
    let fitting = timing.fitting()?;
    fitting.check_size(size).ok()?;
    let (width, height) = size;
    let min_side = render.min_side.min(width).min(height);
    let render = Render { width, height, min_side, ..render.clone() };
    // Where the memory is not known it is not said that anything fits.
    let plan = fitting.usable_now_bytes().and_then(|_| fitting.plan_now(&render));
    Some(SizeForecast { width, height, plan, work_ms: timing.of_render(&render) })
}
