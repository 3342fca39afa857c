//! The fake engine's script: what a prompt (or `load.txt`) asks it to do. The grammar stands in
//! [`super`].

use crate::ladder::{Decode, Rung};

/// A place in the work where faults happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Load,
    Weights,
    Text,
    Step(u32),
    Decode,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Out of memory, recoverable.
    Oom,
    /// Out of memory, and the memory does not come back.
    Leak,
    /// A device error after which nothing can be trusted.
    Sticky,
    /// The picture is black.
    Black,
    /// The model refuses the request.
    Invalid,
    Panic,
    /// SIGKILL, as by the kernel.
    Die,
    Exit(i32),
    /// Asks for more memory than there is, and aborts as Rust does.
    Hoard,
    /// Never returns, and hears no cancellation.
    Hang,
    /// Waits for as long as the test wants.
    Hold,
    /// A library prints on standard output.
    StrayLine,
    /// A line that is no event among the events.
    GarbageLine,
    /// Half an event, then silence.
    HalfLine,
    /// A line without an end, past every limit.
    HugeLine,
}

/// On which rungs a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Above {
    /// The longer side of the picture is more than this.
    Pixels(u32),
    /// The decode's tiles are larger than this, or there are none.
    Tile(u32),
}

/// One fault of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// As written, single-spaced: what its happenings are counted by.
    pub text: String,
    pub fault: Fault,
    pub place: Place,
    pub above: Option<Above>,
    /// How often it happens, in all workers together; `None` is always.
    pub times: Option<u32>,
}

/// How long the parts of the work take, and what goes wrong in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    pub load_ms: u64,
    pub text_ms: u64,
    pub step_ms: u64,
    pub decode_ms: u64,
    pub clauses: Vec<Clause>,
}

impl Script {
    /// Reads a script; faults that name no place happen at `usual`. What is not understood is
    /// ignored.
    pub fn parse(text: &str, usual: Place) -> Script {
        let mut script = Script::default();
        for part in text.split([',', '\n']) {
            let words: Vec<&str> = part.split_whitespace().collect();
            if !script.read_pace(&words) {
                script.clauses.extend(clause(&words, usual));
            }
        }
        script
    }

    fn read_pace(&mut self, words: &[&str]) -> bool {
        let [part, "of", number, "ms"] = words else { return false };
        let Ok(ms) = number.parse() else { return false };
        match *part {
            "load" => self.load_ms = ms,
            "text" => self.text_ms = ms,
            "steps" => self.step_ms = ms,
            "decode" => self.decode_ms = ms,
            _ => return false,
        }
        true
    }
}

impl Clause {
    /// Whether this fault lies at `place` and, where it asks, on `rung`.
    pub fn applies(&self, place: Place, rung: Option<&Rung>) -> bool {
        self.place == place
            && match (self.above, rung) {
                (None, _) => true,
                (Some(above), Some(rung)) => above.holds(rung),
                (Some(_), None) => false,
            }
    }
}

impl Above {
    fn holds(self, rung: &Rung) -> bool {
        match (self, rung.decode) {
            (Above::Pixels(limit), _) => rung.width.max(rung.height) > limit,
            (Above::Tile(_), Decode::Whole | Decode::Stripes { .. }) => true,
            (Above::Tile(limit), Decode::Tiles { side }) => side > limit,
        }
    }
}

fn clause(words: &[&str], usual: Place) -> Option<Clause> {
    let (fault, rest) = fault(words)?;
    let (place, rest) = place(rest, usual)?;
    let (above, rest) = above(rest)?;
    let times = times(rest)?;
    Some(Clause { text: words.join(" "), fault, place, above, times })
}

fn fault<'a, 'w>(words: &'a [&'w str]) -> Option<(Fault, &'a [&'w str])> {
    match words {
        ["oom", rest @ ..] => Some((Fault::Oom, rest)),
        ["leak", rest @ ..] => Some((Fault::Leak, rest)),
        ["sticky", rest @ ..] => Some((Fault::Sticky, rest)),
        ["black", rest @ ..] => Some((Fault::Black, rest)),
        ["invalid", rest @ ..] => Some((Fault::Invalid, rest)),
        ["panic", rest @ ..] => Some((Fault::Panic, rest)),
        ["die", rest @ ..] => Some((Fault::Die, rest)),
        ["exit", status, rest @ ..] => Some((Fault::Exit(status.parse().ok()?), rest)),
        ["hoard", rest @ ..] => Some((Fault::Hoard, rest)),
        ["hang", rest @ ..] => Some((Fault::Hang, rest)),
        ["hold", rest @ ..] => Some((Fault::Hold, rest)),
        ["stray", "line", rest @ ..] => Some((Fault::StrayLine, rest)),
        ["garbage", "line", rest @ ..] => Some((Fault::GarbageLine, rest)),
        ["half", "line", rest @ ..] => Some((Fault::HalfLine, rest)),
        ["huge", "line", rest @ ..] => Some((Fault::HugeLine, rest)),
        _ => None,
    }
}

fn place<'a, 'w>(words: &'a [&'w str], usual: Place) -> Option<(Place, &'a [&'w str])> {
    match words {
        ["at", "load", rest @ ..] => Some((Place::Load, rest)),
        ["at", "weights", rest @ ..] => Some((Place::Weights, rest)),
        ["at", "text", rest @ ..] => Some((Place::Text, rest)),
        ["at", "step", step, rest @ ..] => Some((Place::Step(step.parse().ok()?), rest)),
        ["at", "decode", rest @ ..] => Some((Place::Decode, rest)),
        rest => Some((usual, rest)),
    }
}

fn above<'a, 'w>(words: &'a [&'w str]) -> Option<(Option<Above>, &'a [&'w str])> {
    match words {
        ["above", limit, "px", rest @ ..] => Some((Some(Above::Pixels(limit.parse().ok()?)), rest)),
        ["above", limit, "tile", rest @ ..] => Some((Some(Above::Tile(limit.parse().ok()?)), rest)),
        rest => Some((None, rest)),
    }
}

fn times(words: &[&str]) -> Option<Option<u32>> {
    match words {
        [] => Some(None),
        ["once"] => Some(Some(1)),
        [number, "times"] => Some(Some(number.parse().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::{Precision, Residency};

    fn only(text: &str) -> Clause {
        let script = Script::parse(text, Place::Step(1));
        assert_eq!(script.clauses.len(), 1, "{script:?}");
        script.clauses[0].clone()
    }

    fn rung(width: u32, decode: Decode) -> Rung {
        let (residency, precision) = (Residency::Device, Precision::Full);
        Rung { residency, precision, decode, width, height: 64, steps: 8 }
    }

    #[test]
    fn a_script_says_pace_and_faults() {
        let script = Script::parse(
            "steps of 20 ms, oom at decode above 512 tile, exit 3  at step 2 once",
            Place::Step(1),
        );
        assert_eq!(script.step_ms, 20);
        let [oom, exit] = &script.clauses[..] else { panic!("{script:?}") };
        assert_eq!(
            (oom.fault, oom.place, oom.above),
            (Fault::Oom, Place::Decode, Some(Above::Tile(512)))
        );
        assert_eq!((exit.fault, exit.place, exit.times), (Fault::Exit(3), Place::Step(2), Some(1)));
        assert_eq!(exit.text, "exit 3 at step 2 once");
    }

    #[test]
    fn an_ordinary_prompt_is_no_script() {
        let prompt = "a cat, at step one of a stair, oom-pah band above 12 px\nexit stage left, die at step, hang gliding";
        assert_eq!(Script::parse(prompt, Place::Step(1)), Script::default());
    }

    #[test]
    fn a_fault_keeps_to_its_place_and_its_rungs() {
        let clause = only("oom above 768 px");
        assert!(clause.applies(Place::Step(1), Some(&rung(1024, Decode::Whole))));
        assert!(!clause.applies(Place::Step(1), Some(&rung(768, Decode::Whole))));
        assert!(!clause.applies(Place::Step(2), Some(&rung(1024, Decode::Whole))));
        let clause = only("oom at decode above 512 tile 2 times");
        assert!(clause.applies(Place::Decode, Some(&rung(64, Decode::Whole))));
        assert!(!clause.applies(Place::Decode, Some(&rung(64, Decode::Tiles { side: 512 }))));
    }
}
