//! CUDA's libraries, opened when a card is first asked for and not when the program starts: most of
//! what it does needs no card, and a machine without one has none of them.
//!
//! cudarc calls their functions as if they were linked. So the program has functions of these names
//! itself ([`super::jumps`]), each of which jumps to where a pointer of ours says. The linker finds
//! nothing missing and leaves the libraries out of the program's list of what it needs.

use std::ffi::{CStr, CString, OsStr, OsString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use candle_core::cuda_backend::cudarc::driver::sys::CUDA_VERSION;

use super::jumps::{CUBLAS, CURAND, DRIVER, Function};
use crate::engine::z_image::cuda_folders;

/// The release of CUDA that the program was built for.
const CUDA_MAJOR: u32 = CUDA_VERSION / 1000;
const CUDA_MINOR: u32 = CUDA_VERSION / 10 % 10;

/// Opens the driver's library. Errors say where it comes from.
pub fn open_driver() -> Result<(), &'static str> {
    static OPENED: OnceLock<Result<(), String>> = OnceLock::new();
    opened(&OPENED, || {
        open("libcuda.so.1", DRIVER).map_err(|error| {
            format!(
                "{error}: NVIDIA's driver brings it, in Debian's package libcuda1 (of nvidia-driver) \
                 or Ubuntu's libnvidia-compute-VERSION (of nvidia-driver-VERSION); a container \
                 needs to be given it (--gpus all)"
            )
        })
    })
}

/// Opens all of them. Errors say which is missing, and where it comes from.
pub fn open_all() -> Result<(), &'static str> {
    static OPENED: OnceLock<Result<(), String>> = OnceLock::new();
    open_driver()?;
    opened(&OPENED, || {
        open_of_toolkit(&format!("libcublas.so.{CUDA_MAJOR}"), "cublas", CUBLAS)?;
        // Its own number, the same since CUDA 10.
        open_of_toolkit("libcurand.so.10", "curand", CURAND)
    })
}

fn opened(
    once: &'static OnceLock<Result<(), String>>,
    open: impl FnOnce() -> Result<(), String>,
) -> Result<(), &'static str> {
    once.get_or_init(open).as_ref().map(|&()| ()).map_err(String::as_str)
}

fn open_of_toolkit(file: &str, name: &str, functions: &[Function]) -> Result<(), String> {
    open(file, functions).map_err(|error| {
        format!(
            "{error}: it belongs to CUDA {CUDA_MAJOR}, which this program was built for. NVIDIA's \
             packages bring it (sudo apt install lib{name}-{CUDA_MAJOR}-{CUDA_MINOR}), or Python's \
             wheels (pip install {}); where it lies elsewhere LD_LIBRARY_PATH has to name its folder",
            wheel(name)
        )
    })
}

/// The wheels' names lost their end with CUDA 13.
fn wheel(name: &str) -> String {
    match CUDA_MAJOR {
        ..13 => format!("nvidia-{name}-cu{CUDA_MAJOR}"),
        _ => format!("nvidia-{name}"),
    }
}

/// Opens a library for good and points the targets of its functions at them. Errors are the
/// loader's words, which name the file.
fn open(file: &str, functions: &[Function]) -> Result<(), String> {
    let library = found(file, |name| std::env::var_os(name))?;
    for Function { name, target } in functions {
        // SAFETY: the library is open.
        let function = unsafe { libc::dlsym(library, name.as_ptr()) };
        if !function.is_null() {
            target.store(function, Ordering::Release);
        }
    }
    Ok(())
}

/// The library wherever the system's loader finds it, or else where NVIDIA's packages and Python's
/// wheels put it: those name the libraries beside them that they need. The first error is told.
fn found(file: &str, variable: impl Fn(&str) -> Option<OsString>) -> Result<*mut c_void, String> {
    load(OsStr::new(file)).or_else(|missing| {
        let places = cuda_folders::places_of(file, variable);
        places.iter().find_map(|place| load(place.as_os_str()).ok()).ok_or(missing)
    })
}

fn load(file: &OsStr) -> Result<*mut c_void, String> {
    let path = CString::new(file.as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: NVIDIA's libraries may be opened at any time, and this one is never closed.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
    match library.is_null() {
        true => {
            Err(loader_error().unwrap_or_else(|| format!("{} cannot be opened", file.display())))
        }
        false => Ok(library),
    }
}

/// What the loader said last on this thread.
fn loader_error() -> Option<String> {
    // SAFETY: the loader's text is valid until this thread calls the loader again.
    let words = unsafe { libc::dlerror().as_ref().map(|words| CStr::from_ptr(words)) };
    words.map(|words| words.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::super::jumps::{FunctionPointer, absent};
    use super::*;

    #[test]
    fn a_library_that_is_missing_is_named_with_what_brings_it() {
        let missing = open_of_toolkit("libcublas.so.0", "cublas", &[]).unwrap_err();
        for part in ["libcublas.so.0: ", "nvidia-cublas", "LD_LIBRARY_PATH"] {
            assert!(missing.contains(part), "{missing}");
        }
    }

    #[test]
    fn a_library_is_found_where_wheels_put_it() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("lib/python3.11/site-packages/nvidia/cu13/lib");
        std::fs::create_dir_all(&wheel).unwrap();
        let known = Path::new("/lib/x86_64-linux-gnu/libm.so.6");
        symlink(known, wheel.join("libnever.so.1")).unwrap();
        let is_active = |name: &str| (name == "VIRTUAL_ENV").then(|| folder.path().into());
        assert!(found("libnever.so.1", is_active).is_ok());
        assert!(found("libnever.so.1", |_| None).is_err_and(|told| told.contains("libnever.so.1")));
    }

    #[test]
    fn a_function_is_found_where_its_library_has_it_and_fails_elsewhere() {
        static FOUND: FunctionPointer = FunctionPointer::new(absent::<1> as *mut c_void);
        static LACKING: FunctionPointer = FunctionPointer::new(absent::<1> as *mut c_void);
        let functions = [
            Function { name: c"cos", target: &FOUND },
            Function { name: c"cuNeverHeardOf", target: &LACKING },
        ];
        open("libm.so.6", &functions).unwrap();
        assert!(!std::ptr::eq(FOUND.load(Ordering::Acquire), absent::<1> as *mut c_void));
        assert!(std::ptr::eq(LACKING.load(Ordering::Acquire), absent::<1> as *mut c_void));
    }
}
