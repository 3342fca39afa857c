//! Answers with pictures inside: base64 is made while it is sent, so that an answer takes no more
//! memory than a piece of it.

use std::fs::File;
use std::io::{self, Read};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{Stream, stream};

use super::app::App;
use super::picture;
use super::problem::HttpProblem;
use crate::store::HistoryRow;

/// Encoded at once: a multiple of 3, so that pieces need no padding between them.
const PIECE_BYTES: usize = 48 << 10;

/// A text with files in it, in base64.
#[derive(Default)]
pub struct Encoded {
    pieces: Vec<Piece>,
    length: u64,
}

enum Piece {
    Text(String),
    /// A file, and how much of it is still to be sent.
    File(File, u64),
}

impl Encoded {
    pub fn of_text(text: impl Into<String>) -> Encoded {
        let mut answer = Encoded::default();
        answer.text(text);
        answer
    }

    pub fn text(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.length += text.len() as u64;
        self.pieces.push(Piece::Text(text));
    }

    pub fn file(&mut self, file: File, length: u64) {
        self.length += length.div_ceil(3) * 4;
        self.pieces.push(Piece::File(file, length));
    }

    /// Pictures that were made as items of a list, each between two texts.
    pub async fn pictures(
        &mut self,
        app: &App,
        made: &[&HistoryRow],
        (before, after): (&str, &str),
    ) -> Result<(), HttpProblem> {
        for (at, row) in made.iter().enumerate() {
            self.text(if at == 0 { before.to_owned() } else { format!(",{before}") });
            let (file, length) = picture::opened(app, row).await?;
            self.file(file, length);
            self.text(after);
        }
        Ok(())
    }

    /// The answer, as JSON.
    pub fn into_response(self) -> Response {
        let length = self.length;
        let mut response = Response::new(Body::from_stream(self.into_stream()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        response
    }

    /// Its bytes, as they are taken.
    pub fn into_stream(mut self) -> impl Stream<Item = io::Result<Bytes>> {
        self.pieces.reverse();
        stream::try_unfold(self.pieces, |pieces| async move {
            // The files are on a disk that was just read from or written to.
            tokio::task::spawn_blocking(|| next(pieces)).await.map_err(io::Error::other)?
        })
    }
}

/// The next part of what is sent, and what comes after it: the last piece comes first.
fn next(mut pieces: Vec<Piece>) -> io::Result<Option<(Bytes, Vec<Piece>)>> {
    let part = match pieces.pop() {
        None => return Ok(None),
        Some(Piece::Text(text)) => Bytes::from(text),
        Some(Piece::File(mut file, left)) => {
            let take = left.min(PIECE_BYTES as u64);
            let mut bytes = vec![0; usize::try_from(take).unwrap_or(PIECE_BYTES)];
            file.read_exact(&mut bytes)?;
            if left > take {
                pieces.push(Piece::File(file, left - take));
            }
            Bytes::from(STANDARD.encode(bytes))
        }
    };
    Ok(Some((part, pieces)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn what_is_sent_is_the_text_with_the_whole_files_and_as_long_as_it_says() {
        for bytes in [0, 1, 2, 3, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 2] {
            let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
            let content: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
            file.write_all(&content).expect("writable");
            let mut answer = Encoded::default();
            answer.text("[\"");
            answer.file(file.reopen().expect("there"), content.len() as u64);
            answer.text("\"]");
            let response = answer.into_response();
            let length = response.headers()[header::CONTENT_LENGTH].to_str().expect("digits");
            let length: usize = length.parse().expect("a number");
            let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("read");
            assert_eq!(body, format!("[\"{}\"]", STANDARD.encode(&content)));
            assert_eq!(length, body.len());
        }
    }
}
