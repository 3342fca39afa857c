//! Which of several models is the next to render: they are changed rarely, because a change costs a
//! load, and no render starves for it.

/// The first render that waits for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelHead {
    /// In the order of arrival.
    pub render_id: i64,
    /// The name in daemon.toml; empty for the model of `[model]`.
    pub model: String,
    pub priority: i64,
}

/// So many renders of the loaded model may come before an older one of another model.
const PASSED_MAX: u32 = 20;

/// For so long they may: where a picture takes minutes, twenty of them are hours.
const PASSED_MS_MAX: i64 = 10 * 60 * 1000;

/// How long a render of another model has been passed over.
#[derive(Debug, Default)]
pub struct ModelTurns {
    /// Renders of the loaded model that were begun meanwhile.
    passed: u32,
    /// Since when (UTC, milliseconds since the epoch); `None` while nobody is passed over.
    since_ms: Option<i64>,
}

impl ModelTurns {
    /// Which of `heads` comes next while `loaded` is loaded: the first by priority and arrival, or
    /// one of the same priority that needs no other model, as long as the bounds allow it.
    pub fn next<'h>(
        &mut self,
        heads: &'h [ModelHead],
        loaded: Option<&str>,
        now_ms: i64,
    ) -> Option<&'h ModelHead> {
        let first = heads.iter().max_by_key(|head| (head.priority, -head.render_id))?;
        let same = heads.iter().find(|head| Some(head.model.as_str()) == loaded);
        let since_ms = self.since_ms.unwrap_or(now_ms);
        let may_pass = self.passed < PASSED_MAX && now_ms - since_ms < PASSED_MS_MAX;
        match same.filter(|same| same.priority == first.priority) {
            Some(same) if same != first && may_pass => {
                self.since_ms = Some(since_ms);
                Some(same)
            }
            _ => {
                *self = ModelTurns::default();
                Some(first)
            }
        }
    }

    /// Notes that the render that was chosen last is begun.
    pub fn began(&mut self) {
        if self.since_ms.is_some() {
            self.passed += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The queue run through: what waits as (model, priority), by arrival; the models in turn.
    fn run(mut waiting: Vec<(&str, i64)>, each_ms: i64) -> Vec<String> {
        let (mut turns, mut order, mut loaded, mut now_ms) =
            (ModelTurns::default(), Vec::new(), None::<String>, 0);
        let mut ids: Vec<i64> = (1..=waiting.len() as i64).collect();
        while !waiting.is_empty() {
            let mut heads: Vec<ModelHead> = Vec::new();
            for (id, (model, priority)) in ids.iter().zip(&waiting) {
                let head =
                    ModelHead { render_id: *id, model: (*model).to_owned(), priority: *priority };
                match heads.iter_mut().find(|known| known.model == *model) {
                    Some(known) if known.priority < *priority => *known = head,
                    Some(_) => (),
                    None => heads.push(head),
                }
            }
            let next = turns.next(&heads, loaded.as_deref(), now_ms).unwrap().clone();
            turns.began();
            let place = ids.iter().position(|id| *id == next.render_id).unwrap();
            ids.remove(place);
            waiting.remove(place);
            order.push(next.model.clone());
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
