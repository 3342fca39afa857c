//! ComfyUI's graph of nodes: the first sampler, and what leads to it.

use serde_json::{Map, Value};

use super::{FoundSettings, PictureMaker, Remarks, from_scale, python_json, quoted};

/// So far the links of a graph are followed.
const LINKS_MAX: usize = 16;

/// Nodes of the stock workflows for Z-Image, which are read or mean nothing for the picture.
const KNOWN: [&str; 24] = [
    "KSampler",
    "KSamplerAdvanced",
    "CLIPTextEncode",
    "CLIPLoader",
    "UNETLoader",
    "UnetLoaderGGUF",
    "CLIPLoaderGGUF",
    "CheckpointLoaderSimple",
    "VAELoader",
    "VAEDecode",
    "VAEDecodeTiled",
    "EmptyLatentImage",
    "EmptySD3LatentImage",
    "ConditioningZeroOut",
    "ModelSamplingAuraFlow",
    "LoraLoader",
    "LoraLoaderModelOnly",
    "SaveImage",
    "PreviewImage",
    "PrimitiveString",
    "PrimitiveStringMultiline",
    "PrimitiveInt",
    "Note",
    "MarkdownNote",
];

/// What is read of a sampler, and what means nothing for the picture.
const SAMPLER_KEYS: [&str; 12] = [
    "seed",
    "noise_seed",
    "steps",
    "cfg",
    "sampler_name",
    "scheduler",
    "denoise",
    "model",
    "positive",
    "negative",
    "latent_image",
    "control_after_generate",
];

/// The shift of the schedule that the model's configuration has.
const SHIFT: f64 = 3.0;

/// What the graph says; `None` where it has no sampler.
pub(super) fn settings(json: &str) -> Option<FoundSettings> {
    let graph = python_json::parse(json)?;
    let nodes = graph.as_object()?;
    let mut samplers = nodes.values().filter(|node| kind(node).starts_with("KSampler"));
    let inputs = &samplers.next()?["inputs"];
    let mut remarks = Remarks::default();
    for node in nodes.values() {
        remark(node, &mut remarks);
    }
    remark_samplers(1 + samplers.count(), &mut remarks);
    let mut number = |of: &Value, key: &str| number(&graph, of, key, &mut remarks);
    let latents = linked(&graph, &inputs["latent_image"]).map(|node| &node["inputs"]);
    let mut of_latents = |key: &str| number(latents?, key)?.as_i64();
    let (width, height) = (of_latents("width"), of_latents("height"));
    let batch = of_latents("batch_size");
    let steps = number(inputs, "steps").and_then(|steps| steps.as_i64());
    let guidance = number(inputs, "cfg").and_then(|scale| scale.as_f64()).and_then(from_scale);
    let seed = number(inputs, "seed").or_else(|| number(inputs, "noise_seed"));
    let seed = remarks.seed(seed.and_then(|seed| seed.as_u64()));
    remark_batch(batch, &mut remarks);
    remark_keys(inputs, steps, &mut remarks);
    let schedule = inputs["scheduler"].as_str();
    schedule.into_iter().for_each(|word| remarks.schedule(word));
    inputs["denoise"].as_f64().into_iter().for_each(|strength| remarks.strength(strength));
    let sampler = inputs["sampler_name"].as_str().map(|word| remarks.sampler(word));
    Some(FoundSettings {
        maker: PictureMaker::ComfyUi,
        prompt: text_of(&graph, &inputs["positive"]),
        negative_prompt: text_of(&graph, &inputs["negative"]),
        width,
        height,
        steps,
        seed,
        guidance,
        sampler,
        loras: nodes.values().filter_map(lora).collect(),
        model: model(nodes),
        remarks: remarks.0,
        text: String::new(),
    })
}

fn kind(node: &Value) -> &str {
    node["class_type"].as_str().unwrap_or_default()
}

/// Says of a node what it does that is not done here.
fn remark(node: &Value, remarks: &mut Remarks) {
    let shift = node["inputs"]["shift"].as_f64();
    match kind(node) {
        "ModelSamplingAuraFlow" if shift.is_some_and(|shift| shift != SHIFT) => {
            let shift = shift.unwrap_or(SHIFT);
            remarks.add(format!("its schedule is shifted by {shift}, ours as the model says"));
        }
        kind if KNOWN.contains(&kind) => (),
        kind => remarks.add(format!("the node {} is not understood", quoted(kind))),
    }
}

/// Only one of several samplers is read, which may be none that the picture comes from.
fn remark_samplers(samplers: usize, remarks: &mut Remarks) {
    if samplers > 1 {
        remarks.add(format!("its graph has {samplers} samplers, of which one is read"));
    }
}

/// Which of a batch the picture is does not stand in it, and each has other noise.
fn remark_batch(batch: Option<i64>, remarks: &mut Remarks) {
    if let Some(pictures) = batch.filter(|pictures| *pictures > 1) {
        remarks.add(format!("it is one of a batch of {pictures} pictures: the first is made"));
    }
}

/// Says of a sampler what it is told besides what is read: to leave out some of its steps, as a
/// rule.
fn remark_keys(inputs: &Value, steps: Option<i64>, remarks: &mut Remarks) {
    for (key, value) in inputs.as_object().into_iter().flatten() {
        let is_usual = match key.as_str() {
            "start_at_step" => value == 0,
            "end_at_step" => value.as_i64() >= steps,
            "add_noise" => value == "enable",
            "return_with_leftover_noise" => value == "disable",
            key => SAMPLER_KEYS.contains(&key),
        };
        if !is_usual {
            let told = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            remarks.unknown(key, &told);
        }
    }
}

fn lora(node: &Value) -> Option<(String, f64)> {
    let inputs = &node["inputs"];
    let name = inputs["lora_name"].as_str().filter(|_| kind(node).starts_with("LoraLoader"))?;
    Some((name.replace('\\', "/"), inputs["strength_model"].as_f64().unwrap_or(1.0)))
}

fn model(nodes: &Map<String, Value>) -> Option<String> {
    let name = |node: &Value| {
        let inputs = &node["inputs"];
        let name = inputs["unet_name"].as_str().or_else(|| inputs["ckpt_name"].as_str());
        name.map(str::to_owned)
    };
    nodes.values().find_map(name)
}

/// The node that an input is linked to.
fn linked<'g>(graph: &'g Value, input: &Value) -> Option<&'g Value> {
    graph.get(input.get(0)?.as_str()?)
}

/// The number that the input `key` holds: its own, or that of the node that it is linked to, which
/// is said where that node may do anything with it.
fn number(graph: &Value, inputs: &Value, key: &str, remarks: &mut Remarks) -> Option<Value> {
    let mut input = &inputs[key];
    for _ in 0..LINKS_MAX {
        if !input.is_array() {
            return (!input.is_null()).then(|| input.clone());
        }
        let node = linked(graph, input)?;
        if !KNOWN.contains(&kind(node)) {
            let kind = quoted(kind(node));
            remarks.add(format!("{key} comes from the node {kind}, which is not understood"));
        }
        let keys = ["value", "int", "number", "seed"];
        input = keys.iter().find_map(|key| node["inputs"].get(*key))?;
    }
    None
}

/// The text that an input comes from, through nodes that change it.
fn text_of(graph: &Value, input: &Value) -> String {
    let mut input = input.clone();
    for _ in 0..LINKS_MAX {
        if let Some(text) = input.as_str() {
            return text.to_owned();
        }
        let Some(node) = linked(graph, &input) else { break };
        // What is zeroed out says nothing any more.
        if node["class_type"] == "ConditioningZeroOut" {
            break;
        }
        let keys = ["text", "conditioning", "positive", "value", "string"];
        let next = keys.iter().find_map(|key| node["inputs"].get(key));
        let Some(next) = next else { break };
        input = next.clone();
    }
    String::new()
}
