//! `/api/v1`: jobs asked for, listed, changed, followed.

use std::io::{BufRead, BufReader, Write};

use serde_json::{Value, json};

use crate::support::http::Reply;
use crate::support::{House, allow_many_descriptors, fault, said};

fn done(house: &House, number: &str) {
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", number);
}

fn toml(house: &House, line: &str, text: &str) -> Reply {
    house.ask(line, &[("Content-Type", "application/toml")], text.as_bytes())
}

#[test]
fn a_job_of_json_or_toml_is_taken_in_rendered_and_shown() {
    let house = House::started("");
    let job = json!({
        "prompt": ["a fox", "an owl"], "seed": 7, "tags": ["zoo"], "width": 256, "height": 256,
    });
    let taken = house.post("/api/v1/jobs?name=night", &job);
    assert_eq!((taken.status, taken.header("location")), (201, Some("/api/v1/jobs/1")));
    assert_eq!(taken.json()["pictures"], 2);
    assert_eq!(toml(&house, "POST /api/v1/jobs", "prompt = 'a cat'\n").status, 201);
    done(&house, "3");
    assert_eq!(house.value("SELECT origin FROM jobs WHERE id = 1"), "http");
    let shown = house.get("/api/v1/jobs/1").ok().json();
    assert_eq!(shown["job"]["file_name"], "night");
    assert_eq!(shown["pictures"][1]["prompt"], "an owl");
    let text = house.get("/api/v1/jobs/2/text").ok();
    assert_eq!(text.text(), "prompt = 'a cat'\n");
    let page = house.get("/api/v1/jobs?limit=1").ok().json();
    assert_eq!((&page["jobs"][0]["job"], &page["next"]), (&json!(2), &json!(2)));
    let page = house.get("/api/v1/jobs?limit=1&before=2&tag=zoo").ok().json();
    assert_eq!(page["jobs"][0]["job"], 1);
    for (q, found) in [("AN+OWL", vec![1]), ("a+", vec![2, 1]), ("wolf", vec![])] {
        let told = house.get(&format!("/api/v1/jobs?q={q}")).ok().json();
        let jobs: Vec<_> = told["jobs"].as_array().unwrap().iter().map(|it| &it["job"]).collect();
        assert_eq!(jobs, found, "{q}");
    }
    assert_eq!(house.get("/api/v1/jobs/9").status, 404);
    assert_eq!(house.get("/api/v1/jobs?limti=1").status, 400);
    let settings = house.get("/api/v1/renders/1.2/settings.toml").ok().text();
    assert!(settings.contains("prompt = \"an owl\"") && settings.contains("width = 256"));
    assert_eq!(toml(&house, "POST /api/v1/jobs", &settings).status, 201, "it is a job");
}

#[test]
fn all_mistakes_are_told_at_once_and_nothing_is_taken_in() {
    let house = House::started("");
    let reply = toml(&house, "POST /api/v1/jobs", "prompt = 3\nstep = 4\n\nwidth = 17\n");
    assert_eq!(reply.status, 400);
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    let told = reply.json();
    assert_eq!(told["code"], "mistakes");
    let lines: Vec<_> = told["problems"].as_array().unwrap().iter().map(|it| &it["line"]).collect();
    assert_eq!(lines, [1, 2, 4]);
    for (body, kind) in [
        ("{\"prompt\": \"a\", \"prompt\": \"b\"}", "application/json"),
        ("{\"prompt\": null}", "application/json"),
        ("{\"prompt\": NaN}", "application/json"),
        (&"[".repeat(10_000), "application/json"),
        ("", "application/json"),
        ("prompt = '\u{0}'", "application/toml"),
    ] {
        let reply = house.ask("POST /api/v1/jobs", &[("Content-Type", kind)], body.as_bytes());
        assert_eq!(reply.status, 400, "{body:.40}: {}", reply.text());
    }
    for asked in ["dry_run", "dry_run=true"] {
        let path = format!("/api/v1/jobs?{asked}");
        let dry = house.post(&path, &json!({ "prompt": "a fox" })).ok().json();
        assert_eq!(dry["renders"][0]["prompt"], "a fox");
    }
    let wrong = house.post("/api/v1/jobs?dry_run=maybe", &json!({ "prompt": "a fox" }));
    assert!(wrong.status == 400 && wrong.text().contains("dry_run=true"), "{}", wrong.text());
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "0");
}

#[test]
fn a_request_names_no_file_of_this_machine() {
    let house = House::started("");
    let secret = house.path("secret.png");
    image::RgbImage::new(64, 64).save(&secret).unwrap();
    let secret = secret.display().to_string();
    for job in [
        json!({ "prompt": "a", "init_image": secret }),
        json!({ "prompt": "a", "init_image": "../secret.png" }),
        json!({ "prompt": "a", "matrix": { "init_image": [secret] } }),
        json!({ "prompt_file": "/etc/passwd" }),
        json!({ "prompt": "a __secret__", "wildcards": true }),
    ] {
        let reply = house.post("/api/v1/jobs", &job);
        assert_eq!(reply.status, 400, "{job}");
        let told = reply.text();
        assert!(told.contains("no file"), "{told}");
        assert!(
            !told.contains("no such file"),
            "whether there is one is nobody's business: {told}"
        );
    }
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "0");
}

#[test]
fn a_picture_to_begin_with_comes_in_the_request_or_before_it() {
    use base64::Engine;
    let house = House::started("");
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(64, 64).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let png = png.into_inner();
    let url = base64::engine::general_purpose::STANDARD.encode(&png);
    let url = format!("data:image/png;base64,{url}");
    let job = |picture: &str| json!({ "prompt": "a", "init_image": picture, "strength": 0.5 });
    assert_eq!(house.post("/api/v1/jobs", &job(&url)).status, 201);
    let kept = house.ask("POST /api/v1/inputs", &[("Content-Type", "image/png")], &png);
    let hash = kept.ok().json()["input"].as_str().unwrap().to_owned();
    assert_eq!(house.post("/api/v1/jobs", &job(&hash)).status, 201);
    let rows = house.rows("SELECT DISTINCT init_image FROM renders");
    assert_eq!(rows, [[hash]]);
    let text = house.ask("POST /api/v1/inputs", &[("Content-Type", "image/png")], b"no picture");
    assert_eq!(text.status, 400);
    assert_eq!(house.post("/api/v1/jobs", &job("data:image/png;base64,!")).status, 400);
}

#[test]
fn a_picture_that_the_disk_has_no_room_for_is_told_as_that() {
    let mut house = House::new("");
    let [library, fault] = fault::environment("fsync", "-0.part", libc::ENOSPC, 0, 1);
    house.start_with(&[library, fault].each_ref().map(|(name, value)| (*name, value.as_str())));
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(64, 64).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let keep = || house.ask("POST /api/v1/inputs", &[("Content-Type", "image/png")], png.get_ref());
    let full = keep();
    assert_eq!((full.status, &full.json()["code"]), (507, &json!("no_room")), "{}", full.text());
    assert_eq!(keep().status, 201, "once there is room");
}

// faults 122
#[test]
fn the_same_request_with_the_same_key_is_one_job() {
    let house = House::started("");
    let send = |text: &str| {
        let headers = [("Content-Type", "application/toml"), ("Idempotency-Key", "night-1")];
        house.ask("POST /api/v1/jobs", &headers, text.as_bytes())
    };
    let replies: Vec<u16> = std::thread::scope(|scope| {
        let sent: Vec<_> =
            (0..8).map(|_| scope.spawn(|| send("prompt = 'a fox'\n").status)).collect();
        sent.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(replies.iter().filter(|status| **status == 201).count(), 1, "{replies:?}");
    assert!(replies.iter().all(|status| [200, 201].contains(status)), "{replies:?}");
    assert_eq!(send("prompt = 'an owl'\n").status, 409);
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "1");
    // It was told as if it came after itself.
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    let again = send("prompt = 'a fox'\n").json();
    assert_eq!(again["expected"]["work_ms"], 0, "{again}");
    let pruned = house.zimaged(&["history", "prune", "--older-than", "0h"]);
    assert!(pruned.status.success(), "{}", said(&pruned));
    assert_eq!(send("prompt = 'an owl'\n").status, 201, "with the job its key is forgotten");
}

#[test]
fn what_is_queued_is_changed_cancelled_and_made_again() {
    let house = House::started("");
    house.ask("POST /api/v1/queue/pause", &[], b"").ok();
    assert_eq!(house.json(&["status"])["paused"]["reason"], "over HTTP");
    house.post("/api/v1/jobs", &json!({ "prompt": ["a", "b"] })).ok();
    let patch = |path: &str, body: Value| {
        let headers = [("Content-Type", "application/json")];
        house.ask(&format!("PATCH {path}"), &headers, body.to_string().as_bytes())
    };
    patch("/api/v1/jobs/1", json!({ "priority": 5, "tags": ["x"], "not_before": null })).ok();
    patch("/api/v1/renders/1.2", json!({ "priority": 9 })).ok();
    assert_eq!(house.rows("SELECT priority FROM renders ORDER BY position"), [["5"], ["9"]]);
    assert_eq!(patch("/api/v1/jobs/1", json!({ "prompt": "c" })).status, 400);
    assert_eq!(patch("/api/v1/jobs/1", json!({})).status, 400);
    house.ask("POST /api/v1/renders/1.1/cancel", &[], b"").ok();
    let cancelled = house.ask("POST /api/v1/jobs/1/cancel", &[], b"").ok().json();
    assert_eq!((&cancelled["cancelled"], &cancelled["ended"]), (&json!(1), &json!(1)));
    assert_eq!(house.ask("POST /api/v1/jobs/1/cancel", &[], b"").status, 409);
    let retried = house.ask("POST /api/v1/jobs/1/retry", &[], b"").ok().json();
    assert_eq!(retried["renders"], 2);
    house.post("/api/v1/queue/resume", &json!({})).ok();
    done(&house, "2");
}

#[test]
fn a_job_of_many_pictures_is_told_a_page_at_a_time() {
    let house = House::started("");
    house.ask("POST /api/v1/queue/pause", &[], b"").ok();
    house.post("/api/v1/jobs", &json!({ "prompt": "a fox", "num_images": 1200, "seed": 1 })).ok();
    house.ask("POST /api/v1/renders/1.1001/cancel", &[], b"").ok();
    let page = |query: &str| {
        let page = house.get(&format!("/api/v1/jobs/1?{query}")).ok().json();
        let rows = page["pictures"].as_array().unwrap();
        let places = [rows.first(), rows.last()].map(|row| row.map(|row| row["picture"].clone()));
        (rows.len(), places[0].clone(), page["next"].clone(), page["left_out"].clone())
    };
    assert_eq!(page(""), (500, Some(json!(1)), json!(500), json!(700)));
    assert_eq!(page("after=500"), (500, Some(json!(501)), json!(1000), json!(200)));
    assert_eq!(page("after=1000&limit=200"), (200, Some(json!(1001)), Value::Null, json!(0)));
    assert_eq!(page("after=1199"), (1, Some(json!(1200)), Value::Null, json!(0)));
    assert_eq!(
        page("after=1000&state=queued&limit=1"),
        (1, Some(json!(1002)), json!(1002), json!(198))
    );
    assert_eq!(page("state=cancelled"), (1, Some(json!(1001)), Value::Null, json!(0)));
    let whole = house.get("/api/v1/jobs/1").ok().json();
    assert_eq!(
        (&whole["summary"]["pictures"], &whole["summary"]["cancelled"]),
        (&json!(1200), &json!(1))
    );
    assert_eq!(house.get("/api/v1/jobs/1?limit=501").status, 400);
    let shown = house.json(&["show", "1", "--limit", "3"]);
    assert_eq!((&shown["left_out"], &shown["next"]), (&json!(1197), &json!(3)));
    assert_eq!(house.json(&["show", "1"])["pictures"].as_array().map(Vec::len), Some(1200));
}

#[test]
fn what_is_stopping_is_found_by_that_word() {
    let house = House::started("");
    house.hold_renders();
    house.drop_job("fox.toml", "prompt = ['a fox, hold', 'an owl, hold']\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'running'", "1");
    let found = |state: &str| {
        let jobs = house.get(&format!("/api/v1/jobs?state={state}")).ok().json();
        let renders = house.get(&format!("/api/v1/renders?state={state}")).ok().json();
        let shown = house.get(&format!("/api/v1/jobs/1?state={state}")).ok().json();
        let listed = house.json(&["list", "--state", state]);
        let number = |rows: &Value| rows.as_array().map_or(0, Vec::len);
        assert_eq!(number(&listed), number(&jobs["jobs"]), "{listed}");
        (number(&jobs["jobs"]), number(&renders["renders"]), number(&shown["pictures"]))
    };
    assert_eq!(found("stopping"), (0, 0, 0));
    house.ask("POST /api/v1/renders/1.1/cancel", &[], b"").ok();
    assert_eq!(found("stopping"), (0, 1, 1), "its job goes on");
    assert_eq!(found("running"), (1, 1, 1), "it still runs");
    house.ask("POST /api/v1/jobs/1/cancel", &[], b"").ok();
    assert_eq!(found("stopping"), (1, 1, 1));
    house.release_renders();
    // The picture may be made before the worker hears that it is not wanted any more.
    house.until_sql("SELECT count(*) FROM renders WHERE state IN ('queued', 'running')", "0");
    assert_eq!(found("stopping"), (0, 0, 0));
}

#[test]
fn the_gallery_has_pages_that_do_not_shift() {
    let house = House::started("");
    house.post("/api/v1/jobs", &json!({ "prompt": ["a fox", "an owl", "a cat"] })).ok();
    done(&house, "3");
    let ids = |query: &str| -> (Vec<i64>, Value) {
        let page = house.get(&format!("/api/v1/renders?{query}")).ok().json();
        let rows = page["renders"].as_array().unwrap();
        (rows.iter().map(|row| row["picture"].as_i64().unwrap()).collect(), page["next"].clone())
    };
    assert_eq!(ids("limit=2"), (vec![3, 2], json!("1.2")));
    house.post("/api/v1/jobs", &json!({ "prompt": "new" })).ok();
    assert_eq!(ids("limit=2&before=1.2"), (vec![1], Value::Null));
    assert_eq!(ids("q=OWL&state=done&degraded=false").0, [2]);
    assert_eq!(house.get("/api/v1/renders?before=x").status, 400);
}

#[test]
fn a_form_is_built_from_the_capabilities_and_fit_answers_as_the_command() {
    let house = House::started("");
    let can = house.get("/api/v1/capabilities").ok().json();
    assert!(can["granularity"].as_u64().is_some_and(|it| it > 0), "{can}");
    assert_eq!(can["formats"], json!(["png", "jpeg", "webp"]));
    let fit = house.post("/api/v1/fit", &json!({ "vram_bytes": 8_u64 << 30 }));
    assert_eq!(fit.status, 422, "the scripted engine needs no memory");
    let same = house.json(&["fit", "--vram", "8GiB"]);
    assert_eq!(fit.json()["detail"], same["error"]["message"].as_str().unwrap_or_default());
    assert_eq!(house.post("/api/v1/fit", &json!({ "width": 256 })).status, 400);
    let turbo = house.post("/api/v1/fit", &json!({ "vram_bytes": 8_u64 << 30, "turbo": true }));
    let same = house.json(&["fit", "--vram", "8GiB", "--turbo"]);
    assert_eq!(turbo.ok().json()["rung"], same["rung"]);
    let table = house.get("/api/v1/fit/table?turbo=true").ok().json();
    assert_eq!(table.as_array().map(Vec::len), Some(30), "six sizes on five cards");
    for view in ["throughput", "oom", "memory"] {
        let rows = house.get(&format!("/api/v1/stats/{view}")).ok().json();
        assert!(rows["rows"].is_array(), "{rows}");
    }
}

#[test]
fn statistics_are_told_of_some_days_and_as_a_table_for_other_programs() {
    let house = House::started("");
    house.post("/api/v1/jobs", &json!({ "prompt": ["=1+1", "a fox, \"red\""] })).ok();
    done(&house, "2");
    let rows = |query: &str| {
        let told = house.get(&format!("/api/v1/stats/{query}")).ok().json();
        told["rows"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((rows("history"), rows("throughput?days=1"), rows("memory?days=1")), (2, 1, 2));
    // No card told any of it: what is not known is no number.
    let history = house.get("/api/v1/stats/history").ok().json();
    for unknown in ["clock_mhz", "temperature_max_celsius", "error"] {
        assert_eq!(history["rows"][0][unknown], Value::Null, "{unknown}: {history}");
    }
    let csv = house.get("/api/v1/stats/history.csv").ok();
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let table = csv.text();
    let lines: Vec<&str> = table.split("\r\n").collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[0].contains("job") && lines[0].contains("prompt"), "{table}");
    assert!(lines[1].contains("\"a fox, \"\"red\"\"\""), "{table}");
    assert!(lines[2].contains("'=1+1"), "no spreadsheet runs it: {table}");
    let long_ago = "UPDATE attempts SET started_at_ms = 1, ended_at_ms = 2";
    house.falsify(long_ago);
    house.falsify("UPDATE jobs SET accepted_at_ms = 1");
    assert_eq!(
        (rows("history?days=9"), rows("throughput?days=9"), rows("memory?days=9")),
        (0, 0, 0)
    );
    assert_eq!((rows("history"), rows("throughput"), rows("memory")), (2, 1, 2));
    assert_eq!(house.get("/api/v1/stats/weights").status, 404);
}

#[test]
fn the_seconds_of_pictures_are_those_that_the_page_of_the_history_draws() {
    let house = House::started("");
    let job = json!({ "prompt": "a fox, oom once", "width": 128, "num_images": 2 });
    house.post("/api/v1/jobs", &job).ok();
    done(&house, "2");
    let told = house.get("/api/v1/stats/seconds").ok().json();
    let rows = told["rows"].as_array().expect("rows");
    let mut sql = "SELECT r.job_id, r.position, a.started_at_ms, a.width, a.height, a.steps, \
                   a.total_ms FROM attempts a JOIN renders r ON r.id = a.render_id \
                   WHERE a.outcome = 'done' ORDER BY a.id DESC"
        .to_owned();
    let names = ["job", "picture", "at_ms", "width", "height", "steps", "total_ms"];
    let cells = |row: &Value| names.map(|name| row[name].to_string()).to_vec();
    assert_eq!(rows.iter().map(cells).collect::<Vec<_>>(), house.rows(&sql));
    let drawn = house.get("/history").ok().text();
    assert!(drawn.contains(&format!("{:.2} s", rows[0]["total_ms"].as_f64().unwrap() / 1000.0)));
    assert_eq!(house.get("/api/v1/stats/seconds.csv").ok().text().lines().count(), 3);
    house.falsify("UPDATE attempts SET started_at_ms = 1 WHERE render_id = 1");
    let lately = house.get("/api/v1/stats/seconds?days=9").ok().json();
    sql.insert_str(sql.find(" ORDER").expect("an order"), " AND render_id > 1");
    let rows = lately["rows"].as_array().expect("rows");
    assert_eq!(rows.iter().map(cells).collect::<Vec<_>>(), house.rows(&sql));
}

#[test]
fn pictures_and_jobs_are_found_between_two_moments() {
    let house = House::started("");
    for prompt in ["a fox", "an owl", "a cat"] {
        house.post("/api/v1/jobs", &json!({ "prompt": prompt })).ok();
    }
    done(&house, "3");
    house.falsify("UPDATE renders SET finished_at_ms = 1000 * job_id");
    house.falsify("UPDATE jobs SET accepted_at_ms = 100 * id");
    let found = |list: &str, query: &str| -> Vec<i64> {
        let told = house.get(&format!("/api/v1/{list}?{query}")).ok().json();
        let rows = told[list].as_array().expect("rows");
        rows.iter().map(|row| row["job"].as_i64().expect("a job")).collect()
    };
    assert_eq!(found("renders", "to_ms=2000"), [1], "what ended at that moment is not before it");
    assert_eq!(found("renders", "since_ms=2000&to_ms=3000"), [2]);
    assert_eq!(found("renders", "since_ms=3000"), [3]);
    assert_eq!(found("jobs", "to_ms=200"), [1]);
    assert_eq!(found("jobs", "since_ms=200&to_ms=300"), [2]);
    let zip = house.get("/api/v1/pictures.zip?since_ms=2000&to_ms=3000").ok().body;
    let holds = |name: &str| zip.windows(name.len()).any(|part| part == name.as_bytes());
    assert!(holds("2.1-") && !holds("1.1-") && !holds("3.1-"));
    assert_eq!(house.get("/api/v1/pictures.zip?to_ms=1000").status, 404);
    assert_eq!(house.get("/api/v1/renders?to_ms=soon").status, 400);
}

/// A stream of events from after this one on.
fn follow(house: &House, last: &str) -> impl Iterator<Item = String> + use<> {
    let mut stream = house.connect();
    let request = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\nLast-Event-ID: {last}\r\n\r\n",
        house.http()
    );
    stream.write_all(request.as_bytes()).unwrap();
    BufReader::new(stream).lines().map(|line| line.expect("events go on"))
}

#[test]
fn whoever_comes_back_to_the_events_misses_none() {
    let house = House::started("");
    house.post("/api/v1/jobs", &json!({ "prompt": "a fox" })).ok();
    done(&house, "1");
    let ids: Vec<String> =
        house.rows("SELECT id FROM events ORDER BY id").into_iter().flatten().collect();
    let mut lines = follow(&house, &ids[0]);
    for id in &ids[1..] {
        assert!(lines.any(|line| line == format!("id: {id}")), "{id}");
    }
    let owl = json!({ "prompt": "an owl, steps of 200 ms", "steps": 8 });
    house.post("/api/v1/jobs", &owl).ok();
    assert!(lines.any(|line| line == "event: accepted"), "as it happens");
    assert!(lines.any(|line| line == "event: step"), "and its steps");
    assert!(lines.any(|line| line == "event: done"));
    // All who follow share what is read, wherever they begin.
    for from in [1, ids.len() - 1] {
        let mut lines = follow(&house, &ids[from - 1]);
        for id in house.rows("SELECT id FROM events ORDER BY id").concat().split_off(from) {
            assert!(lines.any(|line| line == format!("id: {id}")), "{id}");
        }
    }
    assert!(follow(&house, "999999").any(|line| line == "event: resync"));
}

#[test]
fn whoever_follows_is_told_what_the_worker_takes_of_its_device_once_for_each_reading() {
    const PICTURES: usize = 5;
    let mut house = House::new("");
    let in_use = |house: &House, bytes: u64| {
        std::fs::write(house.path("model/used.txt"), bytes.to_string()).expect("a writable folder");
    };
    in_use(&house, 1000);
    house.hold_renders();
    house.start();
    let mut lines = follow(&house, "0");
    let mut told = Vec::new();
    let mut until = |wanted: &str| loop {
        match lines.next().expect("events go on").as_str() {
            "event: memory" => {
                let line = lines.next().expect("what it is");
                let memory: Value =
                    serde_json::from_str(line.trim_start_matches("data: ")).expect("JSON");
                told.push(memory["used_bytes"].clone());
                if memory["device"] == "fake"
                    && memory["used_bytes"].as_u64() == wanted.parse().ok()
                {
                    return told.clone();
                }
            }
            line if line == wanted => return told.clone(),
            _ => (),
        }
    };
    until("1000");
    in_use(&house, 2000);
    house.post("/api/v1/jobs", &json!({ "prompt": "a fox, hold" })).ok();
    until("2000");
    house.release_renders();
    until("event: done");
    house.post("/api/v1/jobs", &json!({ "prompt": "a fox", "num_images": PICTURES })).ok();
    let mut told = Vec::new();
    for _ in 0..PICTURES {
        told = until("event: done");
    }
    let known: Vec<_> = told.iter().filter(|used| !used.is_null()).collect();
    assert_eq!(known, [&json!(1000), &json!(2000)], "no reading is told twice: {told:?}");
}

// faults 119
#[test]
fn streams_that_nobody_reads_are_bounded_and_hold_nothing_up() {
    allow_many_descriptors();
    let mut house = House::started("");
    // None is closed before all are answered: a place that is given back is taken by the next.
    let mut streams: Vec<_> = (0..208).map(|_| follow(&house, "0")).collect();
    let statuses: Vec<String> =
        streams.iter_mut().map(|lines| lines.next().unwrap_or_default()).collect();
    let refused = statuses.iter().filter(|line| line.contains(" 503 ")).count();
    assert_eq!(refused, 8, "{statuses:?}");
    drop(streams);
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    done(&house, "1");
    let open: Vec<_> = (0..10).map(|_| follow(&house, "0")).collect();
    assert_eq!(house.stop("TERM"), Some(0));
    drop(open);
}

#[test]
fn metrics_count_what_was_made_and_asked() {
    let house = House::started("");
    house.post("/api/v1/jobs", &json!({ "prompt": ["a", "b"] })).ok();
    done(&house, "2");
    house.get("/nothing/with/a/long/path");
    let text = house.get("/metrics").ok().text();
    for line in [
        "zimaged_renders_total{outcome=\"done\"} 2",
        "zimaged_attempts_total{outcome=\"done\",stage=\"none\"} 2",
        "zimaged_queue_renders{state=\"queued\"} 0",
        "zimaged_render_seconds_count{size_class=\"up_to_256\"} 2",
        "zimaged_render_seconds_bucket{le=\"+Inf\",size_class=\"up_to_256\"} 2",
        "zimaged_stage_seconds_count{stage=\"denoise\"} 2",
        "zimaged_stage_seconds_bucket{le=\"+Inf\",stage=\"vae_decode\"} 2",
        "zimaged_predicted_ratio_count 2",
        "zimaged_worker_up 1",
        "zimaged_http_requests_total{route=\"/api/v1/jobs\",method=\"POST\",status=\"201\"} 1",
        "zimaged_http_requests_total{route=\"none\",method=\"GET\",status=\"404\"} 1",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}
