//! Matrix products over slices, by the `gemm` that candle itself multiplies with.

use std::marker::PhantomData;

/// A view of values as a matrix: how far apart its rows and its columns are.
pub(super) struct MatrixView<'a> {
    pub values: &'a [f32],
    pub row_step: usize,
    pub column_step: usize,
}

impl<'a> MatrixView<'a> {
    pub fn transposed(&self) -> MatrixView<'a> {
        MatrixView { row_step: self.column_step, column_step: self.row_step, ..*self }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        holds(self.values.len(), (rows, self.row_step), (columns, self.column_step))
    }
}

/// Whether a matrix with so many rows and columns, each so far apart, lies within `length` values.
fn holds(
    length: usize,
    (rows, row_step): (usize, usize),
    (columns, column_step): (usize, usize),
) -> bool {
    rows == 0 || columns == 0 || (rows - 1) * row_step + (columns - 1) * column_step < length
}

/// An output that several threads write, each its own part.
#[derive(Clone, Copy)]
pub(super) struct SharedOutput<'a> {
    start: *mut f32,
    length: usize,
    values: PhantomData<&'a mut [f32]>,
}

// SAFETY: the values are only reached through `SharedOutput::part`, whose callers promise that no
// two parts overlap.
unsafe impl Send for SharedOutput<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedOutput<'_> {}

impl<'a> SharedOutput<'a> {
    pub fn new(values: &'a mut [f32]) -> SharedOutput<'a> {
        SharedOutput { start: values.as_mut_ptr(), length: values.len(), values: PhantomData }
    }

    /// The matrix of `rows` by `columns` from `offset` on, its rows `row_step` apart.
    ///
    /// # Safety
    /// While this part is there nobody else reads or writes its values.
    pub unsafe fn part(
        self,
        offset: usize,
        row_step: usize,
        (rows, columns): (usize, usize),
    ) -> OutputPart<'a> {
        assert!(offset <= self.length && columns <= row_step);
        assert!(holds(self.length - offset, (rows, row_step), (columns, 1)));
        // SAFETY: the offset is asserted to lie within the values.
        let start = unsafe { self.start.add(offset) };
        OutputPart { start, row_step, rows, columns, values: PhantomData }
    }
}

/// The rows of an output that one thread writes; only itself may touch their values.
pub(super) struct OutputPart<'a> {
    start: *mut f32,
    row_step: usize,
    rows: usize,
    columns: usize,
    values: PhantomData<&'a mut [f32]>,
}

impl<'a> OutputPart<'a> {
    /// `rows` rows of `columns` values, one after the other.
    pub fn of(values: &'a mut [f32], rows: usize, columns: usize) -> OutputPart<'a> {
        // SAFETY: the values are borrowed for as long as the part is there.
        unsafe { SharedOutput::new(values).part(0, columns, (rows, columns)) }
    }

    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.rows_from(0)
    }

    /// The rows from number `first` on.
    pub fn rows_from(&mut self, first: usize) -> impl Iterator<Item = &mut [f32]> {
        (first..self.rows).map(|row| {
            // SAFETY: the row lies within the part, which is borrowed for as long as the slice is
            // there, and rows do not overlap: they are at least as far apart as they are long.
            unsafe {
                std::slice::from_raw_parts_mut(self.start.add(row * self.row_step), self.columns)
            }
        })
    }
}

/// `out = scale * a b`, where `a` has `inner` columns and `b` as many rows. On this thread.
pub(super) fn matmul(
    out: &mut OutputPart,
    a: &MatrixView,
    b: &MatrixView,
    inner: usize,
    scale: f32,
) {
    gemm(out, a, b, inner, scale, false);
}

/// `out += a b`, where `a` has `inner` columns and `b` as many rows. On this thread.
pub(super) fn matmul_add(out: &mut OutputPart, a: &MatrixView, b: &MatrixView, inner: usize) {
    gemm(out, a, b, inner, 1.0, true);
}

fn gemm(
    out: &mut OutputPart,
    a: &MatrixView,
    b: &MatrixView,
    inner: usize,
    scale: f32,
    adds: bool,
) {
    let (m, n, k) = (out.rows, out.columns, inner);
    assert!(a.holds(m, k) && b.holds(k, n));
    let of_out = if adds { 1.0 } else { 0.0 };
    // SAFETY: the sizes are asserted for `a` and `b`; those of `out` were when it was made, and it
    // is borrowed alone.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.start,
            1,
            out.row_step as isize,
            adds,
            a.values.as_ptr(),
            a.column_step as isize,
            a.row_step as isize,
            b.values.as_ptr(),
            b.column_step as isize,
            b.row_step as isize,
            of_out,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(values: &[f32], row_step: usize) -> MatrixView<'_> {
        MatrixView { values, row_step, column_step: 1 }
    }

    #[test]
    fn a_matrix_without_rows_or_columns_lies_in_any_values() {
        assert!(view(&[], 3).holds(0, 3));
        assert!(view(&[], 3).holds(3, 0));
        assert!(!view(&[], 3).holds(1, 1));
    }

    #[test]
    fn a_matrix_lies_within_the_values_up_to_its_last_one() {
        assert!(view(&[0.0; 5], 3).holds(2, 2));
        assert!(!view(&[0.0; 4], 3).holds(2, 2));
    }

    #[test]
    fn a_part_is_written_and_nothing_beside_it() {
        let mut values = [1.0; 8];
        let output = SharedOutput::new(&mut values);
        // SAFETY: there is no other part.
        let mut part = unsafe { output.part(1, 4, (2, 2)) };
        let a = [1.0, 2.0, 3.0, 4.0];
        matmul(&mut part, &view(&a, 2), &view(&[1.0, 0.0, 0.0, 1.0], 2), 2, 10.0);
        matmul_add(&mut part, &view(&a, 2), &view(&[1.0, 0.0, 0.0, 1.0], 2), 2);
        assert_eq!(values, [1.0, 11.0, 22.0, 1.0, 1.0, 33.0, 44.0, 1.0]);
    }

    #[test]
    #[should_panic(expected = "holds")]
    fn a_part_beyond_the_output_is_refused() {
        let mut values = [0.0; 8];
        // SAFETY: there is no other part.
        unsafe { SharedOutput::new(&mut values).part(3, 4, (2, 2)) };
    }
}
