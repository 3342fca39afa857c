//! The published report on consumer cards that ours is put beside: "Z-Image-Turbo on consumer
//! GPUs", a web interface on DiffSynth-Studio, no weights on the host, 40 steps with guidance 7.5
//! by its own words.

/// What it says of one card.
#[derive(Clone, Copy, Debug)]
pub struct PublishedCard {
    pub name: &'static str,
    pub memory_gib: u64,
    /// `None` where loading ran out of memory.
    pub load_s: Option<f64>,
    /// Seconds by size, in the order of [`PUBLISHED_SIZES`]; none where nothing was rendered.
    pub seconds: [Option<f64>; 5],
}

/// The sizes of its table, in pixels. They are the sizes of ours.
pub const PUBLISHED_SIZES: [(u32, u32); 5] =
    [(512, 512), (768, 768), (1024, 1024), (1024, 576), (576, 1024)];

/// Its steps and its guidance.
pub const PUBLISHED_STEPS: u32 = 40;
pub const PUBLISHED_GUIDANCE: f64 = 7.5;

/// Its cards, smallest first.
pub const PUBLISHED_CARDS: [PublishedCard; 4] = [
    PublishedCard { name: "RTX 3060 Laptop", memory_gib: 6, load_s: None, seconds: [None; 5] },
    PublishedCard {
        name: "RTX 3070",
        memory_gib: 8,
        load_s: Some(158.0),
        seconds: [Some(8.2), Some(12.4), Some(18.7), Some(15.1), Some(15.3)],
    },
    PublishedCard {
        name: "RTX 4060 Ti",
        memory_gib: 8,
        load_s: Some(132.0),
        seconds: [Some(6.1), Some(9.3), Some(13.6), Some(11.2), Some(11.4)],
    },
    PublishedCard {
        name: "RTX 4090",
        memory_gib: 24,
        load_s: Some(89.0),
        seconds: [Some(3.9), Some(5.8), Some(8.2), Some(6.9), Some(7.0)],
    },
];

/// Memory of its RTX 3070 by phase, in GB: idle after the load, at the most while a picture of
/// 1024x1024 is made, after it, and with the second picture.
pub const PUBLISHED_PHASES_GB: [f64; 4] = [7.2, 7.8, 7.3, 7.6];

impl PublishedCard {
    /// Seconds of a picture of `size` (width, height).
    pub fn seconds_of(&self, size: (u32, u32)) -> Option<f64> {
        let place = PUBLISHED_SIZES.iter().position(|known| *known == size)?;
        self.seconds[place]
    }

    /// The same in a cell; of a size that was not published it says nothing.
    pub fn cell_of(&self, size: (u32, u32)) -> String {
        match (self.seconds_of(size), self.load_s) {
            (Some(seconds), _) => format!("{seconds:.1} s"),
            (None, Some(_)) => String::new(),
            (None, None) => "fails to load".to_owned(),
        }
    }
}

/// What is published of a picture of `size` on cards of `memory_gib`, in words.
pub fn published_cell(memory_gib: u64, size: (u32, u32)) -> Option<String> {
    let cards = PUBLISHED_CARDS.iter().filter(|card| card.memory_gib == memory_gib);
    let words: Vec<String> = cards
        .filter_map(|card| match (card.load_s, card.seconds_of(size)) {
            (None, _) => Some(format!("{}: fails to load", card.name)),
            (_, Some(seconds)) => Some(format!("{}: {seconds:.1} s", card.name)),
            _ => None,
        })
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_names_the_cards_of_its_size() {
        assert_eq!(
            published_cell(6, (512, 512)).as_deref(),
            Some("RTX 3060 Laptop: fails to load")
        );
        let both = "RTX 3070: 18.7 s, RTX 4060 Ti: 13.6 s";
        assert_eq!(published_cell(8, (1024, 1024)).as_deref(), Some(both));
        assert_eq!(published_cell(24, (1536, 1536)), None);
        assert_eq!(published_cell(12, (512, 512)), None);
    }
}
