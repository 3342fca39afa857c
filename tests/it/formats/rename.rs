//! The hub's names brought to those of other programs: ComfyUI's, Flux's, llama.cpp's.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

/// Tensors by name.
pub type Named = BTreeMap<String, Tensor>;

pub fn prefixed(prefix: &str, named: Named) -> Named {
    named.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect()
}

/// As in the publishers' own code, which ComfyUI's files come from: queries, keys and values are
/// one matrix.
pub fn comfy_transformer(mut named: Named) -> Named {
    let first = ".attention.to_q.weight";
    let blocks: Vec<String> =
        named.keys().filter_map(|name| Some(name.strip_suffix(first)?.to_owned())).collect();
    for block in blocks {
        let three = ["to_q", "to_k", "to_v"]
            .map(|to| named.remove(&format!("{block}.attention.{to}.weight")).unwrap());
        let fused = Tensor::cat(&three, 0).unwrap();
        named.insert(format!("{block}.attention.qkv.weight"), fused);
    }
    let renamed = named.into_iter().map(|(name, tensor)| {
        let name = name
            .replace("all_x_embedder.2-1.", "x_embedder.")
            .replace("all_final_layer.2-1.", "final_layer.")
            .replace(".attention.to_out.0.", ".attention.out.")
            .replace(".attention.norm_q.", ".attention.q_norm.")
            .replace(".attention.norm_k.", ".attention.k_norm.");
        (name, tensor)
    });
    renamed.collect()
}

/// With the norm that some files have and nothing uses.
pub fn with_final_norm(mut named: Named) -> Named {
    let norm = Tensor::ones(96, DType::F32, &Device::Cpu).unwrap();
    named.insert("norm_final.weight".into(), norm);
    named
}

/// As in Flux's `ae.safetensors`: levels of the decoder are counted from the picture's side, and
/// the attention's matrices are convolutions of one pixel.
pub fn flux_vae(named: Named) -> Named {
    let renamed = named.into_iter().map(|(name, tensor)| {
        let name = flux_name(&name);
        let of_attention = ["q.weight", "k.weight", "v.weight", "proj_out.weight"];
        let is_matrix = of_attention.iter().any(|end| name.ends_with(&format!("attn_1.{end}")));
        let tensor = match is_matrix {
            true => tensor.unsqueeze(2).unwrap().unsqueeze(3).unwrap(),
            false => tensor,
        };
        (name, tensor)
    });
    renamed.collect()
}

fn flux_name(name: &str) -> String {
    let mut name = name
        .replace("mid_block.resnets.0.", "mid.block_1.")
        .replace("mid_block.resnets.1.", "mid.block_2.")
        .replace("mid_block.attentions.0.group_norm.", "mid.attn_1.norm.")
        .replace("mid_block.attentions.0.to_q.", "mid.attn_1.q.")
        .replace("mid_block.attentions.0.to_k.", "mid.attn_1.k.")
        .replace("mid_block.attentions.0.to_v.", "mid.attn_1.v.")
        .replace("mid_block.attentions.0.to_out.0.", "mid.attn_1.proj_out.")
        .replace("conv_norm_out.", "norm_out.")
        .replace("conv_shortcut.", "nin_shortcut.")
        .replace(".resnets.", ".block.")
        .replace("upsamplers.0.conv.", "upsample.conv.")
        .replace("downsamplers.0.conv.", "downsample.conv.")
        .replace("down_blocks.", "down.");
    for level in 0..4 {
        name = name.replace(&format!("up_blocks.{level}."), &format!("up.{}.", 3 - level));
    }
    name
}

/// As llama.cpp's converter names Qwen3's tensors.
pub fn llama_text_encoder(named: Named) -> Named {
    let renamed = named.into_iter().map(|(name, tensor)| {
        let name = name
            .trim_start_matches("model.")
            .replace("embed_tokens.", "token_embd.")
            .replace("layers.", "blk.")
            .replace("self_attn.q_proj.", "attn_q.")
            .replace("self_attn.k_proj.", "attn_k.")
            .replace("self_attn.v_proj.", "attn_v.")
            .replace("self_attn.o_proj.", "attn_output.")
            .replace("self_attn.q_norm.", "attn_q_norm.")
            .replace("self_attn.k_norm.", "attn_k_norm.")
            .replace("post_attention_layernorm.", "ffn_norm.")
            .replace("input_layernorm.", "attn_norm.")
            .replace("mlp.gate_proj.", "ffn_gate.")
            .replace("mlp.up_proj.", "ffn_up.")
            .replace("mlp.down_proj.", "ffn_down.");
        let name = if name == "norm.weight" { "output_norm.weight".to_owned() } else { name };
        (name, tensor)
    });
    renamed.collect()
}
