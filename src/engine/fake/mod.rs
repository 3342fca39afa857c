//! The scripted engine: draws a picture from the seed, and does whatever its prompt says first.
//!
//! A prompt is a list of clauses between commas. What is no clause is ignored: an ordinary prompt
//! just draws.
//!
//! ```text
//! clause = part "of" N "ms"                         how long each takes: load, text, steps, decode
//!        | fault ["at" place] ["above" limit] ["once" | N "times"]
//! fault  = "oom" | "leak" | "sticky" | "black" | "invalid" | "panic" | "die" | "exit" STATUS
//!        | "hoard" | "hang" | "hold" | "stray line" | "garbage line" | "half line" | "huge line"
//! place  = "text" | "step" K | "decode"             step 1 unless said; in load.txt also "weights"
//! limit  = N "px" | N "tile"                        longer side of the picture; side of its tiles
//! ```
//! So `steps of 20 ms, oom above 768 px, die at step 2 once`. The model's folder holds the counts
//! of "once" and "times", which outlive a worker, and may hold `load.txt`, a script of the same
//! kind for loading: `oom`, `hang`, `exit 1 once`; `free.txt`, the bytes that its device has free;
//! and `used.txt`, those that it is to have in use. With a `card.txt` its device is the machine's first card. At `hold` it stands still for as
//! long as there is a file `hold` in the folder, so that a test finds it there whenever it looks.

mod script;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use self::script::{Clause, Fault, Place, Script};
use super::weight_files::WeightFiles;
use super::{
    Backend, Engine, EngineError, InputPicture, Latents, MemoryReading, ModelDescription, Pixels,
    Progress, Recipe, Result, Stage, meter,
};
use crate::ladder::{Capabilities, Decode, Precision, Residency, Rung};
use crate::planner::Prediction;

/// Longer than any line that the supervisor reads.
const HUGE_LINE_BYTES: usize = 2 << 20;

/// The file that holds it, and the pause between two looks for it.
const HOLD: &str = "hold";
const HOLD_LOOK_MS: u64 = 5;

/// As many words as the real model takes tokens.
const PROMPT_WORDS_MAX: usize = 512;

/// What the scripted model says of itself: small and quick.
pub fn description() -> ModelDescription {
    let name = "fake".to_owned();
    ModelDescription {
        name,
        width: 64,
        height: 64,
        steps: 2,
        guidance: 0.0,
        granularity: 16,
        side_max: u32::MAX,
    }
}

/// What the scripted engine claims to need on `rung`: a few bytes a pixel, so that a smaller
/// picture or tile needs less.
pub fn predict(rung: &Rung) -> Prediction {
    let pixels = u64::from(rung.width) * u64::from(rung.height);
    let at_once = match rung.decode {
        Decode::Whole => pixels,
        Decode::Stripes { height } => u64::from(rung.width) * u64::from(height),
        Decode::Tiles { side } => u64::from(side) * u64::from(side),
    };
    Prediction {
        weights_bytes: 0,
        text_encode_bytes: 1,
        denoise_bytes: 4 * pixels,
        vae_decode_bytes: 16 * at_once,
    }
}

/// Does what its prompt says.
pub struct FakeEngine {
    folder: PathBuf,
    /// The worker's way to its supervisor, for the faults that spoil it.
    events: File,
    leaked: bool,
    /// None.
    weight_files: WeightFiles,
}

impl FakeEngine {
    /// Loads as `load.txt` in `folder` says, if there is one.
    pub fn load(folder: &Path, events: File) -> Result<Box<dyn Engine>> {
        meter::start();
        let mut engine = FakeEngine {
            folder: folder.to_owned(),
            events,
            leaked: false,
            weight_files: WeightFiles::default(),
        };
        let script = engine.load_script();
        pause(script.load_ms);
        engine.meet(&script, Place::Load, None)?;
        Ok(Box::new(engine))
    }

    fn load_script(&self) -> Script {
        let text = std::fs::read_to_string(self.folder.join("load.txt")).unwrap_or_default();
        Script::parse(&text, Place::Load)
    }

    /// Lets every fault happen that the script has for this place.
    fn meet(&mut self, script: &Script, place: Place, rung: Option<&Rung>) -> Result<()> {
        for clause in &script.clauses {
            if clause.applies(place, rung) && self.counts(clause).map_err(|error| fatal(&error))? {
                self.happen(clause, place)?;
            }
        }
        Ok(())
    }

    /// Whether a clause with a number of times has some left; takes one.
    fn counts(&self, clause: &Clause) -> io::Result<bool> {
        let Some(times) = clause.times else { return Ok(true) };
        std::fs::create_dir_all(&self.folder)?;
        let mut happened =
            OpenOptions::new().create(true).append(true).open(self.folder.join(&clause.text))?;
        if happened.metadata()?.len() >= u64::from(times) {
            return Ok(false);
        }
        happened.write_all(b".")?;
        Ok(true)
    }

    fn happen(&mut self, clause: &Clause, place: Place) -> Result<()> {
        let message = format!("scripted: {}", clause.text);
        match clause.fault {
            Fault::Oom => Err(out_of_memory(place, message)),
            Fault::Leak => {
                self.leaked = true;
                Err(out_of_memory(place, message))
            }
            Fault::Sticky => Err(EngineError::Fatal(message)),
            Fault::Black => Err(EngineError::BadPicture(message)),
            Fault::Invalid => Err(EngineError::Invalid(message)),
            Fault::Panic => panic!("{message}"),
            Fault::Die => die(),
            Fault::Exit(status) => std::process::exit(status),
            Fault::Hoard => hoard(),
            Fault::Hang => hang(),
            Fault::Hold => {
                self.hold();
                Ok(())
            }
            Fault::StrayLine => {
                println!("{message}");
                Ok(())
            }
            Fault::GarbageLine => self.spoil(format!("{message}\n").as_bytes()),
            Fault::HalfLine => {
                self.spoil(br#"{"event":"st"#)?;
                hang()
            }
            Fault::HugeLine => self.spoil(&vec![b'x'; HUGE_LINE_BYTES]),
        }
    }

    /// Without a bound of its own: the supervisor's time-out for a step ends it.
    fn hold(&self) {
        while self.folder.join(HOLD).exists() {
            pause(HOLD_LOOK_MS);
        }
    }

    fn spoil(&mut self, bytes: &[u8]) -> Result<()> {
        self.events.write_all(bytes).map_err(|error| fatal(&error))
    }
}

impl Engine for FakeEngine {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            residencies: vec![Residency::Device],
            precisions: vec![Precision::Full],
            granularity: 16,
            tile_side_min: 128,
        }
    }

    fn backend(&self) -> Backend {
        Backend::this_cpu(false)
    }

    fn device(&self) -> String {
        "fake".to_owned()
    }

    fn card(&self) -> Option<u32> {
        self.folder.join("card.txt").exists().then_some(0)
    }

    fn model_name(&self) -> &str {
        "fake"
    }

    fn weight_files(&self) -> &WeightFiles {
        &self.weight_files
    }

    fn fingerprint(&self) -> &str {
        "fake"
    }

    fn place_weights(&mut self, rung: &Rung) -> Result<()> {
        self.meet(&self.load_script(), Place::Weights, Some(rung))
    }

    fn prompt_cut(&self, prompt: &str) -> bool {
        prompt.split_whitespace().nth(PROMPT_WORDS_MAX).is_some()
    }

    fn denoise_from(
        &mut self,
        _input: Option<&InputPicture>,
        recipe: &Recipe,
        rung: &Rung,
        progress: &mut dyn Progress,
    ) -> Result<Latents> {
        let script = Script::parse(&recipe.prompt, Place::Step(1));
        self.begin(Stage::TextEncode, progress)?;
        pause(script.text_ms);
        self.meet(&script, Place::Text, Some(rung))?;
        self.begin(Stage::Denoise, progress)?;
        for step in 1..=rung.steps {
            pause(script.step_ms);
            self.meet(&script, Place::Step(step), Some(rung))?;
            if progress.step(step, rung.steps) == super::Continue::No {
                return Err(EngineError::Stopped);
            }
        }
        Ok(to_latents(recipe))
    }

    fn decode(
        &mut self,
        latents: &Latents,
        rung: &Rung,
        progress: &mut dyn Progress,
    ) -> Result<Pixels> {
        let (seed, prompt) = from_latents(latents)?;
        let script = Script::parse(&prompt, Place::Step(1));
        self.begin(Stage::VaeDecode, progress)?;
        pause(script.decode_ms);
        self.meet(&script, Place::Decode, Some(rung))?;
        Ok(draw(seed, rung.width, rung.height))
    }

    fn recover(&mut self) -> Result<()> {
        if self.leaked {
            return Err(EngineError::Fatal("scripted: the memory did not come back".to_owned()));
        }
        Ok(())
    }

    fn memory(&self) -> MemoryReading {
        let said = |file: &str| -> Option<u64> {
            std::fs::read_to_string(self.folder.join(file)).ok()?.trim().parse().ok()
        };
        MemoryReading {
            used_bytes: said("used.txt").unwrap_or_else(meter::used_bytes),
            peak_bytes: meter::peak_bytes(),
            free_bytes: said("free.txt"),
            total_bytes: 0,
        }
    }

    fn reset_peak(&mut self) {
        meter::reset_peak();
    }
}

fn pause(ms: u64) {
    if ms > 0 {
        thread::sleep(Duration::from_millis(ms));
    }
}

fn hang() -> ! {
    loop {
        thread::park();
    }
}

fn hoard() -> ! {
    let hoard = Vec::<u8>::with_capacity(isize::MAX as usize);
    unreachable!("no machine has {} bytes", hoard.capacity());
}

fn die() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    hang()
}

fn fatal(error: &io::Error) -> EngineError {
    EngineError::Fatal(format!("the fake engine's script failed: {error}"))
}

fn out_of_memory(place: Place, message: String) -> EngineError {
    let stage = match place {
        Place::Load | Place::Weights => Stage::Load,
        Place::Text => Stage::TextEncode,
        Place::Step(_) => Stage::Denoise,
        Place::Decode => Stage::VaeDecode,
    };
    EngineError::OutOfMemory { stage, requested_bytes: Some(64 << 20), message }
}

/// The fake's latents are its recipe, a byte a value: a decode by another worker follows the same
/// script.
fn to_latents(recipe: &Recipe) -> Latents {
    let bytes = recipe.seed.to_le_bytes().into_iter().chain(recipe.prompt.bytes());
    let values: Vec<f32> = bytes.map(f32::from).collect();
    Latents { shape: [1, 1, values.len()], values }
}

fn from_latents(latents: &Latents) -> Result<(u64, String)> {
    let bytes: Vec<u8> = latents.values.iter().map(|value| *value as u8).collect();
    let (seed, prompt) = bytes
        .split_first_chunk()
        .ok_or_else(|| EngineError::Invalid("latents of another engine".to_owned()))?;
    Ok((u64::from_le_bytes(*seed), String::from_utf8_lossy(prompt).into_owned()))
}

/// Two ramps, their origin and the third colour taken from the seed.
fn draw(seed: u64, width: u32, height: u32) -> Pixels {
    // Spread over all bytes (Fibonacci hashing), so that neighbouring seeds look different.
    let [red, green, blue, ..] =
        seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let ramp = |from: u8, at: u32, length: u32| from.wrapping_add((at * 255 / length) as u8);
    let mut rgb = Vec::with_capacity(3 * width as usize * height as usize);
    for y in 0..height {
        let green = ramp(green, y, height);
        for x in 0..width {
            rgb.extend_from_slice(&[ramp(red, x, width), green, blue]);
        }
    }
    Pixels { width, height, rgb }
}
