//! What a decode in stripes saves, and that a memory limit holds for it.

use std::path::Path;
use std::time::Instant;

use zimaged::internals::{
    Decode, DeviceChoice, Engine, EngineError, EngineResult, Generator, Latents, ModelPlace,
    Pixels, Precision, Residency, Rung, Stage, ZImageEngine,
};

use super::{MINI, Peaks, turn};

/// Of the picture, pixels, and of its latents.
const SIDE: u32 = 1024;
const LATENT_SHAPE: [usize; 3] = [16, 64, 64];

/// What a process may use beside what the engine asks for.
const SLACK_BYTES: u64 = 1 << 19;

fn engine(limit_bytes: Option<u64>) -> ZImageEngine {
    ZImageEngine::load(&ModelPlace::at(Path::new(MINI)), DeviceChoice::Cpu, limit_bytes).unwrap()
}

fn decode(engine: &mut ZImageEngine, decode: Decode) -> EngineResult<Pixels> {
    let (residency, precision) = (Residency::Device, Precision::Full);
    let rung = Rung { residency, precision, decode, width: SIDE, height: SIDE, steps: 1 };
    let values = Generator::new(1).randn(LATENT_SHAPE.iter().product());
    engine.decode(&Latents { shape: LATENT_SHAPE, values }, &rung, &mut Peaks::default())
}

/// The bytes at the peak of a decode beyond those before it.
fn peak_bytes(engine: &mut ZImageEngine, how: Decode) -> u64 {
    engine.reset_peak();
    let (before, start) = (engine.memory().used_bytes, Instant::now());
    decode(engine, how).unwrap();
    let bytes = engine.memory().peak_bytes - before;
    println!(
        "{how:?}: {:.2} s, {:.1} MiB",
        start.elapsed().as_secs_f64(),
        bytes as f64 / f64::from(1 << 20)
    );
    bytes
}

#[test]
fn lower_stripes_take_less_memory_and_fit_a_limit_that_the_whole_picture_does_not() {
    let _turn = turn();
    let mut unlimited = engine(None);
    let whole = peak_bytes(&mut unlimited, Decode::Whole);
    let [high, low] =
        [256, 64].map(|height| peak_bytes(&mut unlimited, Decode::Stripes { height }));
    assert!(low < high && high < whole / 2, "{low} and {high} of {whole}");

    // The matrix product keeps its buffers, so this is what the next engine begins with, too.
    let limit_bytes = unlimited.memory().used_bytes + low + SLACK_BYTES;
    drop(unlimited);
    let mut limited = engine(Some(limit_bytes));
    for too_much in [Decode::Whole, Decode::Stripes { height: 256 }] {
        let result = decode(&mut limited, too_much);
        assert!(
            matches!(result, Err(EngineError::OutOfMemory { stage: Stage::VaeDecode, .. })),
            "{too_much:?}"
        );
        limited.recover().unwrap();
    }
    limited.reset_peak();
    decode(&mut limited, Decode::Stripes { height: 64 }).unwrap();
    let peak_bytes = limited.memory().peak_bytes;
    assert!(peak_bytes <= limit_bytes, "{peak_bytes} of {limit_bytes}");
}
