//! `zimaged edit`: other priorities, times and tags for what is queued.

use super::control::{Chosen, not_ended, which};
use super::{Outcome, print, whole};
use crate::config::Config;
use crate::job::state::State;
use crate::moment;
use crate::queue::{Edited, Given, Queue, has_daemon};

/// So many of those that were not changed are told to people.
const REFUSED_MAX: usize = 10;

#[derive(clap::Args, Debug)]
pub(super) struct EditArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// All jobs of which something is in this state: queued or running
    #[arg(long, conflicts_with = "what", value_parser = not_ended)]
    state: Option<State>,
    #[command(flatten)]
    changes: Changes,
}

/// What is to be changed: at least one of them.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Higher runs first
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, value_parser = whole::<i64>)]
    priority: Option<i64>,
    /// Not started before: 22:00, or a date and a time; none: at once
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// Nothing is started after it, what is left is cancelled: 07:00, or a date and a time;
    /// none: no end
    #[arg(long, value_name = "TIME")]
    not_after: Option<String>,
    /// Started in this part of each day only, like 22:00-07:00; none: the whole day
    #[arg(long, value_name = "HOURS")]
    window: Option<String>,
    /// One more word to find the job by; again for another
    #[arg(long, value_name = "WORD")]
    add_tag: Vec<String>,
    /// A word to take away; again for another
    #[arg(long, value_name = "WORD")]
    remove_tag: Vec<String>,
    /// These words in place of all: fox,night; "" takes all away
    #[arg(long, value_name = "WORDS")]
    set_tags: Option<String>,
}

impl Changes {
    /// As keys of a job, and of its tags.
    fn given(&self) -> Vec<Given> {
        let mut given = Vec::new();
        if let Some(priority) = self.priority {
            given.push(Given::number("priority", "--priority", &priority.to_string()));
        }
        for (key, option, value) in [
            ("not_before", "--not-before", &self.not_before),
            ("not_after", "--not-after", &self.not_after),
            ("window", "--window", &self.window),
        ] {
            given.extend(value.as_ref().map(|value| Given::text(key, option, value)));
        }
        if let Some(words) = &self.set_tags {
            let words: Vec<String> = words
                .split([',', ' '])
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect();
            given.push(Given::list("tags", "--set-tags", &words));
        }
        for (key, option, words) in [
            ("add_tags", "--add-tag", &self.add_tag),
            ("remove_tags", "--remove-tag", &self.remove_tag),
        ] {
            given.extend((!words.is_empty()).then(|| Given::list(key, option, words)));
        }
        given
    }
}

pub(super) async fn edit(config: &Config, args: &EditArgs, json: bool) -> Outcome {
    let which = which(&args.chosen, args.state);
    let edited = Queue::open_or_empty(config).await?.edit(&which, &args.changes.given()).await?;
    print::answer(&edited, &text(&edited, has_daemon(config)), json)?;
    Ok(0)
}

/// One line of sum, and one for whatever is as it was.
fn text(edited: &Edited, has_daemon: bool) -> String {
    let Edited { changed, queued, running, refused, not_before_ms, too_late, warnings } = edited;
    let text = format!("{changed} changed: {} queued", print::count(*queued, "render"));
    let mut text = print::with_counts(text, [(*running, "running, which go on")]);
    // newcomer 2
    if let Some(starts) = not_before_ms.and_then(moment::starts) {
        text += &format!(", {starts}");
    }
    text += &print::too_late(*too_late, "render");
    if *too_late > 0 && !has_daemon {
        text += ", if a daemon is started now";
    }
    for warning in warnings {
        text += &format!("\n  but: {warning}");
    }
    for why in refused.iter().take(REFUSED_MAX) {
        text += &format!("\n{why}");
    }
    if refused.len() > REFUSED_MAX {
        text += &format!("\nand {} more are as they were", refused.len() - REFUSED_MAX);
    }
    text
}
