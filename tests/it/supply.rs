//! What the program is made of: from one registry, with hashes, and without what must not be in it.
//! Licences, advisories, and the bans once more, are `cargo deny`'s: see `.ci/run`.

use std::process::Command;

use serde_json::Value;

/// No other TLS than rustls, and no second build of SQLite.
const BANNED: [&str; 5] =
    ["native-tls", "openssl-sys", "aws-lc-sys", "libsqlite3-sys-le", "rusqlite"];

/// All packages of the lock file, with the features that are on in any build.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--all-features"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo is here");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[test]
fn every_crate_comes_from_the_registry_with_its_hash() {
    let lock = include_str!("../../Cargo.lock");
    let lock: toml::Table = lock.parse().expect("TOML");
    let packages = lock["package"].as_array().expect("packages");
    assert!(packages.len() > 100, "{}", packages.len());
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        if name == env!("CARGO_PKG_NAME") {
            continue;
        }
        let source = package.get("source").and_then(|source| source.as_str()).unwrap_or("a path");
        assert!(source.starts_with("registry+"), "{name} comes from {source}");
        assert!(package.get("checksum").is_some(), "{name} has no hash");
    }
}

#[test]
fn nothing_is_built_in_that_is_known_to_harm() {
    let metadata = metadata();
    let nodes = list(&metadata["resolve"]["nodes"]);
    let of = |name: &'static str| {
        let is_it = move |node: &&Value| {
            let id = node["id"].as_str().unwrap_or_default();
            id.contains(&format!("#{name}@")) || id.contains(&format!("/{name}#"))
        };
        nodes.iter().filter(is_it).collect::<Vec<_>>()
    };
    for name in BANNED {
        assert!(of(name).is_empty(), "{name} is in the build");
    }
    let sqlite = of("libsqlite3-sys");
    assert_eq!(sqlite.len(), 1, "one SQLite in one process");
    let id = sqlite[0]["id"].as_str().expect("an id");
    assert!(id.ends_with("@0.37.0"), "{id}: not SQLite 3.51.3, which has no WAL-reset bug");
    let toml = of("toml");
    assert!(!toml.is_empty(), "the reader of job files is in the build");
    for node in toml {
        let features = list(&node["features"]);
        assert!(!features.iter().any(|it| it == "unbounded"), "TOML without a limit on its depth");
    }
}
