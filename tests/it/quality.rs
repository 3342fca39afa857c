//! What lower precision of the weights does to velocities and pictures, against f32 throughout.
//!
//! `cargo test --test it the_table_of_lower_precisions -- --ignored --nocapture` prints the
//! figures.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use zimaged::internals::{
    Conditioning, Generator, ModelFiles, ModelPlace, Pixels, Precision, QuantisedMatrix, Sampler,
    Schedule, Solver, Transformer, Weights, picture,
};

use crate::parity::reference::{Model, model_folder, unlimited};

const STEPS: usize = 8;

/// The steps whose velocities are compared: the first, a middle and the last one.
const COMPARED: [usize; 3] = [0, 4, 7];

/// Prompt, width, height, seed.
type Picture = (&'static str, usize, usize, u64);

/// What is held against f32.
#[derive(Clone, Copy, Debug)]
enum Lower {
    /// Matrices in bf16, as with `kind = "cpu-bf16"`.
    Bf16,
    To(Precision),
}

const LOWER: [Lower; 4] =
    [Lower::Bf16, Lower::To(Precision::Int8), Lower::To(Precision::Q8), Lower::To(Precision::Q4)];

/// Such as the miniature learnt.
const PICTURES: [Picture; 3] = [
    ("a large red circle at the top left on a blue background", 256, 256, 42),
    ("绿色背景右边有一个黄色五角星", 192, 256, 7),
    ("the sea at dusk, a red boat on the left, the sun", 256, 192, 3),
];

/// How far a precision is from f32, on average over some pictures.
#[derive(Clone, Copy, Debug, Default)]
struct Quality {
    /// Relative error of the velocity at [`COMPARED`], from f32's own latents.
    velocity: [f64; 3],
    /// Mean difference of whole pictures, in levels of 255.
    levels: f64,
    /// Peak signal-to-noise ratio of whole pictures, in dB.
    psnr_db: f64,
}

fn mini() -> Model {
    Model::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini"))
}

fn lower(model: &Model, lower: Lower) -> Transformer {
    let weights = match lower {
        Lower::Bf16 => weights(model).with_bf16_matrices(),
        Lower::To(precision) => weights(model).with_precision(precision).unwrap(),
    };
    let mut transformer =
        Transformer::new(&model.config.transformer, &weights, &unlimited()).unwrap();
    transformer.place_weights(usize::MAX).unwrap();
    weights.finish().unwrap();
    transformer
}

fn weights(model: &Model) -> Weights {
    let files = ModelFiles::find(&ModelPlace::at(&model.folder)).unwrap();
    Weights::open(&files.transformer, DType::F32, &Device::Cpu).unwrap()
}

/// One picture on its way.
struct Denoising<'a> {
    model: &'a Model,
    picture: Picture,
}

impl Denoising<'_> {
    fn side(&self, pixels: usize) -> usize {
        pixels / self.model.config.vae.factor()
    }

    fn condition(&self, transformer: &Transformer) -> Conditioning {
        let (prompt, width, height, _) = self.picture;
        let caption = self.model.embed(prompt);
        transformer.condition(&caption, self.side(height), self.side(width)).unwrap()
    }

    fn noise(&self) -> Tensor {
        let (_, width, height, seed) = self.picture;
        let shape =
            (1, self.model.config.transformer.in_channels, self.side(height), self.side(width));
        Tensor::from_vec(
            Generator::new(seed).randn(shape.1 * shape.2 * shape.3),
            shape,
            &Device::Cpu,
        )
        .unwrap()
    }

    fn schedule(&self) -> Schedule {
        Schedule::new(&self.model.config.schedule, STEPS as u32)
    }

    /// The latents before each step, and after the last.
    fn latents(&self, transformer: &Transformer) -> Vec<Tensor> {
        let (positive, schedule) = (self.condition(transformer), self.schedule());
        let sampler = Sampler::new(transformer, schedule, positive, None).unwrap();
        let mut latents = vec![self.noise()];
        for step in 0..STEPS {
            latents.push(sampler.step(step, &latents[step], &mut Solver::Euler).unwrap());
        }
        latents
    }

    fn pixels(&self, latents: &Tensor) -> Pixels {
        picture::pixels(&self.model.decoder.decode(latents).unwrap().squeeze(0).unwrap()).unwrap()
    }

    fn compare(&self, lower: &Transformer) -> Quality {
        let full = &self.model.transformer;
        let (full_condition, lower_condition, schedule) =
            (self.condition(full), self.condition(lower), self.schedule());
        let latents = self.latents(full);
        let velocity = COMPARED.map(|step| {
            let velocity = |transformer: &Transformer, condition: &Conditioning| {
                let times = transformer.times(&[schedule.time(step)]).unwrap();
                transformer.forward(&latents[step], (&times, 0), condition).unwrap()
            };
            relative_error(&velocity(lower, &lower_condition), &velocity(full, &full_condition))
        });
        let (ours, exact) =
            (self.pixels(&self.latents(lower)[STEPS]), self.pixels(&latents[STEPS]));
        let differences = ours.rgb.iter().zip(&exact.rgb).map(|(a, b)| f64::from(a.abs_diff(*b)));
        let differences: Vec<f64> = differences.collect();
        let mean = |sum: f64| sum / differences.len() as f64;
        let squares = mean(differences.iter().map(|difference| difference.powi(2)).sum());
        let psnr_db = 10.0 * (255.0_f64.powi(2) / squares).log10();
        Quality { velocity, levels: mean(differences.iter().sum()), psnr_db }
    }
}

fn relative_error(ours: &Tensor, exact: &Tensor) -> f64 {
    let norm = |x: &Tensor| {
        f64::from(x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).sqrt()
    };
    norm(&(ours - exact).unwrap()) / norm(exact)
}

fn quality(model: &Model, way: Lower) -> Quality {
    let lower = lower(model, way);
    let mut mean = Quality::default();
    for picture in PICTURES {
        let quality = Denoising { model, picture }.compare(&lower);
        let share = |value: f64| value / PICTURES.len() as f64;
        mean.velocity
            .iter_mut()
            .zip(quality.velocity)
            .for_each(|(sum, error)| *sum += share(error));
        mean.levels += share(quality.levels);
        mean.psnr_db += share(quality.psnr_db);
    }
    mean
}

/// The bytes of the blocks' matrices, as a share of those in f32.
fn bytes(model: &Model, way: Lower) -> f64 {
    let Lower::To(precision) = way else { return 0.5 };
    let matrices = weights(model).quantised_matrices(precision);
    let sum = |bytes: &dyn Fn(&QuantisedMatrix) -> usize| {
        matrices.iter().map(bytes).sum::<usize>() as f64
    };
    sum(&|matrix| matrix.bytes()) / sum(&|matrix| 4 * matrix.shape.elem_count())
}

fn row(name: &str, model: &Model, way: Lower) {
    let Quality { velocity: [first, middle, last], levels, psnr_db } = quality(model, way);
    let bytes = bytes(model, way);
    let way = match way {
        Lower::Bf16 => "cpu-bf16".to_owned(),
        Lower::To(precision) => format!("{precision:?}").to_lowercase(),
    };
    println!(
        "| {name} | {way} | {bytes:.3} | {first:.2e} | {middle:.2e} | {last:.2e} | {levels:.3} | {psnr_db:.1} |"
    );
}

#[test]
#[ignore = "prints a table"]
fn the_table_of_lower_precisions() {
    println!(
        "| model | weights | bytes to f32 | velocity, step 1 | step 5 | step 8 | levels of 255 | PSNR, dB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let models = [
        ("mini", Some(mini())),
        ("reference", cfg!(reference).then(|| Model::read(model_folder()))),
    ];
    for (name, model) in models {
        let Some(model) = model else { continue };
        LOWER.iter().for_each(|way| row(name, &model, *way));
    }
}

/// What was measured, with about half of it as margin.
const BOUNDS: [(Lower, Quality); 4] = [
    (Lower::Bf16, Quality { velocity: [9e-3, 1.1e-2, 2e-2], levels: 0.2, psnr_db: 54.0 }),
    (
        Lower::To(Precision::Int8),
        Quality { velocity: [9e-3, 1.1e-2, 2e-2], levels: 0.2, psnr_db: 54.0 },
    ),
    (
        Lower::To(Precision::Q8),
        Quality { velocity: [6e-3, 7e-3, 1.2e-2], levels: 0.2, psnr_db: 57.0 },
    ),
    (
        Lower::To(Precision::Q4),
        Quality { velocity: [9e-2, 1e-1, 1.8e-1], levels: 3.0, psnr_db: 34.0 },
    ),
];

#[test]
fn the_miniatures_pictures_stay_close_at_lower_precision() {
    let model = mini();
    for (way, most) in BOUNDS {
        let found = quality(&model, way);
        let close = found.velocity.iter().zip(most.velocity).all(|(found, most)| *found <= most);
        let close = close && found.levels <= most.levels && found.psnr_db >= most.psnr_db;
        assert!(close, "{way:?}: {found:?}, no further than {most:?}");
        // Otherwise nothing was quantised. Not every processor rounds what it multiplies.
        let is_rounded = found.velocity.iter().all(|error| *error > 1e-3);
        assert!(is_rounded || matches!(way, Lower::Bf16), "{way:?}: {found:?}");
    }
}
