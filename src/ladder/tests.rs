//! Precision that a job asks for.

use super::rungs::tests::{capabilities, render};
use super::*;
use crate::job::OnOom;

fn ways(render: &Render, prefer: Prefer, capabilities: &Capabilities) -> Vec<String> {
    rungs(render, prefer, capabilities).iter().map(Rung::way).collect()
}

fn of_int8(on_oom: OnOom) -> Render {
    Render { precision: AskedPrecision::Int8, on_oom, ..render(512, 512, 8) }
}

#[test]
fn who_asks_for_int8_gets_it_resident_and_streamed_and_nothing_of_more_bits() {
    for prefer in [Prefer::Quality, Prefer::Speed] {
        let ways = ways(&of_int8(OnOom::Downgrade), prefer, &capabilities());
        assert_eq!(ways[0], "device/int8/whole");
        assert!(ways.contains(&"streamed0/int8/stripes64".to_owned()), "{prefer:?}: {ways:?}");
        assert!(ways.contains(&"device/q4/whole".to_owned()), "{prefer:?}: {ways:?}");
        assert!(!ways.iter().any(|way| way.contains("full")), "{prefer:?}: {ways:?}");
        assert!(!ways.contains(&"streamed0/q8/whole".to_owned()), "{prefer:?}: {ways:?}");
    }
    let only = ways(&of_int8(OnOom::Offload), Prefer::Speed, &capabilities());
    assert!(only.iter().all(|way| way.contains("int8")), "{only:?}");
}

#[test]
fn who_does_not_ask_for_int8_gets_it_only_for_speed_and_never_streamed() {
    let render = render(512, 512, 8);
    let has_int8 = |way: &&String| way.contains("int8");
    let quality = ways(&render, Prefer::Quality, &capabilities());
    assert_eq!(quality.iter().find(has_int8), None);
    let speed = ways(&render, Prefer::Speed, &capabilities());
    let place = |way: &str| speed.iter().position(|found| found == way).expect("a rung");
    let order = ["text-released/full/whole", "device/int8/whole", "device/q8/whole"];
    assert!(order.map(place).is_sorted(), "{speed:?}");
    assert!(!speed.iter().filter(has_int8).any(|way| way.contains("streamed")), "{speed:?}");
}

#[test]
fn an_engine_without_int8_takes_the_precision_that_it_has() {
    let without = Capabilities { precisions: vec![Precision::Full], ..capabilities() };
    assert_eq!(ways(&of_int8(OnOom::Fail), Prefer::Quality, &without)[0], "device/full/whole");
}

#[test]
fn what_was_asked_for_is_not_degraded() {
    let asked = of_int8(OnOom::Downgrade);
    let rung = rungs(&asked, Prefer::Quality, &capabilities())[0];
    assert!(!rung.degrades(&asked));
    assert!(rung.degrades(&render(512, 512, 8)));
    assert!(!Rung { precision: Precision::Full, ..rung }.degrades(&asked));
    assert!(Rung { precision: Precision::Q8, ..rung }.degrades(&asked));
}
