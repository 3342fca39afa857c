//! What packages ship: a unit that systemd 252 knows and that stays closed, and a configuration
//! that works under it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use zimaged::internals::Config;

use crate::support::{House, kill};

/// `systemd-analyze security` of the unit when it was written, in tenths; lower is more closed.
const EXPOSURE_MAX: u32 = 18;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All that a configuration names for a queue.
fn folders(config: &Config) -> [&PathBuf; 5] {
    [&config.jobs, &config.outputs, &config.state, &config.loras, &config.wildcards]
}

fn analyze(arguments: &[&str], unit: &Path) -> Output {
    Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        // That of a user's manager; what is only verified puts nothing there.
        .env("XDG_RUNTIME_DIR", std::env::temp_dir())
        .output()
        .expect("systemd-analyze is on Debian's systemd")
}

/// The unit with a program that exists on this machine, in a folder of its own.
fn unit_with_this_binary(folder: &Path) -> PathBuf {
    let text = fs::read_to_string(repository().join("packaging/systemd/zimaged.service"))
        .expect("the unit");
    assert!(text.contains("ExecStart=/usr/bin/zimaged "), "the unit starts the packaged program");
    let unit = folder.join("zimaged.service");
    fs::write(&unit, text.replace("/usr/bin/zimaged", env!("CARGO_BIN_EXE_zimaged")))
        .expect("a writable folder");
    unit
}

#[test]
fn systemd_knows_every_line_of_the_unit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unit = unit_with_this_binary(folder.path());
    // It exits with 0 on unknown keys: any word it says is a finding.
    let output = analyze(&["verify"], &unit);
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    let broken =
        fs::read_to_string(&unit).expect("the unit").replace("KillMode=mixed", "KilMode=mixed");
    fs::write(&unit, broken).expect("a writable folder");
    assert!(!analyze(&["verify"], &unit).stderr.is_empty(), "a misspelt key is noticed");
}

// newcomer 39
#[test]
fn systemd_knows_every_line_of_the_users_unit() {
    let text = fs::read_to_string(repository().join("packaging/systemd/user/zimaged.service"))
        .expect("the unit");
    let starts = "ExecStart=%h/.cargo/bin/zimaged --config %h/zimaged/daemon.toml run\n";
    assert!(text.contains(starts), "where cargo and `zimaged init ~/zimaged` put things");
    for line in ["Type=notify", "RestartPreventExitStatus=78", "WantedBy=default.target"] {
        assert!(text.lines().any(|said| said == line), "{line}");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unit = folder.path().join("zimaged.service");
    fs::write(&unit, text.replace("%h/.cargo/bin/zimaged", env!("CARGO_BIN_EXE_zimaged")))
        .expect("a writable folder");
    let output = analyze(&["--user", "verify"], &unit);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

/// A disk that is full at start ends each start with 75, through the whole night if need be.
#[test]
fn systemd_does_not_give_up_on_what_may_pass_and_does_on_what_needs_a_person() {
    let unit = fs::read_to_string(repository().join("packaging/systemd/zimaged.service"))
        .expect("the unit");
    for line in [
        "StartLimitIntervalSec=0",
        "Restart=on-failure",
        "RestartSec=15",
        "RestartPreventExitStatus=78",
    ] {
        assert!(unit.lines().any(|said| said == line), "{line}");
    }
}

#[test]
fn the_unit_does_not_become_more_open() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unit = unit_with_this_binary(folder.path());
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let output = analyze(&["security", "--offline=true", "--no-pager", &threshold], &unit);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_packaged_folders_are_those_that_the_unit_can_write() {
    let config = Config::load(Some(&repository().join("packaging/daemon.toml")))
        .expect("the packaged configuration");
    let unit = fs::read_to_string(repository().join("packaging/systemd/zimaged.service"))
        .expect("the unit");
    assert!(
        unit.contains("\nStateDirectory=zimaged\n")
            && unit.contains("--config /etc/zimaged/daemon.toml")
    );
    let made = fs::read_to_string(repository().join("packaging/systemd/zimaged.tmpfiles"))
        .expect("the folders");
    for folder in folders(&config) {
        assert!(folder.starts_with("/var/lib/zimaged"), "{}", folder.display());
        assert!(made.contains(&format!("d {} ", folder.display())), "{} is made", folder.display());
    }
    assert!(made.contains(&format!("f {} ", config.state.join("zimaged.sqlite").display())));
}

/// As the packaged folders and the unit's UMask have it: everything that control needs is the
/// group's to write.
#[test]
fn the_group_may_write_what_the_daemon_makes() {
    let house = House::new("");
    let database = house.path("state/zimaged.sqlite");
    fs::create_dir(house.path("state")).expect("a writable folder");
    fs::write(&database, "").expect("a writable folder");
    fs::set_permissions(&database, fs::Permissions::from_mode(0o660)).expect("our own file");
    let run = house.command(&["run"]);
    let mut daemon = Command::new("sh")
        .args(["-c", "umask 0007; exec \"$@\"", "sh"])
        .arg(run.get_program())
        .args(run.get_args())
        .current_dir(house.path(""))
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until("the daemon is up", || house.path("state/status.json").exists().then_some(()));
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    let names = [
        "state/zimaged.sqlite",
        "state/zimaged.sqlite-wal",
        "state/zimaged.sqlite-shm",
        "jobs/accepted",
    ];
    let modes =
        names.map(|name| fs::metadata(house.path(name)).map(|file| file.permissions().mode()));
    kill("TERM", daemon.id());
    assert!(daemon.wait().expect("our own child").success());
    for (name, mode) in names.into_iter().zip(modes) {
        let mode = mode.expect(name);
        assert_eq!(mode & 0o066, 0o060, "{name}: {mode:o}");
    }
}

fn container_file(name: &str) -> String {
    fs::read_to_string(repository().join("packaging/container").join(name)).expect("ours")
}

/// The words after each `word` at the beginning of a line.
fn instructions<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(word));
    lines.filter_map(|rest| rest.strip_prefix(' ')).collect()
}

/// What can be held of an image without building it.
#[test]
fn the_container_files_build_from_what_is_here_and_run_without_rights() {
    let ignored = fs::read_to_string(repository().join(".dockerignore")).expect("ours");
    let config = Config::load(Some(&repository().join("packaging/container/daemon.toml")))
        .expect("the images' configuration");
    // Whichever port of the machine is forwarded to the container's.
    assert_eq!(config.http.hosts, ["localhost", "127.0.0.1"]);
    let toolchain = fs::read_to_string(repository().join("rust-toolchain.toml")).expect("ours");
    for file in ["Containerfile", "Containerfile.cuda"] {
        let text = container_file(file);
        for image in instructions(&text, "FROM") {
            let image = image.trim_end_matches(" AS build");
            let (_, tag) = image.rsplit_once(':').expect("a tag");
            let version = tag.split('-').next().filter(|it| it.split('.').count() == 3);
            let is_ours = version.is_none_or(|version| toolchain.contains(version));
            assert!(is_ours && tag.contains("bookworm"), "{file}: {image}");
        }
        for copied in instructions(&text, "COPY").iter().filter(|it| !it.starts_with("--from")) {
            let words: Vec<&str> = copied.split(' ').collect();
            for source in &words[..words.len() - 1] {
                assert!(repository().join(source).exists(), "{file}: {source}");
                let is_sent = ignored.lines().any(|line| {
                    line.strip_prefix('!').is_some_and(|kept| Path::new(source).starts_with(kept))
                });
                assert!(*source == "." || is_sent, "{file}: {source} is ignored");
            }
        }
        assert_eq!(instructions(&text, "VOLUME"), ["/var/lib/zimaged"], "{file}");
        for folder in folders(&config) {
            let below = folder.strip_prefix("/var/lib/zimaged").expect("in the volume");
            let is_made = |line: &str| {
                line.contains("for folder in")
                    && line.split([' ', ';']).any(|word| Path::new(word) == below)
            };
            assert!(text.lines().any(is_made), "{file}: {}", folder.display());
        }
        assert_eq!(instructions(&text, "USER"), ["zimaged"], "{file}");
        assert_eq!(instructions(&text, "EXPOSE"), ["7860"], "{file}");
        assert!(instructions(&text, "HEALTHCHECK")[0].ends_with(r#"CMD ["zimaged", "status"]"#));
        assert_eq!(instructions(&text, "ENTRYPOINT"), [r#"["zimaged"]"#], "{file}");
    }
    for kept in ignored.lines().filter_map(|line| line.strip_prefix('!')) {
        assert!(repository().join(kept).exists(), "{kept}");
    }
}

/// The images' last stage is the same for both, but for CUDA's libraries.
#[test]
fn both_images_run_alike() {
    let last = |file: &str| {
        let text = container_file(file);
        let (_, last) = text.rsplit_once("FROM ").expect("a stage");
        let is_cuda =
            |line: &&str| !["cuda", "NVIDIA", "# To render"].iter().any(|it| line.contains(it));
        last.lines().filter(is_cuda).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(last("Containerfile"), last("Containerfile.cuda"));
}
