//! How hot a card may be, and what power it may take, for a render to be started.

use super::CardReading;

/// Above these nothing new is started; `None` where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CardCeilings {
    pub celsius_max: Option<u32>,
    pub watts_max: Option<u32>,
}

/// A card that was above its ceiling must fall so far below it before something is started again:
/// else the next picture would take it above at once.
const CELSIUS_BELOW: u32 = 5;
const PERCENT_BELOW: u32 = 10;

impl CardCeilings {
    pub fn are_set(&self) -> bool {
        *self != CardCeilings::default()
    }

    /// Why nothing is started on a card with this reading; `None` where something may be.
    /// `was_above` says that it was above a ceiling at the look before. What the card does not tell
    /// is above nothing.
    pub fn exceeded(&self, card: &CardReading, was_above: bool) -> Option<String> {
        let [celsius, watts] = self.lower();
        let is_above = |now: Option<u32>, ceiling: Option<u32>, lower: Option<u32>| {
            let limit = if was_above { lower } else { ceiling };
            now.zip(limit).filter(|(now, limit)| now > limit).and(now.zip(ceiling).zip(lower))
        };
        if let Some(((now, ceiling), lower)) =
            is_above(card.temperature_celsius, self.celsius_max, celsius)
        {
            return Some(format!(
                "the card has {now} °C, and above {ceiling} °C ([power] temperature_max_c) nothing \
                 is started before it has come down to {lower} °C"
            ));
        }
        let ((now, ceiling), lower) =
            is_above(card.power_mw.map(|mw| mw.div_ceil(1000)), self.watts_max, watts)?;
        Some(format!(
            "the card takes {now} W, and above {ceiling} W ([power] power_max_w) nothing is started \
             before it has come down to {lower} W"
        ))
    }

    /// What of the ceilings the card does not tell, as keys of `[power]`.
    pub fn untold(&self, card: &CardReading) -> Vec<&'static str> {
        let keys = [
            (self.celsius_max, card.temperature_celsius, "temperature_max_c"),
            (self.watts_max, card.power_mw, "power_max_w"),
        ];
        let untold =
            keys.into_iter().filter(|(ceiling, now, _)| ceiling.is_some() && now.is_none());
        untold.map(|(_, _, key)| key).collect()
    }

    /// Temperature and power at which something is started again.
    fn lower(&self) -> [Option<u32>; 2] {
        [
            self.celsius_max.map(|celsius| celsius.saturating_sub(CELSIUS_BELOW)),
            self.watts_max.map(|watts| watts - watts * PERCENT_BELOW / 100),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(celsius: u32, watts: u32) -> CardReading {
        CardReading {
            temperature_celsius: Some(celsius),
            power_mw: Some(watts * 1000),
            ..CardReading::default()
        }
    }

    #[test]
    fn a_card_above_a_ceiling_must_come_well_below_it() {
        let ceilings = CardCeilings { celsius_max: Some(80), watts_max: Some(300) };
        let held = |celsius, watts, was| ceilings.exceeded(&card(celsius, watts), was).is_some();
        assert!(!held(80, 300, false), "at the ceiling is not above it");
        assert!(held(81, 100, false) && held(60, 301, false));
        assert!(held(76, 100, true) && held(60, 271, true));
        assert!(!held(75, 270, true), "five degrees and a tenth below");
        assert!(!held(76, 271, false), "from below it is as good as the ceiling");
        let why = ceilings.exceeded(&card(84, 100), false).expect("too hot");
        assert!(why.contains("84 °C") && why.contains("down to 75 °C"), "{why}");
    }

    #[test]
    fn what_a_card_does_not_tell_holds_nothing_and_is_named() {
        let ceilings = CardCeilings { celsius_max: Some(80), watts_max: Some(300) };
        let silent = CardReading::default();
        assert_eq!(ceilings.exceeded(&silent, true), None);
        assert_eq!(ceilings.untold(&silent), ["temperature_max_c", "power_max_w"]);
        assert!(ceilings.untold(&card(50, 50)).is_empty());
        assert!(!CardCeilings::default().are_set());
    }
}
