//! LoRAs from a job to the history and the picture, with the scripted engine, and files told by
//! `model inspect`.

use std::collections::HashMap;
use std::fs;

use candle_core::{DType, Device, Tensor};
use zimaged::internals::{metadata_of, sha256};

use crate::support::{House, said};

const ENDED: &str = "SELECT count(*) FROM renders WHERE state NOT IN ('queued', 'running')";

/// A daemon with two files in its folder of LoRAs.
fn house() -> House {
    let house = House::started("");
    fs::create_dir_all(house.path("loras/people")).unwrap();
    fs::write(house.path("loras/ink.safetensors"), "ink").unwrap();
    fs::write(house.path("loras/people/anna.safetensors"), "anna").unwrap();
    house
}

#[test]
fn a_jobs_loras_stand_in_the_history_and_in_the_picture() {
    let house = house();
    let job = "prompt = 'a fox <lora:ink:0.5>'\nseed = 1\n[[lora]]\npath = 'people/anna'\n\
               weight = -1\n";
    house.drop_job("fox.toml", job);
    house.until_sql(ENDED, "1");
    let of = |column: &str| house.value(&format!("SELECT {column} FROM history WHERE job = 1"));
    assert_eq!(of("prompt"), "a fox");
    let named = "(SELECT group_concat(value ->> 'name' || ':' || (value ->> 'weight'), ' ') \
                 FROM json_each(lora))";
    assert_eq!(of(named), "people/anna:-1.0 ink:0.5");
    assert_eq!(of("lora ->> '$[1].sha256'"), sha256("ink"));
    let metadata = metadata_of(&house.path("outputs").join(of("path"))).unwrap();
    assert_eq!(metadata.recipe.lora.to_string(), "people/anna:-1, ink:0.5");
    let parameters = metadata.parameters();
    assert!(parameters.starts_with("a fox <lora:people/anna:-1> <lora:ink:0.5>\n"), "{parameters}");
    let shown = said(&house.zimaged(&["show", "1.1"]));
    assert!(shown.contains(&format!("ink:0.5, {}", sha256("ink"))), "{shown}");

    let options = ["submit", "--prompt", "an owl", "--lora", "ink", "--lora", "people/anna:0.3"];
    let submitted = house.zimaged(&options);
    assert!(submitted.status.success(), "{submitted:?}");
    house.until_sql(ENDED, "2");
    let named = house.value(&format!("SELECT {named} FROM history WHERE job = 2"));
    assert_eq!(named, "ink:1.0 people/anna:0.3");
}

#[test]
fn renders_with_the_same_loras_come_one_after_the_other() {
    let mut house = house();
    house.zimaged(&["pause"]);
    for number in 0..6 {
        let lora = ["ink:0.5", "people/anna", "ink"][number % 3];
        let text = format!("prompt = 'picture {number} <lora:{lora}>'\n");
        house.drop_job(&format!("{number}.toml"), &text);
        house.until_sql("SELECT count(*) FROM renders", &(number + 1).to_string());
    }
    house.zimaged(&["resume"]);
    house.until_sql(ENDED, "6");
    let order = "SELECT group_concat(prompt, ', ') FROM \
                 (SELECT r.prompt FROM attempts a JOIN renders r ON r.id = a.render_id ORDER BY a.id)";
    let order = house.value(order);
    let expected = [0, 2, 3, 5, 1, 4].map(|number| format!("picture {number}")).join(", ");
    assert_eq!(order, expected);
    assert_eq!(house.stop("TERM"), Some(0));
}

/// While it is rendered, as in the history afterwards.
#[test]
fn the_status_says_with_which_loras_a_picture_is_made() {
    let mut house = house();
    let job = "prompt = 'steps of 400 ms <lora:ink:0.5>'\nsteps = 100\nsize = '64x64'\n";
    house.drop_job("fox.toml", job);
    let render = house.until("it is rendered", || {
        let render = house.json(&["status"])["daemon"]["render"].take();
        (!render.is_null()).then_some(render)
    });
    assert_eq!(render["lora"][0]["name"], "ink");
    assert_eq!(render["lora"][0]["weight"], 0.5);
    assert_eq!(render["lora"][0]["sha256"], sha256("ink"));
    let told = said(&house.zimaged(&["status"]));
    assert!(told.contains(" with ink:0.5"), "{told}");
    house.stop("TERM");
}

#[test]
fn a_lora_that_is_not_there_is_told_by_check_and_by_the_daemon() {
    let house = house();
    let cases = [
        ("lora = 'oil'", ":2:8: lora: \"oil\": "),
        ("lora = ['ink', '../ink']", "\"../ink\" is no name of a LoRA"),
        ("lora = '/etc/passwd'", "\"/etc/passwd\" is no name of a LoRA"),
        ("[matrix]\nlora = ['ink']", "all pictures of a job share `lora`"),
    ];
    for (number, (line, told)) in cases.into_iter().enumerate() {
        let text = format!("prompt = 'a fox'\n{line}\n");
        let name = format!("bad-{number}.toml");
        house.drop_job(&name, &text);
        let report = house.until_refused(&name);
        assert!(report.contains(told), "{told}: {report}");
        let file = house.path("elsewhere.toml");
        fs::write(&file, &text).unwrap();
        let checked = house.zimaged(&["check", file.to_str().unwrap()]);
        assert_eq!(checked.status.code(), Some(3));
        assert!(said(&checked).contains(told), "{told}: {}", said(&checked));
    }
}

#[test]
fn inspect_says_what_a_lora_is_and_whether_it_fits() {
    let house = house();
    let path = house.path("loras/turbo.safetensors");
    let matrix = |rows, columns| Tensor::zeros((rows, columns), DType::F32, &Device::Cpu).unwrap();
    let mut tensors = HashMap::from([
        ("lora_unet_layers_7_attention_to_k.lora_down.weight".to_owned(), matrix(2, 3840)),
        ("lora_unet_layers_7_attention_to_k.lora_up.weight".to_owned(), matrix(3840, 2)),
    ]);
    let inspect = |tensors: &HashMap<String, Tensor>| {
        candle_core::safetensors::save(tensors, &path).unwrap();
        said(&house.zimaged(&["model", "inspect", path.to_str().unwrap()]))
    };
    let told = inspect(&tensors);
    assert!(
        told.contains("LoRA (1), rank 2") && told.contains("changes 1 of 276 modules"),
        "{told}"
    );
    assert!(told.contains("usable with Z-Image-Turbo"), "{told}");
    tensors.insert("lora_te_layers_0_mlp.lora_up.weight".to_owned(), matrix(4, 2));
    let told = inspect(&tensors);
    assert!(
        told.contains("unknown: 1 key: lora_te_layers_0_mlp.lora_up.weight (it is of"),
        "{told}"
    );
    assert!(told.contains("not usable: "), "{told}");
}

/// Only what reads all of it takes so long.
const HUGE_BYTES: u64 = 4 << 40;

/// It is read for its hash, and that of gigabytes takes a minute.
#[test]
fn a_lora_that_takes_long_to_read_holds_up_no_other_job_and_no_stop() {
    let mut house = house();
    let huge = fs::File::create(house.path("loras/huge.safetensors")).unwrap();
    huge.set_len(HUGE_BYTES).unwrap();
    house.drop_job("huge.toml", "prompt = 'a fox <lora:huge>'\n");
    let reason = || house.json(&["status"])["daemon"]["intake"]["waiting"].to_string();
    house.until("it waits", || reason().contains("is read for its hash").then_some(()));
    house.drop_job("ink.toml", "prompt = 'a fox <lora:ink>'\n");
    house.until_sql(ENDED, "1");
    assert!(house.path("jobs/huge.toml").exists(), "it waits still");
    assert_eq!(house.stop("TERM"), Some(0), "{}", house.log());
    assert!(house.path("jobs/huge.toml").exists(), "and is not refused");
}
