//! The HTTP face, asked over real sockets.

mod api;
mod attacks;
mod clients;
mod openai;
mod pictures;
mod sdapi;
mod page;
mod start;
