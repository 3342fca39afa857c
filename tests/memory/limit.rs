//! The engine under a memory limit: it runs out for real at every stage, recovers and renders.

use std::path::Path;

use zimaged::internals::{
    Continue, Decode, DeviceChoice, Engine, EngineError, EngineResult, Latents, MemoryReading,
    ModelPlace, Precision, Progress, Recipe, Residency, Rung, Stage, ZImageEngine,
};

use super::{Peaks, REFERENCE, turn};

const MIB: u64 = 1 << 20;

/// What a process may use beside what the engine asks for: the test itself, the allocator of the
/// tokenizer.
const SLACK_BYTES: u64 = MIB / 2;

fn recipe(prompt: &str) -> Recipe {
    Recipe { prompt: prompt.into(), seed: 42, ..Recipe::default() }
}

fn rung(side: u32, decode: Decode) -> Rung {
    Rung {
        residency: Residency::Device,
        precision: Precision::Full,
        decode,
        width: side,
        height: side,
        steps: 1,
    }
}

/// An engine that may use `headroom_bytes` more than one does at idle. The second one of this
/// process, because the first render leaves the buffers that the matrix product keeps for its
/// threads.
fn engine(model: &Path, headroom_bytes: u64) -> (ZImageEngine, u64) {
    let idle_bytes = || {
        let mut unlimited =
            ZImageEngine::load(&ModelPlace::at(model), DeviceChoice::Cpu, None).unwrap();
        assert_renders(&mut unlimited);
        unlimited.memory().used_bytes
    };
    idle_bytes();
    let limit_bytes = idle_bytes() + headroom_bytes;
    (
        ZImageEngine::load(&ModelPlace::at(model), DeviceChoice::Cpu, Some(limit_bytes)).unwrap(),
        limit_bytes,
    )
}

fn denoise(engine: &mut ZImageEngine, prompt: &str, side: u32) -> EngineResult<Latents> {
    engine.denoise(&recipe(prompt), &rung(side, Decode::Whole), &mut Peaks::default())
}

/// Renders a picture that fits every limit here.
fn assert_renders(engine: &mut ZImageEngine) {
    let rung = rung(64, Decode::Whole);
    let latents = engine.denoise(&recipe(""), &rung, &mut Peaks::default()).unwrap();
    engine.decode(&latents, &rung, &mut Peaks::default()).unwrap();
}

fn assert_out_of_memory<T>(result: EngineResult<T>, expected: Stage) {
    let Err(EngineError::OutOfMemory { stage, requested_bytes, message }) = result else {
        panic!("not out of memory: {:?}", result.err());
    };
    assert_eq!(stage, expected, "{message}");
    assert!(requested_bytes.is_some_and(|bytes| bytes > 0 || expected == Stage::Load), "{message}");
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_limit_makes_each_stage_run_out_of_memory_and_the_next_render_succeeds() {
    let _turn = turn();
    let model = Path::new(REFERENCE);
    assert_out_of_memory(
        ZImageEngine::load(&ModelPlace::at(model), DeviceChoice::Cpu, Some(MIB)),
        Stage::Load,
    );

    let (mut tiny, _) = engine(model, MIB / 2);
    assert_out_of_memory(denoise(&mut tiny, &"snow ".repeat(500), 64), Stage::TextEncode);
    tiny.recover().unwrap();
    drop(tiny);

    let (mut small, _) = engine(model, 5 * MIB);
    assert_out_of_memory(denoise(&mut small, "", 768), Stage::Denoise);
    small.recover().unwrap();
    assert_renders(&mut small);
    drop(small);

    let (mut larger, limit_bytes) = engine(model, 40 * MIB);
    let latents = denoise(&mut larger, "", 512).unwrap();
    assert_out_of_memory(
        larger.decode(&latents, &rung(512, Decode::Whole), &mut Peaks::default()),
        Stage::VaeDecode,
    );
    larger.recover().unwrap();
    larger
        .decode(&latents, &rung(512, Decode::Tiles { side: 256 }), &mut Peaks::default())
        .unwrap();
    let peak_bytes = larger.memory().peak_bytes;
    assert!(peak_bytes <= limit_bytes + SLACK_BYTES, "{peak_bytes} of {limit_bytes}");

    a_lower_precision_never_stands_beside_the_one_before_it(&mut larger);
}

/// Notes the memory as loading left it, and stops there.
struct Loaded(MemoryReading);

impl Progress for Loaded {
    fn stage(&mut self, stage: Stage, before: MemoryReading) -> Continue {
        if stage == Stage::Load {
            return Continue::Yes;
        }
        self.0 = before;
        Continue::No
    }

    fn step(&mut self, _step: u32, _steps: u32) -> Continue {
        Continue::No
    }
}

fn a_lower_precision_never_stands_beside_the_one_before_it(engine: &mut ZImageEngine) {
    engine.reset_peak();
    let (full_bytes, mut loaded) = (engine.memory().used_bytes, Loaded(MemoryReading::default()));
    let rung = Rung { precision: Precision::Q8, ..rung(64, Decode::Whole) };
    engine.denoise(&recipe(""), &rung, &mut loaded).unwrap_err();
    let MemoryReading { used_bytes, peak_bytes, .. } = loaded.0;
    assert!(
        peak_bytes <= full_bytes + SLACK_BYTES,
        "{peak_bytes} while loading, {full_bytes} before"
    );
    assert!(used_bytes + 2 * MIB < full_bytes, "{used_bytes} after loading, {full_bytes} before");
    engine.recover().unwrap();
}
