//! Forms of LoRAs that no trainer's numbers are at hand for, against the same change in a form that
//! has been compared with these.

use std::collections::HashMap;

use candle_core::{D, Device, Tensor};

use super::lora::file;
use super::lora_files::Bench;
use super::reference::model_folder;
use super::{assert_close, relative_error};

type Tensors = HashMap<String, Tensor>;

/// Relative error by rounding alone.
const ROUNDING_MAX: f64 = 1e-5;

/// A change that is seen.
const CHANGE_MIN: f64 = 0.01;

/// The reference's widths of a token and of its three projections together.
const WIDTH: usize = 96;
const FUSED: usize = 3 * WIDTH;

const ATTENTION: &str = "diffusion_model.layers.0.attention";

/// Numbers between -1 and 1 without a pattern, times `most`.
fn numbers(shape: (usize, usize), seed: f32, most: f32) -> Tensor {
    let count = shape.0 * shape.1;
    let number = |at: usize| most * ((at as f32 + seed * 997.0) * 12.9898).sin();
    Tensor::from_vec((0..count).map(number).collect(), shape, &Device::Cpu).unwrap()
}

/// `form` of the fused matrix, and of each of its three with the rows of the keys in `cut`.
fn fused_and_split(form: &[(&str, Tensor)], cut: &[&str]) -> [Tensors; 2] {
    let fused = form.iter().map(|(end, tensor)| (format!("{ATTENTION}.qkv.{end}"), tensor.clone()));
    let split = ["to_q", "to_k", "to_v"].into_iter().enumerate().flat_map(|(nth, to)| {
        form.iter().map(move |(end, tensor)| {
            let rows = tensor.dims()[0] / 3;
            let third = || tensor.narrow(0, nth * rows, rows).unwrap();
            let part = if cut.contains(end) { third() } else { tensor.clone() };
            (format!("{ATTENTION}.{to}.{end}"), part)
        })
    });
    [fused.collect(), split.collect()]
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_change_of_the_fused_matrix_is_that_of_its_three() {
    let mut bench = Bench::new();
    let plain = bench.of(Vec::new()).unwrap();
    let rank = 3;
    let (up, down) = (numbers((FUSED, rank), 1.0, 0.3), numbers((rank, WIDTH), 2.0, 0.3));
    let (up_2, down_2) = (numbers((FUSED, rank), 3.0, 2.0), numbers((rank, WIDTH), 4.0, 2.0));
    let lengths = numbers((FUSED, 1), 5.0, 0.2).affine(1.0, 1.0).unwrap();
    // 6 x 4 blocks of 48 x 24.
    let (first, second) = (numbers((6, 4), 6.0, 0.4), numbers((48, 24), 7.0, 0.4));
    let biases = numbers((FUSED, 1), 9.0, 0.5).flatten_all().unwrap();
    for (what, form, cut) in [
        ("diff", vec![("diff", numbers((FUSED, WIDTH), 8.0, 0.1))], vec!["diff"]),
        ("biases", vec![("diff_b", biases)], vec!["diff_b"]),
        (
            "LoHa",
            vec![
                ("hada_w1_a", up.clone()),
                ("hada_w1_b", down.clone()),
                ("hada_w2_a", up_2),
                ("hada_w2_b", down_2),
            ],
            vec!["hada_w1_a", "hada_w2_a"],
        ),
        ("LoKr", vec![("lokr_w1", first), ("lokr_w2", second)], vec!["lokr_w1"]),
        (
            "DoRA by rows",
            vec![("lora_A.weight", down), ("lora_B.weight", up), ("dora_scale", lengths)],
            vec!["lora_B.weight", "dora_scale"],
        ),
    ] {
        let [fused, split] = fused_and_split(&form, &cut).map(|tensors| {
            let path = bench.written(&what.replace(' ', "-"), &tensors);
            bench.of_file(&path)
        });
        assert_close(what, &fused, &split, ROUNDING_MAX);
        let far = relative_error(&fused, &plain);
        assert!(far > CHANGE_MIN, "{what} changes little: {far}");
    }
}

/// kohya's files say alpha beside a rank; a scale takes the place of both.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn alpha_counts_by_the_rank_and_a_scale_in_its_place() {
    let mut bench = Bench::new();
    let (rank, up, down) = (4, numbers((WIDTH, 4), 1.0, 0.5), numbers((4, WIDTH), 2.0, 0.5));
    let of = |factor: f64, more: Option<(&str, f64)>| -> Tensors {
        let module = "lora_unet_layers_1_attention_to_v";
        let number = |value: f64| Tensor::new(value as f32, &Device::Cpu).unwrap();
        let more = more.map(|(end, value)| (format!("{module}.{end}"), number(value)));
        let matrices = [
            (format!("{module}.lora_down.weight"), down.clone()),
            (format!("{module}.lora_up.weight"), up.affine(factor, 0.0).unwrap()),
        ];
        matrices.into_iter().chain(more).collect()
    };
    for (end, value, factor) in
        [("alpha", 8.0, 8.0 / f64::from(rank)), ("alpha", 1.0, 0.25), ("scale", 0.5, 0.5)]
    {
        let [told, folded] = [of(1.0, Some((end, value))), of(factor, None)].map(|tensors| {
            let path = bench.written("alpha", &tensors);
            bench.of_file(&path)
        });
        assert_close(&format!("{end} {value}"), &told, &folded, ROUNDING_MAX);
    }
}

/// The change that a LyCORIS DoRA of this weight makes of `weight`, computed as a whole matrix:
/// the weight lies between the model's matrix and the trained one.
fn dora_by_rows(weight: &Tensor, up: &Tensor, down: &Tensor, lengths: &Tensor, at: f64) -> Tensor {
    let sum = (weight + up.matmul(down).unwrap()).unwrap();
    let norms = sum.sqr().unwrap().sum_keepdim(D::Minus1).unwrap().sqrt().unwrap();
    let trained = sum.broadcast_mul(&(lengths / norms).unwrap()).unwrap();
    (trained - weight).unwrap().affine(at, 0.0).unwrap()
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_dora_of_lycoris_weighs_between_the_model_and_what_was_trained() {
    let mut bench = Bench::new();
    let module = "layers.0.attention.to_q";
    let weight = model_weight(&format!("{module}.weight"));
    let (up, down) = (numbers((WIDTH, 3), 1.0, 0.3), numbers((3, WIDTH), 2.0, 0.3));
    let lengths = numbers((WIDTH, 1), 3.0, 0.3).affine(1.0, 1.2).unwrap();
    let dora = Tensors::from([
        (format!("diffusion_model.{module}.lora_down.weight"), down.clone()),
        (format!("diffusion_model.{module}.lora_up.weight"), up.clone()),
        (format!("diffusion_model.{module}.dora_scale"), lengths.clone()),
    ]);
    let dora = bench.written("dora", &dora);
    for at in [1.0, 0.4] {
        let diff = dora_by_rows(&weight, &up, &down, &lengths, at);
        let diff = Tensors::from([(format!("diffusion_model.{module}.diff"), diff)]);
        let expected = bench.written("diff", &diff);
        let expected = bench.of_file(&expected);
        let ours = bench.of(vec![super::lora::placed(dora.clone(), at)]).unwrap();
        assert_close(&format!("weight {at}"), &ours, &expected, ROUNDING_MAX);
    }
}

/// The columns go through queries, keys and values, so that none of the three can be split off.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_dora_by_columns_of_the_fused_matrix_has_the_lengths_of_all_three() {
    let mut bench = Bench::new();
    let of = |to: &str| model_weight(&format!("layers.0.attention.{to}.weight"));
    let weight = Tensor::cat(&["to_q", "to_k", "to_v"].map(of), 0).unwrap();
    let (up, down) = (numbers((FUSED, 3), 1.0, 0.3), numbers((3, WIDTH), 2.0, 0.3));
    let lengths = numbers((1, WIDTH), 3.0, 0.3).affine(1.0, 1.2).unwrap();
    let sum = (&weight + up.matmul(&down).unwrap()).unwrap();
    let norms = sum.sqr().unwrap().sum_keepdim(0).unwrap().sqrt().unwrap();
    let trained = sum.broadcast_mul(&(&lengths / norms).unwrap()).unwrap();
    let diff = (trained - weight).unwrap();
    let named = |end: &str, tensor: Tensor| (format!("{ATTENTION}.qkv.{end}"), tensor);
    let dora = Tensors::from([
        named("lora_A.weight", down),
        named("lora_B.weight", up),
        named("dora_scale", lengths),
    ]);
    let dora = bench.written("fused-dora", &dora);
    for at in [1.0, 0.4] {
        let diff = Tensors::from([named("diff", diff.affine(at, 0.0).unwrap())]);
        let expected = bench.written("fused-diff", &diff);
        let expected = bench.of_file(&expected);
        let ours = bench.of(vec![super::lora::placed(dora.clone(), at)]).unwrap();
        assert_close(&format!("weight {at}"), &ours, &expected, ROUNDING_MAX);
    }
}

fn model_weight(name: &str) -> Tensor {
    let files = std::fs::read_dir(model_folder().join("transformer")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let mut weights = files.filter(|path| path.extension().is_some_and(|end| end == "safetensors"));
    let of_file = |path| candle_core::safetensors::load(path, &Device::Cpu).unwrap().remove(name);
    weights.find_map(of_file).expect("a weight of the reference")
}

/// ai-toolkit's word for what PEFT calls a magnitude vector.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn ai_toolkits_dora_is_pefts_by_another_name() {
    let mut bench = Bench::new();
    let theirs = candle_core::safetensors::load(file("peft_dora"), &Device::Cpu).unwrap();
    let renamed = theirs.into_iter().map(|(key, tensor)| {
        let key = key.replace("transformer.", "diffusion_model.");
        (key.replace(".lora_magnitude_vector", ".magnitude"), tensor)
    });
    let path = bench.written("ai-toolkit", &renamed.collect());
    let expected = bench.of_file(&file("peft_dora"));
    assert_eq!(relative_error(&bench.of_file(&path), &expected), 0.0);
}
