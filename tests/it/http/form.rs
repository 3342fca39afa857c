//! The form's fields beyond a prompt and its size, as a browser without JavaScript sends them.

use std::fs;
use std::process::Command;

use crate::http::page::{location, press};
use crate::support::House;
use crate::support::http::{Part, Reply};

/// Sends the form with these fields.
fn send(house: &House, parts: &[Part]) -> Reply {
    house.post_form("/", parts)
}

fn png(side: u32) -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_pixel(side, side, image::Rgb([200, 30, 30]));
    picture.write_to(&mut png, image::ImageFormat::Png).expect("memory");
    png.into_inner()
}

#[test]
fn a_picture_to_begin_with_is_sent_with_the_form_and_kept_while_something_else_is_mended() {
    let house = House::started("");
    let (picture, mask) = (png(64), png(32));
    let wrong = send(
        &house,
        &[
            ("prompt", None, b"a hat"),
            ("height", None, b"500"),
            ("init_image_file", Some("fox.png"), &picture),
            ("mask_file", Some("mask.png"), &mask),
            ("strength", None, b"0.5"),
        ],
    );
    let page = wrong.ok().text();
    assert!(page.contains("data-key=\"height\""), "{page}");
    let kept = |content: &[u8]| zimaged::internals::sha256(content);
    for hash in [kept(&picture), kept(&mask)] {
        assert!(page.contains(&format!("value=\"{hash}\" checked")), "{hash}: {page}");
    }
    let sent = send(
        &house,
        &[
            ("prompt", None, b"a hat"),
            ("height", None, b"64"),
            ("width", None, b"64"),
            ("init_image", None, kept(&picture).as_bytes()),
            ("init_image_file", Some(""), b""),
            ("mask", None, kept(&mask).as_bytes()),
            ("mask_file", Some("other.png"), &picture),
            ("strength", None, b"0.5"),
        ],
    );
    assert_eq!((sent.status, location(&sent)), (303, "queue"), "{}", sent.text());
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    let made = house.rows("SELECT init_image, mask, strength FROM renders");
    assert_eq!(made[0], [kept(&picture), kept(&picture), "0.5".to_owned()], "the newer mask");
    let again = house.get("/picture?job=1&n=1").ok().text();
    assert!(again.contains(&format!("init_image={}", kept(&picture))), "{again}");
}

#[test]
fn a_file_that_is_no_picture_is_told_at_its_field() {
    let house = House::started("");
    let file = ("init_image_file", Some("fox.png"), &b"no picture"[..]);
    let page = send(&house, &[("prompt", None, b"a hat"), file]).ok().text();
    assert!(page.contains("data-key=\"init_image\""), "{page}");
    assert!(page.contains("it is no PNG, JPEG or WebP picture"), "{page}");
    let named = press(&house, "/", "prompt=a+hat&init_image=%2Fetc%2Fpasswd").ok().text();
    assert!(named.contains("a request names no file of this machine"), "{named}");
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "0");
}

#[test]
fn times_samplers_and_a_matrix_are_checked_at_their_fields_and_stand_in_the_jobs_text() {
    let house = House::started("");
    let check = |fields: &str| {
        press(&house, "/create/check", &format!("prompt=a+fox&{fields}")).ok().text()
    };
    let told = check("window=22%3A00-07%3A00&not_after=2099-01-01+10%3A00&sampler=res_multistep");
    for line in [
        "window = &quot;22:00-07:00&quot;",
        "not_after = &quot;2099-01-01 10:00&quot;",
        "sampler = &quot;res_multistep&quot;",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert_eq!(told.matches(" = &quot;22:00-07:00&quot;").count(), 2, "as TOML and by curl");
    let told = check("matrix=steps+%3D+%5B2%2C+3%5D%0D%0Aguidance+%3D+%5B0%2C+1%5D");
    assert!(told.contains("4 pictures"), "{told}");
    for (fields, key) in [
        ("window=22", "window"),
        ("not_after=yesterday", "not_after"),
        ("sampler=ddim", "sampler"),
        ("strength=2", "strength"),
        ("matrix=steps+%3D+%5B0%5D", "matrix.steps"),
        ("steps=4&matrix=steps+%3D+%5B2%5D", "matrix.steps"),
    ] {
        let told = check(fields);
        assert!(told.contains(&format!("data-key=\"{key}\"")), "{fields}: {told}");
    }
}

/// What stands in the code of a page.
fn plain(markup: &str) -> String {
    let marks = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")];
    marks.iter().fold(markup.to_owned(), |text, (escaped, mark)| text.replace(escaped, mark))
}

#[test]
fn the_command_that_the_form_shows_sends_the_same_job_from_a_shell() {
    let house = House::started("");
    let prompt = "a \"red\" 'fox' $HOME `id` \\ 100% 狐狸 <b> & END";
    let sent: String = prompt.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let told = press(&house, "/create/check", &format!("prompt={sent}&seed=7")).ok().text();
    let command = told.split("<code>").find(|code| code.starts_with("curl")).expect("a command");
    let command = plain(command.split("</code>").next().unwrap_or_default());
    let (line, rest) = command.split_once('\n').expect("the job follows");
    let address = format!("http://{}/api/v1/jobs", house.http());
    let expected = "curl -H 'Content-Type: application/toml' --data-binary @-";
    assert_eq!(line, format!("{expected} {address} <<'END'"));
    // In the place of curl, what shows what it gets.
    let shown = Command::new("sh").arg("-c").arg(format!("cat <<'END'\n{rest}")).output();
    let job = shown.expect("there is a shell").stdout;
    house.ask("POST /api/v1/jobs", &[("Content-Type", "application/toml")], &job).ok();
    assert_eq!(house.rows("SELECT prompt, seed FROM renders"), [[prompt, "7"]]);
}

#[test]
fn the_loras_that_there_are_can_be_chosen() {
    let house = House::started("");
    assert!(!house.get("/").ok().text().contains("name=\"lora\""));
    fs::create_dir_all(house.path("loras")).expect("a writable folder");
    fs::write(house.path("loras/ink.safetensors"), "ink").expect("a writable folder");
    let page = house.get("/?lora=ink").ok().text();
    assert!(page.contains("<option value=\"ink\" selected>"), "{page}");
    let told = press(&house, "/create/check", "prompt=fox&lora=ink&lora_weight=x").ok().text();
    assert!(told.contains("data-key=\"lora\""), "{told}");
    press(&house, "/", "prompt=a+fox&lora=ink&lora_weight=0.5&seed=1");
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    let used =
        house.value("SELECT (lora ->> '$[0].name') || (lora ->> '$[0].weight') FROM history");
    assert_eq!(used, "ink0.5");
    // What it was made with is written as prompts have it.
    let again = house.get("/picture?job=1&n=1").ok().text();
    assert!(again.contains("prompt=a+fox+%3Clora%3Aink%3A0.5%3E"), "{again}");
}

#[test]
fn a_form_that_is_too_long_is_not_read() {
    let house = House::started("");
    let long = format!("prompt={}", "a".repeat(2 << 20));
    for path in ["/", "/create/check", "/queue/pause"] {
        let status = press(&house, path, &long).status;
        assert!([0, 413].contains(&status), "{path}: {status}");
    }
    assert!(house.json(&["status"])["paused"].is_null());
}
