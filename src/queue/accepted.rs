//! What `jobs/accepted/` tells of jobs that were taken in, whatever became of the database.

use std::ffi::OsStr;
use std::path::Path;
use std::{fs, io};

/// A larger number in front of a name is none of ours: it would use up the ids.
const ID_MAX: i64 = 1_000_000_000;

/// The ids of the jobs whose files lie there; none where there is no such folder.
pub fn accepted_ids(jobs: &Path) -> io::Result<Vec<i64>> {
    let entries = match fs::read_dir(jobs.join("accepted")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        ids.extend(id_of(&entry?.file_name()));
    }
    Ok(ids)
}

/// The id in a name such as `000012-fox.toml`; older ones have no zeros.
fn id_of(name: &OsStr) -> Option<i64> {
    let (id, _) = name.to_str()?.split_once('-')?;
    let id = id.bytes().all(|byte| byte.is_ascii_digit()).then(|| id.parse().ok())??;
    (1..=ID_MAX).contains(&id).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_as_intake_gives_them_have_an_id() {
        for (name, id) in [("12-fox.toml", 12), ("0012-fox.toml", 12), ("7-2-fox.toml", 7)] {
            assert_eq!(id_of(OsStr::new(name)), Some(id), "{name}");
        }
        for name in ["fox.toml", "-fox.toml", "+7-fox.toml", "0-fox.toml", "99999999999-fox.toml"] {
            assert_eq!(id_of(OsStr::new(name)), None, "{name}");
        }
    }
}
