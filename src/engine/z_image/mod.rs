//! Z-Image on candle, faithful to the reference implementation. To be read in the order of the mathematics: prompt,
//! text encoder, schedule and noise, transformer, sampler, VAE, picture; then what carries them.

pub mod prompt;

pub mod text_encoder;

pub mod noise;
pub mod schedule;

pub mod transformer;

pub mod sampler;

pub mod vae;

pub mod picture;

pub mod config;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod engine;
pub mod memory;
mod oom;
pub mod ops;
pub mod weights;

pub use engine::ZImageEngine;
