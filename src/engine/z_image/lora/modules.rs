//! The modules of the transformer that a LoRA can change, by every name that programs have for
//! them.
//!
//! All names are made beforehand and looked up whole: underscores stand both in names and between
//! them, so that a written name cannot be taken apart.

use std::collections::HashMap;

use crate::engine::z_image::config::TransformerConfig;
use crate::engine::z_image::geometry::{TIMESTEP_INNER, TIMESTEP_WAVES};

/// A linear layer of the transformer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// What holds it: `layers.3`, `t_embedder`.
    pub group: String,
    /// Its name in there: `attention.to_q`.
    pub name: String,
    pub outputs: usize,
    pub inputs: usize,
    /// Which rows go through it.
    pub rows: RowsThrough,
    /// Values of each of these rows that its block has alive while it works, its input included,
    /// and what it gives not.
    pub alive: usize,
}

/// The rows that go through a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsThrough {
    /// The timestep's.
    One,
    Caption,
    /// Those of the picture, or of picture and caption.
    All,
}

impl Module {
    /// The whole name, as the hub's files have it.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.group, self.name)
    }
}

/// All modules of one transformer.
#[derive(Clone, Debug)]
pub struct Modules {
    list: Vec<Module>,
    /// By flat names.
    known: HashMap<String, Target>,
}

/// What a name stands for, by places among the [`Modules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    One(usize),
    /// Queries, keys and values, one below the other in one matrix.
    Fused([usize; 3]),
}

impl Target {
    pub fn places(&self) -> &[usize] {
        match self {
            Target::One(place) => std::slice::from_ref(place),
            Target::Fused(places) => places,
        }
    }
}

/// What names begin with, flat; the longer one first where one begins like another.
const PREFIXES: [&str; 9] = [
    "base_model_model_",
    "model_diffusion_model_",
    "diffusion_model_",
    "lora_transformer_",
    "lora_unet__",
    "lora_unet_",
    "lycoris_",
    "transformer_",
    "model_",
];

/// No name begins with more of them than this.
const PREFIXES_MAX: usize = 3;

/// Parts of names, and what other programs write in their place.
const ALIASES: [(&str, &str); 4] = [
    ("attention.to_out.0", "attention.out"),
    ("attention.to_out.0", "attention.to_out"),
    ("all_x_embedder.2-1", "x_embedder"),
    ("all_final_layer.2-1", "final_layer"),
];

const FUSED: [&str; 3] = ["attention.to_q", "attention.to_k", "attention.to_v"];

/// What the fused matrix is called.
const FUSED_NAME: &str = "attention.qkv";

impl Modules {
    pub fn of(config: &TransformerConfig) -> Modules {
        let mut list = around_blocks(config);
        let blocks = [
            ("context_refiner", config.n_refiner_layers, false),
            ("noise_refiner", config.n_refiner_layers, true),
            ("layers", config.n_layers, true),
        ];
        for (stack, count, is_modulated) in blocks {
            for block in 0..count {
                list.extend(of_block(config, &format!("{stack}.{block}"), is_modulated));
            }
        }
        let known = known(&list);
        Modules { list, known }
    }

    /// The module at this place.
    pub fn at(&self, place: usize) -> &Module {
        &self.list[place]
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// What `written`, the name in a file without what follows the module's, stands for.
    pub fn find(&self, written: &str) -> Option<Target> {
        let flat = flat(written);
        let mut name = flat.as_str();
        for _ in 0..=PREFIXES_MAX {
            if let Some(target) = self.known.get(name) {
                return Some(*target);
            }
            name = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix))?;
        }
        None
    }
}

/// Without the difference between what separates names and what stands in them.
fn flat(name: &str) -> String {
    name.replace(['.', '-'], "_")
}

fn known(list: &[Module]) -> HashMap<String, Target> {
    let mut known = HashMap::new();
    for (place, module) in list.iter().enumerate() {
        let name = module.full_name();
        let aliases = ALIASES.iter().filter(|(part, _)| name.contains(part));
        for (part, alias) in aliases {
            known.insert(flat(&name.replace(part, alias)), Target::One(place));
        }
        known.insert(flat(&name), Target::One(place));
        // The three stand one after the other in the list.
        if module.name == FUSED[0] {
            let fused = name.replace(FUSED[0], FUSED_NAME);
            known.insert(flat(&fused), Target::Fused([place, place + 1, place + 2]));
        }
    }
    known
}

/// The modules of one block, in the order of its computation, with what is alive then.
fn of_block(
    config: &TransformerConfig,
    group: &str,
    is_modulated: bool,
) -> impl Iterator<Item = Module> {
    let (dim, hidden) = (config.dim, config.hidden_dim());
    // Only the caption is refined without the timestep.
    let rows = if is_modulated { RowsThrough::All } else { RowsThrough::Caption };
    let [to_q, to_k, to_v] = FUSED;
    let of_rows = [
        (to_q, dim, dim, dim),
        (to_k, dim, dim, 2 * dim),
        (to_v, dim, dim, 3 * dim),
        ("attention.to_out.0", dim, dim, dim),
        ("feed_forward.w1", hidden, dim, dim),
        ("feed_forward.w2", dim, hidden, hidden),
        ("feed_forward.w3", hidden, dim, dim + hidden),
    ];
    let modulation = Module {
        rows: RowsThrough::One,
        ..module(group, "adaLN_modulation.0", 4 * dim, config.adaln_dim())
    };
    let of_rows = of_rows.map(|(name, outputs, inputs, alive)| Module {
        rows,
        alive,
        ..module(group, name, outputs, inputs)
    });
    of_rows.into_iter().chain(is_modulated.then_some(modulation))
}

fn around_blocks(config: &TransformerConfig) -> Vec<Module> {
    let key = config.patch_key();
    let patch_dim = config.patch() * config.patch() * config.in_channels;
    let (dim, adaln) = (config.dim, config.adaln_dim());
    let last = format!("all_final_layer.{key}");
    let of_one = |it| Module { rows: RowsThrough::One, ..it };
    let of_caption = |it| Module { rows: RowsThrough::Caption, ..it };
    vec![
        of_one(module("t_embedder", "mlp.0", TIMESTEP_INNER, TIMESTEP_WAVES)),
        of_one(module("t_embedder", "mlp.2", adaln, TIMESTEP_INNER)),
        of_caption(module("cap_embedder", "1", dim, config.cap_feat_dim)),
        module("all_x_embedder", &key, dim, patch_dim),
        of_one(module(&last, "adaLN_modulation.1", dim, adaln)),
        module(&last, "linear", patch_dim, dim),
    ]
}

fn module(group: &str, name: &str, outputs: usize, inputs: usize) -> Module {
    Module {
        group: group.to_owned(),
        name: name.to_owned(),
        outputs,
        inputs,
        rows: RowsThrough::All,
        alive: inputs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::z_image::config::turbo;

    fn found(written: &str) -> Vec<String> {
        let modules = Modules::of(&turbo().transformer);
        let target = modules.find(written);
        let places = target.iter().flat_map(|target| target.places().to_vec());
        places.map(|place| modules.at(place).full_name()).collect()
    }

    #[test]
    fn a_module_is_found_by_every_name_that_programs_write() {
        for (written, name) in [
            ("transformer.layers.0.attention.to_q", "layers.0.attention.to_q"),
            ("base_model.model.layers.0.attention.to_q", "layers.0.attention.to_q"),
            ("base_model.model.transformer.layers.0.attention.to_q", "layers.0.attention.to_q"),
            ("diffusion_model.layers.29.attention.to_out.0", "layers.29.attention.to_out.0"),
            ("diffusion_model.layers.29.attention.out", "layers.29.attention.to_out.0"),
            ("model.diffusion_model.layers.3.attention.to_out", "layers.3.attention.to_out.0"),
            ("lora_unet_layers_11_feed_forward_w1", "layers.11.feed_forward.w1"),
            ("lora_unet__layers_1_attention_to_out_0", "layers.1.attention.to_out.0"),
            ("lycoris_layers_2_feed_forward_w3", "layers.2.feed_forward.w3"),
            ("layers.7.feed_forward.w2", "layers.7.feed_forward.w2"),
            ("diffusion_model.noise.refiner.0.attention.to.k", "noise_refiner.0.attention.to_k"),
            ("lora_unet_context_refiner_1_attention_out", "context_refiner.1.attention.to_out.0"),
            ("transformer.layers.4.adaLN_modulation.0", "layers.4.adaLN_modulation.0"),
            ("transformer.cap_embedder.1", "cap_embedder.1"),
            ("transformer.t_embedder.mlp.0", "t_embedder.mlp.0"),
            ("diffusion_model.x_embedder", "all_x_embedder.2-1"),
            ("transformer.all_final_layer.2-1.linear", "all_final_layer.2-1.linear"),
            ("lora_unet_final_layer_adaLN_modulation_1", "all_final_layer.2-1.adaLN_modulation.1"),
        ] {
            assert_eq!(found(written), [name], "{written}");
        }
        let fused = ["to_q", "to_k", "to_v"].map(|name| format!("layers.5.attention.{name}"));
        assert_eq!(found("lora_unet_layers_5_attention_qkv"), fused);
        assert_eq!(found("diffusion_model.layers.5.attention.qkv"), fused);
    }

    #[test]
    fn what_the_model_has_not_is_not_found() {
        for written in [
            "transformer.layers.30.attention.to_q",
            "transformer.context_refiner.0.adaLN_modulation.0",
            "lora_unet_layers_0_attention_norm_q",
            "layers.0.attention",
            "lora_te_layers_0_attention_to_q",
            "transformer.transformer.transformer.transformer.layers.0.attention.to_q",
            "",
        ] {
            assert_eq!(found(written), Vec::<String>::new(), "{written}");
        }
    }
}
