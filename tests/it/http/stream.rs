//! Pictures as a stream: what is sent while they are made, and who does not read it.

use std::io::{Cursor, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::House;
use crate::support::http::{FORM, Reply, form};

const IMAGES: &str = "POST /v1/images/generations";
const EDITS: &str = "POST /v1/images/edits";
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A stream that is read as it comes.
struct Reader {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Reader {
    fn of(stream: TcpStream) -> Reader {
        Reader { stream, read: Vec::new() }
    }

    fn images(house: &House, body: &Value) -> Reader {
        Reader::of(house.send(IMAGES, &[JSON], body.to_string().as_bytes()))
    }

    /// Reads on until there is this text.
    fn until(&mut self, text: &str) {
        let mut piece = [0; 4096];
        while !self.read.windows(text.len()).any(|window| window == text.as_bytes()) {
            let bytes = self.stream.read(&mut piece).expect("it goes on");
            assert!(bytes > 0, "no {text} in {}", String::from_utf8_lossy(&self.read));
            self.read.extend_from_slice(&piece[..bytes]);
        }
    }

    /// Reads to the end.
    fn whole(mut self) -> Vec<u8> {
        self.stream.read_to_end(&mut self.read).expect("it ends");
        self.read
    }

    /// Reads to the end: all events, each with its name.
    fn events(self) -> Vec<(String, Value)> {
        let reply = Reply::parse(&self.whole()).ok();
        assert_eq!(reply.header("content-type"), Some("text/event-stream"));
        let text = reply.text();
        let events = text.split_terminator("\n\n").filter(|event| *event != ":");
        let parts = |event: &str| {
            let (name, data) = event.split_once('\n').expect("two lines");
            let name = name.strip_prefix("event: ").expect("a name").to_owned();
            let data = data.strip_prefix("data: ").expect("data");
            (name, serde_json::from_str(data).expect("JSON"))
        };
        events.map(parts).collect()
    }
}

fn names(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(name, _)| name.as_str()).collect()
}

fn picture(event: &Value) -> Vec<u8> {
    STANDARD.decode(event["b64_json"].as_str().expect("a picture")).expect("base64")
}

/// What the scripted engine's worker does not show: it has no latents that are colours.
fn show(house: &House, render: &str, width: u32) -> Vec<u8> {
    let mut jpeg = Cursor::new(Vec::new());
    let preview = image::RgbImage::from_pixel(width, 8, image::Rgb([9, 99, 200]));
    preview.write_to(&mut jpeg, image::ImageFormat::Jpeg).expect("encoded");
    let path = house.path("state/previews").join(format!("{render}.jpg"));
    std::fs::write(&path, jpeg.get_ref()).expect("the worker has made the folder");
    jpeg.into_inner()
}

/// Waits until a render stands still after its fourth step.
fn until_held(house: &House) {
    house.until("it holds", || {
        let status = house.get("/api/v1/status").ok().json();
        (status["daemon"]["render"]["step"] == 4).then_some(())
    });
}

#[test]
fn a_picture_is_seen_while_it_is_made_and_comes_whole_at_the_end() {
    let house = House::started("");
    house.hold_renders();
    let sent = json!({ "prompt": "a fox, hold at step 5", "steps": 8, "size": "64x64",
                       "stream": true, "partial_images": 3 });
    let mut reader = Reader::images(&house, &sent);
    until_held(&house);
    let shown = show(&house, "1.1", 16);
    reader.until("\"partial_image_index\":0");
    house.release_renders();
    let events = reader.events();
    let kinds = ["image_generation.partial_image", "image_generation.completed"];
    assert_eq!(names(&events), kinds);
    let [(_, partial), (_, whole)] = &events[..] else { unreachable!() };
    assert_eq!(partial["type"], kinds[0]);
    assert_eq!(picture(partial), shown);
    let about = |event: &Value| {
        let keys = ["partial_image_index", "size", "background", "output_format"];
        json!(keys.map(|key| event[key].clone()))
    };
    assert_eq!(about(partial), json!([0, "16x8", "opaque", "jpeg"]));
    assert_eq!(partial["zimaged"], json!({ "job": 1, "renders": ["1.1"], "step": 4, "steps": 8 }));
    assert_eq!(about(whole), json!([null, "64x64", "opaque", "png"]));
    assert_eq!(picture(whole), std::fs::read(&house.pictures()[0]).unwrap());
    assert_eq!((&whole["usage"]["total_tokens"], &whole["type"]), (&json!(0), &json!(kinds[1])));
    assert!([partial, whole].iter().all(|event| event["created_at"].is_i64()));
}

/// The web UI's API asks for it, and its clients show it.
#[test]
fn how_a_picture_looks_is_told_with_how_far_it_is() {
    let house = House::started("");
    house.hold_renders();
    let body = json!({ "prompt": "a fox, hold at step 5", "steps": 8 }).to_string();
    let waiting = house.send("POST /sdapi/v1/txt2img", &[JSON], body.as_bytes());
    until_held(&house);
    let image = |query: &str| {
        house.get(&format!("/sdapi/v1/progress{query}")).ok().json()["current_image"].clone()
    };
    assert!(image("").is_null(), "there is none yet");
    let shown = show(&house, "1.1", 16);
    assert_eq!(image("?other=1"), STANDARD.encode(shown));
    assert!(image("?skip_current_image=True").is_null());
    house.release_renders();
    assert_eq!(Reply::parse(&Reader::of(waiting).whole()).status, 200);
}

#[test]
fn an_edit_is_seen_as_well_and_who_asks_for_none_gets_none() {
    let house = House::started("");
    let mut png = Cursor::new(Vec::new());
    image::RgbImage::new(64, 64).write_to(&mut png, image::ImageFormat::Png).unwrap();
    for (number, expected) in [
        ("1", &["image_edit.partial_image", "image_edit.completed"][..]),
        ("0", &["image_edit.completed"]),
    ] {
        house.hold_renders();
        let parts: [(&str, _, &[u8]); 6] = [
            ("prompt", None, b"a hat, hold at step 5"),
            ("steps", None, b"8"),
            ("size", None, b"64x64"),
            ("stream", None, b"true"),
            ("partial_images", None, number.as_bytes()),
            ("image[]", Some("fox.png"), png.get_ref()),
        ];
        let mut reader = Reader::of(house.send(EDITS, &[FORM], &form(&parts)));
        until_held(&house);
        show(&house, &format!("{}.1", house.value("SELECT max(id) FROM jobs")), 8);
        if number == "1" {
            reader.until("\"partial_image_index\":0");
        }
        house.release_renders();
        assert_eq!(names(&reader.events()), expected);
    }
}

#[test]
fn each_picture_comes_as_soon_as_it_is_made() {
    let house = House::started("");
    house.hold_renders();
    let sent = json!({ "prompt": "a fox, hold", "n": 2, "stream": true, "partial_images": 2 });
    let mut reader = Reader::images(&house, &sent);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'running'", "1");
    assert!(house.zimaged(&["pause", "games"]).status.success());
    house.release_renders();
    reader.until("image_generation.completed");
    assert_eq!(house.value("SELECT state FROM history WHERE picture = 2"), "queued");
    assert!(house.zimaged(&["resume"]).status.success());
    let events = reader.events();
    assert_eq!(names(&events), ["image_generation.completed"; 2]);
    let made: Vec<&Value> = events.iter().map(|(_, event)| &event["zimaged"]["renders"]).collect();
    assert_eq!(made, [&json!(["1.1"]), &json!(["1.2"])]);
}

#[test]
fn what_goes_wrong_on_the_way_is_the_last_event() {
    let mut house = House::started("");
    let failed = json!({ "prompt": "a fox, invalid", "stream": true, "partial_images": 1 });
    let events = Reader::images(&house, &failed).events();
    assert_eq!(names(&events), ["error"]);
    assert_eq!(events[0].1["error"]["type"], "server_error");
    let slow = json!({ "prompt": "a fox, steps of 100 ms", "steps": 100, "stream": true });
    let reader = Reader::images(&house, &slow);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'running'", "1");
    assert_eq!(house.stop("TERM"), Some(0));
    let events = reader.events();
    let told = events[0].1["error"]["message"].as_str().expect("a message");
    assert!(told.contains("the daemon ends; the job is kept"), "{told}");
}

#[test]
fn a_stream_without_some_of_its_pictures_says_at_its_end_which_and_why() {
    let house = House::started("");
    let sent = json!({ "prompt": "a fox, invalid at step 2 once", "n": 3, "size": "64x64",
                       "stream": true });
    let events = Reader::images(&house, &sent).events();
    let completed = "image_generation.completed";
    assert_eq!(names(&events), [completed, completed, "error"]);
    let told = events[2].1["error"]["message"].as_str().expect("a message");
    assert!(told.starts_with("1.1: ") && told.contains("invalid"), "{told}");
    house.hold_renders();
    let sent = json!({ "prompt": "an owl, hold", "n": 2, "size": "64x64", "stream": true });
    let reader = Reader::images(&house, &sent);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'running'", "1");
    house.post("/api/v1/renders/2.2/cancel", &json!({})).ok();
    house.release_renders();
    let events = reader.events();
    assert_eq!(names(&events), [completed, "error"]);
    let told = "2.2: it was cancelled: by the user, before it was begun";
    assert_eq!(events[1].1["error"]["message"], told);
}

/// Asks for pictures by a socket in the file system.
fn ask_socket(socket: &Path, body: &Value) -> UnixStream {
    let mut stream = UnixStream::connect(socket).expect("it listens");
    let (body, head) = (body.to_string(), format!("{IMAGES} HTTP/1.1\r\nHost: anything\r\n"));
    let (kind, bytes) = ("Content-Type: application/json", body.len());
    let request = format!("{head}{kind}\r\nContent-Length: {bytes}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).expect("it reads");
    stream
}

/// Pictures say what was asked for: so these are longer than what the system takes for a client.
#[test]
fn who_reads_nothing_of_a_long_answer_gives_up_the_place_with_the_jobs_end() {
    let mut house = House::new("");
    let socket = house.path("http.socket");
    let config = std::fs::read_to_string(house.path("daemon.toml")).expect("a configuration");
    let config = config.replace("127.0.0.1:0", &format!("unix:{}", socket.display()));
    std::fs::write(house.path("daemon.toml"), config).expect("a writable folder");
    house.start();
    house.until("it listens", || socket.exists().then_some(()));
    let prompt = format!("a fox, steps of 10 ms, {}", "in the snow ".repeat(1_300));
    let sent = json!({ "prompt": prompt, "n": 10, "size": "64x64", "steps": 4,
                       "stream": true });
    let unread: Vec<_> = (0..8).map(|_| ask_socket(&socket, &sent)).collect();
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "80");
    let ended = Instant::now();
    house.until("a place is free", || {
        let mut status = [0; 12];
        let mut other = ask_socket(&socket, &json!({ "prompt": "an owl", "size": "64x64" }));
        other.read_exact(&mut status).expect("an answer");
        (status == *b"HTTP/1.1 200").then_some(())
    });
    // After 30 s who does not read is dropped, with the place.
    assert!(ended.elapsed() < Duration::from_secs(20), "{:?}", ended.elapsed());
    drop(unread);
}

#[test]
fn who_hangs_up_or_does_not_read_holds_up_nobody() {
    let house = House::started("");
    house.hold_renders();
    let sent = json!({ "prompt": "a fox, hold", "n": 3, "stream": true, "partial_images": 3 });
    let left = Reader::images(&house, &sent);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'running'", "1");
    drop(left);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'cancelled'", "2");
    house.release_renders();
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    // As many as may wait at once: none of them keeps its place for longer than its picture takes.
    let sent = json!({ "prompt": "a fox", "size": "64x64", "stream": true });
    let unread: Vec<Reader> = (0..8).map(|_| Reader::images(&house, &sent)).collect();
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "9");
    house.until("a place is free", || {
        let body = json!({ "prompt": "an owl", "size": "64x64" });
        (house.post("/v1/images/generations", &body).status == 200).then_some(())
    });
    drop(unread);
}
