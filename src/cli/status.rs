//! `zimaged status`.

use super::fold::folded;
use super::{EXIT_TEMPFAIL, Outcome, pictures, print, short, which_queue};
use crate::config::Config;
use crate::moment;
use crate::problem::printable;
use crate::queue::{JobsFolder, Outlook, QueueStatus, queue_status};
use crate::status::{HeldModel, HttpStatus, ReloadStatus};
use crate::store::{JobRow, LateJob};

/// Of so many things in the jobs folder each gets a line.
const LINES_MAX: usize = 5;

/// The exit code says whether a daemon runs.
pub(super) async fn status(config: &Config, json: bool) -> Outcome {
    let status = queue_status(config).await?;
    print::answer(&status, &folded(&lines(&status).join("\n")), json)?;
    Ok(if status.running { 0 } else { EXIT_TEMPFAIL })
}

fn lines(status: &QueueStatus) -> Vec<String> {
    let mut lines = vec![which_queue(&status.state_folder, status.config.as_deref())];
    lines.push(match &status.daemon {
        Some(daemon) => format!("running (process {}): {}", daemon.pid, daemon.line()),
        None if status.running => "starting".to_owned(),
        None => "not running; start it with: zimaged run".to_owned(),
    });
    if let Some(HttpStatus { url, trouble, scarcity }) =
        status.daemon.as_ref().map(|daemon| &daemon.http)
    {
        lines.extend(url.clone());
        lines.extend(trouble.as_ref().map(|trouble| format!("no HTTP: {}", printable(trouble))));
        lines.extend(scarcity.clone());
    }
    lines.extend(status.daemon.iter().filter_map(|daemon| daemon.reload.as_ref()).flat_map(reload));
    lines.extend(status.unread_configuration.clone());
    let asleep = status.daemon.iter().filter_map(|daemon| daemon.not_kept_awake.as_ref());
    lines
        .extend(asleep.map(|why| format!("may go to sleep while work is due: {}", printable(why))));
    lines.extend(status.database.clone());
    lines.extend(status.begun.iter().map(|job| progress(job, status.running)));
    if status.database.is_none() {
        // Else that says so.
        lines.extend(queue(status));
    }
    lines.extend(status.late.iter().map(late));
    if let Some(pause) = &status.paused {
        lines.push(format!("paused: {}", pause.reason));
    }
    let held = status.daemon.iter().flat_map(|daemon| &daemon.held_models);
    lines.extend(held.map(HeldModel::told));
    if let Some(trouble) = &status.model_trouble {
        lines.push(format!("the configured model cannot be used: {}", printable(trouble)));
    } else if let Some(worker) = &status.model {
        let key = &worker.model_key;
        let called = if key.is_empty() { String::new() } else { format!(" ({key})") };
        lines.push(format!(
            "model {}{} on {}, loaded in {} ms",
            worker.model_name, called, worker.device, worker.load_ms
        ));
        lines.extend(worker.parts.0.iter().map(|part| format!("  {}", pictures::origin(part))));
    }
    lines.extend(jobs_folder(&status.jobs_folder));
    lines.extend(status.rejected.iter().map(|rejected| {
        let at = moment::dated(rejected.at_ms);
        format!("set aside {at}: {}", printable(&rejected.reason))
    }));
    if status.more_rejected > 0 {
        let more = print::count(status.more_rejected, "file");
        lines.push(format!("and {more} more set aside: zimaged list --rejected"));
    }
    lines
}

/// Of which past the queue is, and what is left to do in it.
fn queue(status: &QueueStatus) -> Vec<String> {
    let before = status.saved_database.clone();
    let begun_anew = status.begun_anew.as_deref().map(printable);
    let mut left = print::count(status.queued, "render") + " queued";
    let begun = status.outlook.renders.saturating_sub(status.queued);
    if begun > 0 && !status.running {
        // What ran when a daemon died is made again by the next one.
        left += &format!(", {begun} interrupted");
    }
    left += &expected(&status.outlook);
    before.into_iter().chain(begun_anew).chain([left]).collect()
}

/// What does not count of the configuration as it stands in its file.
fn reload(reload: &ReloadStatus) -> Vec<String> {
    let at = moment::dated(reload.at_ms);
    let first_line = |trouble: &String| printable(trouble.lines().next().unwrap_or_default());
    let trouble = reload.trouble.as_ref();
    let trouble = trouble.map(|trouble| format!("not reloaded {at}: {}", first_line(trouble)));
    let keys = reload.needs_restart.join(", ");
    let restart = (!keys.is_empty()).then(|| format!("reloaded {at}, but needs a restart: {keys}"));
    trouble.into_iter().chain(restart).collect()
}

/// What waits in the folder, and what is left alone there.
fn jobs_folder(folder: &JobsFolder) -> Vec<String> {
    let mut lines = Vec::new();
    let path = short(&folder.path);
    if let Some(trouble) = &folder.trouble {
        lines.push(format!("job files are not taken in: {}", printable(trouble)));
    }
    if folder.waiting > 0 {
        let verb = if folder.waiting == 1 { "waits" } else { "wait" };
        lines.push(format!("{} {verb} in {path}/:", print::count(folder.waiting as u64, "file")));
    }
    for waiting in folder.files.iter().take(LINES_MAX) {
        lines.push(format!("  {}: {}", waiting.file, printable(&waiting.reason)));
    }
    if folder.waiting > LINES_MAX {
        lines.push(format!("  and {} more", folder.waiting - LINES_MAX));
    }
    if folder.left_alone > 0 {
        let left_alone = print::count(folder.left_alone as u64, "other");
        lines.push(format!("{left_alone} left alone in {path}/:"));
    }
    for other in folder.others.iter().take(LINES_MAX) {
        lines.push(format!("  {}: {}", other.file, other.what_to_do));
    }
    if folder.left_alone > LINES_MAX {
        lines.push(format!("  and {} more", folder.left_alone - LINES_MAX));
    }
    lines
}

fn late(late: &LateJob) -> String {
    let LateJob { job, renders } = late;
    let renders = print::count(renders.unsigned_abs(), "render");
    format!("job {job}: {renders} cancelled, its not_after came before their turn")
}

fn progress(job: &JobRow, has_daemon: bool) -> String {
    let name = printable(&job.file_name);
    let renders = print::count(job.renders.unsigned_abs(), "render");
    let text = format!("job {} ({name}): {} of {renders} done", job.job, job.done);
    let [_, stopping] = pictures::running(job, has_daemon);
    print::with_counts(text, [(job.failed, "failed".to_owned()), stopping])
}

/// When the first render may start, where none may now; how long all take, and when that would be
/// over.
fn expected(outlook: &Outlook) -> String {
    let start_ms = outlook.earliest_ms.unwrap_or_default();
    let mut text = moment::starts(start_ms).map_or(String::new(), |starts| format!(", {starts}"));
    if let Some(work_ms) = outlook.work_ms {
        text += &format!(", {} of work", moment::expected(work_ms, outlook.is_estimate));
        if outlook.is_sample {
            text += " by the first 100,000 of them";
        }
        if outlook.unfit > 0 {
            text += &format!(" ({} may run out of memory)", print::count(outlook.unfit, "render"));
        }
    }
    if let Some(done_at_ms) = outlook.done_at_ms.filter(|_| outlook.renders > 0) {
        let at = moment::soon(done_at_ms);
        text += &match (outlook.last_job, outlook.sooner_done_at_ms.map(moment::soon)) {
            (None, _) => format!(": done at about {at}"),
            (Some(job), None) => format!(": done at about {at} with job {job}"),
            (Some(job), Some(sooner)) => format!(
                ": done at about {sooner} but for what waits for its time, and at about {at} with \
                 job {job}"
            ),
        };
        text += &print::too_late(outlook.too_late, "render");
    }
    text
}
