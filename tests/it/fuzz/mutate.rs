//! Changes to bytes as they come about by accident and by intent; the same for the same seed.

/// xorshift64*: as good as these tests need, and the same everywhere.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed | 1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Less than `end`; 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() >> 33) as usize % end.max(1)
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Numbers at which something changes its sign, its length or its mind.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// No input grows longer.
const BYTES_MAX: usize = 1 << 20;

/// So many changes are made to one input at most.
const CHANGES_MAX: usize = 6;

/// One of the corpus with a few changes; `words` are pieces that mean something to the reader.
pub fn mutated(dice: &mut Dice, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut bytes = dice.pick(corpus).clone();
    for _ in 0..=dice.below(CHANGES_MAX) {
        change(dice, &mut bytes, corpus, words);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn change(dice: &mut Dice, bytes: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
    let at = place(dice, bytes.len());
    let end = (at + 1 + dice.below(16)).min(bytes.len());
    match dice.below(9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        1 if at < bytes.len() => bytes[at] = dice.roll() as u8,
        2 => drop(bytes.drain(at..end)),
        3 => bytes.truncate(at),
        4 => {
            let piece = bytes[at..end].repeat(1 + dice.below(200));
            insert(bytes, at, &piece);
        }
        5 => {
            let other = dice.pick(corpus);
            let from = place(dice, other.len());
            let to = (from + 1 + dice.below(400)).min(other.len());
            insert(bytes, at, &other[from..to]);
        }
        6 | 7 if !words.is_empty() => {
            let word = *dice.pick(words);
            bytes.splice(at..at + dice.below(2) * (end - at), word.bytes());
        }
        _ => overwrite(dice, bytes, at),
    }
}

/// Anywhere, but rather in front: that is where headers are.
fn place(dice: &mut Dice, length: usize) -> usize {
    match dice.below(3) {
        0 => dice.below(length.min(64) + 1),
        1 => dice.below(length.min(2048) + 1),
        _ => dice.below(length + 1),
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    if bytes.len() + piece.len() <= BYTES_MAX {
        bytes.splice(at..at, piece.iter().copied());
    }
}

/// An edge of 1, 2, 4 or 8 bytes in either order, or in digits.
fn overwrite(dice: &mut Dice, bytes: &mut Vec<u8>, at: usize) {
    let edge = *dice.pick(&EDGES);
    let length = 1 << dice.below(4);
    let piece = match dice.below(3) {
        0 => edge.to_le_bytes()[..length].to_vec(),
        1 => edge.to_be_bytes()[8 - length..].to_vec(),
        _ => edge.to_string().into_bytes(),
    };
    let end = (at + piece.len()).min(bytes.len());
    bytes.splice(at..end, piece);
}

#[test]
fn the_same_seed_makes_the_same_inputs_and_another_one_others() {
    let corpus = [b"prompt = 'a'\nsteps = 8\n".to_vec()];
    let inputs = |seed| {
        let mut dice = Dice::new(seed);
        (0..50).map(|_| mutated(&mut dice, &corpus, &["nan"])).collect::<Vec<_>>()
    };
    assert_eq!(inputs(7), inputs(7));
    assert_ne!(inputs(7), inputs(8));
    let mut different = inputs(7);
    different.sort();
    different.dedup();
    assert!(different.len() > 40, "{} of 50 differ", different.len());
}
