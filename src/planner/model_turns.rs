//! Which of several models, with which LoRAs, is the next to render: they are changed rarely,
//! because a change costs a load, and no render starves for it.

/// The first render that waits for a model, or for this model with the LoRAs that are loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelHead {
    /// In the order of arrival.
    pub render_id: i64,
    /// The name in daemon.toml; empty for the model of `[model]`.
    pub model: String,
    /// The hashes of its LoRAs, sorted. Their weights are not in it: another one needs no load.
    pub loras: String,
    pub priority: i64,
}

/// So many renders of what is loaded may come before an older one that needs another load.
const PASSED_MAX: u32 = 20;

/// For so long they may: where a picture takes minutes, twenty of them are hours.
const PASSED_MS_MAX: i64 = 10 * 60 * 1000;

/// How long a render that needs another load has been passed over.
#[derive(Debug, Default)]
pub struct ModelTurns {
    /// Renders of what is loaded that were begun meanwhile.
    passed: u32,
    /// Since when (UTC, milliseconds since the epoch); `None` while nobody is passed over.
    since_ms: Option<i64>,
    /// As in [`ModelHead`]: those of the render that was chosen last.
    chosen_loras: String,
    /// Those of the render that was begun last, which the worker has kept.
    loras: String,
}

impl ModelTurns {
    /// Which of `heads` comes next while `loaded` is loaded: the first by priority and arrival, or
    /// one of the same priority that needs no other LoRAs, or at least no other model, as long as
    /// the bounds allow it.
    pub fn next<'h>(
        &mut self,
        heads: &'h [ModelHead],
        loaded: Option<&str>,
        now_ms: i64,
    ) -> Option<&'h ModelHead> {
        let first = heads.iter().max_by_key(|head| (head.priority, -head.render_id))?;
        let same_model = heads
            .iter()
            .filter(|head| Some(head.model.as_str()) == loaded && head.priority == first.priority);
        let same = same_model.max_by_key(|head| (head.loras == self.loras, -head.render_id));
        let since_ms = self.since_ms.unwrap_or(now_ms);
        let may_pass = self.passed < PASSED_MAX && now_ms - since_ms < PASSED_MS_MAX;
        let next = match same {
            Some(same) if same != first && may_pass => {
                self.since_ms = Some(since_ms);
                same
            }
            _ => {
                (self.passed, self.since_ms) = (0, None);
                first
            }
        };
        self.chosen_loras.clone_from(&next.loras);
        Some(next)
    }

    /// Notes that the render that was chosen last is begun.
    pub fn began(&mut self) {
        self.loras.clone_from(&self.chosen_loras);
        if self.since_ms.is_some() {
            self.passed += 1;
        }
    }

    /// The hashes of the LoRAs of the render that was begun last, as in [`ModelHead`].
    pub fn loras(&self) -> &str {
        &self.loras
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The queue run through: what waits as (what it needs, priority), by arrival, where `a` is a
    /// model and `a/x` that with a LoRA; what was needed in turn.
    fn run(waiting: Vec<(&str, i64)>, each_ms: i64) -> Vec<String> {
        let (mut turns, mut order, mut loaded, mut now_ms) =
            (ModelTurns::default(), Vec::new(), None::<String>, 0);
        let head = |(id, (needed, priority)): (usize, (&str, i64))| {
            let (model, loras) = needed.split_once('/').unwrap_or((needed, ""));
            let (model, loras) = (model.to_owned(), loras.to_owned());
            ModelHead { render_id: id as i64, model, loras, priority }
        };
        let mut waiting: Vec<ModelHead> = waiting.into_iter().enumerate().map(head).collect();
        waiting.sort_by_key(|head| (-head.priority, head.render_id));
        while !waiting.is_empty() {
            let mut heads: Vec<ModelHead> = Vec::new();
            for head in &waiting {
                let is_at_hand =
                    Some(&head.model) == loaded.as_ref() && head.loras == turns.loras();
                if heads.iter().all(|known| known.model != head.model)
                    || is_at_hand && heads.iter().all(|known| known.loras != head.loras)
                {
                    heads.push(head.clone());
                }
            }
            let next = turns.next(&heads, loaded.as_deref(), now_ms).unwrap().clone();
            turns.began();
            waiting.retain(|head| head.render_id != next.render_id);
            let slash = if next.loras.is_empty() { "" } else { "/" };
            order.push(format!("{}{slash}{}", next.model, next.loras));
            loaded = Some(next.model);
            now_ms += each_ms;
        }
        order
    }

    fn changes(order: &[String]) -> usize {
        order.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    #[test]
    fn renders_of_two_models_that_come_by_turns_are_grouped() {
        let waiting: Vec<_> = (0..20).map(|n| (["a", "b"][n % 2], 0)).collect();
        assert_eq!(changes(&run(waiting, 1000)), 1);
    }

    #[test]
    fn the_oldest_is_passed_over_twenty_times_at_most() {
        let mut waiting = vec![("a", 0), ("b", 0)];
        waiting.extend((0..200).map(|_| ("a", 0)));
        let order = run(waiting, 1);
        assert_eq!(order.iter().position(|model| model == "b"), Some(1 + PASSED_MAX as usize));
        assert_eq!(changes(&order), 2);
    }

    #[test]
    fn the_oldest_is_passed_over_for_ten_minutes_at_most() {
        let mut waiting = vec![("a", 0), ("b", 0)];
        waiting.extend((0..200).map(|_| ("a", 0)));
        let order = run(waiting, 4 * 60 * 1000);
        assert_eq!(order.iter().position(|model| model == "b"), Some(4));
    }

    #[test]
    fn a_higher_priority_goes_before_the_loaded_model() {
        assert_eq!(run(vec![("a", 0), ("a", 0), ("b", 5), ("b", 0)], 1), ["b", "b", "a", "a"]);
    }

    #[test]
    fn renders_of_a_model_are_grouped_by_their_loras() {
        let waiting: Vec<_> = (0..20).map(|n| (["a/x", "a/y"][n % 2], 0)).collect();
        assert_eq!(changes(&run(waiting, 1000)), 1);
        // Another model waits longer than another LoRA: a load of it costs more.
        let waiting = ["a/x", "b", "a/y", "a/x", "b", "a/y"].map(|needed| (needed, 0));
        let order = run(waiting.to_vec(), 1000);
        assert_eq!(order, ["a/x", "a/x", "a/y", "a/y", "b", "b"]);
    }

    #[test]
    fn a_lora_is_passed_over_no_longer_than_a_model() {
        let mut waiting = vec![("a/x", 0), ("a/y", 0), ("a", 0)];
        waiting.extend((0..200).map(|_| ("a/x", 0)));
        let order = run(waiting.clone(), 1);
        assert_eq!(order.iter().position(|needed| needed == "a/y"), Some(1 + PASSED_MAX as usize));
        assert_eq!(order.iter().position(|needed| needed == "a"), Some(2 + PASSED_MAX as usize));
        let order = run(waiting, 4 * 60 * 1000);
        assert_eq!(order.iter().position(|needed| needed == "a/y"), Some(4));
        assert_eq!(run(vec![("a/x", 0), ("a/x", 0), ("a", 5)], 1), ["a", "a/x", "a/x"]);
    }

    #[test]
    fn none_of_three_models_starves() {
        let waiting: Vec<_> = (0..300).map(|n| (["a", "b", "c"][n % 3], 0)).collect();
        let order = run(waiting, 1);
        for model in ["a", "b", "c"] {
            let places = order.iter().enumerate().filter(|(_, of)| *of == model);
            let places: Vec<usize> = places.map(|(place, _)| place).collect();
            let longest = places.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
            assert!(longest <= 3 * (PASSED_MAX as usize + 1), "{model}: {longest}");
        }
    }
}
