//! A report with everything in it, for tests.

use super::data::*;

const GIB: u64 = 1 << 30;

/// Of a card with 24 GiB and one size.
pub fn report() -> MachineReport {
    MachineReport {
        format: FORMAT,
        zimaged: "1.2.3".to_owned(),
        is_optimised: true,
        made_at_ms: 0,
        left_out: Vec::new(),
        machine: machine(),
        model: ReportedModel {
            name: "Z-Image-Turbo".to_owned(),
            is_miniature: false,
            hash: Some("c0ffee".to_owned()),
            parts: Vec::new(),
        },
        asked: Asked { is_quick: false, steps: 8, guidance: 0.0, repeats: 3 },
        loads: vec![MeasuredLoad {
            is_cold: true,
            load_ms: 20_000,
            weights_bytes: 20_000_000_000,
            first_picture_ms: Some(5000),
            parts: vec![LoadedPart {
                part: "transformer".to_owned(),
                load_ms: 10_000,
                bytes: 12_000_000_000,
            }],
        }],
        disk: Some(DiskSpeed { bytes: GIB, cold_bytes_per_s: 1e9, warm_bytes_per_s: 1e10 }),
        device_speed: None,
        sizes: vec![size()],
        memory: Some(MemoryPhases {
            width: 1024,
            height: 1024,
            idle_bytes: 16 * GIB,
            first_peak_bytes: 18 * GIB,
            predicted_bytes: Some(19 * GIB),
            after_bytes: 16 * GIB,
            second_peak_bytes: Some(18 * GIB),
        }),
        curve: vec![MemorySample { at_ms: 0, used_bytes: GIB }],
        curve_of: "the card".to_owned(),
        matrix: vec![cell(8 * GIB, false), cell(24 * GIB, true)],
        matrix_model: "Z-Image-Turbo".to_owned(),
        limits: vec![limit()],
        energy: Some(MeasuredEnergy {
            pictures: vec![PictureEnergy { width: 1024, height: 1024, joules: 900.0 }],
            idle_watts: Some(50.0),
            power_max_watts: 300.0,
            temperature_max_celsius: 70,
            slowed_by: vec!["the power limit".to_owned()],
        }),
        advice: Vec::new(),
    }
}

fn machine() -> Machine {
    Machine {
        processor: "P".to_owned(),
        threads: 8,
        memory_bytes: Some(32 * GIB),
        load_before: Some(0.25),
        system: "Linux".to_owned(),
        device: "NVIDIA X".to_owned(),
        device_bytes: Some(24 * GIB),
        card: None,
    }
}

fn spread(median_ms: f64) -> Spread {
    Spread { median_ms, min_ms: median_ms, max_ms: median_ms }
}

fn size() -> MeasuredSize {
    MeasuredSize {
        width: 1024,
        height: 1024,
        pictures: 3,
        total: Spread { median_ms: 4000.0, min_ms: 3500.0, max_ms: 5000.0 },
        text_encode: spread(500.0),
        denoise: spread(3000.0),
        vae_decode: spread(400.0),
        picture_encode: spread(300.0),
        rung: "device/full/whole".to_owned(),
        is_degraded: false,
        peak_bytes: 18 * GIB,
        predicted_bytes: Some(19 * GIB),
        after_bytes: 16 * GIB,
        failures: Vec::new(),
    }
}

fn cell(device_bytes: u64, is_this_device: bool) -> MatrixCell {
    MatrixCell {
        width: 1024,
        height: 1024,
        device_bytes,
        is_this_device,
        fits: true,
        is_degraded: false,
        rung: "device/full/whole".to_owned(),
        predicted_bytes: 18 * GIB,
        seconds: Some(4.0),
        is_measured: true,
        published: None,
    }
}

fn limit() -> LimitRun {
    LimitRun {
        limit_bytes: 8 * GIB,
        width: 1024,
        height: 1024,
        rung: "streamed12/full/whole".to_owned(),
        is_degraded: false,
        total_ms: 6000,
        load_ms: 30_000,
        lost_ms: 0,
        peak_bytes: 6 * GIB,
        failure: None,
    }
}
