//! What only a card does: bf16 in our own kernels, layers streamed from pinned memory, a device
//! that runs out or falls sick. For a real card, or for the simulated one of `tools/gpu/simulator`,
//! whose settings a real one does not hear.

use std::path::Path;
use std::process::Output;

use zimaged::internals::{
    Decode, DeviceChoice, Engine, ModelPlace, Pixels, Precision, Recipe, Residency, Rung,
    ZImageEngine,
};

use crate::parity::reference::{Case, model_folder};
use crate::support::House;
use crate::support::places::miniature;
use crate::support::silent::Silent;

/// Mean difference in levels of 255 from its own f32 that the reference makes when it computes in
/// bf16 (torch 2.11).
const REFERENCE_IN_BF16: [(&str, f64); 4] =
    [("square", 0.814), ("wide_chinese", 0.974), ("cfg_negative", 2.054), ("one_step", 1.077)];

/// How much more than the reference's own rounding ours may make.
const ROUNDING_MAX: f64 = 1.3;

/// Mean difference in levels of 255 of the miniature's pictures on a card and on a CPU, on one
/// rung.
const CPU_LEVELS_MAX: f64 = 1.0;

const GENTLEST: Rung = Rung {
    residency: Residency::Device,
    precision: Precision::Full,
    decode: Decode::Whole,
    width: 128,
    height: 96,
    steps: 2,
};

/// On the first card.
fn engine(model: &Path) -> ZImageEngine {
    ZImageEngine::load(&ModelPlace::at(model), DeviceChoice::Cuda { index: 0 }, None).unwrap()
}

fn render(engine: &mut ZImageEngine, recipe: &Recipe, rung: &Rung) -> Pixels {
    let latents = engine.denoise(recipe, rung, &mut Silent).unwrap();
    engine.decode(&latents, rung, &mut Silent).unwrap()
}

fn red_circle() -> Recipe {
    let prompt = "a red circle on a blue background, on the left".into();
    Recipe { prompt, seed: 3, ..Recipe::default() }
}

/// Mean difference in levels of 255.
fn levels(ours: &[u8], theirs: &[u8]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / ours.len() as f64
}

#[test]
#[ignore = "needs a card, and the reference model: see tools/gpu/simulator, tools/reference"]
fn a_card_makes_the_references_pictures_in_bf16() {
    let mut engine = engine(&model_folder());
    for (name, reference_levels) in REFERENCE_IN_BF16 {
        let case = Case::read(name);
        let rung = Rung { width: case.width, height: case.height, steps: case.steps, ..GENTLEST };
        let ours = render(&mut engine, &case.recipe(), &rung);
        let theirs: Vec<u8> = case.tensor("pixels").flatten_all().unwrap().to_vec1().unwrap();
        let difference = levels(&ours.rgb, &theirs);
        println!("{name}: {difference:.3} levels on average, the reference {reference_levels}");
        assert!(difference <= ROUNDING_MAX * reference_levels, "{name}: {difference}");
    }
}

#[test]
#[ignore = "needs a card: see tools/gpu/simulator"]
fn a_card_makes_the_same_picture_wherever_its_weights_lie() {
    let mut engine = engine(&miniature());
    let layers = engine.capabilities().residencies.len() as u32;
    let streamed = (0..layers - 3).map(|resident_blocks| Residency::Streamed { resident_blocks });
    let residencies: Vec<Residency> =
        streamed.chain([Residency::TextReleased, Residency::Device]).collect();
    for precision in [Precision::Full, Precision::Int8] {
        let gentlest = Rung { precision, ..GENTLEST };
        let resident = render(&mut engine, &red_circle(), &gentlest);
        for &residency in &residencies {
            let rung = Rung { residency, ..gentlest };
            let same = render(&mut engine, &red_circle(), &rung) == resident;
            assert!(same, "{rung} gives another picture");
        }
    }
}

#[test]
#[ignore = "needs a card: see tools/gpu/simulator"]
fn a_card_makes_what_a_cpu_makes_on_every_kind_of_rung() {
    let mut card = engine(&miniature());
    let mut cpu =
        ZImageEngine::load(&ModelPlace::at(&miniature()), DeviceChoice::Cpu, None).unwrap();
    for rung in [
        GENTLEST,
        Rung { decode: Decode::Stripes { height: 64 }, ..GENTLEST },
        Rung { decode: Decode::Tiles { side: 64 }, ..GENTLEST },
        Rung { precision: Precision::Int8, ..GENTLEST },
        Rung { precision: Precision::Q8, ..GENTLEST },
        Rung { precision: Precision::Q4, ..GENTLEST },
    ] {
        let [ours, theirs] =
            [&mut card, &mut cpu].map(|engine| render(engine, &red_circle(), &rung));
        let difference = levels(&ours.rgb, &theirs.rgb);
        println!("{rung}: {difference:.3} levels on average");
        assert!(difference <= CPU_LEVELS_MAX, "{rung}: {difference}");
    }
}

/// Three pictures of the miniature on the first card, in a daemon that ends when they are made.
fn three_pictures(width: u32, height: u32, environment: &[(&str, &str)]) -> (House, Output) {
    let what = "prompt = \"a red circle\"\nsteps = 1\nmin_steps = 1\nseed = 1\nnum_images = 3\n";
    let size = format!("width = {width}\nheight = {height}\n");
    pictures("reserve = \"1MiB\"", &format!("{what}{size}"), environment)
}

/// As [`three_pictures`], with these keys of the device and these of the job.
fn pictures(device: &str, keys: &str, environment: &[(&str, &str)]) -> (House, Output) {
    let model = miniature();
    let house = House::with_config(&format!(
        "[model]\npath = {model:?}\n[device]\nkind = \"cuda\"\n{device}\n"
    ));
    house.drop_job("j.toml", keys);
    let output =
        house.command(&["run", "--until-idle"]).envs(environment.iter().copied()).output().unwrap();
    (house, output)
}

#[test]
#[ignore = "needs a card: see tools/gpu/simulator"]
fn a_card_that_runs_out_decodes_again_and_denoises_no_more() {
    // After the first picture nothing is measured or encoded any more, so that the same is done
    // for each one.
    let (house, output) = three_pictures(64, 64, &[]);
    assert!(output.status.success(), "{output:?}");
    let counts = house.path("counts");
    let one_more = |name: &str, environment: (&str, &str)| {
        let size = "width = 64\nheight = 64\nsteps = 1\nmin_steps = 1\n";
        house.drop_job(name, &format!("prompt = \"a red circle\"\nseed = 9\n{size}"));
        let mut run = house.command(&["run", "--until-idle"]);
        let output = run.env(environment.0, environment.1).output().unwrap();
        assert_eq!(house.value("SELECT state FROM renders ORDER BY id DESC"), "done", "{output:?}");
    };
    one_more("counted.toml", ("SIM_COUNTS", counts.to_str().unwrap()));
    if !is_simulated(&house) {
        return;
    }
    let stages = counted(&counts, "allocations");
    let decode = stages.last().unwrap();
    let in_decode = stages.iter().sum::<f64>() - decode / 2.0;
    one_more("runs-out.toml", ("SIM_OUT_OF_MEMORY", &in_decode.trunc().to_string()));
    let tries = "SELECT group_concat(outcome || ' ' || (denoise_ms > 0)) FROM attempts WHERE \
                 render_id = (SELECT max(id) FROM renders)";
    assert_eq!(house.value(tries), "out_of_memory 1,done 0");
    house.assert_invariants();
}

fn is_simulated(house: &House) -> bool {
    house.value("SELECT count(*) FROM workers WHERE device = 'simulated card'") != "0"
}

#[test]
#[ignore = "needs a card: see tools/gpu/simulator"]
fn a_card_that_falls_sick_gets_a_new_worker_and_all_its_pictures_made() {
    // The first picture and its load take about 300 launches, all three about 900.
    let (house, output) = three_pictures(64, 64, &[("SIM_FAULT", "500:700")]);
    assert_eq!(house.value("SELECT count(*) FROM renders WHERE state = 'done'"), "3", "{output:?}");
    if is_simulated(&house) {
        assert_ne!(house.value("SELECT count(*) FROM attempts WHERE outcome = 'crashed'"), "0");
    }
    house.assert_invariants();
}

#[test]
#[ignore = "needs a card: see tools/gpu/simulator"]
fn a_limited_card_is_not_asked_for_its_free_memory_in_each_step() {
    let folder = tempfile::tempdir().unwrap();
    let counts = folder.path().join("counts");
    let count = |steps: u32| {
        let size = "width = 64\nheight = 64\nseed = 1\n";
        let keys = format!("prompt = \"a red circle\"\n{size}steps = {steps}\n");
        let environment = [("SIM_COUNTS", counts.to_str().unwrap())];
        let (house, output) = pictures("memory_limit = \"1GiB\"", &keys, &environment);
        assert_eq!(
            house.value("SELECT count(*) FROM renders WHERE state = 'done'"),
            "1",
            "{output:?}"
        );
        is_simulated(&house).then(|| sum(&counts, "looks at what is free"))
    };
    // Which steps there are changes nothing; how often the daemon asks may, by one or two.
    if let (Some(few), Some(many)) = (count(1), count(9)) {
        assert!(many < few + 8.0, "{few} looks for one step, {many} for nine");
    }
}

#[test]
#[ignore = "needs a card: see tools/gpu/simulator"]
fn prompts_that_come_next_are_encoded_with_the_first_to_the_same_pictures() {
    let rung = Rung { residency: Residency::TextReleased, ..GENTLEST };
    let other = Recipe { prompt: "a green square".into(), ..red_circle() };
    let alone = [red_circle(), other.clone()]
        .map(|recipe| render(&mut engine(&miniature()), &recipe, &rung));
    let mut engine = engine(&miniature());
    engine.expect_prompts(vec![other.prompt.clone(), "a longer prompt than the other two".into()]);
    let together = [red_circle(), other].map(|recipe| render(&mut engine, &recipe, &rung));
    assert!(together == alone);
}

/// Bytes of one of the miniature's two layers of the text encoder, about: less than any of them.
const TEXT_LAYER_BYTES: f64 = 400e3;

#[test]
#[ignore = "needs a card: see tools/gpu/simulator"]
fn the_layers_of_the_text_encoder_come_once_for_all_prompts_of_a_job() {
    let folder = tempfile::tempdir().unwrap();
    let counts = folder.path().join("counts");
    let copied = |prompts: &str| {
        let keys = format!("width = 64\nheight = 64\nsteps = 1\nseed = 1\n{prompts}\n");
        let environment = [("SIM_COUNTS", counts.to_str().unwrap())];
        // Less than all of the weights take, and more than they do without the text encoder.
        let (house, output) = pictures("memory_limit = \"12MiB\"", &keys, &environment);
        assert_eq!(
            house.value("SELECT count(*) FROM renders WHERE state = 'done'"),
            "3",
            "{output:?}"
        );
        assert_eq!(
            house.value("SELECT count(*) FROM attempts WHERE rung_text LIKE 'device%'"),
            "0"
        );
        is_simulated(&house).then(|| sum(&counts, "bytes_to_device"))
    };
    let one = copied("prompt = \"a red circle\"\nnum_images = 3");
    let three = copied("[matrix]\nprompt = [\"a red circle\", \"a circle\", \"a square\"]");
    if let (Some(one), Some(three)) = (one, three) {
        assert!(three < one + TEXT_LAYER_BYTES, "{one} bytes for one prompt, {three} for three");
    }
}

/// Of what the simulated card has counted into `file`, which is removed. The first line has the
/// load and the measurement of speed, which does more or less as there is time.
fn sum(file: &Path, what: &str) -> f64 {
    counted(file, what).iter().skip(1).sum()
}

/// Of what the simulated card has counted into `file`, which is removed: by line, of which there is
/// one for each stage.
fn counted(file: &Path, what: &str) -> Vec<f64> {
    let lines = std::fs::read_to_string(file).unwrap();
    std::fs::remove_file(file).unwrap();
    let of = |line: &str| -> f64 {
        let counted: serde_json::Value = serde_json::from_str(line).unwrap();
        counted[what].as_f64().unwrap_or(0.0)
    };
    lines.lines().map(of).collect()
}
