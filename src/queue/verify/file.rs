//! One picture against its row.

use std::io::{self, Seek};
use std::path::Path;

use rustix::io::Errno;
use serde::Serialize;

use crate::store::DonePicture;
use crate::{output, thumbnails};

/// A picture that is not what its row says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WrongPicture {
    /// The job's id.
    pub job: i64,
    /// The position in the job, from 1.
    pub picture: u32,
    /// Relative to the output folder.
    pub path: String,
    /// What is wrong.
    pub fault: PictureFault,
    /// The same for people.
    pub text: String,
}

/// What is wrong with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PictureFault {
    /// There is no file of this name.
    Missing,
    /// It is there and cannot be read: a folder, a link, no permission, a broken disk.
    Unreadable,
    /// It has another size or another hash than what was recorded.
    Changed,
    /// It has the recorded hash, but is no picture that can be decoded.
    Undecodable,
}

/// What is wrong with the picture of the row, if anything is.
pub(super) fn check(outputs: &Path, row: &DonePicture) -> Option<WrongPicture> {
    let wrong = |(fault, text)| {
        let DonePicture { job, picture, path, .. } = row.clone();
        WrongPicture { job, picture, path, fault, text }
    };
    faults(outputs, row).err().map(wrong)
}

fn faults(outputs: &Path, row: &DonePicture) -> Result<(), (PictureFault, String)> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => (PictureFault::Missing, "there is no such file".to_owned()),
        _ if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
            (PictureFault::Unreadable, "it is a link, which is not followed".to_owned())
        }
        _ => (PictureFault::Unreadable, error.to_string()),
    };
    let mut file = output::open(outputs, &row.path).map_err(unreadable)?;
    let (bytes, sha256) = output::measure(&mut file).map_err(unreadable)?;
    if bytes != row.bytes.unsigned_abs() {
        let text = format!("it has {bytes} bytes, and {} were recorded", row.bytes);
        return Err((PictureFault::Changed, text));
    }
    if sha256 != row.sha256 {
        let text = format!("its SHA-256 is {sha256}, and {} was recorded", row.sha256);
        return Err((PictureFault::Changed, text));
    }
    file.rewind().map_err(unreadable)?;
    let decoded = thumbnails::read(file);
    decoded.map(drop).map_err(|error| (PictureFault::Undecodable, error.to_string()))
}
