//! What faces ask of the queue, in types.

mod edit;

use serde_json::json;
use zimaged::internals::{
    Access, Activity, CheckedJob, Config, JobFilter, Obstacle, OriginKind, Queue, QueueError,
    Selection, Store, Which, check_job,
};

use crate::support::House;

fn config(house: &House) -> Config {
    Config::load(Some(&house.path("daemon.toml"))).expect("a good configuration")
}

/// A house whose daemon has run, and does not.
async fn stopped() -> (House, Config) {
    let house = House::new("");
    let config = config(&house);
    std::fs::create_dir(&config.state).expect("a writable folder");
    let store = Store::open(&config.database_path(), Access::Daemon).await;
    store.expect("a new database").close().await;
    (house, config)
}

fn check(config: &Config, name: &str, text: &str) -> Result<CheckedJob, QueueError> {
    check_job(config, &config.jobs, name.to_owned(), text.into())
}

#[tokio::test]
async fn a_request_is_a_job_at_once_and_needs_neither_file_nor_daemon() {
    let (_house, config) = stopped().await;
    let queue = Queue::open(&config).await.expect("the daemon has run");
    let text = "prompt = ['a fox', 'an owl']\ntags = ['zoo']\n";
    let checked = check(&config, "night\x1b.toml", text).expect("a good job");
    assert_eq!(queue.request(&checked.name, &checked).await.expect("a writable queue"), 1);
    let jobs = queue.store().jobs(&JobFilter::default(), 10).await.expect("a readable queue");
    let rows = jobs.iter().map(|job| (job.origin, job.file_name.as_str(), job.tags.0.join(" ")));
    let expected = (OriginKind::Request, "night\\u{1b}.toml", "zoo".to_owned());
    assert_eq!(rows.collect::<Vec<_>>(), [expected]);
    let pictures = queue.store().history(Selection::Job(1)).await.expect("two");
    assert!(pictures.len() == 2 && pictures[0].seed != pictures[1].seed, "seeds are drawn");
    let drawn: Vec<u64> = checked.resolved.job.renders.iter().map(|it| it.recipe.seed).collect();
    let taken: Vec<u64> = pictures.iter().map(|it| it.seed.unsigned_abs()).collect();
    assert_eq!(taken, drawn, "what was checked is what is taken in");
    let wrong = check(&config, "wrong.toml", "prompt = 3").expect_err("a mistake");
    let QueueError::Mistakes(mistakes) = wrong else { panic!("{wrong}") };
    assert!(mistakes.to_string().starts_with("wrong.toml:1:10: prompt"), "{mistakes}");
    assert_eq!(
        queue.store().jobs(&JobFilter::default(), 10).await.expect("a readable queue").len(),
        1
    );
}

#[tokio::test]
async fn progress_and_obstacle_say_why_nothing_happens() {
    let (mut house, config) = stopped().await;
    let queue = Queue::open(&config).await.expect("the daemon has run");
    let text = "prompt = 'a fox'\nnot_before = 2999-01-01T12:00:00Z\n";
    let job = check(&config, "a.toml", text).expect("a good job");
    let job = queue.request("a.toml", &job).await.expect("a writable queue");
    let progress = async || queue.progress(job).await.expect("a readable queue");
    let at_ms = 32_472_187_200_000;
    assert_eq!(progress().await.obstacle, Some(Obstacle::NoDaemon));
    assert_eq!(progress().await.activity, Activity::WaitsUntil { at_ms });
    house.start();
    assert_eq!(progress().await.obstacle, Some(Obstacle::NotBefore { at_ms }));
    queue.pause("too hot").await.expect("a writable queue");
    let paused = progress().await.obstacle.expect("paused");
    assert_eq!(serde_json::to_value(&paused).expect("no maps")["kind"], json!("paused"));
    assert!(paused.to_string().contains("paused (too hot)"), "{paused}");
    queue.resume().await.expect("a writable queue");
    assert!(!progress().await.is_over());
    queue.cancel(&Which::Named(vec![Selection::Job(job)])).await.expect("a writable queue");
    assert!(progress().await.is_over());
    assert_eq!(progress().await.obstacle, None);
}
