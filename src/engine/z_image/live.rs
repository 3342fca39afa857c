//! Counting what is alive. A formula for the memory of a computation is written as the computation
//! itself is, allocation by allocation.

/// The bytes of the tensors that are alive, and the most that they ever were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    bytes: usize,
    peak_bytes: usize,
}

impl Live {
    /// Nothing is alive yet.
    pub fn new() -> Live {
        Live::default()
    }

    /// A tensor is allocated, and stays.
    pub fn hold(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.peak_bytes = self.peak_bytes.max(self.bytes);
    }

    /// A tensor is released.
    pub fn release(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    /// An operation computes a new tensor from an old one with so much scratch, and the old one is
    /// released after it.
    pub fn replace(&mut self, old_bytes: usize, new_bytes: usize, scratch_bytes: usize) {
        self.hold(new_bytes + scratch_bytes);
        self.release(scratch_bytes + old_bytes);
    }

    /// The most bytes that were alive at once.
    pub fn peak(self) -> usize {
        self.peak_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_where_most_was_alive_and_not_the_sum() {
        let mut live = Live::new();
        live.hold(5);
        live.replace(5, 2, 4);
        live.replace(2, 3, 0);
        assert_eq!(live.peak(), 11);
        live.hold(9);
        assert_eq!(live.peak(), 12);
    }
}
