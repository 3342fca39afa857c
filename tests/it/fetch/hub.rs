//! A hub on this machine that speaks Hugging Face's and ModelScope's protocols, and fails on
//! request: a host with names and small files, and another one with the large files' contents.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The commit of every repository.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The token that private repositories want.
pub const TOKEN: &str = "hf_secret";

/// What goes wrong with an answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// The range asked for is ignored, and the whole file sent.
    WholeOnly,
    /// The right number of bytes, of which one is wrong.
    WrongByte,
    /// A shorter file, well sent.
    Short,
    /// This status, with these headers.
    Status(u16, &'static str),
    /// So much of a pause after each kilobyte.
    Slow(Duration),
    /// A page in place of the file.
    Page,
    /// The body says that it is compressed.
    Gzip,
    /// The range that is sent is said to be another one.
    WrongRange,
    /// The hub promises another hash than it has listed.
    OtherPromise,
    /// Elsewhere; the redirect itself is unencrypted, as everything here.
    Redirect(String),
}

struct FakeFile {
    repository: String,
    path: String,
    content: Vec<u8>,
    /// What the listing says of its length, where that is not true.
    listed_bytes: Option<usize>,
}

impl FakeFile {
    fn listed_bytes(&self) -> usize {
        self.listed_bytes.unwrap_or(self.content.len())
    }

    /// Kept beside git, and known by its SHA-256.
    fn is_large(&self) -> bool {
        self.path.ends_with(".safetensors") || self.path.ends_with(".gguf")
    }

    fn sha256(&self) -> String {
        sha256(&self.content)
    }

    fn git_blob(&self) -> String {
        let mut hash = Sha1::new_with_prefix(format!("blob {}\0", self.content.len()));
        hash.update(&self.content);
        hex(&hash.finalize())
    }
}

/// A request that came.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// To the host with the contents.
    pub is_store: bool,
    pub method: String,
    pub target: String,
    pub authorization: Option<String>,
    pub range: Option<Range<usize>>,
}

#[derive(Default)]
struct Script {
    /// For requests whose target has this text: so many more times.
    faults: Vec<(String, usize, Fault)>,
    seen: Vec<Seen>,
    /// What the store has sent of its files.
    store_bytes: usize,
    private: Vec<String>,
    /// Between two parts of 64 KiB of a body.
    pause: Duration,
    page: usize,
}

struct Shared {
    files: Mutex<Vec<FakeFile>>,
    script: Mutex<Script>,
    hub: SocketAddr,
    store: SocketAddr,
}

/// The hub; it lives until the test's process ends.
pub struct FakeHub {
    shared: Arc<Shared>,
}

/// So much of a body is sent at a time.
const CHUNK: usize = 64 << 10;

impl FakeHub {
    pub fn start() -> FakeHub {
        let [hub, store] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let address = |listener: &TcpListener| listener.local_addr().unwrap();
        let script = Mutex::new(Script { page: 1000, ..Script::default() });
        let files = Mutex::default();
        let shared = Arc::new(Shared { files, script, hub: address(&hub), store: address(&store) });
        let fake = FakeHub { shared };
        for (listener, is_store) in [(hub, false), (store, true)] {
            let shared = fake.shared.clone();
            thread::spawn(move || accept(&listener, &shared, is_store));
        }
        fake
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.shared.hub)
    }

    /// Publishes a file.
    pub fn add(&self, repository: &str, path: &str, content: Vec<u8>) {
        let (repository, path) = (repository.to_owned(), path.to_owned());
        self.shared.files.lock().unwrap().push(FakeFile {
            repository,
            path,
            content,
            listed_bytes: None,
        });
    }

    /// Lets the listing tell another length.
    pub fn lie(&self, path: &str, bytes: usize) {
        let mut files = self.shared.files.lock().unwrap();
        let file = files.iter_mut().find(|file| file.path == path);
        file.expect("a file of that path").listed_bytes = Some(bytes);
    }

    /// Lets requests whose target has `text` fail so, `times` times.
    pub fn plan(&self, text: &str, times: usize, fault: Fault) {
        self.shared.script.lock().unwrap().faults.push((text.to_owned(), times, fault));
    }

    pub fn forget_plans(&self) {
        self.shared.script.lock().unwrap().faults.clear();
    }

    /// Wants [`TOKEN`] from now on.
    pub fn make_private(&self, repository: &str) {
        self.shared.script.lock().unwrap().private.push(repository.to_owned());
    }

    pub fn set_pause(&self, pause: Duration) {
        self.shared.script.lock().unwrap().pause = pause;
    }

    /// How many entries a page of a listing has.
    pub fn set_page(&self, entries: usize) {
        self.shared.script.lock().unwrap().page = entries;
    }

    /// The requests since the last call.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.script.lock().unwrap().seen)
    }

    /// What the store has sent of its files.
    pub fn sent_bytes(&self) -> usize {
        self.shared.script.lock().unwrap().store_bytes
    }

    /// Waits until the store has sent so many bytes.
    pub fn until_sent(&self, bytes: usize) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.sent_bytes() < bytes {
            assert!(Instant::now() < deadline, "never were {bytes} bytes asked for");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, is_store: bool) {
    for stream in listener.incoming().flatten() {
        let shared = shared.clone();
        thread::spawn(move || {
            let _ = serve(&stream, &shared, is_store);
        });
    }
}

/// Request after request, as long as the connection lives.
fn serve(stream: &TcpStream, shared: &Shared, is_store: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(seen) = read(&mut reader, is_store)? {
        shared.script.lock().unwrap().seen.push(seen.clone());
        let answer = shared.answer(&seen);
        let fault = shared.fault(&seen.target);
        if !send(stream, &seen, answer, fault, shared)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read(reader: &mut impl BufRead, is_store: bool) -> io::Result<Option<Seen>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut seen = Seen { is_store, method, target, ..Seen::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { return Ok(Some(seen)) };
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("authorization", value) => seen.authorization = Some(value.to_owned()),
            ("range", value) => seen.range = range(value),
            _ => (),
        }
    }
}

/// `bytes=3-7` or `bytes=3-`.
fn range(text: &str) -> Option<Range<usize>> {
    let (start, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some(start.parse().ok()?..last.parse::<usize>().map_or(usize::MAX, |last| last + 1))
}

/// An answer before anything goes wrong with it.
struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn of(status: u16, headers: &str, body: Vec<u8>) -> Answer {
        Answer { status, headers: headers.to_owned(), body }
    }

    fn json(value: &serde_json::Value, headers: &str) -> Answer {
        let headers = format!("Content-Type: application/json\r\n{headers}");
        Answer::of(200, &headers, value.to_string().into_bytes())
    }
}

impl Shared {
    fn fault(&self, target: &str) -> Option<Fault> {
        let mut script = self.script.lock().unwrap();
        let fits = |(text, times, _): &&mut (String, usize, Fault)| {
            *times > 0 && target.contains(text.as_str())
        };
        let (_, times, fault) = script.faults.iter_mut().find(fits)?;
        *times -= 1;
        Some(fault.clone())
    }

    fn answer(&self, seen: &Seen) -> Answer {
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let not_found = || Answer::of(404, "X-Error-Code: EntryNotFound\r\n", Vec::new());
        match parts.as_slice() {
            ["blob", digits] => {
                let files = self.files.lock().unwrap();
                match files.iter().find(|file| file.sha256() == *digits) {
                    Some(file) => Answer::of(200, "Accept-Ranges: bytes\r\n", file.content.clone()),
                    None => not_found(),
                }
            }
            ["api", "v1", "models", owner, name, "repo", "files"] => {
                self.model_scope_list(&format!("{owner}/{name}"), seen)
            }
            ["api", "v1", "models", owner, name, "repo"] => {
                let path = query.split('&').find_map(|part| part.strip_prefix("FilePath="));
                self.file(&format!("{owner}/{name}"), &unquoted(path.unwrap_or_default()), seen)
            }
            ["api", "models", owner, name, "revision", revision] => {
                self.hugging_face_info(&format!("{owner}/{name}"), revision, seen)
            }
            ["api", "models", owner, name, "tree", _] => {
                self.hugging_face_list(&format!("{owner}/{name}"), path, query, seen)
            }
            [owner, name, "resolve", _, rest @ ..] => {
                self.file(&format!("{owner}/{name}"), &unquoted(&rest.join("/")), seen)
            }
            _ => not_found(),
        }
    }

    /// Whoever may not see a repository is not told that it is there.
    fn refusal(&self, repository: &str, seen: &Seen) -> Option<Answer> {
        let is_private = self.script.lock().unwrap().private.iter().any(|it| it == repository);
        let is_known = seen.authorization.as_deref() == Some(&format!("Bearer {TOKEN}"));
        let is_there = self.files.lock().unwrap().iter().any(|it| it.repository == repository);
        let refused = !is_there || (is_private && !is_known);
        refused.then(|| Answer::of(401, "X-Error-Code: RepoNotFound\r\n", Vec::new()))
    }

    fn hugging_face_info(&self, repository: &str, revision: &str, seen: &Seen) -> Answer {
        if let Some(refusal) = self.refusal(repository, seen) {
            return refusal;
        }
        let is_commit = revision.len() == 40;
        if revision != "main" && !is_commit {
            return Answer::of(404, "X-Error-Code: RevisionNotFound\r\n", Vec::new());
        }
        let files = self.files.lock().unwrap();
        let of_it = files.iter().filter(|file| file.repository == repository);
        let siblings: Vec<_> = of_it.map(|file| json!({ "rfilename": file.path })).collect();
        let commit = if is_commit { revision } else { COMMIT };
        let info =
            json!({ "id": repository, "sha": commit, "siblings": siblings, "private": false });
        Answer::json(&info, "")
    }

    fn hugging_face_list(&self, repository: &str, path: &str, query: &str, seen: &Seen) -> Answer {
        if let Some(refusal) = self.refusal(repository, seen) {
            return refusal;
        }
        let page = self.script.lock().unwrap().page;
        let cursor = query.split('&').find_map(|part| part.strip_prefix("cursor="));
        let from: usize = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let files = self.files.lock().unwrap();
        let mut entries =
            vec![json!({ "type": "directory", "path": "vae", "oid": "a", "size": 0 })];
        entries.extend(files.iter().filter(|file| file.repository == repository).map(entry));
        let next = match from + page < entries.len() {
            true => format!(
                "Link: <http://{}{path}?recursive=true&expand=false&cursor={}>; rel=\"next\"\r\n",
                self.hub,
                from + page
            ),
            false => String::new(),
        };
        let entries: Vec<_> = entries.into_iter().skip(from).take(page).collect();
        Answer::json(&json!(entries), &next)
    }

    fn model_scope_list(&self, repository: &str, seen: &Seen) -> Answer {
        if self.refusal(repository, seen).is_some() {
            let error =
                json!({ "Code": 10010205001_u64, "Message": "no such model", "Success": false });
            return Answer { status: 404, ..Answer::json(&error, "") };
        }
        let files = self.files.lock().unwrap();
        let of_it = files.iter().filter(|file| file.repository == repository);
        let entries = of_it.map(|file| {
            let name = file.path.rsplit('/').next();
            json!({
                "Path": file.path, "Name": name, "Type": "blob", "Size": file.listed_bytes(),
                "Sha256": file.sha256(), "Revision": COMMIT, "IsLFS": file.is_large(),
            })
        });
        let folder = json!({ "Path": "vae", "Name": "vae", "Type": "tree", "Size": 0 });
        let entries: Vec<_> = std::iter::once(folder).chain(entries).collect();
        let answer = json!({ "Code": 200, "Success": true, "Data": { "Files": entries } });
        Answer::json(&answer, "")
    }

    /// Large files are with the store, small ones here.
    fn file(&self, repository: &str, path: &str, seen: &Seen) -> Answer {
        if let Some(refusal) = self.refusal(repository, seen) {
            return refusal;
        }
        let files = self.files.lock().unwrap();
        let found = files.iter().find(|file| file.repository == repository && file.path == path);
        let Some(file) = found else {
            return Answer::of(404, "X-Error-Code: EntryNotFound\r\n", Vec::new());
        };
        let commit = format!("X-Repo-Commit: {COMMIT}\r\n");
        let (bytes, sha256) = (file.content.len(), file.sha256());
        if !file.is_large() {
            let headers = format!("{commit}ETag: W/\"{}\"\r\n", file.git_blob());
            return Answer::of(200, &headers, file.content.clone());
        }
        let mut headers =
            format!("{commit}X-Linked-Size: {bytes}\r\nX-Linked-ETag: \"{sha256}\"\r\n");
        let _ = write!(headers, "Location: http://{}/blob/{sha256}?signed=1\r\n", self.store);
        Answer::of(302, &headers, b"elsewhere".to_vec())
    }
}

fn entry(file: &FakeFile) -> serde_json::Value {
    let (path, bytes) = (&file.path, file.listed_bytes());
    match file.is_large() {
        true => json!({
            "type": "file", "path": path, "size": bytes, "oid": "b".repeat(40),
            "lfs": { "oid": file.sha256(), "size": bytes, "pointerSize": 135 },
        }),
        false => json!({ "type": "file", "path": path, "size": bytes, "oid": file.git_blob() }),
    }
}

/// Sends the answer, or what the fault makes of it. Whether the connection is good for another.
fn send(
    mut stream: &TcpStream,
    seen: &Seen,
    mut answer: Answer,
    fault: Option<Fault>,
    shared: &Shared,
) -> io::Result<bool> {
    match &fault {
        Some(Fault::WrongByte) => answer.body.iter_mut().take(1).for_each(|byte| *byte ^= 1),
        Some(Fault::Short) => answer.body.truncate(answer.body.len() / 2),
        Some(Fault::Status(status, headers)) => answer = Answer::of(*status, headers, Vec::new()),
        Some(Fault::Page) => {
            answer =
                Answer::of(200, "Content-Type: text/html\r\n", b"<html>log in</html>".to_vec());
        }
        Some(Fault::Gzip) => answer.headers += "Content-Encoding: gzip\r\n",
        Some(Fault::OtherPromise) => {
            let promise = format!("X-Linked-ETag: \"{}\"\r\n", "0".repeat(64));
            let others = answer.headers.split_inclusive("\r\n");
            let others = others.filter(|header| !header.starts_with("X-Linked-ETag"));
            answer.headers = others.chain([promise.as_str()]).collect();
        }
        Some(Fault::Redirect(to)) => {
            answer = Answer::of(302, &format!("Location: {to}\r\n"), Vec::new());
        }
        _ => (),
    }
    // As ModelScope, small files are always sent whole.
    let ranged = seen.range.clone().filter(|_| {
        seen.is_store
            && answer.status == 200
            && !matches!(fault, Some(Fault::WholeOnly | Fault::Page))
    });
    if let Some(range) = ranged {
        let (length, end) = (answer.body.len(), range.end.min(answer.body.len()));
        if range.start >= length {
            answer = Answer::of(416, &format!("Content-Range: bytes */{length}\r\n"), Vec::new());
        } else {
            answer.status = 206;
            let (mut start, last) = (range.start, end - 1);
            if matches!(fault, Some(Fault::WrongRange)) {
                start += 1;
            }
            let _ = write!(answer.headers, "Content-Range: bytes {start}-{last}/{length}\r\n");
            answer.body.truncate(end);
            answer.body.drain(..range.start);
        }
    }
    let Answer { status, headers, body } = answer;
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n")?;
    if seen.method == "HEAD" {
        return Ok(true);
    }
    let limit = if let Some(Fault::Cut(bytes)) = fault { bytes } else { usize::MAX };
    let (step, pause) = match fault {
        Some(Fault::Slow(pause)) => (1024, pause),
        _ => (CHUNK, shared.script.lock().unwrap().pause),
    };
    for chunk in body[..body.len().min(limit)].chunks(step) {
        stream.write_all(chunk)?;
        if seen.is_store {
            shared.script.lock().unwrap().store_bytes += chunk.len();
        }
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }
    Ok(limit >= body.len())
}

fn unquoted(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], code) {
            (b'%', Some(byte)) => {
                plain.push(byte);
                at += 3;
            }
            (byte, _) => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).unwrap()
}

pub fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `bytes` bytes of which no two parts are alike.
pub fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend(state.to_le_bytes());
    }
    content.truncate(bytes);
    content
}
