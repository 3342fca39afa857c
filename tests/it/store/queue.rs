//! What is taken in, and what is taken next.

use super::*;

#[tokio::test]
async fn renders_are_taken_by_priority_then_in_order_of_arrival() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["first", "second"])).await;
    fixture.accept(job(&["third"])).await;
    let mut urgent = job(&["urgent"]);
    urgent.job.priority = 5;
    fixture.accept(urgent).await;
    let mut order = Vec::new();
    while let Some(candidate) = fixture.next().await {
        order.push(candidate.render.recipe.prompt);
        fixture.begin().await;
    }
    assert_eq!(order, ["urgent", "first", "second", "third"]);
}

#[tokio::test]
async fn a_candidate_is_what_was_accepted() {
    let fixture = Fixture::new().await;
    let job_id = fixture.accept(job(&["a", "b"])).await;
    fixture.begin().await;
    let candidate = fixture.next().await.expect("the second render");
    assert_eq!(
        (candidate.job_id, candidate.index, candidate.job_name.as_str()),
        (job_id, 2, "a-b")
    );
    assert_eq!(candidate.render, render("b"));
    assert_eq!(candidate.history, History::default());
}

#[tokio::test]
async fn a_candidate_knows_a_few_prompts_that_come_after_it_in_the_order_of_their_turns() {
    let fixture = Fixture::new().await;
    let long = "fox ".repeat(1025);
    fixture.accept(job(&["a", "b", &long, "b", "c"])).await;
    let mut urgent = job(&["urgent"]);
    urgent.job.priority = 5;
    fixture.accept(urgent).await;
    let mut later = job(&["later"]);
    later.job.not_before_ms = Some(NOW + 10);
    fixture.accept(later).await;
    fixture.begin().await;
    let next = fixture.next().await.expect("a render");
    assert_eq!((next.render.recipe.prompt.as_str(), next.next_prompts), ("a", words("b c")));
    let many: Vec<String> = (0..20).map(|number| format!("cat {number}")).collect();
    fixture.accept(job(&many.iter().map(String::as_str).collect::<Vec<_>>())).await;
    let next = fixture.next().await.expect("a render").next_prompts;
    assert_eq!((next.len(), next[2].as_str()), (8, "cat 0"));
}

/// A job of which each render has the LoRAs whose hashes its prompt says.
fn job_of_loras(prompts: &[&str]) -> NewJob {
    let mut new = job(prompts);
    for render in &mut new.job.renders {
        let lora = |sha256: &str| Lora {
            name: sha256.to_owned(),
            weight: 1.0,
            allow_unknown: false,
            sha256: sha256.to_owned(),
            size: LoraSize::default(),
        };
        render.recipe.lora = Loras(render.recipe.prompt.split_whitespace().map(lora).collect());
    }
    new
}

#[tokio::test]
async fn beside_the_first_render_stands_the_first_with_the_loras_that_are_loaded() {
    let fixture = Fixture::new().await;
    fixture.accept(job_of_loras(&["y", "x", "y x", "x y", "x"])).await;
    let heads = async |loras| {
        let heads = fixture.store.model_heads(Some(("", loras)), None, NOW).await;
        let heads = heads.expect("a readable queue");
        heads.into_iter().map(|head| (head.render_id, head.loras)).collect::<Vec<_>>()
    };
    let first = (1, "y".to_owned());
    assert_eq!(heads("x").await, [first.clone(), (2, "x".to_owned())]);
    assert_eq!(heads("x y").await, [first.clone(), (3, "x y".to_owned())]);
    for loras in ["y", "", "z"] {
        assert_eq!(heads(loras).await, std::slice::from_ref(&first), "{loras}");
    }
    // Only so far is looked: a queue of half a million costs no more than this one.
    fixture.accept(job_of_loras(&["x"; 59])).await;
    fixture.accept(job_of_loras(&["z"])).await;
    assert_eq!(heads("z").await, [first]);
    fixture.begin().await;
    assert_eq!(heads("z").await, [(2, "x".to_owned()), (65, "z".to_owned())]);
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// They are written many at a time.
#[tokio::test]
async fn all_renders_of_a_job_are_taken_in_in_their_order_however_many_they_are() {
    let fixture = Fixture::new().await;
    for renders in [1, 99, 100, 101, 250] {
        let prompts: Vec<String> = (1..=renders).map(|number| format!("fox {number}")).collect();
        let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        fixture.accept(job(&prompts)).await;
    }
    let of_job = "SELECT concat_ws(' ', job_id, count(*), min(position), max(position), \
                  sum(prompt = 'fox ' || position)) FROM renders GROUP BY job_id";
    let expected = ["1 1 1 1 1", "2 99 1 99 99", "3 100 1 100 100", "4 101 1 101 101"];
    assert_eq!(fixture.rows(of_job).await, [&expected[..], &["5 250 1 250 250"]].concat());
}

#[tokio::test]
async fn a_render_is_not_taken_before_its_time_and_holds_nobody_up() {
    let fixture = Fixture::new().await;
    let mut later = job(&["later"]);
    later.job.not_before_ms = Some(NOW + 10);
    later.job.priority = 1;
    fixture.accept(later).await;
    fixture.accept(job(&["now"])).await;
    let at = async |now_ms| fixture.next_at(now_ms).await.map(|next| next.render.recipe.prompt);
    assert_eq!(at(NOW + 9).await.as_deref(), Some("now"));
    assert_eq!(at(NOW + 10).await.as_deref(), Some("later"));
}

#[tokio::test]
async fn nothing_is_taken_while_paused_also_after_a_restart() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a"])).await;
    fixture.store.pause("lunch", NOW).await.expect("a writable queue");
    let fixture = fixture.restarted().await;
    assert!(fixture.next().await.is_none());
    let pause = fixture.store.paused().await.expect("a readable queue").expect("still paused");
    assert_eq!((pause.reason.as_str(), pause.since_ms), ("lunch", NOW));
    fixture.store.resume(NOW).await.expect("a writable queue");
    assert!(fixture.next().await.is_some());
    let log = "SELECT kind FROM events WHERE job_id IS NULL ORDER BY id";
    assert_eq!(fixture.rows(log).await, ["paused", "resumed"]);
}

#[tokio::test]
async fn the_same_drop_is_taken_in_once() {
    let fixture = Fixture::new().await;
    let job_id = fixture.accept(job(&["a"])).await;
    let again = fixture.store.accept(&[job(&["a"])], NOW + 1).await.expect("a writable queue");
    assert_eq!((again[0].job_id, again[0].fresh), (job_id, false));
    assert_eq!(fixture.rows("SELECT CAST(count(*) AS TEXT) FROM renders").await, ["1"]);
}

/// case B, chaos 7: name, content, time and inode are labels.
#[tokio::test]
async fn drops_that_are_alike_in_everything_but_their_identity_are_jobs_of_their_own() {
    let fixture = Fixture::new().await;
    let other = NewJob { origin: Origin::Drop { id: DropId(1), before: None }, ..job(&["a"]) };
    let accepted =
        fixture.store.accept(&[job(&["a"]), other], NOW).await.expect("a writable queue");
    assert!(accepted.iter().all(|accepted| accepted.fresh));
}

/// Two requests that say the same are two wishes; nothing but the same drop is taken in once.
#[tokio::test]
async fn each_request_is_a_job_of_its_own_and_needs_no_file() {
    let fixture = Fixture::new().await;
    let asked = job(&["a"]).job;
    let request = NewJob::of_request(asked, "fox.toml", "prompt = 'a'");
    let accepted =
        fixture.store.accept(&[request.clone(), request], NOW).await.expect("a writable queue");
    assert!(accepted.iter().all(|accepted| accepted.fresh));
    assert_eq!(fixture.next().await.expect("queued").job_name, "fox");
    let rows = "SELECT concat_ws(' ', origin, file_name, drop_id, retry_of) FROM jobs";
    assert_eq!(fixture.rows(rows).await, ["request fox.toml", "request fox.toml"]);
}

#[tokio::test]
async fn a_retry_is_taken_in_with_the_job_that_it_repeats() {
    let fixture = Fixture::new().await;
    let of = fixture.accept(job(&["a"])).await;
    let retry = NewJob { origin: Origin::Retry { of }, ..job(&["a"]) };
    fixture.accept(retry).await;
    let rows = "SELECT concat_ws(' ', origin, retry_of) FROM jobs_state ORDER BY job";
    assert_eq!(fixture.rows(rows).await, ["drop", "retry 1"]);
}

#[tokio::test]
async fn files_set_aside_are_listed_newest_first() {
    let fixture = Fixture::new().await;
    let files =
        [(file(&["a"]), "no prompt\nat all".to_owned()), (file(&["b"]), "no TOML".to_owned())];
    fixture.store.reject(&files, NOW).await.expect("a writable queue");
    let listed = fixture.store.rejections(1).await.expect("a readable queue");
    assert_eq!(listed.iter().map(|row| row.reason.as_str()).collect::<Vec<_>>(), ["no TOML"]);
    // newcomer 18: one that was put right is not told any more.
    let open = async || fixture.store.open_rejections(10).await.expect("a readable queue");
    let reasons = open().await.into_iter().map(|row| row.reason).collect::<Vec<_>>();
    assert_eq!(reasons, ["no TOML", "no prompt"]);
    let mended = NewJob { origin: Origin::Drop { id: DropId(1), before: None }, ..job(&["b"]) };
    fixture.store.accept(&[mended], NOW + 1).await.expect("a writable queue");
    assert_eq!(open().await.len(), 1);
}

/// chaos 10: a kill between a rejection's row and its move doubled the row.
#[tokio::test]
async fn a_drop_is_set_aside_once() {
    let fixture = Fixture::new().await;
    let files = [(file(&["a"]), "no prompt".to_owned())];
    for _ in 0..2 {
        fixture.store.reject(&files, NOW).await.expect("a writable queue");
    }
    assert_eq!(fixture.store.rejections(9).await.expect("a readable queue").len(), 1);
    assert_eq!(fixture.rows("SELECT kind FROM events").await, ["rejected"]);
}

#[tokio::test]
async fn hand_edited_rows_that_cannot_be_are_refused() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a"])).await;
    fixture.begin().await;
    let mut other = fixture.other().await;
    for edit in [
        "UPDATE renders SET state = 'bogus'",
        "UPDATE renders SET state = 'done'",
        "UPDATE renders SET finished_at_ms = 1",
        "UPDATE renders SET state = 'failed', finished_at_ms = 1",
        "UPDATE renders SET width = 0",
        "UPDATE renders SET seed = -1",
        "UPDATE renders SET guidance = NULL",
        "UPDATE renders SET on_oom = 'pray'",
        "UPDATE renders SET steps = 'eight'",
        "UPDATE renders SET job_id = 99",
        "UPDATE attempts SET number = 0",
        "UPDATE attempts SET rung = '{'",
        "UPDATE attempts SET outcome = 'failed'",
        "UPDATE attempts SET stage = 'nap'",
        "UPDATE jobs SET tags = '{}'",
        "UPDATE jobs SET drop_id = NULL",
        "UPDATE jobs SET drop_id = 'a label'",
        "UPDATE jobs SET origin = 'thin air'",
        "UPDATE jobs SET origin = 'request'",
        "UPDATE jobs SET origin = 'retry'",
        "INSERT INTO pause (id, since_ms, reason) VALUES (2, 1, 'twice')",
    ] {
        assert!(sqlx::query(edit).execute(&mut other).await.is_err(), "{edit}");
    }
}
