//! The functions of CUDA's libraries that the program calls, each a jump to where its target says.
//! [`super::libraries`] opens the libraries and fills in the targets.
//!
//! A name that is missing here makes the linker ask for the library itself, which a test of the
//! program notices; it then goes into its list below.

use std::ffi::{CStr, c_void};
use std::sync::atomic::AtomicPtr;

/// Where a function of a library is. In memory it is the pointer alone, which the jump reads.
pub type FunctionPointer = AtomicPtr<c_void>;

/// A function of a library.
pub struct Function {
    pub name: &'static CStr,
    pub target: &'static FunctionPointer,
}

/// What stands in a target until its library is open, and for good where the library lacks the
/// function, as an old driver does. Whatever is asked of it, it fails, with one of its library's
/// own codes.
pub extern "C" fn absent<const CODE: i32>() -> i32 {
    CODE
}

/// `CUDA_ERROR_STUB_LIBRARY`
const DRIVER_ABSENT: i32 = 34;
/// `CUBLAS_STATUS_NOT_SUPPORTED`
const CUBLAS_ABSENT: i32 = 15;
/// `CURAND_STATUS_INITIALIZATION_FAILED`
const CURAND_ABSENT: i32 = 203;

/// Arguments and result stay where the caller has put them and will look for them.
#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    ($target:path) => {
        std::arch::naked_asm!("jmp qword ptr [rip + {target}]", target = sym $target)
    };
}

/// As above; x16 is a register that any call may change on its way.
#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    ($target:path) => {
        std::arch::naked_asm!(
            "adrp x16, {target}",
            "ldr x16, [x16, :lo12:{target}]",
            "br x16",
            target = sym $target
        )
    };
}

macro_rules! functions {
    ($($list:ident or $absent:ident: $($name:ident)*;)*) => {
        $(pub static $list: &[Function] = &[$(Function {
            name: with_nul(concat!(stringify!($name), "\0")),
            target: &targets::$name,
        }),*];)*

        #[allow(non_upper_case_globals)]
        mod targets {
            use super::*;
            $($(pub static $name: FunctionPointer = FunctionPointer::new(absent::<$absent> as *mut _);)*)*
        }

        $($(
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name() {
                jump!(targets::$name)
            }
        )*)*
    };
}

const fn with_nul(name: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(name.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("a name without its end"),
    }
}

functions! {
    DRIVER or DRIVER_ABSENT:
        cuCtxDestroy_v2 cuCtxGetCurrent cuCtxSetCurrent cuDeviceGet cuDeviceGetAttribute
        cuDeviceGetCount cuDeviceGetDefaultMemPool cuDeviceGetName cuDevicePrimaryCtxRelease_v2
        cuDevicePrimaryCtxRetain cuEventCreate cuEventDestroy_v2 cuEventRecord cuEventSynchronize
        cuFuncSetAttribute cuGetErrorString cuInit cuLaunchKernel cuMemAllocAsync cuMemAlloc_v2
        cuMemFreeAsync cuMemFreeHost cuMemFree_v2 cuMemGetInfo_v2 cuMemHostAlloc
        cuMemHostRegister_v2 cuMemHostUnregister cuMemPoolGetAttribute cuMemPoolSetAttribute
        cuMemPoolTrimTo cuMemcpyDtoDAsync_v2 cuMemcpyDtoHAsync_v2 cuMemcpyHtoDAsync_v2
        cuMemcpyPeerAsync cuMemsetD8Async cuModuleGetFunction cuModuleLoad cuModuleLoadData
        cuModuleUnload cuStreamCreate cuStreamDestroy_v2 cuStreamIsCapturing cuStreamSynchronize
        cuStreamWaitEvent cuTensorMapEncodeTiled;
    CUBLAS or CUBLAS_ABSENT:
        cublasCreate_v2 cublasDestroy_v2 cublasDgemmStridedBatched cublasGemmEx
        cublasGemmStridedBatchedEx cublasSetStream_v2;
    CURAND or CURAND_ABSENT:
        curandCreateGenerator curandDestroyGenerator curandGenerateNormal curandGenerateNormalDouble
        curandSetPseudoRandomGeneratorSeed curandSetStream;
}
