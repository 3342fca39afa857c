//! Where CUDA's libraries lie beside the folders that the system's loader knows: where NVIDIA's
//! packages and Python's wheels put them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Where NVIDIA's packages put the newest release, and links to it.
const TOOLKIT: &str = "/usr/local/cuda";

/// No more entries of a folder are looked at.
const ENTRIES_MAX: usize = 4096;

/// The places at which there is a library called `file`, in the order in which they are to be
/// tried; `variable` reads the environment.
pub fn places_of(file: &str, variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let all = [of_toolkits(&variable), of_wheels(&variable)].concat();
    all.into_iter().map(|folder| folder.join(file)).filter(|path| path.is_file()).collect()
}

fn of_toolkits(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let named = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(variable);
    named.chain([TOOLKIT.into()]).map(|toolkit| Path::new(&toolkit).join("lib64")).collect()
}

/// Of the environment that is active, of the user's own wheels, and of the system's.
fn of_wheels(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(&variable);
    let own = variable("HOME").map(|home| Path::new(&home).join(".local"));
    let roots = active.map(PathBuf::from).chain(own).chain(["/usr/local".into()]);
    let pythons = roots.flat_map(|root| entries(&root.join("lib"), "python3"));
    let packages = pythons.flat_map(|python| {
        ["site-packages", "dist-packages"].map(|name| python.join(name).join("nvidia"))
    });
    // `nvidia/cublas/lib` up to CUDA 12, `nvidia/cu13/lib` since.
    packages.flat_map(|nvidia| entries(&nvidia, "")).map(|wheel| wheel.join("lib")).collect()
}

/// What in `folder` has a name with this `beginning`, by name; nothing where it cannot be read.
fn entries(folder: &Path, beginning: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().take(ENTRIES_MAX).flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(beginning));
    let mut paths: Vec<PathBuf> = named.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_toolkits_and_wheels_are_found() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folders = [
            "toolkit/lib64",
            "venv/lib/python3.11/site-packages/nvidia/cu13/lib",
            "home/.local/lib/python3.13/site-packages/nvidia/cublas/lib",
        ];
        let places = folders.map(|folder| root.path().join(folder).join("libcublas.so.99"));
        for place in &places {
            fs::create_dir_all(place.parent().expect("a folder")).expect("a writable folder");
            fs::write(place, "").expect("a writable folder");
        }
        let environment = |name: &str| {
            let folder = match name {
                "CUDA_HOME" => "toolkit",
                "VIRTUAL_ENV" => "venv",
                "HOME" => "home",
                _ => return None,
            };
            Some(root.path().join(folder).into_os_string())
        };
        assert_eq!(places_of("libcublas.so.99", environment), places);
        assert!(places_of("libcublas.so.98", environment).is_empty());
        assert!(places_of("libcublas.so.99", |_| None).is_empty());
    }
}
