//! The secret that requests must know where other machines, or other users, can reach us.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::files;

/// The file's name in the state folder.
const NAME: &str = "http-token";

/// As random bytes; nobody guesses so many.
const RANDOM_BYTES: usize = 32;

/// A token that a user has put there is as long at least.
const CHARS_MIN: usize = 16;

/// No file with a token is longer.
const FILE_BYTES_MAX: u64 = 4096;

/// The secret.
#[derive(Clone)]
pub struct Token(Arc<str>);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("the token for HTTP, {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "the token for HTTP, {}, has fewer than {CHARS_MIN} characters, or spaces: remove the file, \
         and the next start makes a good one",
        path.display()
    )]
    Weak { path: PathBuf },
    #[error(
        "the token for HTTP, {}, can be read by everybody: chmod 600 {}",
        path.display(), path.display()
    )]
    Open { path: PathBuf },
}

impl Token {
    /// The token of a state folder, which is made where there is none.
    pub fn of(state: &Path) -> Result<Token, TokenError> {
        let path = state.join(NAME);
        let failed = |source| TokenError::Io { path: path.clone(), source };
        match make(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(failed)?,
        }
        let mode = fs::metadata(&path).map_err(failed)?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(TokenError::Open { path });
        }
        let content = files::read_whole(&path, FILE_BYTES_MAX).map_err(failed)?;
        let text = String::from_utf8_lossy(&content);
        let text = text.trim();
        let is_weak = text.len() < CHARS_MIN || text.contains(char::is_whitespace);
        if is_weak { Err(TokenError::Weak { path }) } else { Ok(Token(text.into())) }
    }

    /// Whether the request has it: as a bearer, or as the password of whatever user.
    pub fn is_known_by(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some((scheme, rest)) = value.to_str().ok().and_then(|it| it.split_once(' ')) else {
            return false;
        };
        let given = match scheme.to_ascii_lowercase().as_str() {
            "bearer" => rest.trim().as_bytes().to_vec(),
            "basic" => password(rest.trim()).unwrap_or_default(),
            _ => return false,
        };
        given.ct_eq(self.0.as_bytes()).into()
    }
}

fn password(encoded: &str) -> Option<Vec<u8>> {
    let decoded = STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

/// For our eyes only, from its first moment.
fn make(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random)?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(token: &Token, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().expect("a value"));
        token.is_known_by(&headers)
    }

    #[test]
    fn it_is_made_once_for_our_eyes_only_and_asked_for_exactly() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let token = Token::of(folder.path()).expect("a token");
        let path = folder.path().join(NAME);
        assert_eq!(fs::metadata(&path).expect("made").permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).expect("readable");
        let text = text.trim();
        assert_eq!(text.len(), 2 * RANDOM_BYTES);
        assert_eq!(&*Token::of(folder.path()).expect("the same").0, text);
        let basic = |user: &str| format!("Basic {}", STANDARD.encode(format!("{user}:{text}")));
        for right in [format!("Bearer {text}"), format!("bearer  {text}"), basic(""), basic("me")] {
            assert!(asked(&token, &right), "{right}");
        }
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            &format!("Bearer {}", &text[1..]),
            &format!("Bearer {text}0"),
            "Basic !",
            &format!("Basic {}", STANDARD.encode(text)),
            &format!("Digest {text}"),
        ] {
            assert!(!asked(&token, wrong), "{wrong}");
        }
        assert!(!token.is_known_by(&HeaderMap::new()));
    }

    #[test]
    fn a_token_that_others_can_read_or_guess_is_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(NAME);
        fs::write(&path, "short").expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).expect("our own file");
        assert!(matches!(Token::of(folder.path()), Err(TokenError::Open { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
        assert!(matches!(Token::of(folder.path()), Err(TokenError::Weak { .. })));
    }
}
