//! The files beside the pages, in the program. Their addresses have their content's hash, so that a
//! browser keeps them for good and asks for them anew after an update.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::super::problem::HttpProblem;
use crate::files::sha256;

/// So much of a hash tells contents apart.
const HASH_CHARS: usize = 12;

/// One of the files.
pub struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
}

pub const STYLE: Asset = Asset {
    name: "style.css",
    kind: "text/css; charset=utf-8",
    content: include_str!("style.css"),
};
pub const LIVE: Asset = script("live.js", include_str!("live.js"));
/// Other scripts use it.
const KEPT: Asset = script("kept.js", include_str!("kept.js"));
pub const KEYS: Asset = script("keys.js", include_str!("keys.js"));
pub const NOTICE: Asset = script("notice.js", include_str!("notice.js"));
pub const CREATE: Asset = script("create.js", include_str!("create.js"));
pub const COMPARE: Asset = script("compare.js", include_str!("compare.js"));
pub const GALLERY: Asset = script("gallery.js", include_str!("gallery.js"));
pub const QUEUE: Asset = script("queue.js", include_str!("queue.js"));
pub const ICON: Asset =
    Asset { name: "icon.svg", kind: "image/svg+xml", content: include_str!("icon.svg") };

const ALL: [Asset; 10] = [STYLE, LIVE, KEPT, KEYS, NOTICE, CREATE, COMPARE, GALLERY, QUEUE, ICON];

const fn script(name: &'static str, content: &'static str) -> Asset {
    Asset { name, kind: "text/javascript; charset=utf-8", content }
}

/// One hash for all: they belong together.
static HASH: LazyLock<String> = LazyLock::new(|| {
    let all: String = ALL.iter().map(|asset| asset.content).collect();
    sha256(all).chars().take(HASH_CHARS).collect()
});

impl Asset {
    /// Relative to a page.
    pub fn address(&self) -> String {
        format!("assets/{}/{}", *HASH, self.name)
    }
}

/// A page of an older program may ask with another hash: it gets what there is now.
pub async fn asset(Path((_, name)): Path<(String, String)>) -> Result<Response, HttpProblem> {
    let asset = ALL.into_iter().find(|asset| asset.name == name);
    let asset = asset.ok_or_else(|| HttpProblem::not_found("there is no such file"))?;
    let headers = [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable"),
    ];
    Ok((headers, asset.content).into_response())
}
