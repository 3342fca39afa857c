//! Where people keep their files, as docs/models.md has it.

use super::rename::comfy_transformer;
use super::*;

/// Writes the three parts to these places of a folder.
fn split(places: [&str; 3]) -> Comfy {
    let comfy = Comfy::new();
    write_split_files(comfy.0.path(), places);
    comfy
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn the_parts_are_found_in_every_folder_that_the_documentation_names() {
    let names = ["z_image_turbo_bf16", "qwen_3_4b", "ae"].map(|name| format!("{name}.safetensors"));
    let [transformer, encoder, vae] = &names;
    for (what, folders) in [
        ("ComfyUI's root", ["models/diffusion_models", "models/text_encoders", "models/vae"]),
        ("its older folders", ["models/unet", "models/clip", "models/vae"]),
        ("its models", ["diffusion_models/z", "text_encoders/qwen", "vae"]),
        (
            "a repository",
            ["split_files/diffusion_models", "split_files/text_encoders", "split_files/vae"],
        ),
        ("one folder", [".", ".", "."]),
    ] {
        let places = [(folders[0], transformer), (folders[1], encoder), (folders[2], vae)];
        let places = places.map(|(folder, name)| format!("{folder}/{name}"));
        let comfy = split(places.each_ref().map(String::as_str));
        assert_same_picture(what, &comfy.place());
        assert_same_picture(what, &ModelPlace::at(&comfy.0.path().join(&places[0])));
    }
}

/// The publishers' own folder: shards in bf16 with an index.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn shards_in_bf16_are_what_one_file_of_them_is() {
    let rounded = |named: Named| -> Named {
        let round = |tensor: Tensor| tensor.to_dtype(candle_core::DType::BF16).unwrap();
        named.into_iter().map(|(name, tensor)| (name, round(tensor))).collect()
    };
    let hub = tempfile::tempdir().unwrap();
    copy_folder(&model_folder(), hub.path());
    let folder = hub.path().join("transformer");
    for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
        if !entry.path().ends_with("config.json") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let stem = "diffusion_pytorch_model";
    let mut shards: [Named; 2] = Default::default();
    let mut weight_map = serde_json::Map::new();
    for (number, (name, tensor)) in rounded(transformer()).into_iter().enumerate() {
        let shard = number % 2;
        let file = format!("{stem}-0000{}-of-00002.safetensors", shard + 1);
        weight_map.insert(name.clone(), file.into());
        shards[shard].insert(name, tensor);
    }
    for (number, shard) in shards.into_iter().enumerate() {
        let path = folder.join(format!("{stem}-0000{}-of-00002.safetensors", number + 1));
        candle_core::safetensors::save(&shard.into_iter().collect::<HashMap<_, _>>(), path)
            .unwrap();
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": weight_map });
    fs::write(folder.join(format!("{stem}.safetensors.index.json")), index.to_string()).unwrap();

    let comfy = Comfy::with_text_encoder_and_vae();
    let single = comfy.file("diffusion_models/z_image_turbo_bf16.safetensors");
    let all: HashMap<_, _> = rounded(comfy_transformer(transformer())).into_iter().collect();
    candle_core::safetensors::save(&all, single).unwrap();
    let [of_shards, of_file] =
        [ModelPlace::at(hub.path()), comfy.place()].map(|place| picture(&place, Precision::Full));
    assert!(of_shards == of_file);
}

pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.path().is_dir() {
            true => copy_folder(&entry.path(), &to.join(entry.file_name())),
            // Not its rights: the reference may be read-only.
            false => {
                let content = fs::read(entry.path()).unwrap();
                fs::write(to.join(entry.file_name()), content).unwrap();
            }
        }
    }
}
