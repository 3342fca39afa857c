//! Where files come from: two hubs, layouts of repositories, and other programs' caches.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use super::hub::{COMMIT, content, sha256};
use super::{BYTES, COMFY, Newcomer, TURBO, assert_ends, json};

const PIPELINE: [&str; 11] = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model-00001-of-00002.safetensors",
    "text_encoder/model-00002-of-00002.safetensors",
    "text_encoder/model.safetensors.index.json",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors",
    "vae/config.json",
];
const VAE: &str = "vae/diffusion_pytorch_model.safetensors";

impl Newcomer {
    /// A repository in diffusers' layout, with what such ones have beside it.
    fn publish_pipeline(&self, repository: &str, class: &str) {
        for (seed, path) in PIPELINE.into_iter().chain([VAE]).enumerate() {
            let text = match path {
                "model_index.json" => format!("{{\"_class_name\": \"{class}\"}}").into_bytes(),
                path => content(100 + seed as u64, 1000 + path.len()),
            };
            self.hub.add(repository, path, text);
        }
        for path in [
            "README.md",
            "assets/demo.png",
            "vae/diffusion_pytorch_model.fp16.safetensors",
            "transformer/diffusion_pytorch_model.bin",
            "tokenizer/vocab.json",
        ] {
            self.hub.add(repository, path, b"not needed".to_vec());
        }
    }

    /// What stands in a folder of `models/`, without hidden files.
    fn files_in(&self, model: &str) -> Vec<String> {
        let record = json(&self.path("models").join(model).join("zimaged-fetched.json"));
        let files = record["files"].as_array().unwrap();
        let mut paths: Vec<String> =
            files.iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect();
        paths.sort();
        for file in files {
            let path = self.path("models").join(model).join(file["path"].as_str().unwrap());
            assert_eq!(sha256(&fs::read(path).unwrap()), file["sha256"].as_str().unwrap());
        }
        paths
    }
}

#[test]
fn both_hubs_give_a_pipeline_of_the_files_that_are_needed() {
    for (from, hub_said) in [("hf", "Hugging Face"), ("modelscope", "ModelScope")] {
        let newcomer = Newcomer::new();
        newcomer.publish_pipeline("Tongyi-MAI/Z-Image", "ZImagePipeline");
        let fetched = newcomer.fetch(&["base", "--from", from]);
        assert_ends(&fetched, 0, &["models/Z-Image is complete", "12 files", hub_said]);
        let mut expected: Vec<String> =
            PIPELINE.iter().chain([&VAE]).map(|it| (*it).to_owned()).collect();
        expected.sort();
        assert_eq!(newcomer.files_in("Z-Image"), expected, "{from}");
    }
}

/// On ModelScope `turbo` is the pipeline that its authors publish.
#[test]
fn turbo_comes_from_modelscope_as_a_pipeline() {
    let newcomer = Newcomer::new();
    newcomer.publish_pipeline("Tongyi-MAI/Z-Image-Turbo", "ZImagePipeline");
    let fetched = newcomer.fetch(&["turbo", "--from", "modelscope"]);
    assert_ends(&fetched, 0, &["models/Z-Image-Turbo is complete", "12 files", "ModelScope"]);
    assert_eq!(newcomer.files_in("Z-Image-Turbo").len(), 12);
    let record = json(&newcomer.model("zimaged-fetched.json"));
    assert_eq!(
        (&record["repo"], &record["hub"]),
        (&"Tongyi-MAI/Z-Image-Turbo".into(), &"modelscope".into())
    );
}

#[test]
fn a_model_of_another_family_is_refused_before_it_comes() {
    let newcomer = Newcomer::new();
    newcomer.publish_pipeline("some/flux", "FluxPipeline");
    let refused = newcomer.fetch(&["some/flux"]);
    assert_ends(&refused, 78, &["some/flux", "no Z-Image model", "FluxPipeline"]);
    assert!(!newcomer.path("models").exists());
    assert!(newcomer.hub.seen().iter().all(|seen| !seen.is_store));
}

#[test]
fn of_single_files_the_user_is_asked_which() {
    let newcomer = Newcomer::new();
    let asked = newcomer.fetch(&[COMFY]);
    let list = ["--file NAME", "split_files/vae/ae.safetensors  300.0 kB"];
    assert_ends(&asked, 2, &list);
    let wrong = newcomer.fetch(&[COMFY, "--file", "no.safetensors"]);
    assert_ends(&wrong, 78, &["has no file no.safetensors", list[1]]);
    let fetched = newcomer.fetch(&[COMFY, "--file", "ae.safetensors", "--to", "here"]);
    assert_ends(&fetched, 0, &["here is complete"]);
    assert_eq!(fs::read(newcomer.path("here/vae/ae.safetensors")).unwrap(), content(2, BYTES[2]));
}

/// Puts the turbo model's files where other programs keep theirs.
fn fill_caches(newcomer: &Newcomer) -> [std::path::PathBuf; 3] {
    let [transformer, encoder, vae] =
        [0, 1, 2].map(|seed: usize| content(seed as u64, BYTES[seed]));
    let repository = newcomer.path(".cache/huggingface/hub/models--Comfy-Org--z_image_turbo");
    let blob = repository.join("blobs").join(sha256(&transformer));
    let snapshot = repository.join("snapshots").join(COMMIT);
    for folder in ["blobs", "refs", &format!("snapshots/{COMMIT}/split_files/diffusion_models")] {
        fs::create_dir_all(repository.join(folder)).unwrap();
    }
    fs::write(repository.join("refs/main"), COMMIT).unwrap();
    fs::write(&blob, transformer).unwrap();
    // As long as the text encoder, and something else.
    fs::write(repository.join("blobs").join("c".repeat(64)), content(9, BYTES[1])).unwrap();
    let link = snapshot.join("split_files").join(TURBO[0]);
    symlink(format!("../../../../blobs/{}", blob.file_name().unwrap().display()), link).unwrap();
    let scope =
        newcomer.path(".cache/modelscope/hub/models/Comfy-Org/z_image_turbo/qwen.safetensors");
    fs::create_dir_all(scope.parent().unwrap()).unwrap();
    fs::write(&scope, encoder).unwrap();
    let comfy = newcomer.path("ComfyUI/models/vae/flux_vae.safetensors");
    fs::create_dir_all(comfy.parent().unwrap()).unwrap();
    fs::write(&comfy, vae).unwrap();
    fs::write(comfy.with_file_name("other.safetensors"), content(8, BYTES[2])).unwrap();
    [blob, scope, comfy]
}

#[test]
fn what_other_programs_have_is_used_in_place() {
    let newcomer = Newcomer::new();
    let cached = fill_caches(&newcomer);
    let before = cached.each_ref().map(|path| fs::metadata(path).unwrap());
    let fetched = newcomer.fetch_turbo();
    assert_ends(&fetched, 0, &["is complete", "was in another program's folder: linked"]);
    assert!(newcomer.hub.seen().iter().all(|seen| !seen.is_store), "nothing came");
    newcomer.assert_turbo();
    for ((path, before), place) in cached.iter().zip(before).zip(TURBO) {
        let (after, ours) =
            (fs::metadata(path).unwrap(), fs::metadata(newcomer.model(place)).unwrap());
        assert_eq!((after.ino(), after.mtime_nsec()), (before.ino(), before.mtime_nsec()));
        assert_eq!(after.ino(), ours.ino(), "{place} is no copy");
    }
    // The other program clears its cache.
    fs::remove_dir_all(newcomer.path(".cache")).unwrap();
    newcomer.assert_turbo();
}

#[test]
fn a_cached_file_of_the_right_length_that_is_damaged_is_not_taken() {
    let newcomer = Newcomer::new();
    let [blob, ..] = fill_caches(&newcomer);
    let mut damaged = fs::read(&blob).unwrap();
    damaged[1234] ^= 1;
    fs::write(&blob, &damaged).unwrap();
    assert_ends(&newcomer.fetch_turbo(), 0, &["is complete"]);
    newcomer.assert_turbo();
    assert_eq!(fs::read(&blob).unwrap(), damaged, "it is the other program's");
}

#[test]
fn a_folder_that_is_named_is_looked_through() {
    let newcomer = Newcomer::new();
    let place = newcomer.path("disk/a/b/x.safetensors");
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, content(0, BYTES[0])).unwrap();
    let listed = newcomer.fetch(&["turbo", "--revision", "main", "--look-in", "disk", "--dry-run"]);
    assert_ends(&listed, 0, &["1.8 MB to fetch", "bf16.safetensors, in another program's folder"]);
    let fetched = newcomer.fetch(&["turbo", "--revision", "main", "--look-in", "disk"]);
    assert_ends(&fetched, 0, &["bf16.safetensors, was in another program's folder"]);
    newcomer.assert_turbo();
}

#[test]
fn offline_nothing_is_asked_and_what_is_known_here_is_used() {
    let newcomer = Newcomer::new();
    let offline = |variable: &str| {
        let mut command = newcomer.command(&["model", "fetch", "turbo", "--revision", "main"]);
        command.env(variable, "1").output().unwrap()
    };
    let refused = offline("HF_HUB_OFFLINE");
    assert_ends(&refused, 78, &["HF_HUB_OFFLINE forbids requests", COMFY]);
    let [blob, scope, comfy] = fill_caches(&newcomer);
    let snapshot =
        blob.parent().unwrap().with_file_name("snapshots").join(COMMIT).join("split_files");
    for (path, place) in [(&scope, TURBO[1]), (&comfy, TURBO[2])] {
        let own = blob.with_file_name(sha256(&fs::read(path).unwrap()));
        fs::rename(path, &own).unwrap();
        fs::create_dir_all(snapshot.join(place).parent().unwrap()).unwrap();
        symlink(&own, snapshot.join(place)).unwrap();
    }
    assert_ends(&offline("TRANSFORMERS_OFFLINE"), 0, &["is complete", "linked"]);
    newcomer.assert_turbo();
    fs::remove_dir_all(newcomer.path(".cache")).unwrap();
    assert_ends(&offline("HF_HUB_OFFLINE"), 0, &["is complete", "was there already"]);
    assert!(newcomer.hub.seen().is_empty(), "no request");
    fs::remove_file(newcomer.model(TURBO[1])).unwrap();
    let missing = offline("HF_HUB_OFFLINE");
    assert_ends(&missing, 78, &["HF_HUB_OFFLINE forbids requests", TURBO[1]]);
}
