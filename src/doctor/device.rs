//! What renders: a card with its driver and CUDA's libraries, or the processor.

use std::path::Path;

use super::{Aspect, Finding};
use crate::card::Card;
use crate::config::{Config, ConfigError};
use crate::engine::{CardSigns, DeviceChoice, HAS_CUDA, check_card, multiplies_bf16};
use crate::spelling::memory;

/// Whether the configured device can be had. No memory of a card is taken.
pub(super) fn card(choice: DeviceChoice) -> Finding {
    let found = if HAS_CUDA { check_card() } else { Err(String::new()) };
    match (choice, found) {
        (choice, _) if choice.is_cpu() => {
            let (build, advice) = (build(HAS_CUDA), advice(choice));
            let told = format!("the processor, as configured; {build}{advice}");
            Finding::ok(Aspect::Device, told)
        }
        (_, Ok(())) => Finding::ok(Aspect::Device, described(choice)),
        (choice, Err(why)) => without_card(choice, &why, &CardSigns::look(Path::new("/"))),
    }
}

/// Whether this build could use a card at all.
fn build(has_cuda: bool) -> &'static str {
    match has_cuda {
        true => "this build has CUDA",
        false => "this build is without CUDA",
    }
}

/// What would make more of this processor, where something would.
fn advice(choice: DeviceChoice) -> &'static str {
    match choice {
        DeviceChoice::Auto | DeviceChoice::Cpu if multiplies_bf16() => {
            "; it multiplies bf16: kind = \"cpu-bf16\" under [device] takes half the memory, and less time"
        }
        _ => "",
    }
}

/// Ceilings of the configuration that nothing can be held against.
pub(super) fn ceilings(config: &Config) -> Option<Finding> {
    let card = Card::open(config.device).map(|card| card.read()).unwrap_or_default();
    let keys = config.power.ceilings.untold(&card).join(" and ");
    let told =
        || format!("[power] {keys} has no effect: no card tells it by the driver's library NVML");
    (!keys.is_empty()).then(|| Finding::warning(Aspect::Device, told()))
}

/// What is told where no card can be had. `why` is empty where this build has no use for one.
fn without_card(choice: DeviceChoice, why: &str, signs: &CardSigns) -> Finding {
    let has_cuda = !why.is_empty();
    let told = if has_cuda { why.to_owned() } else { signs.without_cuda().join("; ") };
    match (choice, signs.first()) {
        (DeviceChoice::Cuda { .. }, _) if !has_cuda => {
            Finding::wrong(Aspect::Device, ConfigError::NoCuda.to_string())
        }
        (DeviceChoice::Cuda { .. }, _) => {
            Finding::wrong(Aspect::Device, format!("the configured card cannot be had: {told}"))
        }
        (_, None) => {
            let (build, advice) = (build(has_cuda), advice(choice));
            let told = format!("no card: the processor is used; {build}, found {signs}{advice}");
            Finding::ok(Aspect::Device, told)
        }
        (_, Some(sign)) if has_cuda => {
            let told = format!("{}, and a card shows ({sign}), but: {told}", build(has_cuda));
            Finding::warning(Aspect::Device, told)
        }
        (_, Some(_)) => Finding::warning(Aspect::Device, told),
    }
}

/// The card, as the driver's management library tells it.
fn described(choice: DeviceChoice) -> String {
    let Some(facts) = Card::open(choice).and_then(|card| card.facts()) else {
        return "a card, of which the driver's library NVML tells nothing".to_owned();
    };
    let cuda = facts.cuda.map(|cuda| format!(", CUDA up to {cuda}")).unwrap_or_default();
    let used = memory(facts.used_before_bytes);
    format!("{}, driver {}{cuda}, {used} of its memory used", facts.name, facts.driver)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_card_that_cannot_be_had_is_wrong_only_where_one_was_asked_for() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let none = CardSigns::look(root.path());
        fs::create_dir(root.path().join("dev")).expect("a writable folder");
        fs::write(root.path().join("dev/nvidia0"), "").expect("a writable folder");
        let some = CardSigns::look(root.path());
        let card = DeviceChoice::Cuda { index: 0 };
        for (choice, why, signs, expected) in [
            (DeviceChoice::Auto, "", &none, Verdict::Ok),
            (DeviceChoice::Auto, "", &some, Verdict::Warning),
            (DeviceChoice::Auto, "libcuda.so.1 is missing", &none, Verdict::Ok),
            (DeviceChoice::Auto, "libcublas.so.13 is missing", &some, Verdict::Warning),
            (card, "", &some, Verdict::Wrong),
            (card, "the driver finds no card", &none, Verdict::Wrong),
        ] {
            let found = without_card(choice, why, signs);
            assert_eq!(found.verdict, expected, "{choice:?} {why}: {}", found.told);
            assert!(found.told.contains(why) || found.verdict == Verdict::Ok, "{}", found.told);
            // newcomer 9
            let builds =
                ["this build has CUDA", "this build is without CUDA", "this build renders"];
            let says_build = builds.iter().any(|build| found.told.contains(build));
            assert_eq!(says_build, choice == DeviceChoice::Auto, "{}", found.told);
        }
    }
}
