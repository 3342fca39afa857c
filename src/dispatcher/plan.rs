//! Plans for the loaded worker: what its model needs, what its device has, and what earlier
//! attempts measured.

use crate::attempt::{Candidate, Planned, Predicted};
use crate::engine::MemoryReading;
use crate::engine::predictor::Predictor;
use crate::job::Render;
use crate::planner::{Corrections, DeadEnd, Plan, Planner};
use crate::worker::protocol::{Load, Loaded};

/// Everything that a plan depends on.
pub(super) struct Planning {
    load: Load,
    loaded: Loaded,
    predictor: Predictor,
    /// The worker's last reading.
    memory: MemoryReading,
    corrections: Corrections,
}

impl Planning {
    /// The planning for a worker that was told to `load` and has `loaded`. The error says what is
    /// wrong with the model's folder.
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
        // A failed reading says nothing, so the one before it stays.
        if memory.free_bytes.is_some() {
            self.memory = memory;
        }
    }

    pub(super) fn correct(&mut self, corrections: Corrections) {
        self.corrections = corrections;
    }

    /// The rung that `candidate` is tried on first: at the bottom of the ladder, where a restart or
    /// a late correction may find a render, the last one again. How often is bounded by
    /// [`crate::attempt::decide`].
    pub(super) fn first(&self, candidate: &Candidate) -> Option<Plan> {
        let tried = &candidate.history.out_of_memory;
        let planner = self.planner(&candidate.render);
        planner.next(tried).or_else(|| tried.last().map(|(rung, _)| planner.plan(*rung)))
    }

    /// The rung after those that ran out of memory; `None` at the bottom of the ladder.
    pub(super) fn next(&self, candidate: &Candidate) -> Option<Plan> {
        self.planner(&candidate.render).next(&candidate.history.out_of_memory)
    }

    /// See [`Planner::dead_end`].
    pub(super) fn dead_end<'d>(
        &self,
        candidate: &Candidate,
        known: &'d [DeadEnd],
        attempts_max: u32,
    ) -> Option<&'d DeadEnd> {
        self.planner(&candidate.render).dead_end(known, attempts_max as usize)
    }

    /// `plan` with what it predicts, as it is recorded.
    pub(super) fn planned(&self, render: &Render, plan: &Plan) -> Planned {
        let uncorrected = self.predictor.predict(render, &plan.rung);
        let Plan { rung, prediction: corrected, missing_bytes } = *plan;
        let predicted = Predicted { uncorrected, corrected, missing_bytes };
        let is_predicted = uncorrected.peak_bytes() > 0;
        Planned { rung, predicted: is_predicted.then_some(predicted) }
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
