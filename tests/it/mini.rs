//! The miniature model that ships with the project: it loads, keeps to its reference numbers, and
//! gives a picture for any words. So a clone with nothing beside it shows that the engine is
//! faithful.

use std::path::{Path, PathBuf};
use std::thread;

use candle_core::{Device, safetensors};
use serde_json::Value;
use zimaged::internals::{
    Decode, DeviceChoice, Engine, Latents, ModelPlace, Pixels, Precision, Recipe, Residency, Rung,
    ZImageEngine,
};

use crate::mini_judge::{Case, Evaluation, Judgement, differ, judge};
use crate::support::silent::Silent;

/// Relative error of the last latents, end to end; the reference differs from itself by a fifth of
/// it.
const LATENTS_ERROR_MAX: f64 = 5e-4;

/// In so many of the pictures the colour of the ground, and that of the shape, is what the prompt
/// says.
const COLOURS_RIGHT_MIN: f64 = 0.95;

/// In so many the shape lies where the prompt says.
const POSITION_RIGHT_MIN: f64 = 0.90;

/// So many pairs of pictures of one prompt and two seeds must all differ.
const PAIRS: usize = 10;

/// Engines that render at once: the parts of a small picture's work that one thread does overlap.
const ENGINES: usize = 2;

fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn engine() -> ZImageEngine {
    ZImageEngine::load(&ModelPlace::at(&repository("models/mini")), DeviceChoice::Cpu, None)
        .unwrap()
}

fn rung(width: u32, height: u32, steps: u32) -> Rung {
    let (residency, precision, decode) = (Residency::Device, Precision::Full, Decode::Whole);
    Rung { residency, precision, decode, width, height, steps }
}

fn recipe(prompt: &str, negative_prompt: &str, guidance: f64, seed: u64) -> Recipe {
    let plain = Recipe { prompt: prompt.to_owned(), seed, ..Recipe::default() };
    Recipe { negative_prompt: negative_prompt.to_owned(), guidance, ..plain }
}

fn relative_error(ours: &[f32], theirs: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let difference: f64 = ours.iter().zip(theirs).map(|(a, b)| square(a - b)).sum();
    (difference / theirs.iter().map(|b| square(*b)).sum::<f64>()).sqrt()
}

#[test]
fn the_engine_makes_of_the_miniature_what_the_reference_makes_of_it() {
    let text = std::fs::read_to_string(repository("tests/data/mini/cases.json")).unwrap();
    let cases: Value = serde_json::from_str(&text).unwrap();
    let mut engine = engine();
    for case in cases["cases"].as_array().unwrap() {
        let (name, word) =
            (case["name"].as_str().unwrap(), |key: &str| case[key].as_str().unwrap_or_default());
        let whole = |key: &str| u32::try_from(case[key].as_u64().unwrap()).unwrap();
        let rung = rung(whole("width"), whole("height"), whole("steps"));
        let recipe = recipe(
            word("prompt"),
            word("negative"),
            case["guidance"].as_f64().unwrap(),
            whole("seed").into(),
        );
        let ours = engine.denoise(&recipe, &rung, &mut Silent).unwrap();
        let path = repository("tests/data/mini").join(format!("{name}.safetensors"));
        let theirs = &safetensors::load(path, &Device::Cpu).unwrap()["latents"];
        let theirs = theirs.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let error = relative_error(&ours.values, &theirs);
        assert!(error <= LATENTS_ERROR_MAX, "{name}: latents differ by {error:e}");
        compare_pixels(
            name,
            &engine.decode(&latents(ours.shape, theirs), &rung, &mut Silent).unwrap(),
        );
    }
}

fn latents(shape: [usize; 3], values: Vec<f32>) -> Latents {
    Latents { shape, values }
}

/// Within 2 levels, and 0.05 on average, of the reference's picture, where one is kept.
fn compare_pixels(name: &str, ours: &Pixels) {
    let path = repository("tests/data/mini").join(format!("{name}.png"));
    let Ok(theirs) = image::open(path) else { return };
    let levels: Vec<u8> =
        ours.rgb.iter().zip(theirs.to_rgb8().as_raw()).map(|(a, b)| a.abs_diff(*b)).collect();
    let mean = levels.iter().map(|level| f64::from(*level)).sum::<f64>() / levels.len() as f64;
    assert!(
        levels.iter().all(|level| *level <= 2) && mean <= 0.05,
        "{name}: {mean} levels on average"
    );
}

#[test]
fn words_that_the_miniature_never_learnt_give_a_picture_too() {
    let mut engine = engine();
    let long = "lighthouse ".repeat(600);
    for prompt in ["一只金毛犬，阳光草地，高清照片", "🦊🌅", &long] {
        let rung = rung(256, 256, 2);
        let latents = engine.denoise(&recipe(prompt, "", 0.0, 1), &rung, &mut Silent).unwrap();
        engine
            .decode(&latents, &rung, &mut Silent)
            .unwrap_or_else(|error| panic!("{prompt}: {error}"));
    }
    assert!(engine.prompt_cut(&long), "600 words are more than 512 tokens");
}

fn evaluation() -> Evaluation {
    serde_json::from_str(
        &std::fs::read_to_string(repository("tests/data/mini/evaluation.json")).unwrap(),
    )
    .unwrap()
}

/// Renders each case as the model is meant to be used: at its own number of steps, without
/// guidance.
fn render_all(cases: &[&Case]) -> Vec<Pixels> {
    let share = cases.len().div_ceil(ENGINES);
    thread::scope(|scope| {
        let threads: Vec<_> =
            cases.chunks(share).map(|cases| scope.spawn(|| render_share(cases))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn render_share(cases: &[&Case]) -> Vec<Pixels> {
    let mut engine = engine();
    let render = |case: &&Case| {
        let rung = rung(case.width, case.height, 8);
        let latents =
            engine.denoise(&recipe(&case.prompt, "", 0.0, case.seed), &rung, &mut Silent).unwrap();
        engine.decode(&latents, &rung, &mut Silent).unwrap()
    };
    cases.iter().map(render).collect()
}

fn judge_all(evaluation: &Evaluation, cases: &[&Case]) -> Vec<Judgement> {
    let pictures = render_all(cases);
    cases
        .iter()
        .zip(&pictures)
        .map(|(case, picture)| judge(picture, case, &evaluation.colours))
        .collect()
}

fn share(judgements: &[Judgement], right: impl Fn(&Judgement) -> bool) -> f64 {
    judgements.iter().filter(|judgement| right(judgement)).count() as f64 / judgements.len() as f64
}

#[test]
fn colours_and_place_are_what_the_prompt_says_in_combinations_that_were_never_learnt() {
    let evaluation = evaluation();
    let judgements = judge_all(&evaluation, &evaluation.cases.iter().collect::<Vec<_>>());
    let ground = share(&judgements, |judgement| judgement.ground);
    let shape = share(&judgements, |judgement| judgement.shape);
    let position = share(&judgements, |judgement| judgement.position);
    println!("of {}: ground {ground}, shape {shape}, position {position}", judgements.len());
    assert!(ground.min(shape) >= COLOURS_RIGHT_MIN, "ground in {ground}, shape in {shape}");
    assert!(position >= POSITION_RIGHT_MIN, "position in {position}");
}

#[test]
fn another_seed_gives_another_picture() {
    let evaluation = evaluation();
    let square = evaluation.cases.iter().filter(|case| case.width == case.height);
    let once: Vec<Case> = square.take(PAIRS).cloned().collect();
    let again = once.iter().map(|case| Case { seed: case.seed + 1, ..case.clone() });
    let both: Vec<Case> = once.iter().cloned().chain(again).collect();
    let pictures = render_all(&both.iter().collect::<Vec<_>>());
    let (once, again) = pictures.split_at(PAIRS);
    for (pair, (one, other)) in once.iter().zip(again).enumerate() {
        assert!(differ(one, other), "{}", both[pair].prompt);
    }
}

#[test]
fn the_picture_is_the_same_wherever_the_weights_are() {
    let mut engine = engine();
    let recipe =
        recipe("a small green star at the top left on a white background", "blurry", 2.0, 5);
    let full = rung(192, 256, 3);
    let residencies = [
        Residency::Device,
        Residency::TextReleased,
        Residency::Streamed { resident_blocks: 2 },
        Residency::Streamed { resident_blocks: 0 },
        Residency::Device,
    ];
    let pictures = residencies.map(|residency| {
        let rung = Rung { residency, ..full };
        let latents = engine.denoise(&recipe, &rung, &mut Silent).unwrap();
        engine.decode(&latents, &rung, &mut Silent).unwrap()
    });
    assert!(pictures.iter().all(|picture| *picture == pictures[0]));
}

#[test]
fn a_prompt_is_encoded_once_for_all_workers() {
    let folder = tempfile::tempdir().unwrap();
    let render = |prompt: &str| {
        let mut engine = engine();
        engine.keep_embeddings_in(folder.path());
        engine.denoise(&recipe(prompt, "", 0.0, 1), &rung(64, 64, 1), &mut Silent).unwrap()
    };
    let kept = || std::fs::read_dir(folder.path()).unwrap().count();
    let first = render("a red circle");
    assert_eq!(kept(), 1);
    assert_eq!(render("a red circle"), first);
    assert_eq!(kept(), 1);
    render("a blue circle");
    assert_eq!(kept(), 2);
}
