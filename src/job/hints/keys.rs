//! Keys of other programs, with the one right key or the reason why there is none.

use crate::job::parameters::PARAMETERS;

/// Words for one thing, and what to answer to each of them.
type Entry = (&'static [&'static str], &'static str);

/// Words in the form that [`plain`] gives them. An answer with a key of ours says it in backticks.
const FOREIGN_KEYS: [Entry; 38] = [
    (
        &["cfg", "cfg_scale", "cfgscale", "true_cfg_scale", "scale"],
        "here it is called `guidance`, and is the CFG scale less 1: `cfg = 5` is `guidance = 4`; \
         the Turbo model wants 0",
    ),
    (
        &["guidance_scale"],
        "here it is called `guidance`, with the same number as in diffusers' ZImagePipeline; the \
         Turbo model wants 0",
    ),
    (
        &["distilled_cfg", "distilled_cfg_scale", "distilled_guidance", "flux_guidance"],
        "there is no distilled guidance in this model; `guidance` is the CFG scale less 1",
    ),
    (&["cfg_normalization", "cfg_norm"], "here it is called `guidance_normalization`"),
    (&["cfg_truncation", "cfg_trunc"], "here it is called `guidance_truncation`"),
    (
        &["guidance_rescale", "cfg_rescale", "cfg_rescale_multiplier", "rescale_cfg"],
        "here `guidance_normalization` keeps colours from burning, by another formula",
    ),
    (
        &[
            "num_inference_steps",
            "inference_steps",
            "sampling_steps",
            "sample_steps",
            "num_steps",
            "ddim_steps",
        ],
        "here it is called `steps`; the Turbo model wants 8",
    ),
    (
        &["negative", "neg", "neg_prompt", "negative_text", "negatives", "uc"],
        "here it is called `negative_prompt`",
    ),
    (
        &["positive", "positive_prompt", "text", "caption", "prompt_text"],
        "here it is called `prompt`",
    ),
    (
        &["prompts"],
        "here it is called `prompt`: one string, or a list of strings; `prompt_file` names a file \
         with one in each line",
    ),
    (
        &["prompts_file", "prompt_list", "prompts_list", "prompt_path", "from_file"],
        "here it is called `prompt_file`",
    ),
    (
        &[
            "batch_size",
            "batch_count",
            "batch",
            "n_iter",
            "num_images_per_prompt",
            "iterations",
            "n",
            "count",
            "images",
            "image_count",
            "num_outputs",
            "num_samples",
            "n_samples",
            "samples",
            "amount",
            "repeat",
        ],
        "here it is called `num_images`; pictures are made one after the other, so there is no \
         batch size",
    ),
    (&["noise_seed", "generator", "manual_seed", "rng_seed"], "here it is called `seed`"),
    (&["seeds"], "here it is called `seed`; several stand as a list under [matrix]"),
    (
        &["subseed", "subseed_strength", "variation_seed", "variation_seed_strength", "variations"],
        "there are no variation seeds; `num_images` makes more pictures of one prompt",
    ),
    (
        &["control_after_generate", "seed_behavior", "seed_behaviour"],
        "seeds count up by themselves with `num_images`; without a seed they are random",
    ),
    (&["w", "image_width"], "here it is called `width`"),
    (&["h", "image_height"], "here it is called `height`"),
    (
        &["resolution", "dimensions", "dims", "image_size", "sizes"],
        "here it is called `size`, like \"1024x768\"",
    ),
    (
        &["aspect_ratio", "aspect", "ar", "ratio"],
        "a picture is asked for in pixels: `size`, like \"1024x768\"",
    ),
    (
        &["sampler_name", "sampler_index", "sampling_method", "sample_method"],
        "here it is called `sampler`: \"euler\", or \"res_multistep\" as in ComfyUI's template",
    ),
    (
        &["scheduler", "schedule", "schedule_type"],
        "there is nothing to choose: the model has its own schedule, which others call \"simple\"",
    ),
    (
        &["sigmas", "timesteps", "shift", "flow_shift", "eta", "s_churn", "s_noise", "rng", "ensd"],
        "there is nothing to set: the noise and its schedule are the model's own",
    ),
    (
        &["denoise", "denoising_strength", "image_strength"],
        "here it is called `strength`, from 0 to 1, and counts beside `init_image`",
    ),
    (
        &["image", "init_images", "init_img", "input_image", "source_image"],
        "here it is called `init_image`: the path of a picture",
    ),
    (
        &["mask_image", "inpaint_mask", "mask_path"],
        "here it is called `mask`: the path of a picture, bright where `init_image` is painted over",
    ),
    (
        &[
            "enable_hr",
            "hires_fix",
            "highres_fix",
            "hr_scale",
            "hr_upscaler",
            "hr_second_pass_steps",
            "upscale",
            "upscaler",
            "refiner",
            "refiner_checkpoint",
            "restore_faces",
            "adetailer",
        ],
        "there is no second pass over a picture; ask for the size that you want",
    ),
    (
        &["loras", "lora_name", "lora_scale", "lora_weight", "lora_path", "strength_model"],
        "here it is called `lora`: [[lora]] with path and weight, or \"style:0.8\"",
    ),
    (&["hypernetwork"], "there is none"),
    (
        &["controlnet", "control_image", "ip_adapter", "alwayson_scripts", "script_name"],
        "there are no extensions",
    ),
    (
        &["clip_skip", "clip_stop_at_last_layers"],
        "there is none: the text encoder is not CLIP, and is used as the model was trained with it",
    ),
    (
        &[
            "checkpoint",
            "ckpt",
            "ckpt_name",
            "model_name",
            "model_path",
            "sd_model_checkpoint",
            "unet_name",
            "diffusion_model",
            "vae",
            "vae_name",
            "sd_vae",
            "clip_name",
            "override_settings",
        ],
        "daemon.toml names the models: [model] path, and [models.NAME] for a job with model = \"NAME\"",
    ),
    (
        &[
            "dtype",
            "torch_dtype",
            "weight_dtype",
            "quantization",
            "device",
            "vram",
            "lowvram",
            "medvram",
            "cpu_offload",
            "offload_to_cpu",
            "vae_tiling",
            "enable_vae_tiling",
            "vae_on_cpu",
        ],
        "the daemon chooses by the memory that is free; `on_oom` says how far it may go",
    ),
    (
        &[
            "filename",
            "file_name",
            "filename_prefix",
            "filename_pattern",
            "file",
            "outfile",
            "outdir",
            "output_dir",
            "output_path",
            "output_name",
            "save_path",
        ],
        "here it is called `output`, a path under the output folder, which daemon.toml names",
    ),
    (
        &["extension", "ext", "file_format", "image_format", "output_format", "samples_format"],
        "here it is called `format`",
    ),
    (&["quality", "jpeg_quality", "jpg_quality"], "there is none: JPEG is written at quality 95"),
    (
        &["styles", "style", "style_preset", "preset"],
        "there are no styles; write their words into `prompt`",
    ),
    (
        &["start", "start_at", "start_time", "run_at", "schedule_at", "after", "at"],
        "here it is called `not_before`",
    ),
];

/// Keys at the top of a job file beside those of its parameters.
const TOP_KEYS: [&str; 8] = [
    "wildcards",
    "prompt_file",
    "num_images",
    "priority",
    "not_before",
    "not_after",
    "window",
    "tags",
];

/// What an unknown key of a job file is here. `path` is like `cfg` or `matrix.cfg`.
pub fn key_hint(path: &str) -> Option<String> {
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    let is_shared = |key: &str| {
        PARAMETERS.iter().any(|parameter| parameter.name == key && !parameter.is_axis)
            || TOP_KEYS.contains(&key)
    };
    match section {
        "matrix" if is_shared(key) => {
            Some(format!("all pictures of a job share `{key}`: put it at the top of the file"))
        }
        "" | "matrix" | "defaults" => foreign_key(key).map(str::to_owned),
        _ => None,
    }
}

fn foreign_key(key: &str) -> Option<&'static str> {
    let key = plain(key);
    let entry = FOREIGN_KEYS.iter().find(|(words, _)| words.contains(&key.as_str()));
    entry.map(|(_, answer)| *answer)
}

/// `cfgScale`, `CFG scale` and `cfg-scale` are all `cfg_scale`.
fn plain(key: &str) -> String {
    let mut plain = String::with_capacity(key.len());
    let mut was_lower = false;
    for c in key.chars() {
        if c.is_uppercase() && was_lower {
            plain.push('_');
        }
        was_lower = c.is_lowercase();
        match c {
            ' ' | '-' => plain.push('_'),
            c => plain.extend(c.to_lowercase()),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// newcomer 35, case F
    #[test]
    fn a_key_of_another_program_has_one_answer_however_it_is_written() {
        for key in ["cfg_scale", "cfgScale", "CFG scale", "cfg-scale"] {
            let hint = key_hint(key).expect(key);
            assert!(hint.starts_with("here it is called `guidance`, and is the CFG scale less 1"));
        }
        for (key, right) in [
            ("guidance_scale", "called `guidance`"),
            ("num_inference_steps", "called `steps`"),
            ("Sampling steps", "called `steps`"),
            ("negative", "called `negative_prompt`"),
            ("batch_size", "called `num_images`"),
            ("n_iter", "called `num_images`"),
            ("matrix.seeds", "called `seed`"),
            ("sampler_name", "called `sampler`"),
            ("scheduler", "its own schedule"),
            ("denoising_strength", "called `strength`"),
            ("mask_image", "called `mask`"),
            ("matrix.num_images", "share `num_images`: put it at the top"),
            ("matrix.output", "share `output`: put it at the top"),
            ("defaults.cfg", "called `guidance`"),
        ] {
            assert!(key_hint(key).is_some_and(|hint| hint.contains(right)), "{key}");
        }
        for key in ["xyzzy", "", "device.n", "matrix.xyzzy"] {
            assert_eq!(key_hint(key), None, "{key}");
        }
    }

    #[test]
    fn every_answer_names_keys_that_there_are_and_no_word_has_two_answers() {
        let axis = |name: &'static str| PARAMETERS.iter().any(|known| known.name == name);
        let mut seen = BTreeSet::new();
        for (words, answer) in FOREIGN_KEYS {
            for key in answer.split('`').skip(1).step_by(2) {
                let key = key.split(" = ").next().expect("a key");
                let is_known = axis(key) || TOP_KEYS.contains(&key) || key == "size";
                assert!(is_known || key == "cfg", "{key} in {answer}");
            }
            for word in words {
                assert_eq!(plain(word), *word);
                assert!(!axis(word) && !TOP_KEYS.contains(word), "{word} is a key of ours");
                assert!(seen.insert(*word), "{word} twice");
            }
        }
    }
}
