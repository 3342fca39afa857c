//! The daemon with the real engine and the miniature: what only shows where real weights, real
//! pictures and the queue come together.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use candle_core::{Device, Tensor};
use zimaged::internals::{
    Decode, DeviceChoice, Engine, InputPicture, ModelPlace, PlacedLora, Precision, Recipe,
    Residency, Rung, ZImageEngine, input_picture, metadata_of,
};

use crate::parity::lora::placed;
use crate::support::places::miniature;
use crate::support::silent::Silent;
use crate::support::{House, kill, said};

const TRANSFORMER: &str = "transformer/diffusion_pytorch_model.safetensors";

/// Of the pictures, in pixels.
const SIDE: u32 = 128;

const JOB: &str = "prompt = 'a red circle'\nsize = '64x64'\nsteps = 1\nseed = 7\n";

/// A folder with the real engine, on a processor, and the miniature as its model.
fn house(more: &str) -> House {
    let house =
        House::with_config(&format!("[model]\npath = 'model'\n[device]\nkind = 'cpu'\n{more}"));
    copy_miniature(&house.path("model"));
    house
}

fn copy_miniature(to: &Path) {
    let from = miniature();
    for name in ["", "scheduler", "text_encoder", "tokenizer", "transformer", "vae"] {
        fs::create_dir_all(to.join(name)).unwrap();
        for entry in fs::read_dir(from.join(name)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(name).join(entry.file_name())).unwrap();
            }
        }
    }
}

/// Adds a tensor of so many zeros, which is of no part, to the file at `path`. They take no room on
/// the disk, and as long to hash as others.
fn add_ballast(path: &Path, bytes: u64) {
    let content = fs::read(path).unwrap();
    let (length, rest) = content.split_at(8);
    let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&rest[..length]).unwrap();
    let values = (rest.len() - length) as u64;
    header["ballast"] = serde_json::json!({
        "dtype": "U8", "shape": [bytes], "data_offsets": [values, values + bytes]
    });
    let header = header.to_string();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.write_all(&rest[length..]).unwrap();
    file.set_len(8 + header.len() as u64 + values + bytes).unwrap();
}

/// A picture that has its name is never written again, so that it waits for what it is to say.
#[test]
fn the_first_picture_of_a_model_that_was_never_hashed_says_its_hashes() {
    let house = house("");
    // Far more than is hashed while the picture is made, and far less than in 30 s on a busy machine.
    add_ballast(&house.path("model").join(TRANSFORMER), 1 << 28);
    fs::write(house.path("fox.toml"), JOB).unwrap();
    let run = house.zimaged(&["run", "--until-idle", "fox.toml"]);
    assert!(run.status.success(), "{}", said(&run));
    let metadata = metadata_of(&house.pictures()[0]).unwrap();
    assert_eq!(
        metadata.model.hash.as_deref().expect("the model's hash"),
        house.value("SELECT model_hash FROM history")
    );
    assert_eq!(metadata.model.parts.len(), 3);
    assert!(metadata.model.parts.iter().all(|part| part.sha256.is_some()), "{metadata:?}");
}

/// A LoRA of rank 1 for the miniature, strong enough to be seen.
fn write_lora(path: &Path) {
    let values = |shape: (usize, usize)| Tensor::full(0.5_f32, shape, &Device::Cpu).unwrap();
    let module = "diffusion_model.layers.2.attention.to_v.lora_";
    let tensors = HashMap::from([
        (format!("{module}A.weight"), values((1, 192))),
        (format!("{module}B.weight"), values((192, 1))),
    ]);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    candle_core::safetensors::save(&tensors, path).unwrap();
}

/// The pixels that the engine makes without a daemon.
fn rendered_directly(
    house: &House,
    loras: Vec<PlacedLora>,
    input: Option<&InputPicture>,
    recipe: &Recipe,
) -> Vec<u8> {
    let place = ModelPlace::at(&house.path("model"));
    let mut engine = ZImageEngine::load(&place, DeviceChoice::Cpu, None).unwrap();
    engine.use_loras(loras);
    let (residency, precision, decode) = (Residency::Device, Precision::Full, Decode::Whole);
    let rung = Rung { residency, precision, decode, width: SIDE, height: SIDE, steps: 4 };
    let latents = engine.denoise_from(input, recipe, &rung, &mut Silent).unwrap();
    engine.decode(&latents, &rung, &mut Silent).unwrap().rgb
}

/// Without what the worker hands to the engine, the three would be one picture.
#[test]
fn a_lora_and_a_picture_to_begin_with_come_to_the_engine() {
    let house = house("");
    let lora = house.path("loras/ink.safetensors");
    write_lora(&lora);
    let grey = image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8 * 6, y as u8 * 8, 90]));
    grey.save(house.path("begin.png")).unwrap();
    let common = format!("size = '{SIDE}x{SIDE}'\nsteps = 4\nseed = 7\n");
    for (name, lines) in [
        ("1-plain", "prompt = 'a red circle'\n"),
        ("2-lora", "prompt = 'a red circle <lora:ink:1.5>'\n"),
        ("3-input", "prompt = 'a red circle'\ninit_image = 'begin.png'\nstrength = 0.5\n"),
    ] {
        fs::write(house.path(&format!("{name}.toml")), format!("{lines}{common}")).unwrap();
    }
    let files = ["1-plain.toml", "2-lora.toml", "3-input.toml"];
    let run = house.zimaged(&[&["run", "--until-idle"][..], &files].concat());
    assert!(run.status.success(), "{}", said(&run));
    let by_job = |job: u32| {
        let path = house.value(&format!("SELECT path FROM history WHERE job = {job}"));
        image::open(house.path("outputs").join(path)).unwrap().into_rgb8().into_raw()
    };
    let pictures = [1, 2, 3].map(by_job);
    assert!(pictures[0] != pictures[1] && pictures[0] != pictures[2] && pictures[1] != pictures[2]);

    let plain = Recipe { prompt: "a red circle".to_owned(), seed: 7, ..Recipe::default() };
    let placed = placed(lora, 1.5);
    let begin = fs::read(house.path("begin.png")).unwrap();
    let begin = InputPicture { pixels: input_picture(&begin, SIDE, SIDE).unwrap(), mask: None };
    let from_picture =
        Recipe { init_image: "begin.png".to_owned(), strength: 0.5, ..plain.clone() };
    let direct = [
        rendered_directly(&house, Vec::new(), None, &plain),
        rendered_directly(&house, vec![placed], None, &plain),
        rendered_directly(&house, Vec::new(), Some(&begin), &from_picture),
    ];
    for (number, (daemon, engine)) in pictures.iter().zip(&direct).enumerate() {
        assert!(daemon == engine, "job {}: another picture than the engine's", number + 1);
    }
}

fn truncate(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

#[test]
fn a_file_that_is_cut_holds_what_waits_for_its_model_and_the_daemon_stays_up() {
    let mut house = house("[models.bad]\npath = 'bad'\n[worker]\nbackoff = '10ms'\n");
    copy_miniature(&house.path("bad"));
    truncate(&house.path("bad").join(TRANSFORMER));
    house.start();
    let pid = house.daemon_pid();
    house.drop_job("1.toml", &format!("{JOB}model = 'bad'\npriority = 5\n"));
    house.drop_job("2.toml", JOB);
    let done = "SELECT count(*) FROM renders WHERE state = 'done'";
    house.until_sql(done, "1");
    let told = house.until_held("bad");
    assert!(told.contains(TRANSFORMER) && told.contains("download is incomplete"), "{told}");

    let whole = fs::read(house.path("model").join(TRANSFORMER)).unwrap();
    truncate(&house.path("model").join(TRANSFORMER));
    kill("KILL", house.worker_pid());
    house.drop_job("3.toml", JOB);
    let told = house.until_held("");
    assert!(told.contains(TRANSFORMER) && told.contains("download is incomplete"), "{told}");
    assert_eq!(house.daemon_pid(), pid, "the daemon stayed up");
    assert_eq!(house.value(done), "1");
    assert_eq!(house.stop("TERM"), Some(0));

    fs::write(house.path("model").join(TRANSFORMER), whole).unwrap();
    house.start();
    house.until_sql(done, "2");
    assert_eq!(house.stop("TERM"), Some(0));
}

/// Whoever names no model is told what brings one.
#[test]
fn a_run_without_a_model_names_the_command_that_fetches_one() {
    let house = House::with_config("[device]\nkind = 'cpu'\n");
    let run = house.zimaged(&["run", "--until-idle"]);
    assert!(run.status.success(), "{}", said(&run));
    for part in ["this is the miniature model", "zimaged model fetch turbo"] {
        assert!(said(&run).contains(part), "{part}: {}", said(&run));
    }
    let fake = House::new("").zimaged(&["run", "--until-idle"]);
    assert!(!said(&fake).contains("miniature"), "{}", said(&fake));
}
