//! What people do with many pictures: stars, days, one file of all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Cursor, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use serde_json::json;
use zimaged::internals::sha256;

use super::page::{done, location, press};
use crate::support::House;
use crate::support::http::Reply;

/// The files of an archive by their names.
fn files(reply: Reply) -> BTreeMap<String, Vec<u8>> {
    let reply = reply.ok();
    assert_eq!(reply.header("content-type"), Some("application/zip"));
    let mut archive = zip::ZipArchive::new(Cursor::new(reply.body)).expect("an archive");
    let mut files = BTreeMap::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).expect("an entry");
        let mut content = Vec::new();
        file.read_to_end(&mut content).expect("the content fits its checksum");
        let name = file.name().expect("UTF-8").into_owned();
        assert!(files.insert(name, content).is_none(), "two of one name");
    }
    files
}

fn path(house: &House, picture: u32) -> std::path::PathBuf {
    let sql = format!("SELECT path FROM history WHERE job = 1 AND picture = {picture}");
    house.path("outputs").join(house.value(&sql))
}

#[test]
fn a_picture_gets_a_star_by_a_button_or_by_the_api_and_is_found_by_it() {
    let house = House::started("");
    press(&house, "/", "prompt=fox&num_images=3");
    done(&house, 3);
    let starred = |page: &str| house.get(page).ok().text().matches("aria-pressed=\"true\"").count();
    assert_eq!(starred("/gallery"), 0);
    let pressed = press(&house, "/queue/star", "id=1.2");
    assert_eq!((pressed.status, location(&pressed)), (303, "../"));
    assert_eq!((starred("/gallery"), starred("/picture?job=1&n=2")), (1, 1));
    let told = house.ask("PUT /api/v1/renders/1.3/star", &[], b"").ok().json();
    assert_eq!(told, json!({ "starred": true }));
    house.ask("PUT /api/v1/renders/1.3/star", &[], b"").ok();
    let gallery = house.get("/gallery?starred=true").ok().text();
    assert_eq!(gallery.matches("<img").count(), 2, "{gallery}");
    let rows = |query: &str| house.get(&format!("/api/v1/renders?{query}")).ok().json();
    assert_eq!(rows("starred=true")["renders"][0]["picture"], 3);
    assert_eq!(rows("starred=false")["renders"][0]["picture"], 1);
    assert_eq!(house.json(&["show", "1.3"])["pictures"][0]["starred"], true);
    house.ask("DELETE /api/v1/renders/1.3/star", &[], b"").ok();
    press(&house, "/queue/unstar", "id=1.2");
    assert_eq!(house.value("SELECT sum(starred) FROM renders"), "0");
}

#[test]
fn pictures_are_found_by_their_size_their_rung_and_their_model() {
    let house = House::started("");
    press(&house, "/", "prompt=fox&width=128&height=64");
    press(&house, "/", "prompt=fox,+oom+above+64+px&width=128&height=128&min_side=64");
    done(&house, 2);
    let found = |query: &str| {
        let pictures = house.get(&format!("/gallery?{query}")).ok().text();
        let told = house.get(&format!("/api/v1/renders?state=done&{query}")).ok().json();
        let told = told["renders"].as_array().map_or(0, Vec::len);
        assert_eq!(pictures.matches("<img").count(), told, "{query}");
        told
    };
    let rung = house.value("SELECT rung FROM history WHERE job = 2");
    assert!(rung.contains("64x64"), "{rung}");
    let counts =
        ["size=128x64", "size=1x1", "rung=64X64", "rung=STEPS", "model=FAKE", "model=x"].map(found);
    assert_eq!(counts, [1, 0, 1, 2, 2, 0]);
    assert_eq!(house.get("/gallery?size=large").status, 400);
}

#[test]
fn only_what_is_done_gets_a_star() {
    let house = House::started("");
    house.post("/api/v1/queue/pause", &json!({})).ok();
    house.post("/api/v1/jobs", &json!({ "prompt": "a fox" })).ok();
    let reply = house.ask("PUT /api/v1/renders/1.1/star", &[], b"");
    assert_eq!(reply.status, 409);
    assert!(reply.text().contains("1.1 is queued"), "{}", reply.text());
    assert_eq!(house.ask("PUT /api/v1/renders/1.7/star", &[], b"").status, 404);
    assert_eq!(house.ask("PUT /api/v1/renders/x/star", &[], b"").status, 400);
    assert_eq!(press(&house, "/queue/star", "id=1").status, 400);
}

#[test]
fn the_gallery_begins_at_a_day() {
    let house = House::started("");
    press(&house, "/", "prompt=fox&num_images=4&seed=10");
    done(&house, 4);
    for (picture, at) in [(1, "2026-03-01 23:59"), (2, "2026-03-02 00:00"), (3, "2026-03-04 12:00")]
    {
        house.falsify(&format!(
            "UPDATE renders SET finished_at_ms = unixepoch('{at}', 'utc') * 1000 \
             WHERE position = {picture}"
        ));
    }
    let shown = |query: &str| -> Vec<u32> {
        let page = house.get(&format!("/gallery?{query}")).ok().text();
        let keys = page.split("<li data-key=\"1.").skip(1);
        keys.map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect()
    };
    assert_eq!(shown("day="), [4, 3, 2, 1]);
    assert_eq!(shown("day=2026-03-01"), [1]);
    assert_eq!(shown("day=2026-03-03"), [2, 1], "on that day or before");
    assert_eq!(shown("day=2026-03-04&q=fox"), [3, 2, 1]);
    assert_eq!(shown("day=2026-02-28"), [0_u32; 0]);
    assert_eq!(shown("day=soon"), [4, 3, 2, 1]);
}

#[test]
fn pictures_come_in_one_file_and_what_is_missing_is_told_in_it() {
    let house = House::started("");
    press(&house, "/", "prompt=fox&num_images=4&output=fox");
    done(&house, 4);
    let before = house.rows("SELECT * FROM renders");
    let all = files(house.get("/api/v1/pictures.zip"));
    assert_eq!(all.len(), 4, "{:?}", all.keys());
    for picture in 1..=4 {
        let file = path(&house, picture);
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(all[&format!("1.{picture}-{name}")], fs::read(&file).unwrap());
    }
    let some = files(house.get("/pictures.zip?q=fox&choose=1.3&choose=1.1"));
    assert_eq!(some.len(), 2);
    assert!(some.keys().all(|name| name.starts_with("1.1-") || name.starts_with("1.3-")));
    assert_eq!(files(house.get("/pictures.zip?q=fox")).len(), 4);
    assert_eq!(files(house.get("/api/v1/pictures.zip?renders=1.2,1.4")).len(), 2);
    assert_eq!(house.get("/pictures.zip?q=wolf").status, 404);
    assert_eq!(house.get("/pictures.zip?choose=fox").status, 400);
    assert_eq!(house.get("/api/v1/pictures.zip?limit=1001").status, 400);
    fs::remove_file(path(&house, 2)).unwrap();
    let rest = files(house.get("/api/v1/pictures.zip?limit=3"));
    let notes = String::from_utf8_lossy(&rest["zimaged.txt"]).into_owned();
    assert_eq!(rest.len(), 3, "two pictures, and what is told of the rest");
    assert!(notes.contains("1.2 is missing"), "{notes}");
    assert!(notes.contains("those before 1.2"), "{notes}");
    assert_eq!(house.rows("SELECT * FROM renders"), before, "to get changes nothing");
}

#[test]
fn no_file_but_a_picture_comes_in_one_file() {
    let house = House::started("");
    press(&house, "/", "prompt=fox&num_images=3");
    done(&house, 3);
    fs::write(house.path("secret.png"), "secret").unwrap();
    house.falsify("UPDATE attempts SET path = '../secret.png' WHERE render_id = 1");
    let absolute = house.path("secret.png").display().to_string();
    house.falsify(&format!("UPDATE attempts SET path = '{absolute}' WHERE render_id = 2"));
    let third = path(&house, 3);
    fs::remove_file(&third).unwrap();
    symlink(house.path("secret.png"), third).unwrap();
    let files = files(house.get("/api/v1/pictures.zip"));
    assert_eq!(files.keys().collect::<Vec<_>>(), ["zimaged.txt"], "all three are missing");
    for address in ["/api/v1/renders/1.1/picture", "/file?job=1&n=2", "/thumbnail?job=1&n=3"] {
        let reply = house.get(address);
        assert!(
            [404, 410].contains(&reply.status) || !reply.text().contains("secret"),
            "{address}"
        );
    }
}

/// Asks for all pictures in one file, and reads no more of it than the first bytes.
fn begun(house: &House) -> (TcpStream, [u8; 12]) {
    let mut stream = house.connect();
    let request = format!("GET /pictures.zip HTTP/1.1\r\nHost: {}\r\n\r\n", house.http());
    stream.write_all(request.as_bytes()).expect("it listens");
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("an answer");
    (stream, head)
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

/// A house with one picture of so many bytes: more than what the system takes for a client.
fn with_large_picture(bytes: usize) -> House {
    let house = House::started("");
    press(&house, "/", "prompt=fox");
    done(&house, 1);
    File::create(path(&house, 1)).unwrap().set_len(bytes as u64).unwrap();
    let sha256 = sha256(vec![0; bytes]);
    house.falsify(&format!("UPDATE attempts SET bytes = {bytes}, sha256 = '{sha256}'"));
    house
}

#[test]
fn who_reads_slowly_costs_no_memory_and_who_has_gone_leaves_the_place_to_the_next() {
    let house = with_large_picture(128 << 20);
    let before_kib = resident_kib(house.daemon_pid());
    let slow = [begun(&house), begun(&house)];
    assert!(slow.iter().all(|(_, head)| head == b"HTTP/1.1 200"));
    let refused = house.get("/pictures.zip");
    assert_eq!(refused.status, 503, "{}", refused.text());
    let grown_kib = resident_kib(house.daemon_pid()).saturating_sub(before_kib);
    assert!(grown_kib < 32 << 10, "{grown_kib} KiB more for two files of 128 MiB");
    drop(slow);
    house.until("a place is free again", || (begun(&house).1 == *b"HTTP/1.1 200").then_some(()));
}

/// The rest of an answer, as a slow line brings it.
fn read_slowly(mut stream: TcpStream, begin: &[u8]) -> Reply {
    let (mut answer, mut piece) = (begin.to_vec(), vec![0; 256 << 10]);
    loop {
        match stream.read(&mut piece).expect("it goes on") {
            0 => return Reply::parse(&answer),
            read => answer.extend(&piece[..read]),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Takes the half minute after which who does not read is dropped.
#[test]
fn pictures_come_whole_over_a_slow_line_and_who_stops_reading_gives_up_the_place() {
    const BYTES: usize = 32 << 20;
    let house = with_large_picture(BYTES);
    let (stopped, _) = begun(&house);
    let (slow, begin) = begun(&house);
    let whole = thread::scope(|scope| {
        let read = scope.spawn(|| read_slowly(slow, &begin));
        // Nothing waits for either of them.
        press(&house, "/", "prompt=owl");
        done(&house, 2);
        read.join().expect("an answer")
    });
    let sizes: Vec<usize> = files(whole).values().map(Vec::len).collect();
    assert_eq!(sizes, [BYTES]);
    let _next = begun(&house);
    assert_eq!(house.get("/pictures.zip").status, 503, "the one that has stopped has its place");
    house.until("its place is free", || (begun(&house).1 == *b"HTTP/1.1 200").then_some(()));
    drop(stopped);
}
