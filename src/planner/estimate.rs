//! How long a render takes, before any was made: its operations, counted, on a device whose speed
//! was measured. Pure.

use std::iter::Sum;
use std::ops::{Add, Mul};

use serde::{Deserialize, Serialize};

/// What a computation asks of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Operations {
    /// Multiply-adds of the products with weights.
    pub linear: f64,
    /// Values of these weights, once for each product: however few rows there are, they are gone
    /// through.
    pub weights: f64,
    /// Multiply-adds of the products with weights in whole numbers of 8 bits.
    pub int8: f64,
    /// Multiply-adds of attention: queries with keys, scores with values.
    pub attention: f64,
    /// Multiply-adds of convolutions.
    pub convolution: f64,
    /// Values that convolutions gather for them: with few channels this takes longer.
    pub gathered: f64,
    /// Values that norms and sums write, which are too many for a cache.
    pub moved: f64,
    /// Bytes of weights, as the files have them, that are read before the device computes.
    pub read_bytes: f64,
    /// Bytes of weights that come to a card while it computes.
    pub streamed_bytes: f64,
}

impl Add for Operations {
    type Output = Operations;

    fn add(self, other: Operations) -> Operations {
        Operations {
            linear: self.linear + other.linear,
            weights: self.weights + other.weights,
            int8: self.int8 + other.int8,
            attention: self.attention + other.attention,
            convolution: self.convolution + other.convolution,
            gathered: self.gathered + other.gathered,
            moved: self.moved + other.moved,
            read_bytes: self.read_bytes + other.read_bytes,
            streamed_bytes: self.streamed_bytes + other.streamed_bytes,
        }
    }
}

impl Mul<f64> for Operations {
    type Output = Operations;

    fn mul(self, times: f64) -> Operations {
        Operations {
            linear: self.linear * times,
            weights: self.weights * times,
            int8: self.int8 * times,
            attention: self.attention * times,
            convolution: self.convolution * times,
            gathered: self.gathered * times,
            moved: self.moved * times,
            read_bytes: self.read_bytes * times,
            streamed_bytes: self.streamed_bytes * times,
        }
    }
}

impl Sum for Operations {
    fn sum<I: Iterator<Item = Operations>>(operations: I) -> Operations {
        operations.fold(Operations::default(), Add::add)
    }
}

/// The operations of one render, by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RenderOperations {
    pub text_encode: Operations,
    pub denoise: Operations,
    pub vae_decode: Operations,
}

impl RenderOperations {
    /// Bytes of weights that come to a card, in all stages together.
    pub fn streamed_bytes(&self) -> f64 {
        let RenderOperations { text_encode, denoise, vae_decode } = self;
        text_encode.streamed_bytes + denoise.streamed_bytes + vae_decode.streamed_bytes
    }
}

/// What a device did in a second of each kind of [`Operations`], in a short measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeviceSpeed {
    /// Multiply-adds of the products with weights.
    pub linear_per_s: f64,
    /// Values of these weights that are gone through.
    pub weights_per_s: f64,
    /// Multiply-adds in whole numbers of 8 bits; nothing where an earlier version has measured.
    #[serde(default)]
    pub int8_per_s: f64,
    /// Multiply-adds of attention.
    pub attention_per_s: f64,
    /// Multiply-adds of convolutions.
    pub convolution_per_s: f64,
    /// Values that convolutions gather for them.
    pub gathered_per_s: f64,
    /// Values that norms and sums write.
    pub moved_per_s: f64,
    /// Bytes of weights that are read before it computes.
    pub read_bytes_per_s: f64,
    /// Bytes of weights that come to it while it computes.
    pub streamed_bytes_per_s: f64,
}

/// Time that nobody has measured yet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Estimate {
    /// Of a prompt that was never seen before.
    pub text_encode_ms: u64,
    /// Of all steps.
    pub denoise_ms: u64,
    /// Of the decode.
    pub vae_decode_ms: u64,
    /// All three together.
    pub total_ms: u64,
}

impl DeviceSpeed {
    /// How long the device takes for a render of these operations.
    pub fn estimate(&self, render: &RenderOperations) -> Estimate {
        let [text_encode_ms, denoise_ms, vae_decode_ms] =
            [&render.text_encode, &render.denoise, &render.vae_decode]
                .map(|operations| (self.seconds(operations) * 1000.0).round() as u64);
        let total_ms = text_encode_ms + denoise_ms + vae_decode_ms;
        Estimate { text_encode_ms, denoise_ms, vae_decode_ms, total_ms }
    }

    fn seconds(&self, operations: &Operations) -> f64 {
        let computing = operations.linear / self.linear_per_s
            + operations.weights / self.weights_per_s
            + operations.int8 / self.int8_per_s
            + operations.attention / self.attention_per_s
            + operations.convolution / self.convolution_per_s
            + operations.gathered / self.gathered_per_s
            + operations.moved / self.moved_per_s;
        let streaming = operations.streamed_bytes / self.streamed_bytes_per_s;
        operations.read_bytes / self.read_bytes_per_s + computing.max(streaming)
    }

    /// Whether all of it can be divided by: a file may say anything.
    pub fn is_usable(&self) -> bool {
        let DeviceSpeed {
            linear_per_s,
            weights_per_s,
            int8_per_s,
            attention_per_s,
            convolution_per_s,
            gathered_per_s,
            moved_per_s,
            read_bytes_per_s,
            streamed_bytes_per_s,
        } = *self;
        let rates = [
            linear_per_s,
            weights_per_s,
            int8_per_s,
            attention_per_s,
            convolution_per_s,
            gathered_per_s,
            moved_per_s,
            read_bytes_per_s,
            streamed_bytes_per_s,
        ];
        rates.iter().all(|rate| rate.is_finite() && *rate >= 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEED: DeviceSpeed = DeviceSpeed {
        linear_per_s: 1000.0,
        weights_per_s: 50.0,
        int8_per_s: 4000.0,
        attention_per_s: 100.0,
        convolution_per_s: 500.0,
        gathered_per_s: 200.0,
        moved_per_s: 10.0,
        read_bytes_per_s: 10.0,
        streamed_bytes_per_s: 20.0,
    };

    // newcomer 6
    #[test]
    fn kinds_add_up_and_streaming_hides_behind_computing() {
        let linear = Operations { linear: 500.0, ..Operations::default() };
        let render = RenderOperations {
            text_encode: linear + Operations { read_bytes: 10.0, ..Operations::default() },
            denoise: [Operations { attention: 20.0, streamed_bytes: 10.0, ..linear }; 4]
                .into_iter()
                .sum(),
            vae_decode: Operations {
                convolution: 25.0,
                gathered: 10.0,
                moved: 1.0,
                ..Operations::default()
            },
        };
        let estimate = SPEED.estimate(&render);
        assert_eq!((estimate.text_encode_ms, estimate.denoise_ms), (1500, 2800));
        assert_eq!((estimate.vae_decode_ms, estimate.total_ms), (200, 4500));
        let few_rows = Operations { weights: 100.0, ..linear };
        let few_rows = RenderOperations { denoise: few_rows, ..RenderOperations::default() };
        assert_eq!(SPEED.estimate(&few_rows).denoise_ms, 2500);
        let int8 = Operations { int8: 500.0, ..Operations::default() };
        let int8 = RenderOperations { denoise: int8, ..RenderOperations::default() };
        assert_eq!(SPEED.estimate(&int8).denoise_ms, 125);
        let bus = Operations { streamed_bytes: 60.0, ..linear };
        let slow =
            SPEED.estimate(&RenderOperations { denoise: bus, ..RenderOperations::default() });
        assert_eq!(slow.denoise_ms, 3000, "where the bus is the bound");
    }

    #[test]
    fn what_cannot_be_divided_by_is_not_used() {
        assert!(SPEED.is_usable());
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(!DeviceSpeed { linear_per_s: rate, ..SPEED }.is_usable(), "{rate}");
        }
    }
}
