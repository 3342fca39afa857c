//! Operations of a render, counted from the model's configuration, by stage: what
//! [`crate::planner::DeviceSpeed`] turns into an estimate of its time.
//!
//! Counted are products of matrices, attention, convolutions, what norms and sums write, and
//! weights that are not where they are needed; not what a call costs.

use super::transformer::Rows;
use super::weights::{STORED_BYTES, matrices_values, text_layers, text_matrices_values};
use super::{TEMPLATE_TOKENS, Work, block_weights_bytes};
use crate::engine::z_image::config::{ModelConfig, TransformerConfig, VaeConfig};
use crate::engine::z_image::geometry::Tiling;
use crate::engine::z_image::prompt::TOKENS_MAX;
use crate::engine::z_image::schedule::Schedule;
use crate::engine::{Backend, Recipe};
use crate::ladder::{Decode, Precision, Residency, Rung};
use crate::planner::{Operations, RenderOperations};

/// A token is about so many bytes of a prompt.
const TOKEN_BYTES: usize = 4;

/// What `recipe` on `rung` asks of the device; `None` on the host, which takes hours.
pub fn operations(
    model: &ModelConfig,
    backend: Backend,
    rung: &Rung,
    recipe: &Recipe,
) -> Option<RenderOperations> {
    if rung.residency == Residency::Host {
        return None;
    }
    let tokens = (recipe.prompt.len() / TOKEN_BYTES + TEMPLATE_TOKENS).min(TOKENS_MAX);
    let work = Work { tokens, ..Work::of(recipe) };
    let rows = Rows::of(model, rung, work);
    let prompts = if work.guided { 2.0 } else { 1.0 };
    let config = &model.transformer;
    let text = text(model, rung, tokens) + caption(config, rung.precision, rows.caption);
    let step = forward(config, rung.precision, &rows) + weights_of_a_forward(model, backend, rung);
    Some(RenderOperations {
        text_encode: text * prompts,
        denoise: step * f64::from(forwards(model, rung.steps, recipe))
            + encode(model, rung, recipe),
        vae_decode: decode(model, rung),
    })
}

/// How often the transformer runs: once in each step that is taken, and once more where guidance
/// counts.
fn forwards(model: &ModelConfig, steps: u32, recipe: &Recipe) -> u32 {
    let first = recipe.first_step(steps);
    let schedule = Schedule::new(&model.schedule, steps);
    let is_guided =
        |step: &usize| recipe.is_guided() && schedule.is_guided(*step, recipe.guidance_truncation);
    steps - first + (first as usize..schedule.steps()).filter(is_guided).count() as u32
}

/// In how many of so many steps guidance counts that is cut off at `truncation`.
pub fn guided_steps(model: &ModelConfig, steps: u32, truncation: f64) -> u32 {
    let schedule = Schedule::new(&model.schedule, steps);
    (0..schedule.steps()).filter(|step| schedule.is_guided(*step, truncation)).count() as u32
}

/// Products of so many rows with matrices of so many values.
fn linear(rows: usize, values: usize) -> Operations {
    let (linear, weights) = (rows as f64 * values as f64, values as f64);
    Operations { linear, weights, ..Operations::default() }
}

/// Attention of so many rows to each other, in heads that are `width` wide together.
fn attention(rows: usize, width: usize) -> Operations {
    Operations { attention: 2.0 * (rows as f64).powi(2) * width as f64, ..Operations::default() }
}

/// A convolution that sees `window` pixels.
fn conv(pixels: usize, inputs: usize, outputs: usize, window: usize) -> Operations {
    let gathered = pixels as f64 * (inputs * window) as f64;
    let convolution = gathered * outputs as f64;
    Operations { convolution, gathered, ..Operations::default() }
}

/// Values that are written without a product.
fn moved(values: usize) -> Operations {
    Operations { moved: values as f64, ..Operations::default() }
}

fn read(bytes: usize) -> Operations {
    Operations { read_bytes: bytes as f64, ..Operations::default() }
}

/// The text encoder, as far as it runs.
fn text(model: &ModelConfig, rung: &Rung, tokens: usize) -> Operations {
    let config = &model.text_encoder;
    let values = text_matrices_values(config);
    let read = match rung.residency.releases_text_encoder() {
        false => Operations::default(),
        true => read(STORED_BYTES * values),
    };
    let inner = config.num_attention_heads * config.head_dim;
    let layer = linear(tokens, values) + attention(tokens, inner) + read;
    layer * text_layers(config) as f64
}

/// The caption's embedding and refinement.
fn caption(config: &TransformerConfig, precision: Precision, rows: usize) -> Operations {
    block(config, precision, rows) * config.n_refiner_layers as f64
        + linear(rows, config.cap_feat_dim * config.dim)
}

/// One run of the transformer.
fn forward(config: &TransformerConfig, precision: Precision, rows: &Rows) -> Operations {
    let patch_dim = config.patch() * config.patch() * config.in_channels;
    block(config, precision, rows.all()) * config.n_layers as f64
        + block(config, precision, rows.picture) * config.n_refiner_layers as f64
        + linear(rows.picture, 2 * patch_dim * config.dim)
}

fn block(config: &TransformerConfig, precision: Precision, rows: usize) -> Operations {
    // Four norms, two sums, queries and keys turned; and the gated activation.
    let around = moved(rows * (8 * config.dim + config.hidden_dim()));
    let products = linear(rows, block_values(config));
    let products = match precision {
        Precision::Int8 => Operations { int8: products.linear, ..Operations::default() },
        Precision::Full | Precision::Q8 | Precision::Q4 => products,
    };
    products + attention(rows, config.dim) + around
}

fn block_values(config: &TransformerConfig) -> usize {
    matrices_values(config).iter().sum()
}

/// The weights that have to come before, or beside, each run of the transformer.
fn weights_of_a_forward(model: &ModelConfig, backend: Backend, rung: &Rung) -> Operations {
    let config = &model.transformer;
    let streamed = match rung.residency {
        Residency::Streamed { resident_blocks } => {
            config.n_layers.saturating_sub(resident_blocks as usize)
        }
        _ => 0,
    };
    match backend {
        Backend::Cuda => {
            let bytes = streamed * block_weights_bytes(config, backend, rung.precision);
            Operations { streamed_bytes: bytes as f64, ..Operations::default() }
        }
        // There quantised matrices are made dense for each product, resident or not.
        Backend::Cpu { .. } => {
            let blocks = match rung.precision {
                Precision::Full | Precision::Int8 => streamed,
                Precision::Q8 | Precision::Q4 => config.n_layers + config.n_refiner_layers,
            };
            read(blocks * STORED_BYTES * block_values(config))
        }
    }
}

/// The VAE's encoding of the picture that is begun with, as if in one piece.
fn encode(model: &ModelConfig, rung: &Rung, recipe: &Recipe) -> Operations {
    let vae = &model.vae;
    if !recipe.begins_with_picture() {
        return Operations::default();
    }
    let (picture, channels) = (rung.width as usize * rung.height as usize, &vae.block_out_channels);
    let down = (0..channels.len()).map(|level| {
        let (inputs, outputs) = (channels[level.saturating_sub(1)], channels[level]);
        let pixels = picture >> (2 * level);
        let halved = if level + 1 < channels.len() { pixels / 4 } else { 0 };
        let more = vae.layers_per_block.saturating_sub(1) as f64;
        resnet(pixels, inputs, outputs, 1.0)
            + resnet(pixels, outputs, outputs, 1.0) * more
            + conv(halved, outputs, outputs, 9)
    });
    let latents = picture / vae.factor() / vae.factor();
    conv(picture, vae.out_channels, channels[0], 9)
        + down.sum::<Operations>()
        + middle(vae, latents)
}

/// The VAE's decode. In stripes and tiles, what is computed twice counts twice.
fn decode(model: &ModelConfig, rung: &Rung) -> Operations {
    let vae = &model.vae;
    let side = |pixels: u32| pixels as usize / vae.factor();
    let (width, height) = (side(rung.width), side(rung.height));
    let (cut_stripes, conv1_times, tiles) = match rung.decode {
        Decode::Whole => (0, 1.0, 1.0),
        Decode::Stripes { height: stripe } => {
            let count = height.div_ceil(side(stripe).max(1));
            (if count > 1 { count } else { 0 }, 2.0, 1.0)
        }
        Decode::Tiles { side: tile } => {
            let share = |length: usize| {
                let Tiling { count, tile } = Tiling::new(length, side(tile));
                (count * tile) as f64 / length as f64
            };
            (0, 1.0, share(width) * share(height))
        }
    };
    let up = (0..vae.block_out_channels.len()).map(|level| {
        // A row on both sides of each stripe, as a share of all rows.
        let halo = cut_stripes as f64 * 2.0 / (height << level) as f64;
        up_block(vae, level, (width << level) * (height << level), conv1_times) * (1.0 + halo)
    });
    let last = vae.decoder_channels().last().copied().unwrap_or(0);
    let picture = rung.width as usize * rung.height as usize;
    let outwards = up.sum::<Operations>() + conv(picture, last, vae.out_channels, 9);
    middle(vae, width * height) + outwards * tiles
}

/// What is computed at the latents' size.
fn middle(vae: &VaeConfig, pixels: usize) -> Operations {
    let deepest = vae.decoder_channels()[0];
    conv(pixels, vae.latent_channels, deepest, 9)
        + resnet(pixels, deepest, deepest, 1.0) * 2.0
        + linear(pixels, 4 * deepest * deepest)
        + attention(pixels, deepest)
}

/// An upward block at `level`, deepest first, of so many pixels before they are doubled each way.
fn up_block(vae: &VaeConfig, level: usize, pixels: usize, conv1_times: f64) -> Operations {
    let channels = vae.decoder_channels();
    let (inputs, outputs) = (channels[level.saturating_sub(1)], channels[level]);
    let upsampler = match level + 1 < channels.len() {
        true => conv(4 * pixels, outputs, outputs, 9),
        false => Operations::default(),
    };
    resnet(pixels, inputs, outputs, conv1_times)
        + resnet(pixels, outputs, outputs, conv1_times) * vae.layers_per_block as f64
        + upsampler
}

/// A residual block whose first convolution runs so many times.
fn resnet(pixels: usize, inputs: usize, outputs: usize, conv1_times: f64) -> Operations {
    let shortcut = match inputs == outputs {
        true => Operations::default(),
        false => conv(pixels, inputs, outputs, 1),
    };
    // Two norms.
    let around = moved(pixels * (inputs + outputs));
    conv(pixels, inputs, outputs, 9) * conv1_times
        + conv(pixels, outputs, outputs, 9)
        + shortcut
        + around
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::z_image::config::turbo;

    const STREAMED: Residency = Residency::Streamed { resident_blocks: 6 };

    fn of(residency: Residency, decode: Decode, recipe: &Recipe) -> RenderOperations {
        of_precision(Precision::Full, residency, decode, recipe)
    }

    fn of_precision(
        precision: Precision,
        residency: Residency,
        decode: Decode,
        recipe: &Recipe,
    ) -> RenderOperations {
        let (width, height, steps) = (1024, 1024, 8);
        let rung = Rung { residency, precision, decode, width, height, steps };
        operations(&turbo(), Backend::Cuda, &rung, recipe).unwrap()
    }

    /// A prompt of 64 tokens, with guidance until this time.
    fn recipe(guidance: f64, guidance_truncation: f64) -> Recipe {
        let prompt = "fox ".repeat(56);
        Recipe { prompt, guidance, guidance_truncation, ..Recipe::default() }
    }

    fn resident() -> RenderOperations {
        of(Residency::Device, Decode::Whole, &recipe(0.0, 1.0))
    }

    fn near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 0.03, "{found:e} {expected:e}");
    }

    // newcomer 6. A multiply-add is two FLOP: 47.1 and 8.49 TFLOP in a step, 9.9 in a decode with
    // 0.55 of attention, counted by hand for Z-Image-Turbo at 1024x1024.
    #[test]
    fn turbos_operations_are_those_counted_by_hand() {
        let RenderOperations { denoise, vae_decode, .. } = resident();
        near(2.0 * denoise.linear / 8.0, 47.1e12);
        near(2.0 * denoise.attention / 8.0, 8.49e12);
        // 32 blocks of 176.9e6 values in each step.
        near(denoise.weights / 8.0, 5.66e9);
        near(2.0 * vae_decode.convolution, 9.9e12);
        near(2.0 * vae_decode.attention, 0.55e12);
    }

    #[test]
    fn the_blocks_products_of_8_bits_are_counted_as_such() {
        let recipe = recipe(0.0, 1.0);
        let of = |precision| of_precision(precision, Residency::Device, Decode::Whole, &recipe);
        let [full, int8] = [Precision::Full, Precision::Int8].map(of);
        near(int8.denoise.int8, full.denoise.linear);
        assert!(int8.denoise.linear < 0.01 * full.denoise.linear, "the embedders alone");
        assert_eq!((full.denoise.int8, int8.denoise.attention), (0.0, full.denoise.attention));
        near(int8.text_encode.linear + int8.text_encode.int8, full.text_encode.linear);
    }

    #[test]
    fn guidance_runs_the_transformer_twice_until_it_is_cut_off() {
        let of = |recipe| of(Residency::Device, Decode::Whole, &recipe);
        let plain = of(recipe(0.0, 1.0));
        let guided = of(recipe(3.0, 1.0));
        near(guided.denoise.linear, 2.0 * plain.denoise.linear);
        near(guided.text_encode.linear, 2.0 * plain.text_encode.linear);
        let cut_off = of(recipe(3.0, 0.3)).denoise.linear / plain.denoise.linear;
        assert!(cut_off > 1.1 && cut_off < 1.9, "{cut_off}");
    }

    #[test]
    fn a_picture_to_begin_with_costs_its_encoding_and_saves_steps() {
        let begun = |strength| {
            let init_image = "a.png".to_owned();
            let recipe = Recipe { init_image, strength, ..recipe(0.0, 1.0) };
            of(Residency::Device, Decode::Whole, &recipe).denoise
        };
        let plain = resident().denoise;
        near(begun(1.0).linear, plain.linear);
        near(begun(0.6).linear / plain.linear, 5.0 / 8.0);
        // Counted by hand for Z-Image-Turbo's encoder at 1024x1024.
        near(2.0 * begun(1.0).convolution, 4.3e12);
    }

    #[test]
    fn weights_that_are_elsewhere_come_in_each_step_and_bands_compute_more() {
        let streamed = of(STREAMED, Decode::Stripes { height: 128 }, &recipe(0.0, 1.0));
        // 24 blocks of 354 MB, eight times; 35 layers of the text encoder.
        near(streamed.denoise.streamed_bytes, 8.0 * 24.0 * 362e6);
        near(streamed.text_encode.read_bytes, 7.06e9);
        assert_eq!(resident().denoise.streamed_bytes + resident().text_encode.read_bytes, 0.0);
        let share = |decode| {
            let striped = of(STREAMED, decode, &recipe(0.0, 1.0));
            striped.vae_decode.convolution / resident().vae_decode.convolution
        };
        let stripes = share(Decode::Stripes { height: 128 });
        assert!(stripes > 1.3 && stripes < 1.9, "{stripes}");
        let tiles = share(Decode::Tiles { side: 512 });
        assert!(tiles > 1.2 && tiles < 2.0, "{tiles}");
        assert!(operations_on_the_host().is_none());
    }

    fn operations_on_the_host() -> Option<RenderOperations> {
        let rung = Rung {
            residency: Residency::Host,
            precision: Precision::Full,
            decode: Decode::Whole,
            width: 512,
            height: 512,
            steps: 8,
        };
        operations(&turbo(), Backend::Cuda, &rung, &recipe(0.0, 1.0))
    }
}
