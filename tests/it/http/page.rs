//! The pages, as a browser without JavaScript sees them.

use std::fs;

use crate::support::House;
use crate::support::http::Reply;

const PAGES: [&str; 8] =
    ["/", "/queue", "/gallery", "/history", "/memory", "/system", "/reference", "/about"];

/// A form of our own page, sent as a browser does.
pub fn press(house: &House, path: &str, body: &str) -> Reply {
    let origin = format!("http://{}", house.http());
    let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Origin", &origin)];
    house.ask(&format!("POST {path}"), &headers, body.as_bytes())
}

pub fn location(reply: &Reply) -> &str {
    reply.header("location").unwrap_or_default()
}

pub fn done(house: &House, pictures: u32) {
    let sql = "SELECT count(*) FROM history WHERE state = 'done'";
    house.until_sql(sql, &pictures.to_string());
}

#[test]
fn about_the_program_its_licences_and_the_model_are_told() {
    let house = House::started("");
    house.worker_pid();
    let loaded = "SELECT model_hash FROM workers";
    let hash = house
        .until("a model is recorded", || Some(house.value(loaded)).filter(|hash| !hash.is_empty()));
    let about = house.get("/about").ok().text();
    for told in [env!("CARGO_PKG_VERSION"), "Apache-2.0", "licence/third-party", &hash] {
        assert!(about.contains(told), "{told}: {about}");
    }
    assert!(house.get("/licence/zimaged").ok().text().contains("Apache License"));
    let others = house.get("/licence/third-party").ok();
    assert_eq!(others.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(others.text().contains("| axum |"));
    assert_eq!(house.get("/licence/..%2fCargo.toml").status, 404);
}

#[test]
fn a_picture_is_made_by_the_form_and_found_in_the_gallery_with_all_that_is_known_of_it() {
    let house = House::started("");
    assert!(house.get("/gallery").ok().text().contains("There is no picture yet"));
    let sent = press(&house, "/", "prompt=a+red+fox&seed=41&num_images=2&tags=fox%2C+snow&steps=");
    assert_eq!((sent.status, location(&sent)), (303, "queue"), "{}", sent.text());
    done(&house, 2);
    let gallery = house.get("/gallery?q=RED&tag=snow").ok().text();
    assert_eq!(gallery.matches("<img").count(), 2, "{gallery}");
    assert_eq!(house.get("/gallery?q=wolf").ok().text().matches("<img").count(), 0);
    let picture = house.get("/picture?job=1&n=2").ok().text();
    for told in ["a red fox", "<dd>42</dd>", "file?job=1&amp;n=2", "seed=42", "settings.toml"] {
        assert!(picture.contains(told), "{told}: {picture}");
    }
    let none = house.ask("GET /picture?job=1&n=3", &[("Accept", "text/html")], b"");
    assert_eq!((none.status, none.header("content-type")), (404, Some("text/html; charset=utf-8")));
}

#[test]
fn a_picture_comes_as_it_is_and_once_and_its_small_copy_as_jpeg() {
    let house = House::started("");
    press(&house, "/", "prompt=fox");
    done(&house, 1);
    let whole = house.get("/file?job=1&n=1").ok();
    let path = house.value("SELECT path FROM history");
    assert_eq!(whole.body, fs::read(house.path("outputs").join(&path)).expect("the picture"));
    assert_eq!(whole.header("content-type"), Some("image/png"));
    let tag = whole.header("etag").expect("its hash").to_owned();
    let again = house.ask("GET /file?job=1&n=1", &[("If-None-Match", &tag)], b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    let small = house.get("/thumbnail?job=1&n=1").ok();
    assert_eq!(small.header("content-type"), Some("image/jpeg"));
    assert!(small.body.starts_with(&[0xff, 0xd8]));
    // What the worker has kept is what is shown; without it, it is made of the picture.
    let folder = house.path("state/thumbnails");
    house.until("no small copies", || fs::remove_dir_all(&folder).ok());
    assert!(house.get("/thumbnail?job=1&n=1").ok().body.starts_with(&[0xff, 0xd8]));
}

#[test]
fn a_picture_that_is_gone_or_became_a_link_is_not_shown_and_its_row_stays() {
    let house = House::started("");
    press(&house, "/", "prompt=fox");
    done(&house, 1);
    let picture = house.path("outputs").join(house.value("SELECT path FROM history"));
    fs::remove_file(&picture).expect("the picture");
    assert_eq!(house.get("/file?job=1&n=1").status, 410);
    std::os::unix::fs::symlink(house.path("daemon.toml"), &picture).expect("a writable folder");
    let linked = house.get("/file?job=1&n=1");
    assert_eq!(linked.status, 410);
    assert!(!linked.text().contains("engine"), "{}", linked.text());
    fs::remove_file(&picture).expect("the link");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &picture, kind, mode, 0).expect("a pipe");
    let pipe = house.get("/api/v1/renders/1.1/picture");
    assert!(pipe.status == 410 && pipe.text().contains("a device or a pipe"), "{}", pipe.text());
    assert!(house.get("/picture?job=1&n=1").ok().text().contains("fox"));
}

#[test]
fn mistakes_stand_at_their_fields_and_nothing_is_queued() {
    let house = House::started("");
    let sent = press(&house, "/", "prompt=fox&height=500&steps=none").ok();
    for key in ["height", "steps"] {
        assert!(sent.text().contains(&format!("data-key=\"{key}\"")), "{key}: {}", sent.text());
    }
    assert!(sent.text().contains("value=\"500\""), "what was typed stays");
    let advice = press(&house, "/create/check", "prompt=fox&height=500").ok().text();
    assert!(advice.contains("data-key=\"height\""), "{advice}");
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "0");
}

#[test]
fn what_is_said_of_a_job_in_english_has_a_chinese_sentence_of_its_kind_before_it() {
    let house = House::started("");
    house.drop_job("wrong.toml", "prompt = 7\n");
    house.until_refused("wrong.toml");
    let origin = format!("http://{}", house.http());
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Origin", &*origin),
        ("Accept-Language", "zh-CN"),
    ];
    let advice =
        |fields: &str| house.ask("POST /create/check", &headers, fields.as_bytes()).ok().text();
    let wrong = advice("prompt=fox&height=500");
    let told = "高度填写有误：<br>请填写像素数：必须在允许的范围内，并且是模型步长的倍数。<br><span lang=\"en\">height: 500";
    assert!(wrong.contains(told), "{wrong}");
    let hardly_meant = advice("prompt=fox&negative_prompt=blur");
    let told = "这项设置不起作用：只有引导强度大于 0 时才有效。<br><span lang=\"en\">negative_prompt does nothing";
    assert!(hardly_meant.contains(told), "{hardly_meant}");
    let queue = house.ask("GET /queue", &headers[2..], b"").ok().text();
    assert!(queue.contains("这些文件有误，没有成为任务。"), "{queue}");
}

#[test]
fn before_it_is_sent_a_job_says_how_it_is_rendered_and_how_long_that_takes() {
    let mut house = House::with_config("");
    house.start();
    house.worker_pid();
    let advice = press(&house, "/create/check", "prompt=a+fox&num_images=3").ok().text();
    for told in ["3 pictures", "takes about", "as asked", "prompt = [", "num_images = 3"] {
        assert!(advice.contains(told), "{told}: {advice}");
    }
    let seeds = |fields: &str| press(&house, "/create/check", fields).ok().text();
    assert!(seeds("prompt=a+fox&num_images=3&seed=7").contains("Seed: 7 – 9"));
    assert!(
        !seeds("prompt=a+fox&num_images=3").contains("Seed:"),
        "they are drawn when it is sent"
    );
}

#[test]
fn each_size_says_before_there_is_a_prompt_what_it_takes_here() {
    let mut house = House::with_config("[device]\nmemory_limit = \"64MiB\"\n");
    house.start();
    house.worker_pid();
    let told = |page: &str, size: &str| {
        let begin = page.find(&format!("data-size=\"{size}\"")).unwrap_or_else(|| panic!("{page}"));
        page[begin..].split("</small>").next().unwrap_or_default().to_owned()
    };
    let form = house.get("/").ok().text();
    assert!(told(&form, "512x512").contains("≈ "), "{}", told(&form, "512x512"));
    let square = told(&form, "1024x1024");
    assert!(square.contains("title=\"") && square.contains("→ "), "made smaller: {square}");
    let steps = |steps: u32| {
        let fields = format!("prompt=a+fox&steps={steps}");
        told(&press(&house, "/create/check", &fields).ok().text(), "512x512")
    };
    assert_ne!(steps(2), steps(50), "it is what the form asks for");
    let large = press(&house, "/create/check", "prompt=a+fox&width=1024&height=1024").ok().text();
    assert!(large.contains("(1024×1024: needs "), "{large}");
}

#[test]
fn buttons_work_without_a_script_and_lead_back_to_their_page() {
    let house = House::started("");
    assert_eq!(location(&press(&house, "/queue/pause", "reason=games")), "../");
    assert!(house.get("/queue").ok().text().contains("games"));
    press(&house, "/", "prompt=fox");
    house.until_sql("SELECT count(*) FROM jobs", "1");
    press(&house, "/queue/priority", "id=1&priority=7");
    assert_eq!(house.value("SELECT priority FROM jobs"), "7");
    for told in ["<span class=\"clamped\">fox</span>", "64×64 · page.toml", "cancel-all"] {
        let is_told = || house.get("/queue").ok().text().contains(told).then_some(());
        house.until(&format!("the queue tells {told}"), is_told);
    }
    press(&house, "/queue/cancel-all", "");
    assert_eq!(house.value("SELECT state FROM history"), "cancelled");
    let cancelled = house.get("/picture?job=1&n=1").ok().text();
    assert!(cancelled.contains("cancelled: by the user, before it was begun"), "{cancelled}");
    press(&house, "/queue/retry", "id=1.1");
    press(&house, "/queue/resume", "");
    done(&house, 1);
    assert_eq!(press(&house, "/queue/cancel", "id=fox").status, 400);
    assert_eq!(press(&house, "/queue/explode", "").status, 404);
}

#[test]
fn a_job_is_moved_to_any_place_among_those_that_wait() {
    let house = House::started("");
    house.post("/api/v1/queue/pause", &serde_json::json!({})).ok();
    for prompt in ["a", "b", "c", "d"] {
        house.post("/api/v1/jobs", &serde_json::json!({ "prompt": prompt })).ok();
    }
    let order = || {
        let sql = "SELECT job_id FROM renders WHERE state = 'queued' ORDER BY priority DESC, id";
        house.rows(sql).concat().join("")
    };
    let moved = press(&house, "/queue/move", "id=4&before=2");
    assert_eq!((moved.status, location(&moved), order()), (303, "../", "1423".to_owned()));
    assert_eq!(press(&house, "/queue/move", "id=1&before=").status, 303);
    assert_eq!(order(), "4231", "behind all");
    house.post("/api/v1/queue/move", &serde_json::json!({ "job": 3, "before": 4 })).ok();
    assert_eq!(order(), "3421");
    let page = house.get("/queue").ok().text();
    let rows: Vec<&str> = page.split("<tr data-key=\"").skip(1).map(|row| &row[..1]).collect();
    assert_eq!(rows.concat(), "3421", "the page shows them so");
    assert_eq!(press(&house, "/queue/move", "id=9&before=4").status, 409);
    assert_eq!(press(&house, "/queue/move", "id=3.1&before=4").status, 400);
    assert_eq!(order(), "3421");
}

#[test]
fn what_failed_in_the_night_is_told_with_its_error_and_rendered_again_by_a_button() {
    let house = House::started("");
    press(&house, "/", "prompt=a+fox,+invalid+once&num_images=2");
    house.until_sql("SELECT count(*) FROM history WHERE state = 'failed'", "1");
    done(&house, 1);
    let name = house.value("SELECT job || '.' || picture FROM history WHERE state = 'failed'");
    let link = format!("picture?job=1&amp;n={}", &name[2..]);
    let button = format!("name=\"id\" value=\"{name}\"");
    let error = house.value("SELECT error FROM history WHERE state = 'failed'");
    assert!(!error.is_empty());
    for page in ["/queue", "/live/queue", "/gallery?job=1"] {
        let text = house.get(page).ok().text();
        for told in [&link, &button, &error] {
            assert!(text.contains(told), "{page}: {told}: {text}");
        }
    }
    assert!(house.get("/gallery?job=1").ok().text().contains("Failed pictures of this job: 1"));
    for page in
        ["/queue", "/gallery?job=1", &link.replace("&amp;", "&").replace("picture", "/picture")]
    {
        let chinese = house.ask(&format!("GET {page}"), &[("Accept-Language", "zh-CN")], b"");
        let chinese = chinese.ok().text();
        let told = format!(
            "模型无法按这些设置渲染，重试也不会成功。请按下面的说明修改设置，再提交一个新任务。\
                            <br><span lang=\"en\">{error}</span>"
        );
        assert!(chinese.contains(&told), "{page}: {chinese}");
    }
    assert_eq!(press(&house, "/queue/retry", &format!("id={name}")).status, 303);
    done(&house, 2);
    let queue = house.get("/queue").ok().text();
    assert!(!queue.contains("Failed lately"), "it is rendered again: {queue}");
}

#[test]
fn the_header_tells_what_is_left_of_the_whole_job_and_never_no_time_at_all() {
    let house = House::started("");
    let slow = "prompt=fox,+steps+of+250+ms,+decode+of+60000+ms&steps=8";
    press(&house, "/", &slow.replace(",+decode+of+60000+ms", ""));
    done(&house, 1);
    let decoding = |job: u32| {
        let link = format!("picture?job={job}&amp;n=1\"");
        let now = house.get("/live/now").ok().text();
        (now.contains(&link) && now.contains("Decoding")).then_some(now)
    };
    press(&house, "/", &format!("{slow}&num_images=3"));
    let now = house.until("the first of three is decoded", || decoding(2));
    assert!(now.contains("left of the job"), "{now}");
    press(&house, "/queue/cancel", "id=2.2");
    press(&house, "/queue/cancel", "id=2.3");
    let now = house.until("nothing else of the job waits", || {
        decoding(2).filter(|now| !now.contains("waiting"))
    });
    assert!(!now.contains("left"), "the decode takes longer than no time: {now}");
}

#[test]
fn the_form_offers_the_models_own_size_and_names_its_tick_box_for_choices_in_a_prompt() {
    let house = House::started("[defaults]\nwidth = 256\nheight = 128\n");
    let form = house.get("/").ok().text();
    assert_eq!(form.matches("data-width=").count(), 6, "{form}");
    assert!(form.contains("data-width=\"256\" data-height=\"128\""), "{form}");
    let usual = House::started("[defaults]\nwidth = 512\nheight = 512\n");
    assert_eq!(usual.get("/").ok().text().matches("data-width=").count(), 5);
    let advice = press(&house, "/create/check", "prompt=a+{red|blue}+fox").ok().text();
    assert!(advice.contains("<strong>1 picture</strong>"), "{advice}");
    assert!(advice.contains("tick: <strong>More → Choose in {a|b}"), "{advice}");
    let other = press(&house, "/create/check", "prompt=a+(red:1.4)+fox").ok().text();
    assert!(other.contains("class=\"warn\"") && !other.contains("tick"), "{other}");
}

#[test]
fn where_the_miniature_is_loaded_the_table_of_cards_is_that_of_turbo_and_says_so() {
    let mut house = House::with_config("");
    house.start();
    let memory = house.get("/memory").ok().text();
    for told in ["<strong>Z-Image-Turbo</strong>", "--vram 8GiB --turbo", "streamed"] {
        assert!(memory.contains(told), "{told}: {memory}");
    }
}

#[test]
fn before_there_is_a_prompt_the_other_mistakes_are_told_and_nothing_of_the_prompt() {
    let house = House::started("");
    assert!(!press(&house, "/create/check", "prompt=").ok().text().contains("class=\"bad\""));
    let advice = press(&house, "/create/check", "prompt=&height=500").ok().text();
    assert!(advice.contains("data-key=\"height\""), "{advice}");
    assert!(!advice.contains("data-key=\"prompt\""), "{advice}");
    let sent = press(&house, "/", "prompt=&height=500").ok().text();
    for key in ["height", "prompt"] {
        assert!(sent.contains(&format!("data-key=\"{key}\"")), "{key}: {sent}");
    }
}

#[test]
fn where_several_models_are_configured_the_form_asks_which_and_a_picture_leads_back_to_its_own() {
    let alone = House::started("");
    assert!(!alone.get("/").ok().text().contains("name=\"model\""));
    let house = House::started("[models.base]\npath = \"base\"\n");
    let form = house.get("/").ok().text();
    assert!(form.contains("<option value=\"\" selected>fake</option>"), "{form}");
    assert!(form.contains("<option value=\"base\">base ("), "{form}");
    press(&house, "/", "prompt=fox&model=base");
    done(&house, 1);
    assert_eq!(house.value("SELECT model FROM renders"), "base");
    let picture = house.get("/picture?job=1&n=1").ok().text();
    let again = picture.split("href=\"./?").nth(1).and_then(|it| it.split('"').next());
    let again = again.expect("a link to the form").replace("&amp;", "&");
    assert!(again.contains("model=base"), "{again}");
    let form = house.get(&format!("/?{again}")).ok().text();
    assert!(form.contains("<option value=\"base\" selected>"), "{form}");
}

// faults 114
#[test]
fn a_page_of_another_site_presses_no_button() {
    let house = House::started("");
    for origin in ["http://evil.example", "null"] {
        let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Origin", origin)];
        assert_eq!(house.ask("POST /queue/pause", &headers, b"reason=evil").status, 403);
        assert_eq!(house.ask("POST /", &headers, b"prompt=evil").status, 403);
    }
    assert!(house.json(&["status"])["paused"].is_null());
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "0");
}

#[test]
fn what_a_prompt_says_is_text_and_never_markup() {
    let house = House::started("");
    press(&house, "/", "prompt=%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%27");
    done(&house, 1);
    for page in ["/gallery", "/picture?job=1&n=1", "/queue", "/?prompt=%3Cscript%3Ealert(1)"] {
        assert!(!house.get(page).ok().text().contains("<script>alert"), "{page}");
    }
}

#[test]
fn every_page_speaks_both_languages_and_remembers_the_choice() {
    let house = House::started("");
    for page in PAGES {
        let english = house.get(page).ok().text();
        assert!(english.contains("<html lang=\"en\"") && english.contains("Gallery"), "{page}");
        let chinese = house.ask(&format!("GET {page}"), &[("Accept-Language", "zh-CN")], b"");
        let chinese = chinese.ok().text();
        assert!(chinese.contains("<html lang=\"zh\"") && chinese.contains("图库"), "{page}");
    }
    let from = format!("http://{}/queue", house.http());
    let chosen = house.ask("GET /look?language=zh", &[("Referer", &from)], b"");
    assert_eq!((chosen.status, location(&chosen)), (303, "./queue"));
    let cookie = chosen.header("set-cookie").and_then(|it| it.split(';').next()).expect("a cookie");
    let headers = [("Cookie", cookie), ("Accept-Language", "en")];
    assert!(house.ask("GET /queue", &headers, b"").ok().text().contains("队列"));
}

#[test]
fn files_beside_the_pages_are_kept_for_good_under_the_hash_of_their_content() {
    let house = House::started("");
    let page = house.get("/").ok().text();
    for name in ["style.css", "live.js", "create.js", "icon.svg"] {
        let end = page.find(name).unwrap_or_else(|| panic!("{name}: {page}"));
        let start = page[..end].rfind('"').expect("an attribute") + 1;
        let file = house.get(&format!("/{}{name}", &page[start..end])).ok();
        assert!(file.header("cache-control").is_some_and(|it| it.contains("immutable")));
    }
    assert_eq!(house.get("/assets/x/secret").status, 404);
}

#[test]
fn a_fall_down_the_ladder_is_told_with_what_came_after_it() {
    let house = House::started("");
    press(&house, "/", "prompt=fox,+oom+once");
    done(&house, 1);
    let memory = house.get("/memory").ok().text();
    assert!(memory.contains("<circle") && memory.contains("href=\"picture?job=1&amp;n=1\""));
    assert!(memory.contains("data-column=\"Outcome\">done</td>"), "{memory}");
    let rung = house.value("SELECT rung FROM history");
    assert!(memory.contains(&format!("data-column=\"Way of rendering\">{rung}</td>")), "{memory}");
}

#[test]
fn the_history_is_a_drawing_with_its_table_and_the_log_is_told_as_text() {
    let house = House::started("");
    assert!(house.get("/history").ok().text().contains("nothing to show yet"));
    press(&house, "/", "prompt=fox,+oom+once&num_images=2");
    press(&house, "/", "prompt=fox&width=128&height=64");
    done(&house, 3);
    let page = house.get("/history").ok().text();
    let steps = "data-column=\"Steps\">2</td>";
    assert_eq!(page.matches(steps).count(), 3, "each with its steps: {page}");
    // Two of a size, with one in the legend, and one of another.
    assert_eq!((page.matches("<circle").count(), page.matches("<path").count()), (3, 2), "{page}");
    assert_eq!(page.matches("<line class=\"fall\"").count(), 1);
    let today = house.value("SELECT max(day) FROM throughput");
    assert!(page.contains(&format!("data-column=\"Day\">{today}</td>")), "{page}");
    assert!(page.contains("data-column=\"Pictures\">3</td>"), "{page}");
    house.drop_job("a<b>.toml", "prompt = 3\n");
    let log = || house.get("/live/log").ok().text();
    house.until("the log tells it", || log().contains("a&lt;b&gt;.toml").then_some(()));
}

#[test]
fn a_picture_tells_the_settings_that_it_was_made_with() {
    let house = House::started("");
    press(&house, "/", "prompt=a+red+fox&seed=41&width=128&negative_prompt=blur&guidance=2");
    done(&house, 1);
    let picture = house.get("/file?job=1&n=1").ok().body;
    let told = house.ask("POST /create/picture", &[("Content-Type", "image/png")], &picture);
    let told = told.ok().json();
    assert_eq!((&told["prompt"], &told["negative_prompt"]), (&"a red fox".into(), &"blur".into()));
    assert_eq!(
        (&told["seed"], &told["width"], &told["height"]),
        (&41.into(), &128.into(), &64.into())
    );
    let sent = house.ask("POST /create/picture", &[("Content-Type", "image/png")], b"no picture");
    assert_eq!(sent.status, 400);
    let image = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &picture);
    let info = house.post("/sdapi/v1/png-info", &serde_json::json!({ "image": image }));
    let info = info.ok().json();
    assert!(info["info"].as_str().is_some_and(|text| text.contains("Seed: 41")), "{info}");
    assert_eq!(info["parameters"]["Prompt"], "a red fox");
}

#[test]
fn two_pictures_are_shown_beside_each_other_with_what_is_not_the_same() {
    let house = House::started("");
    press(&house, "/", "prompt=fox&seed=1&num_images=2");
    done(&house, 2);
    assert!(house.get("/picture?job=1&n=2").ok().text().contains("compare?a=1.1&amp;b=1.2"));
    let page = house.get("/compare?a=1.1&b=1.2").ok().text();
    assert_eq!(page.matches("<img").count(), 2);
    assert!(page.contains("<td>1</td><td>2</td>") && !page.contains("<td>fox</td>"), "{page}");
    assert_eq!(house.get("/compare?a=1.1&b=fox").status, 400);
    assert_eq!(house.get("/compare?a=1.1&b=9.1").status, 404);
}
