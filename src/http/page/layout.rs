//! What all pages share: the head with its links, what is being rendered, the choice of language
//! and colours.

use axum::extract::State;
use maud::{DOCTYPE, Markup, html};

use super::super::app::App;
use super::super::problem::HttpProblem;
use super::activity::{doing, short_reason};
use super::assets;
use super::visitor::Visitor;
use super::words::{LANGUAGES, Words};

/// The pages that the header of each page links to. All addresses are relative, so that the
/// program can stand below a path of another server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    Create,
    Queue,
    Gallery,
    History,
    Memory,
    System,
    /// Linked to from the foot of each page only.
    About,
}

impl PageKind {
    const ALL: [PageKind; 6] = [
        PageKind::Create,
        PageKind::Queue,
        PageKind::Gallery,
        PageKind::History,
        PageKind::Memory,
        PageKind::System,
    ];

    fn address(self) -> &'static str {
        match self {
            PageKind::Create => "./",
            PageKind::Queue => "queue",
            PageKind::Gallery => "gallery",
            PageKind::History => "history",
            PageKind::Memory => "memory",
            PageKind::System => "system",
            PageKind::About => "about",
        }
    }

    fn title(self, words: &Words) -> &'static str {
        match self {
            PageKind::Create => words.create,
            PageKind::Queue => words.queue,
            PageKind::Gallery => words.gallery,
            PageKind::History => words.history,
            PageKind::Memory => words.memory,
            PageKind::System => words.system,
            PageKind::About => words.about,
        }
    }
}

/// A whole page with `content`.
pub async fn page(
    app: &App,
    visitor: Visitor,
    place: PageKind,
    content: Markup,
) -> Result<Markup, HttpProblem> {
    let words = visitor.words;
    let now = now(app, words).await?;
    let body = html! {
        a.skip href="#content" { (words.skip) }
        header {
            nav aria-label="zimaged" { ul {
                @for to in PageKind::ALL {
                    li {
                        @let here = (to == place).then_some("page");
                        a href=(to.address()) aria-current=[here] { (to.title(words)) }
                    }
                }
            } }
            div.live data-live="live/now" { (now) }
        }
        main #content { (content) }
        (footer(words))
        (keys(words))
        @for script in [assets::LIVE, assets::KEYS, assets::NOTICE] {
            script type="module" src=(script.address()) {}
        }
    };
    Ok(document(visitor, "", place.title(words), body))
}

/// A document with this body, and the head that all have. `pages` leads to where the pages lie, as
/// seen from the address that was asked for.
pub fn document(visitor: Visitor, pages: &str, title: &str, body: Markup) -> Markup {
    let Visitor { words, scheme } = visitor;
    html! {
        (DOCTYPE)
        html lang=(words.tag) data-scheme=[scheme] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · zimaged" }
                link rel="icon" href={ (pages) (assets::ICON.address()) };
                link rel="stylesheet" href={ (pages) (assets::STYLE.address()) };
            }
            body { (body) }
        }
    }
}

fn footer(words: &Words) -> Markup {
    html! {
        footer {
            @for language in LANGUAGES {
                a href={ "look?language=" (language.tag) } lang=(language.tag)
                    aria-current=[(language.tag == words.tag).then_some("true")] { (language.name) }
            }
            a href="look?scheme=light" { (words.light) }
            a href="look?scheme=dark" { (words.dark) }
            a href="reference" { "API" }
            a href="about" { (words.about) }
            button.link.by-script type="button" #open-keys { (words.keys) " (?)" }
            span.quiet { "zimaged " (env!("CARGO_PKG_VERSION")) }
            label.tick hidden {
                input type="checkbox" #notice data-done=(words.queue_is_done);
                (words.notice)
            }
        }
    }
}

/// What the keyboard can do. A script shows it.
fn keys(words: &Words) -> Markup {
    let keys = [
        ("?", words.keys_list),
        ("1 – 6", words.keys_pages),
        ("/", words.keys_field),
        ("← →", words.keys_neighbours),
        ("s", words.keys_star),
        ("Ctrl+Enter", words.keys_send),
    ];
    html! {
        dialog #keys aria-labelledby="keys-title" {
            h2 #keys-title { (words.keys) }
            dl { @for (key, does) in keys { dt { kbd { (key) } } dd { (does) } } }
            label.tick { input type="checkbox" #single-keys checked; (words.keys_single) }
            form method="dialog" { button { (words.close) } }
        }
    }
}

/// What is being done, for [`page`]s that are open already.
pub async fn live_now(State(app): State<App>, visitor: Visitor) -> Result<Markup, HttpProblem> {
    now(&app, visitor.words).await
}

async fn now(app: &App, words: &Words) -> Result<Markup, HttpProblem> {
    let status = app.status();
    let queued = app.store().queued().await?;
    let is_busy = app.store().is_busy().await?;
    let paused = app.store().paused().await?;
    let left_ms = match &status.render {
        Some(render) => app.queue().job_left(render.job_id, render.begun()).await?.left_ms,
        None => None,
    };
    Ok(html! {
        @if let Some(pause) = &paused { span.warn { (words.paused) ": " (pause.reason) } }
        @if let Some(hold) = &status.hold {
            @let is_wanted = status.hold_is_wanted;
            span.bad[!is_wanted].warn[is_wanted] {
                (words.held) ": " (short_reason(words, words.hold(status.hold_kind), hold))
            }
        }
        (doing(words, &status))
        @if let Some(left) = left_ms.and_then(|ms| words.units.left(ms)) {
            span.quiet { (left) " " (words.left) }
        }
        @if queued > 0 { a href="queue" { (queued) " " (words.waiting) } }
        span hidden data-busy=(is_busy) {}
    })
}

/// A form of one button, which works without JavaScript.
pub fn button(action: &str, label: &str, fields: &[(&str, String)]) -> Markup {
    html! {
        form method="post" action={ "queue/" (action) } {
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
            button { (label) }
        }
    }
}
