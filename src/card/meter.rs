//! Looks at the card while it renders: in a thread of its own, because a driver may take its time,
//! and no render waits for what is only told of it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{Card, CardReading, slowed_by};
use crate::attempt::CardUse;

/// Between two looks during an attempt. The driver measures no more often than that.
const INTERVAL: Duration = Duration::from_millis(100);

/// So many questions wait for a driver that does not answer; more are dropped.
const QUESTIONS_MAX: usize = 8;

/// How long whoever tells of an attempt waits for what the card says of it.
const PATIENCE: Duration = Duration::from_millis(200);

enum Question {
    Begin,
    End(SyncSender<CardUse>),
    Read(Box<dyn FnOnce(CardReading) + Send>),
}

/// The meter of the card that renders; without a card, or without NVML, it knows nothing.
pub struct CardMeter {
    questions: Option<SyncSender<Question>>,
}

impl CardMeter {
    /// Starts to look at the card that programs see as number `index` and the engine calls
    /// `device`, unless NVML has none, or several, of that name at another place.
    pub fn start(index: Option<u32>, device: String) -> CardMeter {
        let Some(index) = index else { return CardMeter { questions: None } };
        let (questions, inbox) = sync_channel(QUESTIONS_MAX);
        let look = move || {
            // The library takes its time to open, too.
            let card = Card::called(&device, index);
            answer(&inbox, || card.as_ref().map(Card::read).unwrap_or_default());
        };
        let started = thread::Builder::new().name("card".to_owned()).spawn(look);
        if let Err(error) = &started {
            tracing::warn!("the card's power and temperature will not be known: {error}");
        }
        CardMeter { questions: started.is_ok().then_some(questions) }
    }

    /// An attempt begins.
    pub fn begin(&self) {
        self.ask(Question::Begin);
    }

    /// The attempt that was begun last has ended.
    pub fn end(&self) -> PendingUse {
        let (sender, receiver) = sync_channel(1);
        PendingUse(self.ask(Question::End(sender)).then_some(receiver))
    }

    /// Has `tell` be called with how the card is now, as far as that is known.
    pub fn read(&self, tell: impl FnOnce(CardReading) + Send + 'static) {
        match self.questions {
            Some(_) => _ = self.ask(Question::Read(Box::new(tell))),
            None => tell(CardReading::default()),
        }
    }

    /// Whether there is room for the question. Waits for nobody.
    fn ask(&self, question: Question) -> bool {
        self.questions.as_ref().is_some_and(|questions| questions.try_send(question).is_ok())
    }
}

/// What the card will have said of an attempt.
pub struct PendingUse(Option<Receiver<CardUse>>);

impl PendingUse {
    /// Waits for it, not for long; `None` where nothing is known.
    pub fn wait(self) -> Option<Box<CardUse>> {
        let used = self.0?.recv_timeout(PATIENCE).ok()?;
        (used != CardUse::default()).then(|| Box::new(used))
    }
}

/// Answers until nobody asks any more. The card is left alone between attempts.
fn answer(inbox: &Receiver<Question>, read: impl Fn() -> CardReading) {
    let mut running: Option<Tally> = None;
    loop {
        let question = match &running {
            Some(_) => inbox.recv_timeout(INTERVAL),
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match (question, &mut running) {
            (Ok(Question::Begin), _) => running = Some(Tally::begin(read())),
            (Ok(Question::Read(tell)), _) => tell(read()),
            (Ok(Question::End(sender)), Some(tally)) => {
                tally.note(read());
                // Whoever asked may have lost patience.
                let _ = sender.try_send(tally.sum(tally.since.elapsed()));
                running = None;
            }
            (Err(RecvTimeoutError::Timeout), Some(tally)) => tally.note(read()),
            (Err(RecvTimeoutError::Disconnected), _) => return,
            (Ok(Question::End(_)) | Err(RecvTimeoutError::Timeout), None) => (),
        }
    }
}

/// The looks of one attempt.
struct Tally {
    since: Instant,
    energy_before_mj: Option<u64>,
    energy_mj: Option<u64>,
    powers_mw: Mean,
    power_peak_mw: Option<u32>,
    temperature_max_celsius: Option<u32>,
    clocks_mhz: Mean,
    slowed: Option<u64>,
}

impl Tally {
    /// What the card did before is none of the attempt's power, clocks or slowness.
    fn begin(reading: CardReading) -> Tally {
        Tally {
            since: Instant::now(),
            energy_before_mj: reading.energy_mj,
            energy_mj: None,
            powers_mw: Mean::default(),
            power_peak_mw: None,
            temperature_max_celsius: reading.temperature_celsius,
            clocks_mhz: Mean::default(),
            slowed: None,
        }
    }

    fn note(&mut self, reading: CardReading) {
        self.energy_mj = reading.energy_mj;
        self.powers_mw.note(reading.power_mw);
        self.power_peak_mw = self.power_peak_mw.max(reading.power_mw);
        self.temperature_max_celsius =
            self.temperature_max_celsius.max(reading.temperature_celsius);
        self.clocks_mhz.note(reading.clock_mhz);
        self.slowed = match (self.slowed, reading.slowed) {
            (Some(before), Some(now)) => Some(before | now),
            (before, now) => before.or(now),
        };
    }

    /// By the card's own counter of energy, else from its power.
    fn sum(&self, elapsed: Duration) -> CardUse {
        let counted = self.energy_mj.zip(self.energy_before_mj);
        let counted = counted.and_then(|(after, before)| after.checked_sub(before));
        let mean_mw = self.powers_mw.value();
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let by_power = mean_mw.map(|mw| u64::from(mw).saturating_mul(ms) / 1000);
        CardUse {
            energy_mj: counted.or(by_power),
            power_mean_mw: counted
                .map(|mj| mj.saturating_mul(1000) / ms)
                .or(mean_mw.map(u64::from)),
            power_peak_mw: self.power_peak_mw.map(u64::from),
            temperature_max_celsius: self.temperature_max_celsius,
            clock_mhz: self.clocks_mhz.value(),
            slowed_by: self.slowed.map(|bits| slowed_by(bits).join(", ")),
        }
    }
}

/// The mean of what was read.
#[derive(Default)]
struct Mean {
    sum: u64,
    count: u64,
}

impl Mean {
    fn note(&mut self, value: Option<u32>) {
        if let Some(value) = value {
            self.sum += u64::from(value);
            self.count += 1;
        }
    }

    fn value(&self) -> Option<u32> {
        u32::try_from(self.sum.checked_div(self.count)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(energy_mj: Option<u64>, power_mw: u32, temperature_celsius: u32) -> CardReading {
        CardReading {
            energy_mj,
            power_mw: Some(power_mw),
            temperature_celsius: Some(temperature_celsius),
            clock_mhz: Some(power_mw / 100),
            slowed: Some(u64::from(power_mw > 250_000) * 4),
            ..CardReading::default()
        }
    }

    #[test]
    fn an_attempt_s_energy_is_the_counter_s_difference_and_else_power_over_time() {
        let sum = |counter: fn(u64) -> Option<u64>| {
            let mut tally = Tally::begin(reading(counter(1000), 90_000, 60));
            tally.note(reading(counter(51_000), 300_000, 71));
            tally.note(reading(counter(401_000), 200_000, 69));
            tally.sum(Duration::from_secs(2))
        };
        let counted = sum(Some);
        assert_eq!((counted.energy_mj, counted.power_mean_mw), (Some(400_000), Some(200_000)));
        assert_eq!(
            (counted.power_peak_mw, counted.temperature_max_celsius),
            (Some(300_000), Some(71))
        );
        assert_eq!(counted.clock_mhz, Some(2500));
        assert_eq!(counted.slowed_by.as_deref(), Some("the power limit"));
        let by_power = sum(|_| None);
        assert_eq!((by_power.energy_mj, by_power.power_mean_mw), (Some(500_000), Some(250_000)));
    }

    #[test]
    fn a_driver_that_does_not_answer_delays_nobody_for_long() {
        let (questions, inbox) = sync_channel(QUESTIONS_MAX);
        let meter = CardMeter { questions: Some(questions) };
        let start = Instant::now();
        for _ in 0..2 * QUESTIONS_MAX {
            meter.begin();
        }
        assert_eq!(meter.end().wait(), None, "no room for the question");
        inbox.recv().expect("a question");
        assert_eq!(meter.end().wait(), None, "no answer");
        assert!(start.elapsed() < 100 * PATIENCE);
    }

    #[test]
    fn without_a_card_nothing_is_known() {
        let meter = CardMeter::start(None, "cpu".to_owned());
        meter.begin();
        assert_eq!(meter.end().wait(), None);
        let (sender, receiver) = sync_channel(1);
        meter.read(move |reading| sender.send(reading).expect("a receiver"));
        assert_eq!(receiver.try_recv(), Ok(CardReading::default()));
    }
}
