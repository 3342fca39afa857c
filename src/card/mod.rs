//! What the driver's management library (NVML) says of a card: opened at run time, where there is
//! one.

mod ceiling;
mod meter;

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use serde::{Deserialize, Serialize};

pub use self::ceiling::CardCeilings;
pub use self::meter::{CardMeter, PendingUse};
use crate::engine::{DeviceChoice, HAS_CUDA};

/// Which of the machine's cards programs see, in their order.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// One card.
pub struct Card {
    nvml: Nvml,
    index: u32,
}

/// A card, as its driver's management library describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CardFacts {
    /// As the driver has it.
    pub name: String,
    /// Its version.
    pub driver: String,
    /// `major.minor`.
    pub cuda: Option<String>,
    /// What it may draw.
    pub power_limit_watts: Option<f64>,
    /// In use before the model was loaded, by all programs together.
    pub used_before_bytes: u64,
    /// Generation and width of the bus as it runs at the most, like `4 x16`.
    pub bus: Option<String>,
}

/// A card at one moment, as far as it tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardReading {
    /// By all programs together.
    pub used_bytes: Option<u64>,
    /// Since the driver was loaded.
    pub energy_mj: Option<u64>,
    pub power_mw: Option<u32>,
    pub temperature_celsius: Option<u32>,
    /// Of its multiprocessors.
    pub clock_mhz: Option<u32>,
    /// NVML's bits: why its clocks are lower than they could be.
    pub slowed: Option<u64>,
}

impl Card {
    /// The card that `device` means; `None` where no card renders or nothing is known of it.
    pub fn open(device: DeviceChoice) -> Option<Card> {
        let index = match device {
            DeviceChoice::Cpu | DeviceChoice::CpuBf16 => return None,
            _ if !HAS_CUDA => return None,
            DeviceChoice::Auto => 0,
            DeviceChoice::Cuda { index } => index,
        };
        Card::numbered(index)
    }

    /// The card that programs see as number `index`.
    fn numbered(index: u32) -> Option<Card> {
        let visible = std::env::var(VISIBLE).ok();
        let index = place(visible.as_deref(), index)?;
        let card = Card { nvml: Nvml::init().ok()?, index };
        card.nvml.device_by_index(index).ok()?;
        Some(card)
    }

    /// The card that the engine calls `device` and programs see as number `index`. CUDA counts the
    /// fastest one first and NVML by the bus: where they disagree it is the only one of its name.
    fn called(device: &str, index: u32) -> Option<Card> {
        let mut card = Card::numbered(index)?;
        let is_called = |index: &u32| card.name(*index).is_some_and(|name| device.contains(&name));
        if !is_called(&card.index) {
            let same: Vec<u32> = (0..card.nvml.device_count().ok()?).filter(is_called).collect();
            let [only] = same[..] else { return None };
            card.index = only;
        }
        Some(card)
    }

    fn name(&self, index: u32) -> Option<String> {
        self.nvml.device_by_index(index).ok()?.name().ok()
    }

    /// What does not change.
    pub fn facts(&self) -> Option<CardFacts> {
        let device = self.nvml.device_by_index(self.index).ok()?;
        let bus = device.max_pcie_link_gen().ok().zip(device.max_pcie_link_width().ok());
        let cuda = self.nvml.sys_cuda_driver_version().ok();
        Some(CardFacts {
            name: device.name().ok()?,
            driver: self.nvml.sys_driver_version().unwrap_or_default(),
            cuda: cuda.map(|version| format!("{}.{}", version / 1000, version % 1000 / 10)),
            power_limit_watts: device.enforced_power_limit().ok().map(|mw| f64::from(mw) / 1000.0),
            used_before_bytes: device.memory_info().map_or(0, |memory| memory.used),
            bus: bus.map(|(generation, width)| format!("{generation} x{width}")),
        })
    }

    pub fn read(&self) -> CardReading {
        let Ok(device) = self.nvml.device_by_index(self.index) else {
            return CardReading::default();
        };
        CardReading {
            used_bytes: device.memory_info().ok().map(|memory| memory.used),
            energy_mj: device.total_energy_consumption().ok(),
            power_mw: device.power_usage().ok(),
            temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
            clock_mhz: device.clock_info(Clock::SM).ok(),
            slowed: device.current_throttle_reasons().ok().map(|reasons| reasons.bits()),
        }
    }
}

/// Where the card that programs see as number `index` stands in the machine; `None` where the
/// environment names cards in another way than by numbers.
fn place(visible: Option<&str>, index: u32) -> Option<u32> {
    match visible.filter(|visible| !visible.is_empty()) {
        None => Some(index),
        Some(visible) => visible.split(',').nth(index as usize)?.trim().parse().ok(),
    }
}

/// What held a card back, in words; being idle does not.
pub fn slowed_by(bits: u64) -> Vec<String> {
    let known = [
        (ThrottleReasons::SW_POWER_CAP, "the power limit"),
        (ThrottleReasons::HW_SLOWDOWN, "a slowdown by the hardware"),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, "its temperature, by the driver"),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, "its temperature, by the hardware"),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "the power supply's brake"),
    ];
    let reasons = ThrottleReasons::from_bits_truncate(bits);
    let held = known.into_iter().filter(|(reason, _)| reasons.contains(*reason));
    held.map(|(_, words)| words.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_is_the_one_that_programs_see() {
        assert_eq!(place(None, 1), Some(1));
        assert_eq!(place(Some(""), 1), Some(1));
        assert_eq!(place(Some("3, 5"), 1), Some(5));
        assert_eq!(place(Some("3"), 1), None);
        assert_eq!(place(Some("GPU-8932f937"), 0), None);
    }

    #[test]
    fn what_slows_a_card_is_said_in_words_and_idleness_is_not() {
        let bits = (ThrottleReasons::SW_POWER_CAP | ThrottleReasons::GPU_IDLE).bits();
        assert_eq!(slowed_by(bits), ["the power limit"]);
        assert!(slowed_by(ThrottleReasons::GPU_IDLE.bits()).is_empty());
    }
}
