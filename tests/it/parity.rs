//! The engine against the reference implementation's numbers, part by part, so that a failure names
//! the part. Each part is fed with the reference's own inputs.

pub mod reference;
mod input;
pub mod lora;
mod lora_files;
mod lora_forms;
mod solver;
mod stripes;
mod tiles;

use candle_core::{DType, Device, Tensor};
use zimaged::internals::{
    Continue, Decode, DeviceChoice, Engine, Generator, MemoryReading, ModelFiles, ModelPlace,
    Precision, Progress, Residency, Rung, Sampler, Schedule, Solver, Stage, TransformerConfig,
    Weights, ZImageEngine, picture,
};

use self::reference::{CASES, Case, Model, model};

/// ||ours - reference|| / ||reference|| of one part in f32. The reference differs from itself by up
/// to 9e-5 over a whole case, by rounding alone.
const PART_ERROR_MAX: f64 = 5e-5;
const WHOLE_ERROR_MAX: f64 = 5e-4;

fn relative_error(ours: &Tensor, reference: &Tensor) -> f64 {
    assert_eq!(ours.dims(), reference.dims());
    let norm = |x: &Tensor| -> f64 {
        x.to_dtype(DType::F64)
            .unwrap()
            .sqr()
            .unwrap()
            .sum_all()
            .unwrap()
            .to_scalar::<f64>()
            .unwrap()
            .sqrt()
    };
    norm(&(ours - reference).unwrap()) / norm(reference)
}

fn assert_close(what: &str, ours: &Tensor, reference: &Tensor, error_max: f64) {
    let error = relative_error(ours, reference);
    assert!(
        error <= error_max,
        "{what}: relative error {error:.1e}, at most {error_max:.0e} allowed"
    );
}

fn max_difference(ours: &[f32], reference: &[f32]) -> f32 {
    assert_eq!(ours.len(), reference.len());
    ours.iter().zip(reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Runs `check` for every case with the reference's model.
fn each_case(check: impl Fn(&Case, &Model)) {
    CASES.iter().for_each(|name| check(&Case::read(name), model()));
}

#[test]
fn noise_is_that_of_torchs_cpu_generator() {
    for (name, reference) in reference::tensors("torch_cpu_randn") {
        let (seed, count) = name.trim_start_matches("seed").split_once("_n").unwrap();
        let ours = Generator::new(seed.parse().unwrap()).randn(count.parse().unwrap());
        let difference = max_difference(&ours, &reference.to_vec1::<f32>().unwrap());
        assert!(difference <= 2e-6, "{name}: {difference:e}");
    }
}

#[test]
fn the_initial_latents_are_the_references() {
    for case in CASES.map(Case::read) {
        let reference = case.tensor("noise").flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let difference =
            max_difference(&Generator::new(case.seed).randn(reference.len()), &reference);
        assert!(difference <= 2e-6, "{}: {difference:e}", case.name);
    }
}

#[test]
fn sigmas_and_timesteps_are_the_references() {
    let config = serde_json::from_str(r#"{"shift": 3.0, "num_train_timesteps": 1000}"#).unwrap();
    for case in CASES.map(Case::read) {
        let ours = Schedule::new(&config, case.steps);
        let sigmas = max_difference(&ours.sigmas, &case.tensor("sigmas").to_vec1().unwrap());
        assert!(sigmas <= 1e-6, "{}: sigmas {sigmas:e}", case.name);
        let scaled: Vec<f32> =
            case.tensor("timesteps").to_vec1::<f32>().unwrap().iter().map(|t| t / 1000.0).collect();
        let times: Vec<f32> = ours.timesteps.iter().map(|t| t / 1000.0).collect();
        let timesteps = max_difference(&times, &scaled);
        assert!(timesteps <= 1e-6, "{}: timesteps {timesteps:e}", case.name);
    }
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn token_ids_are_exactly_the_references() {
    each_case(|case, model| {
        let tokens = model.tokenizer.encode(&case.prompt).unwrap();
        let ids: Vec<i64> = tokens.ids.iter().map(|id| i64::from(*id)).collect();
        assert_eq!(ids, case.tensor("input_ids").to_vec1::<i64>().unwrap(), "{}", case.name);
        assert!(!tokens.cut);
    });
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_prompt_beyond_512_tokens_is_cut_and_says_so() {
    let model = model();
    let tokens = model.tokenizer.encode(&"fox ".repeat(600)).unwrap();
    assert_eq!((tokens.ids.len(), tokens.cut), (512, true));
    let enormous = model.tokenizer.encode(&"狐".repeat(1 << 20)).unwrap();
    assert_eq!((enormous.ids.len(), enormous.cut), (512, true));
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn text_embeddings_are_the_references() {
    each_case(|case, model| {
        assert_close(
            &case.name,
            &model.embed(&case.prompt),
            &case.tensor("prompt_embeds"),
            PART_ERROR_MAX,
        );
        if case.guidance > 0.0 {
            let what = format!("{}, negative", case.name);
            assert_close(
                &what,
                &model.embed(&case.negative),
                &case.tensor("negative_prompt_embeds"),
                PART_ERROR_MAX,
            );
        }
    });
}

/// The denoising of `case` with the reference's embeddings.
fn sampler<'a>(case: &Case, model: &'a Model) -> Sampler<'a> {
    let (_, _, height, width) = case.tensor("noise").dims4().unwrap();
    let condition =
        |embeds| model.transformer.condition(&case.tensor(embeds), height, width).unwrap();
    let negative =
        (case.guidance > 0.0).then(|| (condition("negative_prompt_embeds"), case.guidance()));
    let schedule = Schedule::new(&model.config.schedule, case.steps);
    Sampler::new(&model.transformer, schedule, condition("prompt_embeds"), negative).unwrap()
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn each_step_from_the_references_latents_gives_its_next_ones() {
    each_case(|case, model| {
        let (sampler, after) = (sampler(case, model), case.tensor("latents_per_step"));
        let mut before = case.tensor("noise");
        for step in 0..sampler.schedule.steps() {
            let reference = after.get(step).unwrap();
            let what = format!("{}, step {step}", case.name);
            let ours = sampler.step(step, &before, &mut Solver::Euler).unwrap();
            assert_close(&what, &ours, &reference, PART_ERROR_MAX);
            let velocity = |x: &Tensor| {
                ((x - &before).unwrap() / f64::from(sampler.schedule.sigma_step(step))).unwrap()
            };
            assert_close(
                &format!("{what}, velocity"),
                &velocity(&ours),
                &velocity(&reference),
                PART_ERROR_MAX,
            );
            before = reference;
        }
    });
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn the_references_latents_decode_to_its_pictures() {
    each_case(|case, model| {
        let decoded = model.decoder.decode(&case.tensor("latents")).unwrap();
        let reference = case.tensor("decoded").permute((0, 2, 3, 1)).unwrap();
        assert_close(&case.name, &decoded, &reference, PART_ERROR_MAX);
        assert_pixels(case, &decoded);
    });
}

/// Within 2 levels everywhere and 0.05 on average.
fn assert_pixels(case: &Case, decoded: &Tensor) {
    let reference = case.tensor("pixels");
    for image in 0..decoded.dim(0).unwrap() {
        let ours = picture::pixels(&decoded.get(image).unwrap()).unwrap();
        let reference: Vec<u8> =
            reference.get(image).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_levels(&case.name, &ours.rgb, &reference);
    }
}

fn assert_levels(name: &str, ours: &[u8], reference: &[u8]) {
    assert_eq!(ours.len(), reference.len(), "{name}");
    let differences = || ours.iter().zip(reference).map(|(a, b)| a.abs_diff(*b));
    let mean = differences().map(f64::from).sum::<f64>() / ours.len() as f64;
    let max = differences().max().unwrap();
    assert!(max <= 2 && mean <= 0.05, "{name}: {max} levels at most, {mean:.3} on average");
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn whole_cases_from_prompt_to_pixels_are_the_references() {
    each_case(|case, model| {
        let shape = case.tensor("noise").shape().clone();
        let (_, _, height, width) = shape.dims4().unwrap();
        let condition = |prompt: &str| {
            model.transformer.condition(&model.embed(prompt), height, width).unwrap()
        };
        let negative = (case.guidance > 0.0).then(|| (condition(&case.negative), case.guidance()));
        let schedule = Schedule::new(&model.config.schedule, case.steps);
        let positive = condition(&case.prompt);
        let sampler = Sampler::new(&model.transformer, schedule, positive, negative).unwrap();
        let noise = Generator::new(case.seed).randn(shape.elem_count());
        let mut latents = Tensor::from_vec(noise, shape, &Device::Cpu).unwrap();
        for step in 0..sampler.schedule.steps() {
            latents = sampler.step(step, &latents, &mut Solver::Euler).unwrap();
        }
        assert_close(&case.name, &latents, &case.tensor("latents"), WHOLE_ERROR_MAX);
        assert_pixels(case, &model.decoder.decode(&latents).unwrap());
    });
}

/// Notes what an engine tells, and stops it after some steps.
struct Told {
    stages: Vec<Stage>,
    steps: u32,
    stop_after: u32,
}

impl Told {
    fn stopping_after(stop_after: u32) -> Told {
        Told { stages: Vec::new(), steps: 0, stop_after }
    }
}

impl Progress for Told {
    fn stage(&mut self, stage: Stage, _before: MemoryReading) -> Continue {
        self.stages.push(stage);
        Continue::Yes
    }

    fn step(&mut self, step: u32, _steps: u32) -> Continue {
        self.steps = step;
        if step < self.stop_after { Continue::Yes } else { Continue::No }
    }
}

fn rung(case: &Case) -> Rung {
    Rung {
        residency: Residency::Device,
        precision: Precision::Full,
        decode: Decode::Whole,
        width: case.width,
        height: case.height,
        steps: case.steps,
    }
}

fn load_engine(model: &Model) -> ZImageEngine {
    ZImageEngine::load(&ModelPlace::at(&model.folder), DeviceChoice::Cpu, None).unwrap()
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn the_engine_renders_the_references_pictures() {
    let model = model();
    let mut engine = load_engine(model);
    // All that are one picture for one recipe.
    let cases = ["square", "wide_chinese", "cfg_negative", "cfg_normalized_truncated", "one_step"];
    for case in cases.map(Case::read) {
        let mut told = Told::stopping_after(u32::MAX);
        let latents = engine.denoise(&case.recipe(), &rung(&case), &mut told).unwrap();
        let pixels = engine.decode(&latents, &rung(&case), &mut told).unwrap();
        let reference: Vec<u8> = case.tensor("pixels").flatten_all().unwrap().to_vec1().unwrap();
        assert_levels(&case.name, &pixels.rgb, &reference);
        assert_eq!(told.steps, case.steps);
        assert_eq!(
            told.stages,
            [Stage::Load, Stage::TextEncode, Stage::Denoise, Stage::Load, Stage::VaeDecode]
        );
    }
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_denoising_stops_at_the_step_at_which_it_is_told_to() {
    let model = model();
    let (case, mut told) = (Case::read("square"), Told::stopping_after(2));
    let error = load_engine(model).denoise(&case.recipe(), &rung(&case), &mut told).unwrap_err();
    assert_eq!((error.to_string().as_str(), told.steps), ("stopped", 2));
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn the_engine_refuses_what_the_model_cannot_do() {
    let model = model();
    let (case, mut engine) = (Case::read("square"), load_engine(model));
    let rungs = [
        Rung { width: 100, ..rung(&case) },
        Rung { height: 0, ..rung(&case) },
        Rung { width: 16 * 513, ..rung(&case) },
        Rung { steps: 0, ..rung(&case) },
        Rung { residency: Residency::Host, ..rung(&case) },
    ];
    for rung in rungs {
        let error =
            engine.denoise(&case.recipe(), &rung, &mut Told::stopping_after(1)).unwrap_err();
        assert!(matches!(error, zimaged::internals::EngineError::Invalid(_)), "{rung:?}: {error}");
    }
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_fingerprint_is_the_same_for_the_same_weights() {
    let model = model();
    let (first, second) = (load_engine(model), load_engine(model));
    assert_eq!(first.fingerprint().len(), 64);
    assert_eq!(first.fingerprint(), second.fingerprint());
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn weights_that_do_not_fit_are_named_with_their_folder() {
    let model = model();
    let folder = model.folder.join("vae");
    let files = ModelFiles::find(&ModelPlace::at(&model.folder)).unwrap();
    let weights = Weights::open(&files.vae, DType::F32, &Device::Cpu).unwrap();
    for i in 0..7 {
        weights.prefixed("decoder").get(&format!("nothing{i}"), 3).unwrap();
    }
    weights.get("decoder.conv_in.bias", 5).unwrap();
    let error = weights.finish().unwrap_err();
    assert!(error.starts_with(&format!("{}: 8 of the tensors", folder.display())), "{error}");
    assert!(error.ends_with("decoder.nothing3 is missing; decoder.nothing4 is missing"), "{error}");
}

#[test]
fn a_transformer_with_random_weights_computes() {
    let text = r#"{"all_patch_size": [2], "all_f_patch_size": [1], "in_channels": 16, "dim": 64, "n_layers": 2,
        "n_refiner_layers": 1, "n_heads": 2, "norm_eps": 1e-5, "cap_feat_dim": 24, "rope_theta": 256.0,
        "t_scale": 1000.0, "axes_dims": [8, 12, 12], "axes_lens": [64, 32, 32]}"#;
    let config: TransformerConfig = serde_json::from_str(text).unwrap();
    let (weights, memory) = (Weights::random(DType::F32, &Device::Cpu), reference::unlimited());
    let transformer = zimaged::internals::Transformer::new(&config, &weights, &memory).unwrap();
    let caption = Tensor::randn(0_f32, 1.0, (5, 24), &Device::Cpu).unwrap();
    let latents = Tensor::randn(0_f32, 1.0, (2, 16, 6, 4), &Device::Cpu).unwrap();
    let conditioning = transformer.condition(&caption, 6, 4).unwrap();
    let times = transformer.times(&[0.5]).unwrap();
    let velocity = transformer.forward(&latents, (&times, 0), &conditioning).unwrap();
    assert_eq!(velocity.dims(), latents.dims());
    assert_eq!(picture::not_finite(&velocity).unwrap(), None);
}
