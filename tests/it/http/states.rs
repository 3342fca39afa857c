//! What keeps the daemon from going on, as people and programs are told: what happens, why, and
//! what ends it, in both languages.

use std::fs;

use super::page::press;
use crate::rest::time_of_day;
use crate::support::House;
use crate::support::http::Reply;

/// A page in each language.
fn pages(house: &House, path: &str) -> [String; 2] {
    ["en", "zh"].map(|language| {
        house.ask(&format!("GET {path}"), &[("Accept-Language", language)], b"").ok().text()
    })
}

/// Waits until the page says so in English, then looks for what the Chinese one says.
fn tells(house: &House, path: &str, english: &str, chinese: &str) {
    house.until(&format!("{path} tells {english}"), || {
        pages(house, path)[0].contains(english).then_some(())
    });
    let page = &pages(house, path)[1];
    assert!(page.contains(chinese), "{chinese}: {page}");
}

/// Quiet hours that have begun an hour ago.
fn in_quiet_hours() -> House {
    let (begin, end) = (time_of_day(-3600), time_of_day(3600));
    House::started(&format!("[power]\nquiet_hours = [\"{begin}-{end}\"]\n"))
}

#[test]
fn a_rest_is_told_as_wanted() {
    let house = in_quiet_hours();
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    for path in ["/queue", "/system"] {
        tells(&house, path, "wants this rest, and it ends by itself", "会自动结束");
        tells(&house, path, "quiet hours until", "现在是 daemon.toml 设定的安静时段");
        let [english, chinese] = pages(&house, path);
        assert!(chinese.contains("<span lang=\"en\">quiet hours until"), "{chinese}");
        assert!(!english.contains("lang=\"en\">quiet"), "{english}");
    }
}

#[test]
fn a_pause_is_told_with_its_reason_and_what_ends_it() {
    let house = House::started("");
    assert!(house.zimaged(&["pause", "games"]).status.success());
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    tells(&house, "/queue", "Jobs are taken in and wait. Resume", "点击“继续”后");
    assert!(pages(&house, "/queue").iter().all(|page| page.contains("games")));
}

#[test]
fn a_disk_that_takes_nothing_is_told_with_what_goes_on_by_itself() {
    let house = House::started("");
    house.worker_pid();
    house.make_unusable("outputs");
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    tells(&house, "/queue", "Mend the reason, and rendering goes on by itself", "排除原因后");
    tells(&house, "/queue", "no pictures can be written", "图片或模型的文件暂时无法读写");
    let refused = house.get("/ready");
    assert_eq!(refused.status, 503, "no picture could be made");
    assert!(refused.text().contains("held: no pictures can be written"), "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    assert_eq!(house.get("/health").status, 200, "it is alive all the same");
    fs::remove_file(house.path("outputs")).expect("our own file");
}

#[test]
fn a_worker_that_cannot_be_started_makes_the_daemon_unready_and_says_why() {
    let mut house = House::new("");
    let script = house.path("model/load.txt");
    fs::write(&script, "exit 1").expect("a writable folder");
    house.start();
    let house = house;
    let refused = house.until("the worker is down", || {
        let reply = house.get("/ready");
        reply.text().contains("no worker").then_some(reply)
    });
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    fs::write(&script, "load of 300 ms").expect("a writable folder");
    house.until("the model is loaded again", || {
        house.get("/ready").text().contains("is being loaded").then_some(())
    });
    house.until("it is ready", || (house.get("/ready").status == 200).then_some(()));
}

#[test]
fn a_worker_that_is_down_is_released_as_well_until_the_next_job() {
    let mut house = House::with_config(
        "engine = \"fake\"\n[model]\npath = \"model\"\n[worker]\nbackoff = \"5m\"\n",
    );
    let script = house.path("model/load.txt");
    fs::write(&script, "exit 1").expect("a writable folder");
    house.start();
    let house = house;
    let is = |state: &str| {
        house.until(state, || {
            let status = house.get("/api/v1/status").ok().json();
            (status["daemon"]["worker"]["state"] == state).then_some(())
        });
    };
    is("down");
    let status = house.get("/api/v1/status").ok().json();
    assert_eq!(status["daemon"]["worker"]["end"], "not_loaded", "{status}");
    tells(&house, "/queue", "It is started again by itself", "模型暂时无法载入");
    assert_eq!(house.ask("POST /api/v1/worker/release", &[], b"").status, 202);
    is("released");
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    is("down");
}

#[test]
fn an_empty_house_says_at_each_page_what_there_is_to_do() {
    let house = House::started("");
    for (path, english, chinese) in [
        ("/queue", "Nothing waits.", "队列为空。"),
        ("/gallery", "There is no picture yet.", "还没有图片。"),
        ("/history", "There is nothing to show yet.", "暂无内容。"),
        ("/memory", "It has not run out.", "还没有出现过显存不足。"),
    ] {
        tells(&house, path, english, chinese);
    }
}

/// As a browser asks for a page, in Chinese.
const AS_BROWSER: [(&str, &str); 2] = [("Accept", "text/html"), ("Accept-Language", "zh-CN")];

fn is_trouble(reply: &Reply, status: u16, title: &str) {
    let page = reply.text();
    assert_eq!(reply.status, status, "{page}");
    assert!(page.contains("<html lang=\"zh\"") && page.contains(title), "{page}");
}

#[test]
fn a_button_that_a_locked_database_keeps_from_working_is_told_in_the_readers_language() {
    let house = House::started("");
    house.worker_pid();
    let origin = format!("http://{}", house.http());
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    let headers = [&AS_BROWSER[..], &[kind, ("Origin", &origin)]].concat();
    let locked = house.while_locked(|| house.ask("POST /queue/pause", &headers, b"reason=games"));
    is_trouble(&locked, 503, "暂时无法完成");
    // Its links lead from below the pages back to them.
    assert!(locked.text().contains("href=\"../queue\""), "{}", locked.text());
    assert_eq!(press(&house, "/queue/pause", "reason=games").status, 303, "later it works");
}

#[test]
fn a_page_that_there_is_not_says_so_in_the_readers_language() {
    let house = House::started("");
    let missing = house.ask("GET /picture?job=9&n=1", &AS_BROWSER, b"");
    is_trouble(&missing, 404, "这里什么也没有");
    is_trouble(&house.ask("GET /queue/nothing", &AS_BROWSER, b""), 405, "无法完成");
}

#[test]
fn the_length_of_a_prompt_is_told_as_the_model_counts_and_what_it_does_not_read() {
    let mut house = House::with_config("");
    house.start();
    let house = house;
    let advice =
        |prompt: &str| press(&house, "/create/check", &format!("prompt={prompt}")).ok().text();
    let short = advice("a+red+circle");
    assert!(short.contains("Tokens: ") && short.contains(" of 512"), "{short}");
    assert!(!short.contains("does not read"), "{short}");
    let long = advice(&format!("{}+and+an+owl+at+the+end", "circle+".repeat(600)));
    assert!(long.contains("The model does not read the end"), "{long}");
    assert!(long.contains("<q>"), "{long}");
}
