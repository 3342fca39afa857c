//! Random choices that can be made again: `FAULTS_SEED` repeats them.

/// SplitMix64, which is good enough to choose by.
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// The choices of the run of this name, by the seed of `FAULTS_SEED`, or a new one, which is
    /// printed.
    pub fn seeded(name: &str) -> Random {
        let given = std::env::var("FAULTS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()) << 20 | time());
        println!("{name}: FAULTS_SEED={seed}");
        let of_name = name.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte));
        Random { seed, state: seed ^ of_name }
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }
}

fn time() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_micros()))
}

#[test]
fn the_same_seed_makes_the_same_choices() {
    let draw = |seed| {
        let mut random = Random { seed, state: seed };
        (0..9).map(|_| random.below(1000)).collect::<Vec<_>>()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}
