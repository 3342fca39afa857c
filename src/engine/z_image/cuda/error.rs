//! Which errors of CUDA's libraries say that memory was missing.

use std::error::Error;

use candle_core::cuda_backend::CudaError;

/// `CUDA_ERROR_OUT_OF_MEMORY` of the driver.
const DRIVER_OUT_OF_MEMORY: u32 = 2;

/// `CUBLAS_STATUS_NOT_INITIALIZED`: cuBLAS says so when it found no memory for its handle.
const CUBLAS_NOT_INITIALIZED: u32 = 1;

/// `CUBLAS_STATUS_ALLOC_FAILED`.
const CUBLAS_ALLOC_FAILED: u32 = 3;

/// `CURAND_STATUS_ALLOCATION_FAILED`.
const CURAND_ALLOCATION_FAILED: u32 = 102;

/// Whether `error` says that memory was missing; `None` where it has no code of CUDA's.
pub fn is_out_of_memory(error: &(dyn Error + 'static)) -> Option<bool> {
    match error.downcast_ref::<CudaError>()? {
        CudaError::Cuda(error) | CudaError::Load { cuda: error, .. } => {
            Some(driver(error.0 as u32))
        }
        CudaError::Cublas(error) => Some(cublas(error.0 as u32)),
        CudaError::Curand(error) => Some(curand(error.0 as u32)),
        _ => None,
    }
}

fn driver(code: u32) -> bool {
    code == DRIVER_OUT_OF_MEMORY
}

fn cublas(code: u32) -> bool {
    matches!(code, CUBLAS_ALLOC_FAILED | CUBLAS_NOT_INITIALIZED)
}

fn curand(code: u32) -> bool {
    code == CURAND_ALLOCATION_FAILED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_libraries_are_told_apart() {
        assert!(driver(2) && cublas(1) && cublas(3) && curand(102));
        assert!(![1, 3, 100, 214, 700, 702, 710, 715, 719, 999].into_iter().any(driver));
        assert!(![2, 13, 14].into_iter().any(cublas));
        assert!(![2, 201].into_iter().any(curand));
    }
}
