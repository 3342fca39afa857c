//! The HTTP face, asked over real sockets.

mod api;
mod attacks;
mod clients;
mod form;
mod gallery;
mod openai;
mod openapi;
mod pictures;
mod preview;
mod sdapi;
mod page;
mod start;
mod states;
mod stream;
mod waiting;
