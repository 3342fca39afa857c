//! ComfyUI's graph of nodes: the first sampler, and what leads to it.

use serde_json::{Map, Value};

use super::{FoundSettings, PictureMaker, Remarks, from_scale, quoted};

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

/// The shift of the schedule that the model's configuration has.
const SHIFT: f64 = 3.0;

/// What the graph says; `None` where it has no sampler.
pub(super) fn settings(json: &str) -> Option<FoundSettings> {
    let graph: Value = serde_json::from_str(json).ok()?;
    let nodes = graph.as_object()?;
    let sampler = nodes.values().find(|node| kind(node).starts_with("KSampler"))?;
    let inputs = &sampler["inputs"];
    let mut remarks = Remarks::default();
    for node in nodes.values() {
        remark(node, &mut remarks);
    }
    let latents = linked(&graph, &inputs["latent_image"]);
    let side = |key: &str| latents.and_then(|node| number(&graph, &node["inputs"][key])?.as_i64());
    let seed = number(&graph, &inputs["seed"]).or_else(|| number(&graph, &inputs["noise_seed"]));
    let seed = remarks.seed(seed.and_then(Value::as_u64));
    let schedule = inputs["scheduler"].as_str();
    schedule.into_iter().for_each(|word| remarks.schedule(word));
    inputs["denoise"].as_f64().into_iter().for_each(|strength| remarks.strength(strength));
    let sampler = inputs["sampler_name"].as_str().map(|word| remarks.sampler(word));
    Some(FoundSettings {
        maker: PictureMaker::ComfyUi,
        prompt: text_of(&graph, &inputs["positive"]),
        negative_prompt: text_of(&graph, &inputs["negative"]),
        width: side("width"),
        height: side("height"),
        steps: number(&graph, &inputs["steps"]).and_then(Value::as_i64),
        seed,
        guidance: number(&graph, &inputs["cfg"]).and_then(Value::as_f64).and_then(from_scale),
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

/// The number that an input holds: its own, or that of the node that it is linked to.
fn number<'g>(graph: &'g Value, input: &'g Value) -> Option<&'g Value> {
    let mut input = input;
    for _ in 0..LINKS_MAX {
        if !input.is_array() {
            return (!input.is_null()).then_some(input);
        }
        let node = linked(graph, input)?;
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
