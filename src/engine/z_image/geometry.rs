//! Sizes that the computation and the prediction of its memory must agree on.

/// Rows of patches and of tokens are padded to a multiple of this, each of the two by itself.
pub const ROWS_MULTIPLE: usize = 32;

/// The smallest tile of the VAE's decode, latent pixels each way. In smaller tiles the statistics
/// of GroupNorm are too far from those of the whole picture.
pub const TILE_SIDE_MIN: usize = 32;

/// Neighbouring tiles share at least their length divided by this. It is less than half, so that no
/// three tiles overlap.
pub const TILE_OVERLAP_DIVISOR: usize = 4;

/// How many layers a card has room for while layers are streamed to it: one computes, the next is
/// being copied.
pub const STREAM_BUFFERS: usize = 2;

/// Cosines and sines that a timestep is embedded in, together.
pub const TIMESTEP_WAVES: usize = 256;

/// Width between the two linear layers of the timestep's embedding.
pub const TIMESTEP_INNER: usize = 1024;

/// How a length is cut into overlapping tiles of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    pub count: usize,
    /// Length of each tile.
    pub tile: usize,
}

impl Tiling {
    /// As few tiles as cover `length` with the overlap, each of them at most `tile_max` long.
    pub fn new(length: usize, tile_max: usize) -> Tiling {
        if length <= tile_max {
            return Tiling { count: 1, tile: length };
        }
        let overlap = (tile_max / TILE_OVERLAP_DIVISOR).max(1);
        let count = (length - overlap).div_ceil(tile_max - overlap);
        Tiling { count, tile: (length + (count - 1) * overlap).div_ceil(count) }
    }
}
