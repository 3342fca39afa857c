//! Headers of safetensors and GGUF files: models and LoRAs.

use std::fs;

use zimaged::internals::{ModelPlace, check_lora, inspect_model};

use super::{Target, example};

/// A header is at most a few times its own size in memory, and no input is larger than 1 MiB.
const HEAP_BYTES_MAX: usize = 64 << 20;

const WORDS: &[&str] = &[
    "\"dtype\":\"F8_E4M3\"",
    "\"dtype\":\"BF16\"",
    "\"shape\":[",
    "\"shape\":[4294967296,4294967296]",
    "\"data_offsets\":[18446744073709551615,0]",
    "\"data_offsets\":[0,9007199254740993]",
    "\"__metadata__\":{",
    ".lora_A.weight",
    ".lora_up.weight",
    ".alpha",
    ".hada_w1_a",
    ".lokr_w1",
    ".dora_scale",
    "layers.0.attention.to_q.weight",
    "general.alignment",
    "general.architecture",
    "[[[[[[[[[[[[[[[[",
    "GGUF",
];

/// The whole file where that is small; the header and some of what follows where it is not.
fn header(path: &str) -> Vec<u8> {
    let mut bytes = example(path);
    bytes.truncate(64 << 10);
    bytes
}

fn inspected(name: &'static str, file: &str, corpus: Vec<Vec<u8>>) {
    let target = Target { name, corpus, words: WORDS, heap_bytes_max: HEAP_BYTES_MAX };
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The name says the format.
    let path = folder.path().join(file);
    target.run(move |bytes| {
        let _folder = &folder;
        fs::write(&path, bytes).expect("our own file");
        let found = inspect_model(&ModelPlace::at(&path)).map_err(|error| error.to_string());
        match found.map(|found| found.problem) {
            Ok(None) => Ok(()),
            Ok(Some(told)) | Err(told) => {
                assert!(told.contains(path.to_str().expect("ASCII")), "names no file: {told}");
                Err(told)
            }
        }
    });
}

#[test]
fn a_safetensors_file_may_hold_anything() {
    let files = [
        "models/mini/vae/diffusion_pytorch_model.safetensors",
        "models/mini/transformer/diffusion_pytorch_model.safetensors",
        "tests/data/formats/int8.safetensors",
        "tests/data/formats/expected.safetensors",
        "tests/data/lora/peft_dora.safetensors",
    ];
    inspected("safetensors", "a.safetensors", files.map(header).to_vec());
}

#[test]
fn a_gguf_file_may_hold_anything() {
    inspected("gguf", "a.gguf", vec![header("tests/data/formats/blocks.gguf")]);
}

#[test]
fn a_lora_file_may_hold_anything() {
    let names = ["lycoris_dora_rows", "lycoris_loha", "lycoris_lokr_small", "peft_alpha", "case"];
    let corpus = names.map(|name| header(&format!("tests/data/lora/{name}.safetensors"))).to_vec();
    let target = Target { name: "lora", corpus, words: WORDS, heap_bytes_max: HEAP_BYTES_MAX };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.safetensors");
    let model = ModelPlace::at(concat!(env!("CARGO_MANIFEST_DIR"), "/models/mini").as_ref());
    target.run(move |bytes| {
        let _folder = &folder;
        fs::write(&path, bytes).expect("our own file");
        let checked = check_lora(&path, &model, false).map_err(|error| error.to_string());
        checked.map(drop).inspect_err(|told| {
            assert!(told.contains(path.to_str().expect("ASCII")), "names no file: {told}");
        })
    });
}
