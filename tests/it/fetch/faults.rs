//! What hubs and networks do to a fetch, and how it ends.

use std::fs;
use std::time::{Duration, Instant};

use super::hub::{Fault, TOKEN};
use super::{COMFY, Newcomer, TURBO, assert_ends};
use crate::support::fault::inject;

const ALWAYS: usize = usize::MAX;

/// What requests for a content suffer, as often as is said, before the rest goes well.
fn faults_of_contents() -> Vec<(&'static str, usize, Fault)> {
    vec![
        ("/blob/", 3, Fault::Cut(100_000)),
        ("/blob/", 2, Fault::Cut(0)),
        ("/blob/", 2, Fault::Short),
        ("/blob/", 2, Fault::Page),
        ("/blob/", 2, Fault::Gzip),
        ("/blob/", 2, Fault::WholeOnly),
        ("/blob/", ALWAYS, Fault::WholeOnly),
        ("/blob/", 1, Fault::WrongByte),
        ("/blob/", 2, Fault::WrongRange),
        ("/blob/", 3, Fault::Status(503, "")),
        ("/blob/", 1, Fault::Status(403, "")),
        ("/blob/", 1, Fault::Status(416, "")),
        // All connections are told to wait.
        ("/blob/", 8, Fault::Status(429, "Retry-After: 1\r\n")),
    ]
}

#[test]
fn what_passes_is_waited_for_and_the_files_are_right() {
    let of_the_hub = [
        ("/resolve/", 1, Fault::Status(500, "")),
        ("/resolve/", 1, Fault::Status(302, "")),
        ("/resolve/", 1, Fault::OtherPromise),
        ("/resolve/", 8, Fault::Status(429, "Retry-After: 1\r\n")),
        ("/tree/", 1, Fault::Page),
        ("/revision/", 2, Fault::Status(502, "")),
        ("/revision/", 1, Fault::Cut(10)),
    ];
    for (text, times, fault) in faults_of_contents().into_iter().chain(of_the_hub) {
        let newcomer = Newcomer::new();
        newcomer.hub.plan(text, times, fault.clone());
        let fetched = newcomer.fetch_turbo();
        assert_ends(&fetched, 0, &["is complete"]);
        newcomer.assert_turbo();
    }
}

#[test]
fn the_same_passes_on_modelscope() {
    let of_the_hub = [
        ("/repo?", 1, Fault::Status(500, "")),
        ("/repo?", 1, Fault::OtherPromise),
        ("/repo?", 8, Fault::Status(429, "Retry-After: 1\r\n")),
        ("/repo/files", 1, Fault::Page),
        ("/repo/files", 2, Fault::Status(502, "")),
        ("/repo/files", 1, Fault::Cut(10)),
    ];
    for (text, times, fault) in faults_of_contents().into_iter().chain(of_the_hub) {
        let newcomer = Newcomer::new();
        newcomer.hub.plan(text, times, fault.clone());
        let fetched = newcomer.modelscope_command().output().unwrap();
        assert_ends(&fetched, 0, &["is complete"]);
        newcomer.assert_turbo_of("modelscope", "master");
    }
}

/// A promise that stays another one is told, and nothing is taken for what was listed.
#[test]
fn a_hub_that_promises_another_content_than_it_lists_is_told() {
    let newcomer = Newcomer::new();
    newcomer.hub.plan("/resolve/", ALWAYS, Fault::OtherPromise);
    assert_ends(&newcomer.fetch_turbo(), 75, &[COMFY.split('/').next_back().unwrap()]);
    newcomer.assert_nothing_wrong();
}

#[test]
fn the_time_that_a_hub_asks_for_is_waited() {
    for headers in ["Retry-After: 2\r\n", "RateLimit: \"api\";r=0;t=2\r\n"] {
        let newcomer = Newcomer::new();
        newcomer.hub.plan("/tree/", 1, Fault::Status(429, headers));
        let began = Instant::now();
        assert_ends(&newcomer.fetch_turbo(), 0, &["is complete"]);
        assert!(began.elapsed() >= Duration::from_secs(2), "{headers}");
    }
    let newcomer = Newcomer::new();
    newcomer.hub.plan("/tree/", 1, Fault::Status(429, "Retry-After: 3600\r\n"));
    assert_ends(&newcomer.fetch_turbo(), 75, &["429", "wait for 60 minutes"]);
}

#[test]
fn a_host_that_falls_silent_is_left() {
    let newcomer = Newcomer::new();
    newcomer.hub.plan("/blob/", 2, Fault::Slow(Duration::from_secs(4)));
    let began = Instant::now();
    let mut command = newcomer.command(&["model", "fetch", "turbo", "--revision", "main"]);
    let fetched = command.env("HF_HUB_DOWNLOAD_TIMEOUT", "1").output().unwrap();
    assert_ends(&fetched, 0, &["is complete"]);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    newcomer.assert_turbo();
}

#[test]
fn a_content_that_is_wrong_twice_is_named_and_never_accepted() {
    let newcomer = Newcomer::new();
    newcomer.hub.plan("/blob/", ALWAYS, Fault::WrongByte);
    let wrong = newcomer.fetch_turbo();
    assert_ends(&wrong, 65, &[TURBO[0], "hash", "thrown away"]);
    assert!(!newcomer.model(TURBO[0]).exists() && !newcomer.model("zimaged-fetched.json").exists());
    newcomer.hub.forget_plans();
    assert_ends(&newcomer.fetch_turbo(), 0, &[]);
    newcomer.assert_turbo();
}

#[test]
fn what_does_not_pass_ends_with_its_reason() {
    let cases: [(&str, Fault, i32, &str); 7] = [
        ("/blob/", Fault::Page, 75, "a web page came"),
        ("/blob/", Fault::Status(500, ""), 75, "answers 500"),
        ("/revision/", Fault::Status(401, "X-Error-Code: RepoNotFound\r\n"), 78, "wants a token"),
        ("/revision/", Fault::Status(403, "X-Error-Code: GatedRepo\r\n"), 78, "accepted its terms"),
        (
            "/tree/",
            Fault::Status(404, "X-Error-Code: RevisionNotFound\r\n"),
            78,
            "no such revision",
        ),
        ("/resolve/", Fault::Status(404, "X-Error-Code: EntryNotFound\r\n"), 78, "no such file"),
        ("/resolve/", Fault::Redirect("/again".to_owned()), 78, "no such file"),
    ];
    for (text, fault, code, told) in cases {
        let newcomer = Newcomer::new();
        newcomer.hub.plan(text, ALWAYS, fault.clone());
        let ended = newcomer.fetch_turbo();
        assert_ends(&ended, code, &[COMFY.split('/').next_back().unwrap(), told]);
        newcomer.assert_nothing_wrong();
    }
    let newcomer = Newcomer::new();
    let mut command = newcomer.command(&["model", "fetch", "turbo"]);
    let unreachable = command.env("HF_ENDPOINT", "http://127.0.0.1:9").output().unwrap();
    assert_ends(
        &unreachable,
        75,
        &["127.0.0.1:9", "tried 6 times", "--from modelscope", "HTTPS_PROXY"],
    );
    let nobody = newcomer.fetch(&["nobody/nothing"]);
    assert_ends(&nobody, 78, &["nobody/nothing", "no such repository, or it is private"]);
}

#[test]
fn a_token_goes_to_its_hub_and_to_nobody_else() {
    let newcomer = Newcomer::new();
    newcomer.hub.make_private(COMFY);
    assert_ends(&newcomer.fetch_turbo(), 78, &["HF_TOKEN"]);
    newcomer.hub.seen();
    let mut command = newcomer.command(&["model", "fetch", "turbo", "--revision", "main"]);
    assert_ends(&command.env("HF_TOKEN", TOKEN).output().unwrap(), 0, &[]);
    assert_only_the_hub_was_told(&newcomer);
    newcomer.assert_turbo();
}

#[test]
fn modelscopes_token_is_its_own() {
    let newcomer = Newcomer::new();
    newcomer.hub.make_private(COMFY);
    let mut command = newcomer.modelscope_command();
    assert_ends(&command.env("HF_TOKEN", TOKEN).output().unwrap(), 78, &["MODELSCOPE_API_TOKEN"]);
    newcomer.hub.seen();
    let mut command = newcomer.modelscope_command();
    assert_ends(&command.env("MODELSCOPE_API_TOKEN", TOKEN).output().unwrap(), 0, &[]);
    assert_only_the_hub_was_told(&newcomer);
    newcomer.assert_turbo_of("modelscope", "master");
}

/// Every request to the hub had the token, and none to the host that has the contents.
#[track_caller]
fn assert_only_the_hub_was_told(newcomer: &Newcomer) {
    let seen = newcomer.hub.seen();
    let bearer = format!("Bearer {TOKEN}");
    for request in &seen {
        let expected = (!request.is_store).then_some(bearer.as_str());
        assert_eq!(request.authorization.as_deref(), expected, "{request:?}");
    }
    assert!(seen.iter().any(|request| request.is_store));
}

/// A renamed repository answers with a redirect within the hub, and a private one needs its token
/// there.
#[test]
fn a_token_stays_on_the_way_within_its_hub() {
    let newcomer = Newcomer::new();
    newcomer.hub.make_private(COMFY);
    let new_name = format!("/api/models/{COMFY}/revision/main");
    newcomer.hub.plan("/old/name/", 1, Fault::Redirect(new_name));
    newcomer.hub.add("old/name", "a.safetensors", vec![1; 10]);
    let mut command = newcomer.command(&["model", "fetch", "old/name", "--file", "a.safetensors"]);
    let fetched = command.env("HF_TOKEN", TOKEN).output().unwrap();
    assert_ends(&fetched, 0, &["is complete"]);
    let redirected = format!("/api/models/{COMFY}/revision/main");
    let seen = newcomer.hub.seen();
    let request = seen.iter().find(|request| request.target == redirected).expect("followed");
    assert!(request.authorization.is_some());
}

#[test]
fn a_listing_of_many_pages_is_read_to_its_end() {
    let newcomer = Newcomer::new();
    newcomer.hub.set_page(2);
    assert_ends(&newcomer.fetch_turbo(), 0, &[]);
    let pages = newcomer.hub.seen().iter().filter(|seen| seen.target.contains("/tree/")).count();
    assert_eq!(pages, 3);
    newcomer.assert_turbo();
}

#[test]
fn a_disk_without_room_is_told_before_anything_comes_and_while_it_comes() {
    let newcomer = Newcomer::new();
    let path = format!("split_files/{}", TURBO[0]);
    newcomer.hub.lie(&path, 1 << 59);
    let full = newcomer.fetch_turbo();
    assert_ends(&full, 75, &[" free, and ", "GB are still to come", "--to"]);
    assert!(newcomer.hub.seen().iter().all(|seen| !seen.is_store));

    let newcomer = Newcomer::new();
    for call in ["pwrite", "fsync"] {
        let mut command = newcomer.command(&["model", "fetch", "turbo", "--revision", "main"]);
        inject(&mut command, call, ".part", libc::ENOSPC, 1, 1000);
        let full = command.output().unwrap();
        assert_ends(&full, 75, &["No space left on device"]);
        newcomer.assert_nothing_wrong();
    }
    assert_ends(&newcomer.fetch_turbo(), 0, &[]);
    newcomer.assert_turbo();
}

#[test]
fn a_file_that_is_in_the_way_is_left_alone() {
    let newcomer = Newcomer::new();
    fs::create_dir_all(newcomer.model("vae")).unwrap();
    fs::write(newcomer.model(TURBO[2]), "mine").unwrap();
    let refused = newcomer.fetch_turbo();
    assert_ends(&refused, 78, &["vae/ae.safetensors is there", "--to"]);
    assert_eq!(fs::read(newcomer.model(TURBO[2])).unwrap(), b"mine");
    // Files of an earlier fetch are replaced: they were damaged, or there is a newer revision.
    fs::remove_file(newcomer.model(TURBO[2])).unwrap();
    assert_ends(&newcomer.fetch_turbo(), 0, &[]);
    fs::write(newcomer.model(TURBO[2]), "damaged").unwrap();
    assert_ends(&newcomer.fetch_turbo(), 0, &[]);
    newcomer.assert_turbo();
}
