"""What diffusers computes for one case: every value that passes between the parts of the pipeline."""

import torch

LATENT_CHANNELS = 16
PROMPT_TOKENS_MAX = 512


def random(shape, seed):
    """Standard normal values of torch's CPU generator, which are the same on every machine."""
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))


def templated(pipe, prompt):
    """The prompt as the pipeline hands it to the tokenizer."""
    message = [{"role": "user", "content": prompt}]
    return pipe.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, enable_thinking=True)


def embeddings(pipe, case):
    """Token ids and embeddings of the case's prompts, without padding."""
    positive, negative = pipe.encode_prompt(
        [case["prompt"]], device="cpu", do_classifier_free_guidance=case["guidance"] > 0,
        negative_prompt=[case.get("negative", "")])
    ids = pipe.tokenizer(templated(pipe, case["prompt"]), max_length=PROMPT_TOKENS_MAX, truncation=True).input_ids
    found = {"input_ids": torch.tensor(ids), "prompt_embeds": positive[0]}
    if negative:
        found["negative_prompt_embeds"] = negative[0]
    return found


def denoise(pipe, case, **more):
    """Sigmas, timesteps, and the latents after each step."""
    steps = []
    latents = pipe(
        case["prompt"], negative_prompt=case.get("negative"), height=case["height"], width=case["width"],
        num_inference_steps=case["steps"], guidance_scale=case["guidance"],
        num_images_per_prompt=case.get("num_images", 1), generator=torch.Generator("cpu").manual_seed(case["seed"]),
        callback_on_step_end=lambda _pipe, _step, _time, values: steps.append(values["latents"].clone()) or {},
        output_type="latent", **more).images
    schedule = pipe.scheduler
    return {"sigmas": schedule.sigmas, "timesteps": schedule.timesteps,
            "latents_per_step": torch.stack(steps), "latents": latents}


def noise(pipe, case):
    """The latents that a text-to-image case begins with."""
    side = 2 * pipe.vae_scale_factor
    height, width = 2 * (case["height"] // side), 2 * (case["width"] // side)
    return random((case.get("num_images", 1), LATENT_CHANNELS, height, width), case["seed"])


def decode(vae, latents):
    """The decoder's values (N, 3, H, W), about -1 to 1, and the pixels (N, H, W, 3) made of them."""
    decoded = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0]
    levels = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return decoded, levels.permute(0, 2, 3, 1).contiguous()


def contiguous(tensors):
    """As safetensors wants them."""
    return {name: tensor.contiguous() for name, tensor in tensors.items()}
