//! The rotation that rows of weights and of activations go through before they are rounded to eight
//! bits. It spreads a row's few large values over their whole group, so that the others keep more
//! of their digits. A product of two rows that were rotated alike is the same as before.
//!
//! Each group of values, a power of four, is multiplied by the Kronecker power of half of
//! [[1,1,1,-1],[1,1,-1,1],[1,-1,1,1],[-1,1,1,1]], a Hadamard matrix that is its own inverse.
//!
//! Source: ConvRot, as in comfy-kitchen's int8_utils.py.

/// Groups that rows are rotated in, largest first.
const GROUPS: [usize; 3] = [256, 64, 16];

/// The size of the groups in which rows of so many values are rotated: the largest that fills them;
/// `None` where there is none.
pub fn group_of(columns: usize) -> Option<usize> {
    GROUPS.into_iter().find(|group| columns.is_multiple_of(*group))
}

/// Whether rows can be rotated in groups of this size.
pub fn is_group(group: usize, columns: usize) -> bool {
    group.is_power_of_two()
        && group.trailing_zeros().is_multiple_of(2)
        && columns.is_multiple_of(group)
}

/// Rotates each `group` of values, or undoes that.
#[inline(always)]
pub fn rotate(values: &mut [f32], group: usize) {
    for values in values.chunks_exact_mut(group) {
        let mut stride = 1;
        while stride < group {
            rotate_fours(values, stride);
            stride *= 4;
        }
    }
}

/// Multiplies every four values that lie `stride` apart by the matrix of four rows.
#[inline(always)]
fn rotate_fours(values: &mut [f32], stride: usize) {
    for block in values.chunks_exact_mut(4 * stride) {
        for at in 0..stride {
            let [a, b, c, d] = [0, 1, 2, 3].map(|nth| block[at + nth * stride]);
            let half_sum = (a + b + c + d) / 2.0;
            for (nth, missing) in [d, c, b, a].into_iter().enumerate() {
                block[at + nth * stride] = half_sum - missing;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_is_its_own_inverse_and_mixes_a_whole_group() {
        let mut values = vec![0.0; 32];
        values[3] = 8.0;
        rotate(&mut values, 16);
        // The fourth column of the matrix, and of its first power's first block.
        assert_eq!(values[..4], [-2.0, 2.0, 2.0, 2.0]);
        assert!(values[..16].iter().all(|value| value.abs() == 2.0));
        assert!(values[16..].iter().all(|&value| value == 0.0));
        rotate(&mut values, 16);
        assert!((values[3] - 8.0).abs() < 1e-6 && values[4].abs() < 1e-6);
    }

    #[test]
    fn groups_are_powers_of_four_that_fill_a_row() {
        assert!(is_group(256, 3840) && !is_group(32, 64) && !is_group(64, 96));
        assert_eq!(
            [3840, 10240, 192, 96, 40].map(group_of),
            [Some(256), Some(256), Some(64), Some(16), None]
        );
    }
}
