//! For the tests: repeatable values, and the comparison of a fast path with the plain one, which
//! any type but f32 takes.

use candle_core::{DType, Device, Result, Tensor};

/// Values between -1 and 1, the same for the same `seed`.
pub(super) fn values(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed;
    let next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = std::iter::repeat_with(next).take(shape.iter().product()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape has")
}

/// The same values, their two last dimensions not contiguous.
pub(super) fn strided(x: &Tensor) -> Tensor {
    let last = x.rank() - 1;
    x.transpose(last - 1, last)
        .and_then(|x| x.contiguous()?.transpose(last - 1, last))
        .expect("two dimensions")
}

/// Panics unless `operation` gives in f32 what it gives in f64, within `tolerance` of the largest
/// value.
pub(super) fn assert_fast_is_plain<const N: usize>(
    inputs: [&Tensor; N],
    tolerance: f64,
    operation: impl Fn([&Tensor; N]) -> Result<Tensor>,
) {
    let fast = operation(inputs).expect("the fast path works");
    let wide = inputs.map(|x| x.to_dtype(DType::F64).expect("f32 widens"));
    let plain = operation(wide.each_ref()).expect("the plain path works");
    assert_eq!((fast.dims(), fast.dtype()), (plain.dims(), DType::F32));
    let error = relative_error(&fast, &plain);
    assert!(error < tolerance, "off by {error:e} of the largest value");
}

/// Panics unless `operation` gives in `dtype` what it gives in f32, within 2 % of the largest
/// value; and in bf16 on a card, if [`card`] has one.
pub(super) fn assert_half_is_near<const N: usize>(
    inputs: [&Tensor; N],
    dtype: DType,
    operation: impl Fn([&Tensor; N]) -> Result<Tensor>,
) {
    let right = operation(inputs).expect("the fast path works");
    let assert_near = |dtype: DType, device: &Device| {
        let halves = inputs
            .map(|x| x.to_dtype(dtype).and_then(|x| x.to_device(device)).expect("f32 narrows"));
        let half = operation(halves.each_ref()).expect("the half path works");
        assert_eq!(half.dtype(), dtype);
        let error = relative_error(&half, &right);
        assert!(error < 0.02, "{device:?}: off by {error:e} of the largest value");
    };
    assert_near(dtype, &Device::Cpu);
    if let Some(card) = card() {
        assert_near(DType::BF16, &card);
    }
}

/// The first card, where `ZIMAGED_CARD` asks for it. That it is missing is then a failure.
fn card() -> Option<Device> {
    std::env::var_os("ZIMAGED_CARD")?;
    Some(first_card::open())
}

/// Runs the tests of the operators again, each on a card, too.
#[cfg(feature = "cuda")]
#[test]
#[ignore = "needs a card: see tools/gpu/simulator"]
fn operators_on_a_card_are_near() {
    let mut tests = std::process::Command::new(std::env::current_exe().expect("this program"));
    let status = tests.arg("z_image::ops::").env("ZIMAGED_CARD", "1").status();
    assert!(status.expect("the tests start").success());
}

/// The largest difference, of the largest value that is expected; NaN where one is.
pub(super) fn relative_error(x: &Tensor, expected: &Tensor) -> f64 {
    let flat = |x: &Tensor| {
        x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()
    };
    let (x, expected) = (flat(x).expect("numbers"), flat(expected).expect("numbers"));
    let largest = expected.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
    let errors = x.iter().zip(&expected).map(|(x, expected)| (x - expected).abs() / largest);
    // NaN must not hide: `max` would drop it.
    errors.fold(0.0, |max, error| if error <= max { max } else { error })
}

/// As the engine opens it, with CUDA's libraries.
#[cfg(test)]
pub(super) mod first_card {
    use candle_core::Device;

    use crate::engine::DeviceChoice;
    use crate::engine::z_image::device;

    pub fn open() -> Device {
        device::open(DeviceChoice::Cuda { index: 0 }).expect("there is a card")
    }
}
