//! Plans for the loaded worker: what its model needs, what its device has, and what earlier
//! attempts measured.

use crate::engine::MemoryReading;
use crate::engine::predictor::Predictor;
use crate::job::Render;
use crate::ladder::{Rung, Stage};
use crate::planner::{Corrections, Plan, Planner, Prediction};
use crate::store::Candidate;
use crate::worker::protocol::{Load, Loaded};

/// What plans go by.
pub(super) struct Planning {
    load: Load,
    loaded: Loaded,
    predictor: Predictor,
    /// As the worker told it last.
    memory: MemoryReading,
    corrections: Corrections,
}

impl Planning {
    /// For a worker that was told to `load` and has `loaded`. The error says what is wrong with the
    /// model's folder.
    pub(super) fn new(load: &Load, loaded: &Loaded) -> Result<Planning, String> {
        Ok(Planning {
            predictor: Predictor::new(load.engine, &load.model, loaded.backend)?,
            memory: loaded.memory,
            corrections: Corrections::default(),
            load: load.clone(),
            loaded: loaded.clone(),
        })
    }

    pub(super) fn note_memory(&mut self, memory: MemoryReading) {
        // A reading that failed says nothing.
        if memory.free_bytes.is_some() {
            self.memory = memory;
        }
    }

    pub(super) fn correct(&mut self, corrections: Corrections) {
        self.corrections = corrections;
    }

    /// The rung that `candidate` is tried on next; the last one where none is left.
    pub(super) fn next(&self, candidate: &Candidate) -> Option<Plan> {
        let planner = self.planner(&candidate.render);
        let last = candidate.tried.last().map(|(rung, _)| planner.plan(*rung));
        planner.next(&candidate.tried).or(last)
    }

    /// Whether the ladder goes on after `tried`.
    pub(super) fn has_next(&self, render: &Render, tried: &[(Rung, Stage)]) -> bool {
        self.planner(render).next(tried).is_some()
    }

    /// What `plan` predicts, before correction and after; `None` where it predicts nothing.
    pub(super) fn predicted(
        &self,
        render: &Render,
        plan: &Plan,
    ) -> Option<(Prediction, Prediction)> {
        let predicted = self.predictor.predict(render, &plan.rung);
        (predicted.peak_bytes() > 0).then_some((predicted, plan.prediction))
    }

    fn planner<'a>(&'a self, render: &'a Render) -> Planner<'a> {
        let budget_bytes = self.load.budget_bytes(&self.memory);
        self.predictor.planner(
            render,
            self.load.prefer,
            &self.loaded.capabilities,
            &self.corrections,
            budget_bytes,
        )
    }
}
