//! Page-locked buffers through which the values of files come to a card. While the copies of one
//! are under way, all threads read into the next one.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::result;
use candle_core::cuda_backend::cudarc::driver::sys::CUstream;
use candle_core::{Context, CudaDevice, Device, Result, Tensor, bail};
use half::bf16;

use super::pinned::{PinnedValues, address};
use super::stream::CudaEvent;
use crate::engine::z_image::checkpoint::StoredTensor;
use crate::engine::z_image::weights::{Carrier, StreamHandle};

const SLOTS: usize = 4;

/// Values of a slot, 16 MiB: enough that what a copy and a read cost to begin does not count.
const SLOT_VALUES: usize = 8 << 20;

/// Copies begin at multiples of so many values of a slot, as far as a bus reads at once.
const ALIGNMENT_VALUES: usize = 128;

/// The staging of `device`, where that is a card.
pub fn carrier(device: &Device) -> Result<Option<Arc<dyn Carrier>>> {
    match device {
        Device::Cuda(device) => Ok(Some(Arc::new(Staging::new(device, SLOT_VALUES)?))),
        _ => Ok(None),
    }
}

/// All slots of a card. They are locked for as long as this lives, because that takes time.
struct Staging {
    device: CudaDevice,
    slots: Mutex<Slots>,
}

struct Slots {
    slots: Vec<Slot>,
    /// The slot that is being filled.
    current: usize,
    /// Of its values, those that are in use.
    used: usize,
    /// The stream of the copies from it.
    copies: CUstream,
}

struct Slot {
    values: PinnedValues,
    /// Happens when the copies from it are done.
    copied: CudaEvent,
}

impl Staging {
    /// Where the host locks no pages the slots are plain memory: copies from these wait for the
    /// host, and are as right.
    fn new(device: &CudaDevice, slot_values: usize) -> Result<Staging> {
        let slot = || {
            let mut values = PinnedValues::new(slot_values).context("the host has no memory")?;
            values.lock(device)?;
            Ok(Slot { values, copied: CudaEvent::new()? })
        };
        let slots = (0..SLOTS).map(|_| slot()).collect::<Result<_>>()?;
        let copies = device.cuda_stream().cu_stream();
        let slots = Mutex::new(Slots { slots, current: 0, used: 0, copies });
        Ok(Staging { device: device.clone(), slots })
    }
}

impl Carrier for Staging {
    fn carry(
        &self,
        tensor: &StoredTensor,
        to: &Tensor,
        copies: Option<StreamHandle>,
    ) -> Result<()> {
        let stream = self.device.cuda_stream();
        let copies = copies.map_or(stream.cu_stream(), |StreamHandle(handle)| handle.cast());
        let to = address(to)?;
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.begin(copies)?;
        let carried = slots.carry(tensor, to);
        // Also after an error: the copies before it are under way.
        slots.slots[slots.current].copied.record(copies)?;
        carried
    }
}

impl Slots {
    /// Goes on in the stream `copies`. A slot's event is one of a single stream.
    fn begin(&mut self, copies: CUstream) -> Result<()> {
        if self.copies == copies {
            return Ok(());
        }
        self.copies = copies;
        self.turn()
    }

    /// Goes on with the next slot, as soon as the copies from it are done.
    fn turn(&mut self) -> Result<()> {
        self.current = (self.current + 1) % SLOTS;
        self.used = 0;
        self.slots[self.current].copied.wait()
    }

    /// Begins to copy all values of `tensor` to the address `to`, as many rows at a time as the
    /// slot has room for.
    fn carry(&mut self, tensor: &StoredTensor, to: u64) -> Result<()> {
        let columns = tensor.columns().max(1);
        let mut row = 0;
        while row < tensor.rows() {
            let rows = (tensor.rows() - row).min(self.room() / columns);
            if rows > 0 {
                let to = to + (row * columns * size_of::<bf16>()) as u64;
                self.copy(rows * columns, to, |values| tensor.read_bf16(row, values))?;
                row += rows;
            } else if self.used > 0 {
                self.slots[self.current].copied.record(self.copies)?;
                self.turn()?;
            } else {
                bail!("{tensor:?} has rows that are longer than any of this model");
            }
        }
        Ok(())
    }

    /// How many values the current slot has room for.
    fn room(&self) -> usize {
        self.slots[self.current].values.get().len() - self.used
    }

    /// Has `read` fill the next `count` values of the current slot, and begins to copy them to the
    /// address `to`.
    fn copy(
        &mut self,
        count: usize,
        to: u64,
        read: impl FnOnce(&mut [bf16]) -> Result<()>,
    ) -> Result<()> {
        let slot = &mut self.slots[self.current].values;
        let values = &mut slot.get_mut()[self.used..][..count];
        read(values)?;
        // SAFETY: the caller's tensor has room for the values, and these stay as they are until the
        // event after their copy: a slot is filled again when that has happened.
        unsafe { result::memcpy_htod_async(to, values, self.copies) }.w()?;
        let room = slot.get().len();
        self.used = (self.used + count).next_multiple_of(ALIGNMENT_VALUES).min(room);
        Ok(())
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // The slots must outlive the copies from them. An error of the device is left to its next
        // user.
        for slot in &self.slots {
            let _ = slot.copied.wait();
        }
    }
}

// SAFETY: the handle of the stream is used by one thread at a time: all device work is done on one.
unsafe impl Send for Slots {}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{DType, Result};

    use super::super::open;
    use super::super::stream::CopyStream;
    use super::*;
    use crate::engine::z_image::checkpoint::Checkpoint;

    /// Rows of one tensor: more than the slots of the test hold together.
    const ROWS: usize = 100;
    const COLUMNS: usize = 24;
    const TENSORS: usize = 8;

    /// Tensors of which no two values are the same, in a file in the type `dtype`.
    fn stored(folder: &std::path::Path, dtype: DType) -> Vec<(StoredTensor, Tensor)> {
        let tensor = |nth: usize| -> Result<(String, Tensor)> {
            // Every seventh is a vector, as norms are.
            let shape = if nth.is_multiple_of(7) { [1, COLUMNS] } else { [ROWS, COLUMNS] };
            let first = nth * ROWS * COLUMNS;
            let bits = first..first + shape[0] * shape[1];
            let values: Vec<bf16> = bits.map(|bits| bf16::from_bits(bits as u16)).collect();
            Ok((format!("{nth}"), Tensor::from_vec(values, &shape, &Device::Cpu)?.to_dtype(dtype)?))
        };
        let tensors: HashMap<_, _> =
            (0..TENSORS).map(tensor).collect::<Result<_>>().expect("tensors");
        let path = folder.join("m.safetensors");
        candle_core::safetensors::save(&tensors, &path).expect("a writable folder");
        let stored = Checkpoint::read(&path).expect("a file").tensors;
        stored.into_iter().map(|(name, stored)| (stored, tensors[&name].clone())).collect()
    }

    fn bits(tensor: &Tensor) -> Vec<u16> {
        let values = tensor.flatten_all().and_then(|x| x.to_vec1::<bf16>()).expect("bf16");
        values.into_iter().map(bf16::to_bits).collect()
    }

    #[test]
    #[ignore = "needs a card: see tools/gpu/simulator"]
    fn what_is_carried_to_a_card_is_what_the_file_holds_in_whatever_stream() {
        let device = open(0).expect("a card");
        let staging = Staging::new(device.as_cuda_device().expect("a card"), 10 * COLUMNS)
            .expect("room for slots");
        let copies = CopyStream::new().expect("a stream");
        let handle = StreamHandle(copies.handle().cast());
        let folder = tempfile::tempdir().expect("a folder");
        for dtype in [DType::BF16, DType::F32] {
            let all = stored(folder.path(), dtype);
            let places = all.iter().map(|(_, expected)| {
                Tensor::zeros(expected.shape(), DType::BF16, &device).expect("room")
            });
            let places: Vec<Tensor> = places.collect();
            device.synchronize().expect("a card that is well");
            for (nth, ((stored, _), to)) in all.iter().zip(&places).enumerate() {
                let copies = (nth % 3 == 1).then_some(handle);
                staging.carry(stored, to, copies).expect("values that can be read");
            }
            copies.synchronize().expect("a card that is well");
            for ((stored, expected), to) in all.iter().zip(&places) {
                let expected = expected.to_dtype(DType::BF16).expect("bf16");
                assert_eq!(bits(to), bits(&expected), "{stored:?} in {dtype:?}");
            }
        }
    }
}
