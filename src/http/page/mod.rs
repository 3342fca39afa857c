//! The pages that people open in a browser.
//!
//! The server makes them whole, so that they can be read and used without JavaScript; the few
//! scripts beside them fill parts of a page anew with what the server says of them.

mod about;
mod activity;
mod advice;
mod assets;
mod compare;
mod create;
mod failures;
mod fields;
mod files;
mod form;
mod gallery;
mod grid;
mod history;
mod layout;
mod memory;
mod picture;
mod queue;
mod reference;
mod system;
mod table;
mod trouble;
mod visitor;
mod words;

use axum::Router;
use axum::routing::{get, post};

pub use self::trouble::trouble;
pub use self::visitor::Visitor;
use super::app::FaceState;

pub fn routes() -> Router<FaceState> {
    Router::new()
        .route("/", get(create::create).post(create::submit))
        .route("/create/check", post(create::live_advice))
        .route("/create/picture", post(create::settings_of_picture))
        .route("/queue", get(queue::queue))
        .route("/queue/{action}", post(queue::press))
        .route("/gallery", get(gallery::gallery))
        .route("/pictures.zip", get(gallery::archive))
        .route("/picture", get(picture::picture))
        .route("/thumbnail", get(files::thumbnail))
        .route("/compare", get(compare::compare))
        .route("/preview", get(files::preview))
        .route("/file", get(files::file))
        .route("/history", get(history::history))
        .route("/memory", get(memory::memory))
        .route("/reference", get(reference::page_of_reference))
        .route("/system", get(system::system))
        .route("/about", get(about::about))
        .route("/licence/{name}", get(about::licence))
        .route("/live/now", get(layout::live_now))
        .route("/live/queue", get(queue::live_queue))
        .route("/live/newest", get(gallery::live_newest))
        .route("/live/worker", get(system::live_worker))
        .route("/live/log", get(system::live_log))
        .route("/look", get(visitor::choose))
        .route("/assets/{hash}/{name}", get(assets::asset))
}
