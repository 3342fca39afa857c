//! What the values of an 8-bit file are multiplied by.

use std::ops::Range;

/// What the values of a matrix are multiplied by.
#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    /// All by one number.
    Tensor(f32),
    /// Each row by its own.
    Rows(Vec<f32>),
    /// Each square of so many rows and columns by its own.
    Squares { side: usize, per_row: usize, scales: Vec<f32> },
}

impl Scale {
    /// The scale of a matrix (rows, columns) that these `scales` of this shape are; `None` where
    /// they are none.
    pub fn new(scales: Vec<f32>, shape: &[usize], [rows, columns]: [usize; 2]) -> Option<Scale> {
        let sides: Vec<usize> = shape.iter().copied().filter(|&side| side != 1).collect();
        match *sides {
            [] => Some(Scale::Tensor(*scales.first()?)),
            [count] if count == rows => Some(Scale::Rows(scales)),
            _ => {
                let (&[down, per_row], count) = (shape, scales.len()) else { return None };
                let side = rows.div_ceil(down.max(1));
                let fits = per_row == columns.div_ceil(side.max(1)) && count == down * per_row;
                fits.then_some(Scale::Squares { side, per_row, scales })
            }
        }
    }

    /// That of these rows alone; `None` where they cut squares.
    pub fn slice_rows(&self, rows: Range<usize>) -> Option<Scale> {
        match self {
            Scale::Tensor(scale) => Some(Scale::Tensor(*scale)),
            Scale::Rows(scales) => scales.get(rows).map(|scales| Scale::Rows(scales.to_vec())),
            Scale::Squares { side, per_row, scales } => {
                let first = rows.start / side * per_row;
                let end = rows.end.div_ceil(*side) * per_row;
                let scales = scales.get(first..end).filter(|_| rows.start.is_multiple_of(*side))?;
                Some(Scale::Squares { side: *side, per_row: *per_row, scales: scales.to_vec() })
            }
        }
    }

    /// Multiplies `values`, the rows from `first_row` on.
    pub fn apply(&self, first_row: usize, columns: usize, values: &mut [f32]) {
        let rows = values.chunks_mut(columns.max(1)).zip(first_row..);
        for (values, row) in rows {
            match self {
                Scale::Tensor(scale) => multiply(values, *scale),
                Scale::Rows(scales) => multiply(values, scales[row]),
                Scale::Squares { side, per_row, scales } => {
                    let scales = &scales[row / side * per_row..][..*per_row];
                    let squares = values.chunks_mut(*side).zip(scales);
                    squares.for_each(|(values, scale)| multiply(values, *scale));
                }
            }
        }
    }
}

fn multiply(values: &mut [f32], scale: f32) {
    values.iter_mut().for_each(|value| *value *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_told_by_its_shape_and_sliced_with_its_rows() {
        let count = |n: usize| (1..=n).map(|value| value as f32).collect::<Vec<_>>();
        assert_eq!(Scale::new(count(1), &[], [6, 4]), Some(Scale::Tensor(1.0)));
        assert_eq!(Scale::new(count(1), &[1], [6, 4]), Some(Scale::Tensor(1.0)));
        let rows = Scale::new(count(6), &[6, 1], [6, 4]).expect("a scale a row");
        assert_eq!(rows.slice_rows(2..4), Some(Scale::Rows(vec![3.0, 4.0])));
        assert_eq!(Scale::new(count(5), &[5], [6, 4]), None);
        let squares = Scale::new(count(6), &[3, 2], [6, 4]).expect("squares of two");
        let mut values = [1.0; 8];
        squares.slice_rows(2..6).expect("whole squares").apply(1, 4, &mut values);
        assert_eq!(values, [3.0, 3.0, 4.0, 4.0, 5.0, 5.0, 6.0, 6.0]);
        assert_eq!(squares.slice_rows(1..3), None);
    }
}
