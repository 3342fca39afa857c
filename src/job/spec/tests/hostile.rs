//! Files that no user writes: junk, depth and numbers that would exhaust a careless reader.

use std::time::{Duration, Instant};

use super::mistakes::{assert_mistakes, mistakes};
use super::*;

#[test]
fn what_is_no_text_is_refused_with_the_byte_where_it_stops_being_text() {
    for (content, place, message) in [
        (&b"\xff\xfep\0r\0"[..], (1, 1), "not UTF-8 text: byte 0xff at offset 0"),
        (b"\x7fELF\x02\x01\x01\x00", (1, 9), "not valid TOML"),
        (b"\x89PNG\r\n\x1a\n", (1, 1), "not UTF-8 text: byte 0x89 at offset 0"),
        (b"prompt = 'a'\n# f\xfcr dich", (2, 4), "not UTF-8 text: byte 0xfc at offset 16"),
        (b"\xef\xbb\xbfprompt = '\xe7", (1, 11), "not UTF-8 text: byte 0xe7 at offset 13"),
        (b"prompt = 'a\0'", (1, 12), "not valid TOML"),
    ] {
        let problems = parse_bytes(content, &rules(), NOW_MS, &mut || 0).expect_err("no text");
        let Problem { line, column, message: found, .. } = &problems[0];
        assert_eq!((problems.len(), (*line, *column)), (1, place), "{found}");
        assert!(found.starts_with(message), "{found}");
    }
}

#[test]
fn a_file_over_the_limit_is_refused_unread() {
    let content = vec![0xff; rules().limits.file_bytes_max as usize + 1];
    let problems = parse_bytes(&content, &rules(), NOW_MS, &mut || 0).expect_err("too long");
    assert_eq!(problems[0].message, "the file has more than 1048576 bytes");
}

#[test]
fn too_many_renders_are_refused_by_counting_before_anything_is_made() {
    let many = |count: usize| format!("{:?}", (0..count).collect::<Vec<_>>());
    let hundred_thousand = format!("prompt='a'\nnum_images=100\n[matrix]\nseed={}", many(1000));
    assert_mistakes(
        &hundred_thousand,
        &["3:2: matrix: 1000 seed x 100 num_images make 100000 pictures | at most 10000"],
    );
    assert_mistakes(
        "prompt=['a','b']\nnum_images=10000",
        &["2:1: num_images: 2 prompt x 10000 num_images make 20000"],
    );
    let sides = format!("{:?}", vec![64; 50_000]);
    let text =
        format!("prompt='a'\n[matrix]\nwidth={sides}\nheight={sides}\nseed={}\n", many(50_000));
    assert_mistakes(
        &text,
        &["2:2: matrix: 50000 width x 50000 height x 50000 seed make 125000000000000 pictures"],
    );
    assert_eq!(job(&format!("prompt='a'\n[matrix]\nseed={}", many(10_000))).renders.len(), 10_000);
}

/// A tenth of a second on an idle machine; the rest is for a loaded one.
const FAST: Duration = Duration::from_secs(30);

/// On a stack of 2 MiB, as threads have it.
#[track_caller]
fn refused_fast_on_a_small_stack(text: String) -> Vec<String> {
    let begun = Instant::now();
    let thread = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || mistakes(&text))
        .expect("a thread");
    let mistakes = thread.join().expect("no overflow");
    assert!(begun.elapsed() < FAST, "{:?}", begun.elapsed());
    mistakes
}

#[test]
fn deep_nesting_is_refused_without_overflowing_the_stack() {
    for text in [
        "[".repeat(20_000),
        format!("a = {}", "[".repeat(20_000)),
        format!("a = {}1{}", "[".repeat(20_000), "]".repeat(20_000)),
        format!("a = {}", "{a=".repeat(20_000)),
        format!("{}a = 1", "a.".repeat(10_000)),
        format!("[{}a]", "a.".repeat(10_000)),
    ] {
        let start = text[..10].to_owned();
        let mistakes = refused_fast_on_a_small_stack(text);
        assert!(!mistakes.is_empty(), "{start}");
    }
}

#[test]
fn as_many_unknown_keys_as_fit_are_refused_and_fifty_of_them_told() {
    let keys: String = (0..).map(|key| format!("{key:x}=1\n")).take(100_000).collect();
    assert!(keys.len() as u64 <= rules().limits.file_bytes_max);
    let mistakes = refused_fast_on_a_small_stack(keys);
    assert_eq!(mistakes.len(), 51);
    assert_eq!(mistakes[50], "100001:1: and 99951 more mistakes");
}

#[test]
fn a_million_keys_are_refused_by_their_size() {
    let keys: String = (0..1_000_000).map(|key| format!("k{key}=1\n")).collect();
    let problems = parse_bytes(keys.as_bytes(), &rules(), NOW_MS, &mut || 0).expect_err("too long");
    assert_eq!(problems[0].message, "the file has more than 1048576 bytes");
}
