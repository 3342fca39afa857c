//! Where the program vouches for what the compiler cannot check, and why it has to. Clippy asks for
//! a reason at each place; this asks for one by file, so that no new place comes unseen.

use std::collections::BTreeMap;

use regex::Regex;

use super::source::files;

/// A file, how often it says `unsafe`, and what it is for.
type Place = (&'static str, usize, &'static str);

const PLACES: [Place; 33] = [
    ("cli/logging.rs", 2, "the environment is changed before there is a second thread"),
    ("cli/signals.rs", 4, "signals are ignored, noted or asked about: std knows none"),
    ("cli/stderr.rs", 1, "the log is flushed when the process exits"),
    ("engine/meter.rs", 9, "an allocator that counts, in front of the system's own"),
    ("engine/z_image/cuda/jumps.rs", 3, "CUDA's functions, found when a card is first asked for"),
    ("engine/z_image/cuda/libraries.rs", 3, "CUDA's libraries are opened by dlopen"),
    ("engine/z_image/cuda/memory.rs", 5, "the driver's memory pool is asked and trimmed"),
    ("engine/z_image/cuda/mod.rs", 1, "cudarc's own tracking of events is turned off"),
    ("engine/z_image/cuda/pinned.rs", 11, "the host's memory that a card copies from by itself"),
    ("engine/z_image/cuda/staging.rs", 2, "weights are copied to a card while they are read"),
    ("engine/z_image/cuda/stream.rs", 10, "streams and events of the driver"),
    ("engine/z_image/host.rs", 1, "the kernel is advised to use large pages"),
    ("engine/z_image/ops/attention/heads.rs", 1, "threads write parts of one output"),
    ("engine/z_image/ops/bf16/mod.rs", 4, "threads write parts of one output"),
    (
        "engine/z_image/ops/bf16/rows.rs",
        11,
        "the processor's own products, of rows by where they begin",
    ),
    ("engine/z_image/ops/cpu.rs", 2, "loops compiled for what the processor was found to have"),
    ("engine/z_image/ops/cuda/attention.rs", 1, "a kernel is launched"),
    ("engine/z_image/ops/cuda/attention_hopper.rs", 3, "a kernel, and the map of its memory"),
    ("engine/z_image/ops/cuda/conv.rs", 2, "a kernel is launched"),
    ("engine/z_image/ops/cuda/groups.rs", 3, "kernels are launched"),
    ("engine/z_image/ops/cuda/int8.rs", 2, "kernels are launched"),
    ("engine/z_image/ops/cuda/kernels.rs", 8, "kernels are launched"),
    ("engine/z_image/ops/cuda/mod.rs", 2, "outputs that a kernel fills are not zeroed before"),
    ("engine/z_image/ops/cuda/rows.rs", 6, "kernels are launched"),
    ("engine/z_image/ops/im2col.rs", 1, "threads write parts of one output"),
    ("engine/z_image/ops/int8/product.rs", 1, "threads write parts of one output"),
    ("engine/z_image/ops/matmul.rs", 7, "the output of which threads write parts"),
    ("engine/z_image/ops/quantised.rs", 1, "bytes of a file are seen as the blocks that they are"),
    ("engine/z_image/weights/mod.rs", 1, "tensors that a copy fills are not zeroed before"),
    ("http/listen.rs", 1, "the socket that systemd has opened for us"),
    ("worker/last_word.rs", 2, "a panic and a signal write without the standard library"),
    ("worker/serve/mod.rs", 1, "a worker ends without its destructors, which may hang on a card"),
    ("worker/serve/signals.rs", 4, "signals, and whether the supervisor still lives"),
];

#[test]
fn unsafe_code_is_where_it_is_listed() {
    let word = Regex::new(r"\bunsafe\b").expect("a pattern");
    let count = |code: &str| word.find_iter(code).count();
    let found = files().into_iter().map(|file| (file.name, count(&file.code)));
    let found: BTreeMap<String, usize> = found.filter(|(_, count)| *count > 0).collect();
    let listed = PLACES.iter().map(|(file, count, _)| ((*file).to_owned(), *count));
    assert_eq!(found, listed.collect::<BTreeMap<_, _>>(), "list it in PLACES with its reason");
}
