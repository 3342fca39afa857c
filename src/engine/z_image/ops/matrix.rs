//! Matrix products over slices, by the `gemm` that candle itself multiplies with.

/// A view of values as a matrix: how far apart its rows and its columns are.
pub(super) struct Matrix<'a> {
    pub values: &'a [f32],
    pub row_step: usize,
    pub column_step: usize,
}

impl Matrix<'_> {
    /// Whether `rows` by `columns` lie within the values.
    fn holds(&self, rows: usize, columns: usize) -> bool {
        (rows - 1) * self.row_step + (columns - 1) * self.column_step < self.values.len()
    }
}

/// Where an output starts that several threads write, each its own part.
#[derive(Clone, Copy)]
pub(super) struct SharedStart(*mut f32);

// SAFETY: the pointer is only written through `product`, whose callers keep to parts of their own.
unsafe impl Send for SharedStart {}
// SAFETY: as above.
unsafe impl Sync for SharedStart {}

impl SharedStart {
    pub fn of(output: &mut [f32]) -> SharedStart {
        SharedStart(output.as_mut_ptr())
    }

    /// # Safety
    /// `offset` lies within the output, which is still there.
    pub unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

/// `out = scale * a b` for `a` (m, k) and `b` (k, n); the rows of `out` are `out_step` apart. On
/// `threads` of rayon's.
///
/// # Safety
/// `out` may be written at m rows of n values, and nobody else reads or writes them meanwhile.
pub(super) unsafe fn product(
    out: *mut f32,
    out_step: usize,
    a: &Matrix,
    b: &Matrix,
    (m, n, k): (usize, usize, usize),
    scale: f32,
    threads: usize,
) {
    assert!(a.holds(m, k) && b.holds(k, n));
    let (out_rs, a_rs, b_rs) = (out_step as isize, a.row_step as isize, b.row_step as isize);
    let (a_cs, b_cs) = (a.column_step as isize, b.column_step as isize);
    let (a, b) = (a.values.as_ptr(), b.values.as_ptr());
    let threads =
        if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    // SAFETY: asserted for `a` and `b`, promised by the caller for `out`.
    unsafe {
        gemm::gemm(
            m, n, k, out, 1, out_rs, false, a, a_cs, a_rs, b, b_cs, b_rs, 0.0, scale, false, false,
            false, threads,
        )
    }
}
