//! What people bring along from other programs for such pictures (A1111, ComfyUI, diffusers,
//! InvokeAI, stable-diffusion.cpp), and what it is here: keys of a job, and syntax inside prompts.

mod keys;
pub mod prompt;

pub use self::keys::key_hint;
