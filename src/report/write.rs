//! The files of a report, and reading one back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::data::{FORMAT, MachineReport};
use super::document::Document;
use super::{comparison, document};
use crate::files;

/// No report is longer: the curve has some hundred points.
const REPORT_BYTES_MAX: u64 = 16 << 20;

/// Why a report is not read or written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {why}; a report.json of `zimaged report` is wanted", path.display())]
    NoReport { path: PathBuf, why: String },
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WrittenReport {
    /// The folder.
    pub folder: PathBuf,
    /// The names of the files in it.
    pub files: Vec<String>,
}

/// Fails where `folder` cannot be made, or nothing be written into it: what is to be measured for
/// many minutes must not be lost in the end. What it makes for that it removes again, so that a
/// measurement that is stopped leaves nothing.
pub fn try_folder(folder: &Path) -> Result<(), ReportError> {
    let at = |source| ReportError::File { path: folder.to_owned(), source };
    let made: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    let tried =
        Writer::new(folder).and_then(|_| tempfile::tempfile_in(folder).map(drop).map_err(at));
    for path in made {
        // One that was not made is not there, and one that somebody has used meanwhile stays.
        let _ = fs::remove_dir(path);
    }
    tried
}

/// Writes `report.json`, `report.md` with its drawings, and `report.html` into `folder`.
pub fn write(report: &MachineReport, folder: &Path) -> Result<WrittenReport, ReportError> {
    let mut writer = Writer::new(folder)?;
    let json = serde_json::to_string_pretty(report).expect("a report has text for keys");
    writer.put("report.json", &json)?;
    writer.document("report", &document(report))?;
    Ok(writer.written)
}

/// Writes `compare.md` with its drawings and `compare.html` of two reports into `folder`.
pub fn write_comparison(
    left: &MachineReport,
    right: &MachineReport,
    folder: &Path,
) -> Result<WrittenReport, ReportError> {
    let mut writer = Writer::new(folder)?;
    writer.document("compare", &comparison(left, right))?;
    Ok(writer.written)
}

/// The report in the file at `path`.
pub fn read(path: &Path) -> Result<MachineReport, ReportError> {
    let no_report = |why: String| ReportError::NoReport { path: path.to_owned(), why };
    let content = files::read_whole(path, REPORT_BYTES_MAX)
        .map_err(|source| ReportError::File { path: path.to_owned(), source })?;
    let value: serde_json::Value = serde_json::from_slice(&content)
        .map_err(|error| no_report(format!("no JSON ({error})")))?;
    match value["format"].as_u64() {
        Some(format) if format == u64::from(FORMAT) => (),
        Some(format) => {
            return Err(no_report(format!(
                "its format is {format}, and this program's is {FORMAT}"
            )));
        }
        None => return Err(no_report("it has no format".to_owned())),
    }
    serde_json::from_value(value).map_err(|error| no_report(error.to_string()))
}

struct Writer {
    written: WrittenReport,
}

impl Writer {
    fn new(folder: &Path) -> Result<Writer, ReportError> {
        let at = |source| ReportError::File { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(at)?;
        let written = WrittenReport { folder: folder.to_owned(), files: Vec::new() };
        Ok(Writer { written })
    }

    fn document(&mut self, name: &str, document: &Document) -> Result<(), ReportError> {
        self.put(&format!("{name}.md"), &document.markdown())?;
        for figure in document.figures() {
            self.put(&format!("{}.svg", figure.name), &figure.svg.0)?;
        }
        self.put(&format!("{name}.html"), &document.html())
    }

    fn put(&mut self, name: &str, text: &str) -> Result<(), ReportError> {
        let path = self.written.folder.join(name);
        files::write_atomic(&path, text.as_bytes())
            .map_err(|source| ReportError::File { path, source })?;
        self.written.files.push(name.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_of_a_folder_leaves_what_was_there() {
        let place = tempfile::tempdir().expect("a folder");
        try_folder(&place.path().join("a/b")).expect("writable");
        assert!(!place.path().join("a").exists());
        fs::create_dir(place.path().join("a")).expect("writable");
        try_folder(&place.path().join("a/b")).expect("writable");
        assert!(place.path().join("a").exists() && !place.path().join("a/b").exists());
        let too_long = "x".repeat(300);
        assert!(try_folder(&place.path().join("c/d").join(too_long)).is_err());
        assert!(!place.path().join("c").exists(), "made on the way to one that cannot be made");
        fs::write(place.path().join("file"), "").expect("writable");
        assert!(try_folder(&place.path().join("file/b")).is_err());
    }
}
