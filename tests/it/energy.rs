//! What a card's driver tells of it: power, temperature and clocks of each attempt, and nothing
//! where there is no such library.

use std::fs;

use crate::support::nvml::{self, Card};
use crate::support::{House, said};

/// NVML's bit for the power limit.
const POWER_CAP: u64 = 4;

const WARM: Card = Card { celsius: 71, watts: 300, mhz: 1905, slowed: POWER_CAP };

fn started(house: &mut House) {
    let environment = nvml::environment(house);
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    house.start_with(&environment);
}

#[test]
fn each_attempt_s_row_has_what_the_card_took() {
    let mut house = House::new("");
    WARM.is_in(&house);
    started(&mut house);
    house.drop_job(
        "fox.toml",
        "prompt = 'steps of 150 ms, oom at step 2 above 64 px once'\nwidth = 128\nmin_side = 64\n",
    );
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    let rows = "SELECT group_concat(concat_ws(' ', outcome, power_mean_mw BETWEEN 250000 AND 350000, \
                power_peak_mw, temperature_max_celsius, clock_mhz, slowed_by), '; ') FROM attempts";
    let each = "1 300000 71 1905 the power limit";
    house.until_sql(rows, &format!("out_of_memory {each}; done {each}"));
    // As much as its watts over its time, which on a loaded machine is told long after its end.
    let ratio =
        "SELECT count(*) FROM attempts WHERE energy_mj / (total_ms * 300.0) BETWEEN 0.8 AND 20";
    house.until_sql(ratio, "2");
    let picture = &house.json(&["show", "1.1"])["pictures"][0];
    assert_eq!(
        (&picture["clock_mhz"], &picture["slowed_by"]),
        (&1905.into(), &"the power limit".into())
    );
    let told = said(&house.zimaged(&["show", "1.1"]));
    let words = "W on average, 300 W at most, 71 °C, 1905 MHz, slowed by the power limit";
    assert!(told.contains(words), "{told}");
    let view = "SELECT concat_ws(' ', pictures, mean_watts > 250, temperature_max_celsius, clock_mhz, slowed, \
                watt_hours > 0, joules_per_picture > 50) FROM throughput";
    house.until_sql(view, "1 1 71 1905 1 1 1");
}

#[test]
fn without_the_library_or_a_card_nothing_is_known_and_everything_works() {
    let mut house = House::new("");
    // A card without its library.
    fs::write(house.path("model/card.txt"), "").expect("a writable folder");
    house.start();
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    let unknown = "SELECT count(*) FROM attempts WHERE coalesce(energy_mj, power_mean_mw, power_peak_mw, \
                   temperature_max_celsius, clock_mhz, slowed_by) IS NULL";
    house.until_sql(unknown, "1");
    house.until_sql("SELECT watt_hours IS NULL FROM throughput", "1");
    assert!(house.json(&["show", "1.1"])["pictures"][0]["joules"].is_null());
    assert!(!said(&house.zimaged(&["show", "1.1"])).contains(" J,"));
}
