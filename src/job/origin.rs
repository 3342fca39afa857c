//! Where a job comes from.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::spelling::spelled_by_serde;

/// Where a job comes from. The database holds its [`OriginKind`] and, as columns of their own, what
/// belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file in the jobs folder. The same drop is taken in once, however often it is found.
    Drop {
        id: DropId,
        /// What an older version of the program may know it by, where it may have met the file.
        before: Option<FileId>,
    },
    /// A request without a file. Each one is a job of its own, also when it repeats another.
    Request,
    /// A request over HTTP.
    Http(Api),
    /// Renders of the earlier job `of` that failed or were cancelled, once more.
    Retry { of: i64 },
}

/// The kind of an [`Origin`], as rows and answers name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OriginKind {
    /// A file in the jobs folder.
    Drop,
    /// A request without a file.
    Request,
    /// Renders of an earlier job, once more.
    Retry,
    /// A request over HTTP, by our own API.
    Http,
    /// A request over HTTP, by OpenAI's API.
    Openai,
    /// A request over HTTP, by the API of Stable Diffusion's web UI.
    Sdapi,
}

/// The API that a request over HTTP speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Own,
    OpenAi,
    Sdapi,
}

spelled_by_serde!(OriginKind);

impl Origin {
    pub fn kind(self) -> OriginKind {
        match self {
            Origin::Drop { .. } => OriginKind::Drop,
            Origin::Request => OriginKind::Request,
            Origin::Http(Api::Own) => OriginKind::Http,
            Origin::Http(Api::OpenAi) => OriginKind::Openai,
            Origin::Http(Api::Sdapi) => OriginKind::Sdapi,
            Origin::Retry { .. } => OriginKind::Retry,
        }
    }
}

/// Tells one drop of a file from every other: a random number that we give to the file as a part of
/// its name before anything about it is a row. What the filesystem says of a file (device, inode,
/// times) does not tell drops apart: a copy may keep the time and get the inode of a file that is
/// gone, and a disk that is mounted again may have another device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DropId(pub u128);

impl DropId {
    /// The length of its text, of digits and letters of one byte each.
    pub const TEXT_BYTES: usize = 32;
}

impl fmt::Display for DropId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for DropId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<DropId, ParseIntError> {
        u128::from_str_radix(text, 16).map(DropId)
    }
}

/// What versions of the program before drops had numbers of their own took for a drop's identity,
/// together with the hash of its content.
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
    /// Without folder, and without characters that nobody sees.
    pub name: String,
    pub id: DropId,
    /// Of the content, in lower-case hex; empty where the content was not read.
    pub sha256: String,
}
