//! Tells out-of-memory errors from all others. candle has no such question, and its errors come
//! wrapped, boxed or as text. What is not recognised is not memory: after it the state of the
//! device is unknown.

use std::error::Error as StdError;

use candle_core::Error;

use super::memory::OverLimit;
use crate::engine::{EngineError, Stage};

/// `CUDA_ERROR_OUT_OF_MEMORY`.
const DRIVER_OUT_OF_MEMORY: u32 = 2;
/// `CUBLAS_STATUS_NOT_INITIALIZED`: cuBLAS says so when its handle found no memory.
const CUBLAS_NOT_INITIALIZED: u32 = 1;
/// `CUBLAS_STATUS_ALLOC_FAILED`.
const CUBLAS_ALLOC_FAILED: u32 = 3;
/// `CURAND_STATUS_ALLOCATION_FAILED`.
const CURAND_ALLOCATION_FAILED: u32 = 102;

/// What libraries print where the code is lost on the way (synchronize, cuDNN).
const TEXTS: [&str; 4] = [
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CURAND_STATUS_ALLOCATION_FAILED",
    "out of memory",
];

/// What failed, stripped of every wrapping.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(any(feature = "cuda", test)),
    expect(dead_code, reason = "only CUDA's errors have codes")
)]
enum Fault {
    /// Our own limit; how much was asked for.
    OverLimit {
        needed_bytes: u64,
    },
    Driver(u32),
    Cublas(u32),
    Curand(u32),
    Text(String),
}

impl Fault {
    fn is_out_of_memory(&self) -> bool {
        match self {
            Fault::OverLimit { .. } => true,
            Fault::Driver(code) => *code == DRIVER_OUT_OF_MEMORY,
            Fault::Cublas(code) => matches!(*code, CUBLAS_ALLOC_FAILED | CUBLAS_NOT_INITIALIZED),
            Fault::Curand(code) => *code == CURAND_ALLOCATION_FAILED,
            Fault::Text(text) => TEXTS.iter().any(|known| text.contains(known)),
        }
    }
}

/// What an error of candle means for the worker: room was missing in `stage`, or it must exit.
pub fn engine_error(stage: Stage, error: &Error) -> EngineError {
    let error = peel(error);
    let fault = fault(error);
    if !fault.is_out_of_memory() {
        return EngineError::Fatal(format!("in {stage}: {error}"));
    }
    let requested_bytes = match fault {
        Fault::OverLimit { needed_bytes } => Some(needed_bytes),
        _ => None,
    };
    EngineError::OutOfMemory { stage, requested_bytes, message: message(error) }
}

/// [`engine_error`] for `map_err`.
pub fn at(stage: Stage) -> impl Fn(Error) -> EngineError {
    move |error| engine_error(stage, &error)
}

/// Takes off what candle wraps around an error: backtraces, paths, contexts.
fn peel(error: &Error) -> &Error {
    match error {
        Error::WithBacktrace { inner, .. }
        | Error::WithPath { inner, .. }
        | Error::Context { inner, .. } => peel(inner),
        Error::WrappedContext { wrapped, .. } => {
            wrapped.downcast_ref::<Error>().map_or(error, peel)
        }
        _ => error,
    }
}

fn fault(peeled: &Error) -> Fault {
    match peeled {
        Error::WrappedContext { wrapped, .. } => boxed(wrapped.as_ref()),
        Error::Cuda(boxed_error) => boxed(boxed_error.as_ref()),
        other => Fault::Text(other.to_string()),
    }
}

fn boxed(error: &(dyn StdError + 'static)) -> Fault {
    if let Some(over) = error.downcast_ref::<OverLimit>() {
        return Fault::OverLimit { needed_bytes: over.needed_bytes };
    }
    #[cfg(feature = "cuda")]
    if let Some(fault) = cuda_fault(error) {
        return fault;
    }
    Fault::Text(error.to_string())
}

#[cfg(feature = "cuda")]
fn cuda_fault(error: &(dyn StdError + 'static)) -> Option<Fault> {
    use candle_core::cuda_backend::CudaError;
    match error.downcast_ref::<CudaError>()? {
        CudaError::Cuda(error) | CudaError::Load { cuda: error, .. } => {
            Some(Fault::Driver(error.0 as u32))
        }
        CudaError::Cublas(error) => Some(Fault::Cublas(error.0 as u32)),
        CudaError::Curand(error) => Some(Fault::Curand(error.0 as u32)),
        _ => None,
    }
}

fn message(peeled: &Error) -> String {
    match peeled {
        Error::WrappedContext { wrapped, .. } => wrapped.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::backtrace::Backtrace;
    use std::path::PathBuf;

    use candle_core::{Context, DType, Shape};

    use super::*;

    fn over_limit() -> OverLimit {
        OverLimit { needed_bytes: 7, used_bytes: 1, limit_bytes: 5 }
    }

    /// An error as candle's CUDA code boxes it, known only by its text in a build without CUDA.
    fn cuda(text: &str) -> Error {
        Error::Cuda(text.into())
    }

    fn is_out_of_memory(error: &Error) -> bool {
        match engine_error(Stage::Denoise, error) {
            EngineError::OutOfMemory { stage, .. } => stage == Stage::Denoise,
            EngineError::Fatal(_) => false,
            other => panic!("{other}"),
        }
    }

    fn wrapped(error: Error) -> Vec<Error> {
        let again = |error: &Error| cuda(&error.to_string());
        vec![
            Error::WithBacktrace {
                inner: Box::new(again(&error)),
                backtrace: Box::new(Backtrace::force_capture()),
            },
            Error::WithPath {
                inner: Box::new(again(&error)),
                path: PathBuf::from("model.safetensors"),
            },
            again(&error).context("while multiplying"),
            Err::<(), _>(again(&error)).context("while loading").unwrap_err(),
            Error::wrap(error.to_string()),
            Error::msg(error.to_string()),
            error,
        ]
    }

    #[test]
    fn memory_is_recognised_in_every_wrapping() {
        let texts = [
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "CublasError(CUBLAS_STATUS_ALLOC_FAILED)",
            "CurandError(CURAND_STATUS_ALLOCATION_FAILED)",
        ];
        for error in texts.iter().flat_map(|text| wrapped(cuda(text))) {
            assert!(is_out_of_memory(&error), "{error}");
        }
    }

    #[test]
    fn other_faults_of_the_device_are_fatal_in_every_wrapping() {
        let texts = [
            "DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access was encountered\")",
            "DriverError(CUDA_ERROR_LAUNCH_FAILED, \"unspecified launch failure\")",
            "CublasError(CUBLAS_STATUS_EXECUTION_FAILED)",
            "missing kernel 'rmsnorm'",
        ];
        for error in texts.iter().flat_map(|text| wrapped(cuda(text))) {
            assert!(!is_out_of_memory(&error), "{error}");
        }
    }

    #[test]
    fn candles_own_errors_are_fatal() {
        let shape = || Shape::from((2, 3));
        let errors = [
            Error::UnexpectedDType { msg: "add", expected: DType::F32, got: DType::BF16 },
            Error::DTypeMismatchBinaryOp { lhs: DType::F32, rhs: DType::BF16, op: "add" },
            Error::UnsupportedDTypeForOp(DType::BF16, "matmul"),
            Error::DimOutOfRange { shape: shape(), dim: 4, op: "narrow" },
            Error::UnexpectedNumberOfDims { expected: 3, got: 2, shape: shape() },
            Error::ShapeMismatchBinaryOp { lhs: shape(), rhs: shape(), op: "add" },
            Error::RequiresContiguous { op: "matmul" },
            Error::NotCompiledWithCudaSupport,
            Error::CannotFindTensor { path: "layers.0".into() },
            Error::Io(std::io::Error::other("broken pipe")),
            Error::Msg("anything".into()),
            Error::UnwrapNone,
        ];
        errors.iter().for_each(|error| assert!(!is_out_of_memory(error), "{error}"));
    }

    #[test]
    fn our_own_limit_is_memory_and_says_how_much_was_asked_for() {
        let error = Err::<(), _>(over_limit()).context("the memory limit is reached").unwrap_err();
        let error = error.context("block 3").with_path("transformer");
        let EngineError::OutOfMemory { requested_bytes, message, .. } =
            engine_error(Stage::Denoise, &error)
        else {
            panic!("{error}");
        };
        assert_eq!((requested_bytes, message), (Some(7), over_limit().to_string()));
    }

    #[test]
    fn codes_of_the_libraries_are_told_apart() {
        let memory = [Fault::Driver(2), Fault::Cublas(1), Fault::Cublas(3), Fault::Curand(102)];
        assert!(memory.iter().all(Fault::is_out_of_memory));
        let others = [1, 3, 100, 214, 700, 702, 710, 715, 719, 999].map(Fault::Driver);
        assert!(!others.iter().any(Fault::is_out_of_memory));
        let others = [
            Fault::Cublas(2),
            Fault::Cublas(13),
            Fault::Cublas(14),
            Fault::Curand(2),
            Fault::Curand(201),
        ];
        assert!(!others.iter().any(Fault::is_out_of_memory));
    }
}
