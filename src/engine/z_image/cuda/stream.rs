//! Copies beside what computes: a stream of their own, and points in streams that others wait for.

use candle_core::Result;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::result::{event, stream};
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUevent, CUevent_flags, CUevent_wait_flags, CUstream,
};

/// A stream beside the one that candle computes in.
pub(super) struct CopyStream(CUstream);

impl CopyStream {
    pub(super) fn new() -> Result<CopyStream> {
        stream::create(stream::StreamKind::NonBlocking).w().map(CopyStream)
    }

    pub(super) fn handle(&self) -> CUstream {
        self.0
    }

    pub(super) fn synchronize(&self) -> Result<()> {
        // SAFETY: the stream is ours and open.
        unsafe { stream::synchronize(self.0) }.w()
    }
}

impl Drop for CopyStream {
    fn drop(&mut self) {
        // SAFETY: the stream is ours. Work that is left in it is still done.
        let _ = unsafe { stream::destroy(self.0) };
    }
}

// SAFETY: it is a handle, which one thread uses at a time: all device work is done on one thread.
unsafe impl Send for CopyStream {}
// SAFETY: as above.
unsafe impl Sync for CopyStream {}

/// A point in a stream that another stream, or the host, can wait for.
pub(super) struct CudaEvent(CUevent);

impl CudaEvent {
    pub(super) fn new() -> Result<CudaEvent> {
        event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING).w().map(CudaEvent)
    }

    /// The event happens when all that `stream` has been given so far is done.
    pub(super) fn record(&self, stream: CUstream) -> Result<()> {
        // SAFETY: both handles are open, in one context.
        unsafe { event::record(self.0, stream) }.w()
    }

    /// What `stream` is given from now on begins after the event, or at once where none was
    /// recorded.
    pub(super) fn is_awaited_by(&self, stream: CUstream) -> Result<()> {
        // SAFETY: both handles are open, in one context.
        unsafe { stream::wait_event(stream, self.0, CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT) }.w()
    }

    /// Comes back after the event, or at once where none was recorded.
    pub(super) fn wait(&self) -> Result<()> {
        // SAFETY: the event is ours and open.
        unsafe { event::synchronize(self.0) }.w()
    }
}

impl Drop for CudaEvent {
    fn drop(&mut self) {
        // SAFETY: the event is ours. Streams that wait for it are not disturbed.
        let _ = unsafe { event::destroy(self.0) };
    }
}

// SAFETY: it is a handle, which one thread uses at a time: all device work is done on one thread.
unsafe impl Send for CudaEvent {}
// SAFETY: as above.
unsafe impl Sync for CudaEvent {}
