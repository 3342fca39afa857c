//! `[power]`: when the machine, and the card in it, are left alone.

use toml::de::DeValue;

use crate::card::CardCeilings;
use crate::job::quiet::{QuietHours, QuietTime};
use crate::table::{Check, Mistake, Table, check};

/// So many quiet times have room in a week that anybody plans.
const QUIET_TIMES_MAX: usize = 50;

/// `[power]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerConfig {
    /// Whether the machine is kept from going to sleep while work is due.
    pub inhibit_sleep: bool,
    /// When nothing new is started.
    pub quiet: QuietHours,
    /// Above which nothing new is started.
    pub ceilings: CardCeilings,
}

impl Default for PowerConfig {
    fn default() -> Self {
        PowerConfig {
            inhibit_sleep: true,
            quiet: QuietHours::default(),
            ceilings: CardCeilings::default(),
        }
    }
}

/// Reads the section.
pub(super) fn power(table: &mut Table) -> PowerConfig {
    PowerConfig {
        inhibit_sleep: table.read("inhibit_sleep", check::boolean).unwrap_or(true),
        quiet: quiet_hours(table).unwrap_or_default(),
        ceilings: CardCeilings {
            celsius_max: table.read("temperature_max_c", |value| check::whole(value, 30..=120)),
            watts_max: table.read("power_max_w", |value| check::whole(value, 10..=10_000)),
        },
    }
}

/// One text, or a list of them.
fn quiet_hours(table: &mut Table) -> Option<QuietHours> {
    const KEY: &str = "quiet_hours";
    let times = table.read_one_or_list(KEY, quiet_time)?;
    if times.len() > QUIET_TIMES_MAX {
        let mistake = Mistake::new(format!("{} quiet times are too many", times.len()));
        table.mistake(KEY, mistake.help(format!("use at most {QUIET_TIMES_MAX}")));
        return None;
    }
    let quiet = QuietHours::new(times);
    if quiet.is_none() {
        let mistake = Mistake::new("the whole week would be quiet: nothing would ever be started");
        let right = "leave some time out, or pause the queue: zimaged pause";
        table.mistake(KEY, mistake.help(right));
    }
    quiet
}

fn quiet_time(value: &DeValue) -> Check<QuietTime> {
    let text = check::text(value)?;
    text.parse().map_err(|right: crate::job::quiet::NoQuietTime| {
        Mistake::new(format!("{} is no quiet time", check::quoted(text))).help(right.to_string())
    })
}
