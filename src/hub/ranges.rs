//! Which bytes of a file there are.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A set of bytes, as ranges that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct ByteRanges {
    /// The end of each range, by its start.
    ends: BTreeMap<u64, u64>,
}

impl ByteRanges {
    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.ends.iter().map(|(start, end)| end - start).sum()
    }

    /// How far the file is there from its beginning on.
    pub fn prefix_end(&self) -> u64 {
        self.ends.get(&0).copied().unwrap_or(0)
    }

    /// The end of the last range.
    pub fn end(&self) -> u64 {
        self.ends.last_key_value().map_or(0, |(_, end)| *end)
    }

    pub fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let mut merged = range;
        // From the right, so that the last one looked at is the only one that may begin before.
        while let Some((&start, &end)) = self.ends.range(..=merged.end).next_back() {
            if end < merged.start {
                break;
            }
            self.ends.remove(&start);
            merged = merged.start.min(start)..merged.end.max(end);
        }
        self.ends.insert(merged.start, merged.end);
    }

    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((&start, &end)) = self.ends.range(..range.end).next_back() {
            if end <= range.start {
                break;
            }
            self.ends.remove(&start);
            self.insert_unless_empty(range.end..end);
            self.insert_unless_empty(start..range.start);
        }
    }

    fn insert_unless_empty(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.ends.insert(range.start, range.end);
        }
    }

    /// The first bytes below `length` that are missing, at most `bytes_max` of them.
    pub fn first_gap(&self, length: u64, bytes_max: u64) -> Option<Range<u64>> {
        let start = self.prefix_end();
        let next = self.ends.range(start + 1..).next().map_or(length, |(next, _)| *next);
        let end = next.min(length).min(start.saturating_add(bytes_max));
        (start < end).then_some(start..end)
    }
}

impl From<Vec<(u64, u64)>> for ByteRanges {
    fn from(pairs: Vec<(u64, u64)>) -> ByteRanges {
        let mut ranges = ByteRanges::default();
        pairs.into_iter().for_each(|(start, end)| ranges.add(start..end));
        ranges
    }
}

impl From<ByteRanges> for Vec<(u64, u64)> {
    fn from(ranges: ByteRanges) -> Vec<(u64, u64)> {
        ranges.ends.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const LENGTH: u64 = 24;

    proptest! {
        #[test]
        fn ranges_are_a_set_of_bytes(
            steps in prop::collection::vec((any::<bool>(), 0..LENGTH, 0..LENGTH), 0..24),
            bytes_max in 1..LENGTH,
        ) {
            let (mut ranges, mut set) = (ByteRanges::default(), BTreeSet::new());
            for (adds, start, end) in steps {
                if adds {
                    ranges.add(start..end);
                    set.extend(start..end);
                } else {
                    ranges.remove(start..end);
                    set.retain(|byte| !(start..end).contains(byte));
                }
                let pairs = Vec::from(ranges.clone());
                let listed: Vec<u64> = pairs.iter().flat_map(|(start, end)| *start..*end).collect();
                prop_assert_eq!(&listed, &set.iter().copied().collect::<Vec<_>>());
                prop_assert!(pairs.windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", pairs);
            }
            let gap = (0..LENGTH).find(|byte| !set.contains(byte)).map(|start| {
                let end = (start..LENGTH).find(|byte| set.contains(byte)).unwrap_or(LENGTH);
                start..end.min(start + bytes_max)
            });
            prop_assert_eq!(ranges.first_gap(LENGTH, bytes_max), gap);
            prop_assert_eq!(ranges.bytes(), set.len() as u64);
            prop_assert_eq!(ranges.end(), set.last().map_or(0, |last| last + 1));
        }
    }
}
