//! `kind = "cpu-bf16"`: a processor that keeps matrices in bf16.

use crate::support::House;
use crate::support::places::miniature;

const JOB: &str = "prompt = 'a red circle'\nseed = 1\nwidth = 128\nheight = 128\nsteps = 2\n";

fn house(kind: &str) -> House {
    let mini = miniature();
    House::with_config(&format!("[model]\npath = {mini:?}\n[device]\nkind = \"{kind}\"\n"))
}

/// Renders on a processor of this kind: the house, and the most bytes while its prompt was encoded: the weights, above all.
fn rendered(kind: &str) -> (House, u64) {
    let house = house(kind);
    house.drop_job("fox.toml", JOB);
    let run = house.zimaged(&["run", "--until-idle"]);
    assert!(run.status.success(), "{run:?}");
    let weights = house.value("SELECT text_encode_bytes FROM memory");
    (house, weights.parse().expect("bytes"))
}

#[test]
fn matrices_in_bf16_take_half_the_memory_and_the_history_says_so() {
    let (_, whole) = rendered("cpu");
    let (house, halved) = rendered("cpu-bf16");
    assert!(halved * 10 < whole * 7, "{halved} of {whole}");
    let device = house.value("SELECT device FROM history");
    assert!(device.starts_with("cpu in bf16, "), "{device}");
    let estimate = String::from_utf8(house.zimaged(&["fit"]).stdout).expect("text");
    assert!(estimate.contains("cpu in bf16"), "{estimate}");
}
