//! Where a job comes from.

/// Where a job comes from. The database holds [`Origin::as_str`] and, as columns of their own, what
/// belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file in the jobs folder. The same drop is taken in once, however often it is found.
    Drop(FileId),
    /// A request without a file. Each one is a job of its own, also when it repeats another.
    Request,
    /// Renders of the earlier job `of` that failed or were cancelled, once more.
    Retry { of: i64 },
}

impl Origin {
    /// The word in the database and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Drop(_) => "drop",
            Origin::Request => "request",
            Origin::Retry { .. } => "retry",
        }
    }
}

/// Tells one drop of a file from every other, together with the hash of its content: a file that
/// was written or touched since is another drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
    /// Time of the last modification in nanoseconds since the epoch.
    pub mtime_ns: i64,
}

/// A file as it was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Without folder.
    pub name: String,
    pub id: FileId,
    /// Of the content, in lower-case hex; empty where the content was not read.
    pub sha256: String,
}
