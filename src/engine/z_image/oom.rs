//! Tells out-of-memory errors from all others. candle cannot be asked for that, and its errors come
//! wrapped, boxed or as text. An error that is not recognised is taken for another one: after it
//! the state of the device is unknown.

use std::error::Error as StdError;

use candle_core::Error;

use super::cuda;
use super::device_memory::OverLimit;
use crate::engine::{EngineError, Stage};

/// What libraries print where the error's code is lost on the way (synchronize, cuDNN).
const TEXTS: [&str; 4] = [
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CURAND_STATUS_ALLOCATION_FAILED",
    "out of memory",
];

/// What an error of candle means for the worker: in `stage` the memory was too small, or the worker
/// must exit.
pub fn engine_error(stage: Stage, error: &Error) -> EngineError {
    let error = unwrapped(error);
    if !is_out_of_memory(error) {
        return EngineError::Fatal(format!("in {stage}: {error}"));
    }
    let requested_bytes = over_limit(error).map(|over| over.needed_bytes);
    EngineError::OutOfMemory { stage, requested_bytes, message: message(error) }
}

/// [`engine_error`] for `map_err`.
pub fn at(stage: Stage) -> impl Fn(Error) -> EngineError {
    move |error| engine_error(stage, &error)
}

/// Takes off what candle wraps around an error: backtraces, paths, contexts.
fn unwrapped(error: &Error) -> &Error {
    match error {
        Error::WithBacktrace { inner, .. }
        | Error::WithPath { inner, .. }
        | Error::Context { inner, .. } => unwrapped(inner),
        Error::WrappedContext { wrapped, .. } => {
            wrapped.downcast_ref::<Error>().map_or(error, unwrapped)
        }
        _ => error,
    }
}

/// The error of another library in a box of candle's.
fn boxed(error: &Error) -> Option<&(dyn StdError + 'static)> {
    match error {
        Error::WrappedContext { wrapped, .. } => Some(wrapped.as_ref()),
        Error::Cuda(boxed) => Some(boxed.as_ref()),
        _ => None,
    }
}

fn over_limit(error: &Error) -> Option<&OverLimit> {
    boxed(error)?.downcast_ref()
}

fn is_out_of_memory(error: &Error) -> bool {
    let known = boxed(error).and_then(cuda::is_out_of_memory);
    over_limit(error).is_some()
        || known.unwrap_or_else(|| {
            let text = message(error);
            TEXTS.iter().any(|known| text.contains(known))
        })
}

fn message(error: &Error) -> String {
    match error {
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
}
