//! The samplers against numbers that `tools/reference/samplers.py` computes from their definitions,
//! with a model that is one formula.

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use zimaged::internals::{SamplerKind, Schedule, Solver};

use super::max_difference;

fn numbers(list: &Value) -> Vec<f32> {
    serde_json::from_value(list.clone()).unwrap()
}

/// The picture that the formula makes out of `x`, as a transformer says it: by the velocity.
fn velocity(x: &[f32], sigma: f32) -> Vec<f32> {
    x.iter().map(|x| (x.sin() + 0.3 * sigma * x - x) / sigma).collect()
}

#[test]
fn each_sampler_steps_as_its_definition_says_also_from_the_middle() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reference/samplers.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let config = json!({"shift": file["shift"], "num_train_timesteps": 1000});
    let steps = u32::try_from(file["steps"].as_u64().unwrap()).unwrap();
    let schedule = Schedule::new(&serde_json::from_value(config).unwrap(), steps);
    let tensor = |values: Vec<f32>| Tensor::new(values, &Device::Cpu).unwrap();
    for run in file["runs"].as_array().unwrap() {
        let kind: SamplerKind = serde_json::from_value(run["sampler"].clone()).unwrap();
        let mut solver = Solver::new(kind);
        let mut latents = numbers(&file["start"]);
        let first = run["first"].as_u64().unwrap() as usize;
        for (step, expected) in (first..).zip(run["latents"].as_array().unwrap()) {
            let seen = tensor(velocity(&latents, schedule.sigmas[step]));
            let next = solver.step(&schedule, step, &tensor(latents), &seen).unwrap();
            latents = next.to_vec1().unwrap();
            let difference = max_difference(&latents, &numbers(expected));
            assert!(difference <= 2e-6, "{kind:?} from {first}, step {step}: {difference:e}");
        }
    }
}
