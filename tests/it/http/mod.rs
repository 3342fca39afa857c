//! The HTTP face, asked over real sockets.

mod attacks;
mod start;
