//! The daemon as a black box: the real binary with its worker, real files, a real database; the
//! engine is scripted by the prompt (see `engine::fake`).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use zimaged::internals::metadata_of;

use crate::parity::reference::model_folder;
use crate::support::places::miniature;
use crate::support::{House, kill, said};

/// How the pictures stand, all together: "done 3" or "done 1 failed 1".
const STATES: &str = "SELECT group_concat(state || ' ' || n, ' ') FROM \
                      (SELECT state, count(*) AS n FROM renders GROUP BY state ORDER BY state)";

#[test]
fn a_dropped_job_becomes_pictures_with_their_rows() {
    let house = House::started("");
    house.drop_job(
        "fox.toml",
        "prompt = ['a fox', '一只猫']\nseed = 7\nnum_images = 2\nwidth = 96\n",
    );
    house.until_sql(STATES, "done 4");
    house.assert_invariants();
    assert_eq!(house.pictures().len(), 4);
    let rows = house.rows(
        "SELECT prompt, seed, asked_width, width, degraded, attempts FROM history ORDER BY picture",
    );
    assert_eq!(rows[1], ["a fox", "8", "96", "96", "0", "1"]);
    assert_eq!(rows[2][..2], ["一只猫", "7"]);
    let accepted = house.path("jobs/accepted/000001-fox.toml");
    house.until("an accepted file is moved aside", || accepted.exists().then_some(()));
}

/// newcomer 26, newcomer 38
#[test]
fn a_picture_keeps_chinese_words_in_its_name_and_says_its_file_and_tags() {
    let house = House::started("");
    let text = "prompt = '雪地里的狐狸'\noutput = '夜/{name}-{prompt}.webp'\ntags = ['night']\n";
    house.drop_job("中文.toml", text);
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    let path = house.path("outputs/夜/中文-雪地里的狐狸.webp");
    let said = metadata_of(&path).expect("a picture of ours").queue;
    assert_eq!((said.file.as_deref(), said.tags), (Some("中文.toml"), vec!["night".to_owned()]));
    let created: jiff::Timestamp =
        said.created.expect("a time").parse().expect("a moment with its offset");
    let age_s = jiff::Timestamp::now().as_second() - created.as_second();
    assert!((0..60).contains(&age_s), "{age_s}");
}

#[test]
fn a_job_file_with_mistakes_is_set_aside_with_all_of_them_told() {
    let house = House::started("");
    house.drop_job("bad.toml", "promt = 'a fox'\nsteps = 0\n");
    let report = house.until_refused("bad.toml");
    assert!(report.contains("bad.toml:1:1") && report.contains("prompt"), "{report}");
    assert!(report.contains("bad.toml:2:9"), "{report}");
    house.drop_job("good.toml", "prompt = 'a fox'");
    house.until_sql(STATES, "done 1");
}

#[test]
fn out_of_memory_steps_down_until_the_picture_fits() {
    let house = House::started("");
    house.drop_job(
        "big.toml",
        "prompt = 'oom above 100 px'\nwidth = 256\nheight = 256\nmin_side = 64\nseed = 1\n",
    );
    house.until_sql(STATES, "done 1");
    house.assert_invariants();
    let row = &house.rows("SELECT degraded, asked_width, width, height, attempts FROM history")[0];
    assert_eq!(row[..2], ["1", "256"]);
    let width: u32 = row[2].parse().expect("a number");
    assert!((64..=100).contains(&width), "{width}");
    let oom = house.rows("SELECT rung, next_rung, stage FROM oom ORDER BY attempt");
    assert!(oom.len() >= 3, "the same again, then smaller and smaller: {oom:?}");
    assert_eq!(oom[0][0], oom[0][1], "the first answer is the same again");
    assert_eq!(house.zimaged(&["wait", "1"]).status.code(), Some(4), "done, but degraded");
}

/// Between what the reference model needs for 512x384 in stripes of 256 (57 MiB and more, by the
/// processor's cache) and what is predicted in stripes of 128 (56.1 and less): 56.5 MiB.
const LIMIT_KIB: u64 = 57_856;

const LARGE: &str = "prompt = 'a red fox'\nwidth = 512\nheight = 384\nsteps = 2\nnum_images = 3\n";

/// A house of real renders, under a limit that the whole picture does not fit.
fn limited_house(model: &Path) -> House {
    let mut house = House::with_config(&format!(
        "[model]\npath = {model:?}\n[device]\nkind = 'cpu'\nmemory_limit = '{LIMIT_KIB}KiB'\n"
    ));
    house.start();
    house
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_plan_spares_the_out_of_memory_error_and_says_what_it_expected() {
    let house = limited_house(&model_folder());
    house.drop_job("fox.toml", LARGE);
    house.until_sql(STATES, "done 3");
    house.assert_invariants();
    assert_eq!(house.value("SELECT count(*) FROM oom"), "0");
    for row in house.rows("SELECT rung, predicted_bytes, measured_bytes FROM memory") {
        let [predicted, measured] =
            [1, 2].map(|column| row[column].parse::<u64>().expect("a number"));
        assert!(row[0].contains("stripes128 512x384"), "{row:?}");
        assert!(measured <= predicted && predicted <= LIMIT_KIB << 10, "{row:?}");
    }
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn where_a_prediction_was_too_low_the_ladder_repeats_the_decode_alone() {
    let house = limited_house(&model_folder());
    house.drop_job("fox.toml", LARGE);
    house.until_sql(STATES, "done 3");
    house.falsify("UPDATE attempts SET vae_decode_bytes = vae_decode_bytes / 2");
    house.drop_job("owl.toml", &LARGE.replace("num_images = 3", "num_images = 1"));
    house.until_sql(STATES, "done 4");
    house.assert_invariants();
    let sql = "SELECT outcome, stage, denoise_ms > 0, rung_text FROM attempts ORDER BY id LIMIT 10 OFFSET 3";
    let attempts = house.rows(sql);
    assert_eq!(
        attempts[0],
        ["out_of_memory", "vae_decode", "1", "device/full/stripes256 512x384 2 steps"]
    );
    assert_eq!(
        (attempts[1][0].as_str(), attempts[1][2].as_str()),
        ("done", "0"),
        "kept latents: {attempts:?}"
    );
    assert!(attempts[1][3].contains("stripes"), "{attempts:?}");
    assert_eq!(house.value("SELECT max(degraded) FROM history"), "0");
}

#[test]
fn a_plan_goes_by_the_memory_that_is_free_when_it_is_made() {
    let mut house = House::new("[device]\nreserve = '0B'\n");
    // The scripted engine asks 16 bytes for each pixel of a decode.
    for (job, free_bytes, decode) in
        [(1, "1000000000", "whole"), (2, "0", "stripes"), (3, "1000000000", "whole")]
    {
        fs::write(house.path("model/free.txt"), free_bytes).expect("a writable folder");
        if job == 1 {
            house.start();
        }
        house.drop_job(
            &format!("{job}.toml"),
            "prompt = 'a fox'\nwidth = 1024\nheight = 1024\nsteps = 1\non_oom = 'fail'\n",
        );
        house.until_sql(STATES, &format!("done {job}"));
        let rung = house.value("SELECT rung_text FROM attempts ORDER BY id DESC LIMIT 1");
        assert!(rung.contains(decode), "{job}: {rung}");
    }
}

#[test]
fn a_job_may_forbid_a_smaller_picture() {
    let house = House::started("");
    house.drop_job(
        "strict.toml",
        "prompt = 'oom above 100 px'\nwidth = 256\nheight = 256\non_oom = 'offload'\n",
    );
    house.until_sql(STATES, "failed 1");
    assert_eq!(house.value("SELECT error_code FROM history"), "out_of_memory");
    assert_eq!(house.zimaged(&["wait", "1"]).status.code(), Some(3));
    assert!(house.pictures().is_empty());
}

#[test]
fn a_render_that_keeps_killing_the_worker_is_stopped_and_blocks_nobody() {
    let house = House::started("");
    house.drop_job("poison.toml", "prompt = 'die at step 1'\npriority = 5\n");
    house.drop_job("good.toml", "prompt = 'a fox'\n");
    house.until_sql(STATES, "done 1 failed 1");
    house.assert_invariants();
    let row = &house.rows("SELECT error_code, attempts FROM history WHERE state = 'failed'")[0];
    assert_eq!(*row, ["crashed_worker", "3"]);
}

#[test]
fn a_silent_worker_is_replaced_and_its_render_tried_again() {
    let mut house = House::impatient("");
    house.start();
    house.drop_job("hang.toml", "prompt = 'hang at step 1 once'\n");
    house.until_sql(STATES, "done 1");
    assert_eq!(house.value("SELECT outcome FROM attempts WHERE number = 1"), "crashed");
    assert_eq!(house.value("SELECT count(*) FROM workers"), "2");
}

#[test]
fn the_daemon_killed_in_a_render_makes_one_picture_after_its_restart() {
    let mut house = House::started("");
    house.hold_renders();
    house.drop_job("slow.toml", "prompt = 'hold at step 2'\nsteps = 10\n");
    house.until_sql(STATES, "running 1");
    let worker = house.worker_pid();
    house.stop("KILL");
    house.release_renders();
    house.until("the worker ends with its supervisor", || {
        (!Path::new(&format!("/proc/{worker}")).exists()).then_some(())
    });
    house.start();
    house.until_sql(STATES, "done 1");
    house.assert_invariants();
    assert_eq!(
        house.rows("SELECT outcome FROM attempts ORDER BY number"),
        [["interrupted"], ["done"]]
    );
    assert_eq!(house.pictures().len(), 1);
}

#[test]
fn a_daemon_killed_again_and_again_loses_and_doubles_nothing() {
    const KILLS: u64 = 12;
    const JOBS_A_LIFE: u64 = 3;
    let mut house = House::new("deaths_max = 100\nattempts_max = 100\n");
    for life in 0..KILLS {
        for job in 0..JOBS_A_LIFE {
            house.drop_job(
                &format!("{life}-{job}.toml"),
                "prompt = 'steps of 3 ms'\nsteps = 2\nnum_images = 2\n",
            );
        }
        house.start();
        // Moments spread over intake, claim, steps and publishing; the same in every run.
        std::thread::sleep(Duration::from_millis(life * 37 % 211));
        house.stop("KILL");
    }
    house.start();
    let pictures = KILLS * JOBS_A_LIFE * 2;
    house.until_sql(STATES, &format!("done {pictures}"));
    house.stop("TERM");
    house.assert_invariants();
    assert_eq!(
        house.value("SELECT count(*) FROM jobs"),
        (KILLS * JOBS_A_LIFE).to_string(),
        "each drop is one job"
    );
    assert_eq!(house.pictures().len() as u64, pictures);
    let accepted = fs::read_dir(house.path("jobs/accepted")).expect("the folder").count() as u64;
    assert_eq!(accepted, KILLS * JOBS_A_LIFE, "each file is moved once");
}

#[test]
fn a_terminated_daemon_gives_its_render_back_uncounted() {
    let mut house = House::started("");
    house.hold_renders();
    house.drop_job("slow.toml", "prompt = 'hold, steps of 100 ms'\nsteps = 20\n");
    house.until_sql(STATES, "running 1");
    kill("TERM", house.daemon_pid());
    house.until_logged("stopping");
    house.release_renders();
    // Told to stop already: this waits for the end.
    assert_eq!(house.stop("CONT"), Some(0));
    assert_eq!(house.value(STATES), "queued 1");
    assert_eq!(house.value("SELECT outcome FROM attempts"), "interrupted");
    assert_eq!(house.value("SELECT attempts FROM history"), "0");
    house.start();
    house.until_sql(STATES, "done 1");
    house.assert_invariants();
}

#[test]
fn an_idle_worker_is_released_and_the_next_job_loads_another() {
    let mut house = House::new("[device]\nidle_release = '300ms'\n");
    fs::write(house.path("model/load.txt"), "hold, load of 200 ms").expect("a writable folder");
    house.hold_renders();
    house.start();
    // It is there for a moment only, and so is caught while it loads.
    let first = loading_worker(&house);
    house.release_renders();
    house.until_released();
    assert!(!Path::new(&format!("/proc/{first}")).exists(), "its memory is the device's again");
    let said = house.zimaged(&["status"]).stdout;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("released: loads on the next job"), "{said}");
    house.hold_renders();
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    assert_ne!(loading_worker(&house), first);
    house.release_renders();
    house.until_sql(STATES, "done 1");
    house.assert_invariants();
    assert_eq!(
        house.value("SELECT queued_ms >= 200 FROM attempts"),
        "1",
        "the load is part of the wait"
    );
    assert_eq!(house.value("SELECT count(*) FROM workers"), "2");
    house.until_released();
    assert!(!house.log().contains("the worker is down"), "{}", house.log());
}

/// The worker of a daemon whose model is held while it loads.
fn loading_worker(house: &House) -> u32 {
    let daemon = house.daemon_pid();
    house.until("a worker", || {
        let threads = fs::read_dir(format!("/proc/{daemon}/task")).ok()?.flatten();
        let children = threads.map(|thread| fs::read_to_string(thread.path().join("children")));
        let children: String = children.filter_map(Result::ok).collect();
        children.split_whitespace().next()?.parse().ok()
    })
}

#[test]
fn no_worker_is_released_between_jobs_that_keep_coming_nor_in_a_long_render() {
    let mut house = House::new("[device]\nidle_release = '1s'\n");
    for name in ["a.toml", "b.toml", "c.toml"] {
        house.drop_job(name, "prompt = 'steps of 300 ms'\nsteps = 4\n");
    }
    house.start();
    house.until_sql(STATES, "done 3");
    assert_eq!(house.value("SELECT count(*) FROM workers"), "1");
}

#[test]
fn a_paused_queue_is_idle_whatever_waits_in_it() {
    let house = House::started("[device]\nidle_release = '300ms'\n");
    assert!(house.zimaged(&["pause"]).status.success());
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql(STATES, "queued 1");
    house.until_released();
    // Longer than it takes to notice a job.
    std::thread::sleep(Duration::from_secs(1));
    house.until_released();
    assert_eq!(
        house.value("SELECT count(*) FROM workers"),
        "1",
        "a job that may not start loads nothing"
    );
    assert!(house.zimaged(&["resume"]).status.success());
    house.until_sql(STATES, "done 1");
}

#[test]
fn a_start_removes_the_latents_of_ended_renders_and_nothing_else() {
    let mut house = House::started("");
    house.drop_job("done.toml", "prompt = 'a fox'\n");
    house.until_sql(STATES, "done 1");
    house.drop_job("later.toml", "prompt = ['a', 'b']\nnot_before = 2999-01-01T00:00:00Z\n");
    house.until_sql(STATES, "done 1 queued 2");
    assert!(house.zimaged(&["cancel", "2.2"]).status.success());
    house.stop("TERM");
    let latents = house.path("state/latents");
    let queued = ["2.safetensors", "2.safetensors.part"];
    let ended = ["1.safetensors", "3.safetensors", "3.safetensors.part", "99.safetensors"];
    let others = ["3.txt", "fox.safetensors", "notes"];
    for name in [&queued[..], &ended, &others].concat() {
        fs::write(latents.join(name), "kept").expect("a writable folder");
    }
    fs::create_dir(latents.join("4.safetensors")).expect("a writable folder");
    house.start();
    let entries = fs::read_dir(latents)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name());
    let mut left: Vec<String> = entries.map(|name| name.into_string().expect("UTF-8")).collect();
    left.sort();
    assert_eq!(
        left,
        [
            "2.safetensors",
            "2.safetensors.part",
            "3.txt",
            "4.safetensors",
            "fox.safetensors",
            "notes"
        ]
    );
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut house = House::started("");
    house.drop_job("stuck.toml", "prompt = 'hang at step 1'\n");
    house.until_sql(STATES, "running 1");
    kill("TERM", house.daemon_pid());
    house.until_logged("stopping");
    assert_eq!(house.stop("TERM"), Some(130));
}

#[test]
fn a_render_cancelled_while_running_leaves_no_picture() {
    let house = House::started("");
    house.drop_job("slow.toml", "prompt = 'steps of 300 ms'\nsteps = 100\nnum_images = 2\n");
    house.until_sql(STATES, "queued 1 running 1");
    let done = house.json(&["cancel", "1"]);
    assert_eq!((done["cancelled"].as_u64(), done["stopping"].as_u64()), (Some(1), Some(1)));
    house.until_sql(STATES, "cancelled 2");
    house.assert_invariants();
    assert!(house.pictures().is_empty());
    let again = house.json(&["retry", "1"]);
    assert_eq!(again["jobs"][0]["job"].as_i64(), Some(2));
    house.until_sql("SELECT count(*) FROM renders WHERE job_id = 2 AND state = 'running'", "1");
}

#[test]
fn a_pause_outlives_the_daemon() {
    let mut house = House::started("");
    assert!(house.zimaged(&["pause", "too hot"]).status.success());
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql(STATES, "queued 1");
    house.stop("TERM");
    house.start();
    house.worker_pid();
    assert_eq!(house.json(&["status"])["paused"]["reason"], "too hot");
    assert_eq!(house.value(STATES), "queued 1");
    assert!(house.zimaged(&["resume"]).status.success());
    house.until_sql(STATES, "done 1");
}

#[test]
fn higher_priority_runs_first_and_nothing_before_its_time() {
    let mut house = House::new("");
    house.drop_job("a.toml", "prompt = 'a fox'\n");
    house.drop_job("b.toml", "prompt = 'a fox'\npriority = 9\n");
    house
        .drop_job("c.toml", "prompt = 'a fox'\nnot_before = 2999-01-01T00:00:00Z\npriority = 99\n");
    house.start();
    house.until_sql(STATES, "done 2 queued 1");
    let order = house.rows(
        "SELECT j.file_name FROM attempts a JOIN renders r ON r.id = a.render_id JOIN jobs j ON j.id = r.job_id \
         ORDER BY a.id",
    );
    assert_eq!(order, [["b.toml"], ["a.toml"]]);
}

#[test]
fn a_file_of_the_users_is_never_overwritten() {
    let mut house = House::new("");
    fs::create_dir(house.path("outputs")).expect("a writable folder");
    fs::write(house.path("outputs/fox.png"), "mine").expect("a writable folder");
    house.drop_job("fox.toml", "prompt = 'a fox'\noutput = 'fox'\n");
    house.start();
    house.until_sql(STATES, "done 1");
    assert_eq!(fs::read_to_string(house.path("outputs/fox.png")).expect("still there"), "mine");
    assert_eq!(house.value("SELECT path FROM history"), "fox-2.png");
}

#[test]
fn a_black_picture_is_an_error_and_not_done() {
    let house = House::started("");
    house.drop_job("black.toml", "prompt = 'black'\n");
    house.until_sql(STATES, "failed 1");
    assert_eq!(house.value("SELECT error_code FROM history"), "bad_picture");
    assert!(house.pictures().is_empty());
}

#[test]
fn a_second_daemon_is_told_that_one_runs() {
    let house = House::started("");
    let second = house.zimaged(&["run"]);
    assert_eq!(second.status.code(), Some(75));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&house.daemon_pid().to_string()), "{said}");
}

/// A folder whose model is not a model.
fn house_of_no_model(files: &[(&str, &str)]) -> House {
    let house = House::with_config("[model]\npath = 'model'\n[device]\nkind = 'cpu'\n");
    for (name, content) in files {
        let path = house.path("model").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
        fs::write(path, content).expect("a writable folder");
    }
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house
}

// newcomer 9
#[test]
#[cfg(not(feature = "cuda"))]
fn a_build_without_cuda_says_so_what_it_looked_for_and_which_command_builds_one() {
    let house = House::new("");
    let output = house.zimaged(&["run", "--until-idle"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("this build renders on the processor"), "{said}");
    assert!(said.contains("cargo install --path . --features cuda"), "{said}");
    assert!(said.contains("sign of a card"), "{said}");
}

// newcomer 7, newcomer 8
#[test]
fn a_model_that_is_none_ends_the_daemon_with_78_and_leaves_the_files_where_they_are() {
    let cases: [(&[(&str, &str)], &str); 3] = [
        (&[], "is empty; a model is a folder of the hub"),
        (&[("checkpoints/a", ""), ("loras/b", "")], "holds no transformer of Z-Image"),
        (&[("model_index.json", r#"{"_class_name": "FluxPipeline"}"#)], "a model of Flux"),
    ];
    for (files, expected) in cases {
        let house = house_of_no_model(files);
        let output = house.zimaged(&["run"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(house.path("jobs/fox.toml").exists());
    }
    let house = house_of_no_model(&[]);
    fs::remove_dir_all(house.path("model")).expect("a folder of the test");
    let output = house.zimaged(&["run"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("there is no such"), "{said}");
    assert!(house.path("jobs/fox.toml").exists());
}

/// As [`house_of_no_model`], with a copy of the miniature.
fn house_of_a_miniature() -> House {
    let house = house_of_no_model(&[]);
    let miniature = miniature();
    let copied = Command::new("cp")
        .args(["-rT", &miniature.to_string_lossy(), &house.path("model").to_string_lossy()])
        .status();
    assert!(copied.expect("cp").success());
    house
}

#[test]
fn status_names_the_configured_model_that_is_missing_and_not_the_one_of_before() {
    let mut house = house_of_a_miniature();
    fs::remove_file(house.path("jobs/fox.toml")).expect("our own file");
    let status = |house: &House| said(&house.zimaged(&["status"]));
    house.start();
    house.until_sql("SELECT count(*) FROM workers", "1");
    house.stop("TERM");
    assert!(status(&house).contains("model zimage-mini"), "{}", status(&house));
    assert!(house.json(&["status"])["model_trouble"].is_null());
    fs::rename(house.path("model"), house.path("elsewhere")).expect("a writable folder");
    assert_eq!(house.zimaged(&["run"]).status.code(), Some(78));
    let told = status(&house);
    assert!(told.contains("the configured model cannot be used: "), "{told}");
    assert!(told.contains("there is no such") && !told.contains("loaded in"), "{told}");
    assert!(house.json(&["status"])["model_trouble"].is_string());
}

// newcomer 7, newcomer 8: the daemon tried again and again what only a user can mend.
#[test]
fn weights_that_do_not_fit_the_models_configuration_end_the_daemon_with_78() {
    let house = house_of_a_miniature();
    let path = house.path("model/vae/config.json");
    let config = fs::read_to_string(&path).expect("a configuration");
    let other = config.replace("\"layers_per_block\": 1", "\"layers_per_block\": 2");
    assert_ne!(other, config);
    fs::write(&path, other).expect("a writable folder");
    for command in [&["run"][..], &["run", "--until-idle"]] {
        let output = house.zimaged(command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{command:?}: {said}");
        assert!(said.contains("of the tensors do not fit its configuration"), "{said}");
        assert!(said.contains("model/vae"), "{said}");
    }
}

// newcomer 7, newcomer 8
#[test]
fn weights_that_were_cut_short_end_the_daemon_with_78_before_a_worker_is_tried() {
    let house = house_of_a_miniature();
    let weights = house.path("model/vae/diffusion_pytorch_model.safetensors");
    let whole = fs::read(&weights).expect("weights");
    fs::write(&weights, &whole[..whole.len() / 2]).expect("a writable folder");
    let output = house.zimaged(&["run"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("the model's download is incomplete"), "{said}");
}

#[test]
fn a_configuration_with_mistakes_ends_with_78_and_their_lines() {
    let house = House::new("[oom]\nprefer = 'beauty'\n");
    let output = house.zimaged(&["run"]);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("prefer") && said.contains("quality"), "{said}");
}

#[test]
fn a_database_of_somebody_else_is_not_touched() {
    let house = House::new("");
    fs::create_dir(house.path("state")).expect("a writable folder");
    fs::write(house.path("state/zimaged.sqlite"), "my diary, not a database at all".repeat(100))
        .expect("writable");
    let output = house.zimaged(&["run"]);
    assert_eq!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        fs::read_to_string(house.path("state/zimaged.sqlite"))
            .expect("still there")
            .starts_with("my diary")
    );
}

#[test]
fn submit_checks_hands_over_and_waits() {
    let house = House::started("");
    fs::write(house.path("mine.toml"), "prompt = 'a fox'\n").expect("a writable folder");
    let output = house.zimaged(&["submit", "--wait", "mine.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("done"));
    fs::write(house.path("wrong.toml"), "prompt = 3\n").expect("a writable folder");
    assert_eq!(house.zimaged(&["submit", "wrong.toml"]).status.code(), Some(3));
    assert_eq!(house.zimaged(&["check", "wrong.toml"]).status.code(), Some(3));
    assert_eq!(house.zimaged(&["check", "mine.toml"]).status.code(), Some(0));
}

#[test]
fn until_idle_ends_by_itself_and_shows_the_row() {
    let house = House::new("");
    fs::write(house.path("mine.toml"), "prompt = 'a fox'\n").expect("a writable folder");
    let output = house.zimaged(&["run", "--until-idle", "mine.toml"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("done") && said.contains("zimaged run"), "{said}");
    assert_eq!(house.pictures().len(), 1);
}
