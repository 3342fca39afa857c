//! Normal noise exactly as torch's CPU generator draws it, so that a seed gives the picture it
//! gives elsewhere. Source: ATen's `MT19937RNGEngine.h`, `DistributionTemplates.h` (`normal_fill`)
//! and `TransformationHelper.h`.

use std::f32::consts::PI;

const STATE_WORDS: usize = 624;
const SHIFT_WORDS: usize = 397;
/// Box-Muller works in blocks of this many: eight radii with eight angles.
const BLOCK: usize = 16;

/// torch's CPU generator: the Mersenne Twister mt19937.
pub struct Generator {
    state: [u32; STATE_WORDS],
    next: usize,
}

impl Generator {
    /// As `torch.Generator("cpu").manual_seed(seed)`, which takes the low 32 bits.
    pub fn new(seed: u64) -> Generator {
        let mut state = [seed as u32; STATE_WORDS];
        for i in 1..STATE_WORDS {
            let before = state[i - 1];
            state[i] =
                1_812_433_253_u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Generator { state, next: STATE_WORDS }
    }

    /// As `torch.randn(count, generator=self)`: a normal sample, f32.
    pub fn randn(&mut self, count: usize) -> Vec<f32> {
        if count < BLOCK { self.randn_few(count) } else { self.randn_blocks(count) }
    }

    /// Draws all uniform numbers first, then transforms them block by block. Where the last block
    /// is not full, the last 16 values are drawn again and transformed as one block.
    fn randn_blocks(&mut self, count: usize) -> Vec<f32> {
        let mut values: Vec<f32> = (0..count).map(|_| self.uniform()).collect();
        values.chunks_exact_mut(BLOCK).for_each(box_muller);
        if !count.is_multiple_of(BLOCK) {
            let last = &mut values[count - BLOCK..];
            last.fill_with(|| self.uniform());
            box_muller(last);
        }
        values
    }

    /// Fewer values than a block are drawn in pairs, in f64. The second of a pair is the next
    /// value.
    fn randn_few(&mut self, count: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            let angle = 2.0 * std::f64::consts::PI * self.uniform_f64();
            let radius = (-2.0 * (-self.uniform_f64()).ln_1p()).sqrt();
            values.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
        }
        values.truncate(count);
        values
    }

    /// In [0, 1), 24 bits.
    fn uniform(&mut self) -> f32 {
        (self.word() & 0x00ff_ffff) as f32 / (1 << 24) as f32
    }

    /// In [0, 1), 53 bits, the first word drawn being the high one.
    fn uniform_f64(&mut self) -> f64 {
        let bits = (u64::from(self.word()) << 32) | u64::from(self.word());
        (bits & ((1 << 53) - 1)) as f64 / (1_u64 << 53) as f64
    }

    fn word(&mut self) -> u32 {
        if self.next == STATE_WORDS {
            self.twist();
        }
        let word = self.state[self.next];
        self.next += 1;
        temper(word)
    }

    fn twist(&mut self) {
        for i in 0..STATE_WORDS {
            let mixed =
                (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE_WORDS] & 0x7fff_ffff);
            let odd = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT_WORDS) % STATE_WORDS] ^ (mixed >> 1) ^ odd;
        }
        self.next = 0;
    }
}

fn temper(mut word: u32) -> u32 {
    word ^= word >> 11;
    word ^= (word << 7) & 0x9d2c_5680;
    word ^= (word << 15) & 0xefc6_0000;
    word ^ (word >> 18)
}

/// Sixteen uniform numbers to sixteen normal ones, in f32 as torch does.
fn box_muller(block: &mut [f32]) {
    let (radii, angles) = block.split_at_mut(BLOCK / 2);
    for (u1, u2) in radii.iter_mut().zip(angles) {
        let radius = (-2.0 * (1.0 - *u1).ln()).sqrt();
        let (sin, cos) = (2.0 * PI * *u2).sin_cos();
        (*u1, *u2) = (radius * cos, radius * sin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_than_sixteen_samples_take_the_scalar_path() {
        // What `torch.manual_seed(0); torch.randn(3)` prints.
        let expected = [1.5410, -0.2934, -2.1788];
        for (ours, torch) in Generator::new(0).randn(3).iter().zip(expected) {
            assert!((ours - torch).abs() < 5e-5, "{ours} for {torch}");
        }
    }

    #[test]
    fn only_the_low_half_of_a_seed_counts() {
        assert_eq!(Generator::new(5).randn(32), Generator::new((7 << 32) + 5).randn(32));
    }
}
