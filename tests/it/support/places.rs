//! What lies in the repository, and what `.ci/run` puts beside it.

use std::path::PathBuf;

/// The miniature model.
pub fn miniature() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/mini")
}

/// Python with the clients of other programs' protocols.
pub fn clients_python() -> PathBuf {
    let named = std::env::var_os("ZIMAGED_HTTP_CLIENTS").map(PathBuf::from);
    let ours = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/http-clients");
    named.unwrap_or_else(ours).join("bin/python")
}
