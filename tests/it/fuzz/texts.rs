//! Job files and `daemon.toml`.

use std::path::Path;

use zimaged::internals::{Config, QueueError, Report, check_job};

use super::{Target, example};

/// A text is at most 1 MiB, and a job has at most so many renders: their values take this.
const HEAP_BYTES_MAX: usize = 512 << 20;

const WORDS: &[&str] = &[
    "prompt = ",
    "[matrix]\n",
    "[matrix]\nseed = [",
    "[defaults]\n",
    "count = 1000000",
    "seed = -1\n",
    "steps = nan\n",
    "width = 9223372036854775807\n",
    "guidance = 1e308\n",
    "not_before = \"2999-12-31T23:59:60Z\"\n",
    "window = \"22:00-07:00\"\n",
    "tags = [",
    "{a|b|{c|d}}",
    "{2$$a|b|c}",
    "__animals__",
    "output = \"../x\"\n",
    "loras = [{ file = \"a.safetensors\", weight = inf }]\n",
    "init_image = \"\"\n",
    "prompt_file = \"\"\n",
    "\"\"\"",
    "'''",
    "[[[[[[[[",
    "{a={a={a=",
    "\u{feff}",
    "\0",
    "\r\n",
    "\u{202e}",
    "1979-05-27T07:32:00Z",
    "\\uD800",
];

#[test]
fn a_job_file_may_hold_anything() {
    let examples = ["chinese", "hello", "night", "poster", "sheet"];
    let mut corpus: Vec<Vec<u8>> =
        examples.map(|name| example(&format!("examples/{name}.toml"))).to_vec();
    corpus.push(MATRIX.into());
    let target = Target { name: "job", corpus, words: WORDS, heap_bytes_max: HEAP_BYTES_MAX };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Config::parse("engine = 'fake'", folder.path()).expect("a configuration");
    target.run(move |bytes| {
        match check_job(&config, folder.path(), "a.toml".into(), bytes.to_vec()) {
            Ok(_) => Ok(()),
            Err(QueueError::Mistakes(mistakes)) => {
                assert!(!mistakes.problems.is_empty(), "refused without a mistake");
                Err(mistakes.to_string())
            }
            Err(error) => panic!("not the job's fault: {error}"),
        }
    });
}

const MATRIX: &str = "prompt = ['a {red|blue} fox', '猫']\ntags = ['x']\npriority = 3\n\
    [defaults]\nsteps = 4\n[matrix]\nseed = [1, 2]\nwidth = [512, 768]\n\
    [[render]]\nprompt = 'b'\nguidance = 2.5\n";

#[test]
fn a_configuration_may_hold_anything() {
    let corpus = vec![example("daemon.toml"), example("packaging/daemon.toml"), MODELS.into()];
    let target = Target { name: "config", corpus, words: WORDS, heap_bytes_max: HEAP_BYTES_MAX };
    target.run(|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return Ok(()) };
        Config::parse(text, Path::new("/nowhere")).map(drop).map_err(|problems| {
            assert!(!problems.is_empty(), "refused without a mistake");
            Report { name: "daemon.toml", content: bytes, problems: &problems }.to_string()
        })
    });
}

const MODELS: &str = "[model]\npath = 'a'\nkind = 'base'\n[models.b]\npath = 'c'\n[device]\n\
    kind = 'cpu'\nmemory_limit = '3 GiB'\nidle_release = '5 min'\n[worker]\nbackoff = '10ms'\n\
    [http]\nlisten = '0.0.0.0:1'\ntoken = 'always'\nhosts = ['box.lan']\n";
