//! Histograms of what the database has counted already.

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Names and values.
pub type Labels = Vec<(&'static str, String)>;

/// How many values stay within each of some bounds, and their sum.
#[derive(Clone, Debug, Default)]
pub struct CountedHistogram {
    /// The bound, and how many values are between it and the bound before.
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl CountedHistogram {
    /// One of nothing; what is above the last of `bounds` counts, too.
    pub fn new(bounds: &[f64]) -> CountedHistogram {
        let all = bounds.iter().copied().chain([f64::INFINITY]);
        CountedHistogram { buckets: all.map(|bound| (bound, 0)).collect(), sum: 0.0 }
    }

    /// Adds `count` values of this `sum` that stay within the bound at this place.
    pub fn add(&mut self, place: i64, count: i64, sum: f64) {
        let place = usize::try_from(place).unwrap_or_default().min(self.buckets.len() - 1);
        self.buckets[place].1 += count.unsigned_abs();
        self.sum += sum;
    }
}

/// Histograms of the same, each with its labels.
#[derive(Debug)]
pub struct CountedHistograms(pub Vec<(Labels, CountedHistogram)>);

impl EncodeMetric for CountedHistograms {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        for (labels, CountedHistogram { buckets, sum }) in &self.0 {
            let count = buckets.iter().map(|(_, count)| count).sum();
            if labels.is_empty() {
                encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)?;
            } else {
                let mut encoder = encoder.encode_family(labels)?;
                encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
