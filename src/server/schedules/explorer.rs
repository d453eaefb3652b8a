//! Explores schedules: runs a scenario again and again, each time with another seed that
//! decides all of its interleaving, and says which seed failed.
//!
//! A third of the seeds choose the next thread evenly, a third stay with the present one for
//! long stretches, and a third are PCT's: threads have priorities, and a few times the
//! running one becomes the last.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use crate::sync;
use crate::sync::Place;

/// How many schedules a scenario runs unless `SCHEDULES` says otherwise.
const SCHEDULES: u64 = 60;

/// A schedule with more steps does not end.
const MAX_STEPS: usize = 400_000;

/// From this step on the next thread is chosen evenly, whatever the seed: a clock that always goes
/// first would cut every connection off before its client has read anything.
const FAIR_AFTER: usize = 50_000;

/// The thread of the virtual clock is the first one that the main thread starts.
const CLOCK: usize = 1;

/// What is longer than this ends only when no thread can run; one of them for each schedule.
const PATIENCE: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(200),
    Duration::from_secs(6),
];

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
    /// Stands for all choices of the present schedule.
    static CHOICES: Cell<u64> = const { Cell::new(0) };
}

fn note_choice(choice: u64) {
    CHOICES.set(Numbers(CHOICES.get() ^ choice).next());
}

/// Numbers that a seed decides (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

enum Strategy {
    Even,
    /// Stays with the present thread, but for one step in this many.
    Sticky(usize),
    Priorities {
        of_task: Vec<u64>,
        /// Steps after which the running thread becomes the last.
        changes: Vec<usize>,
    },
}

struct Explorer {
    next_seed: u64,
    left: u64,
    numbers: Numbers,
    strategy: Strategy,
    step: usize,
}

impl Scheduler for Explorer {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.left = self.left.checked_sub(1)?;
        let seed = self.next_seed;
        self.next_seed += 1;
        SEED.set(seed);
        CHOICES.set(0);
        self.numbers = Numbers(seed.wrapping_mul(0xD134_2543_DE82_EF95));
        self.step = 0;
        self.strategy = match seed % 3 {
            0 => Strategy::Even,
            1 => Strategy::Sticky(4 << self.numbers.below(5)),
            _ => {
                let length = 64 << self.numbers.below(7);
                let count = 1 + self.numbers.below(5);
                let changes = (0..count).map(|_| self.numbers.below(length));
                Strategy::Priorities {
                    changes: changes.collect(),
                    of_task: Vec::new(),
                }
            }
        };
        Some(Schedule::new(seed))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        _is_yielding: bool,
    ) -> Option<TaskId> {
        self.step += 1;
        if self.step == FAIR_AFTER {
            self.strategy = Strategy::Even;
        }
        let patient = sync::clock_is_patient();
        let ids = runnable.iter().map(|task| usize::from(task.id()));
        let mut ids: Vec<usize> = ids.filter(|id| !(patient && *id == CLOCK)).collect();
        if ids.is_empty() {
            ids.push(CLOCK);
        }
        let current = current.map(usize::from);
        let chosen = match &mut self.strategy {
            Strategy::Even => ids[self.numbers.below(ids.len())],
            Strategy::Sticky(stretch) => match current.filter(|current| ids.contains(current)) {
                Some(current) if self.numbers.below(*stretch) > 0 => current,
                _ => ids[self.numbers.below(ids.len())],
            },
            Strategy::Priorities { of_task, changes } => {
                let highest = ids.iter().max().copied().unwrap_or_default();
                while of_task.len() <= highest.max(current.unwrap_or_default()) {
                    of_task.push(self.numbers.next() | 1 << 63);
                }
                if let (Some(current), Some(rank)) =
                    (current, changes.iter().position(|at| *at == self.step))
                {
                    of_task[current] = rank as u64;
                }
                let first = ids.iter().max_by_key(|id| of_task[**id]);
                first.copied().unwrap_or(CLOCK)
            }
        };
        note_choice(chosen as u64);
        Some(TaskId::from(chosen))
    }

    fn next_u64(&mut self) -> u64 {
        let number = self.numbers.next();
        note_choice(number);
        number
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs a scenario under as many schedules as `SCHEDULES` says, or under the one of `SEED`.
pub(super) fn explore(name: &str, scenario: fn()) {
    let (first, count) = match number("SEED") {
        Some(seed) => (seed, 1),
        None => (
            number("FIRST_SEED").unwrap_or(0),
            number("SCHEDULES").unwrap_or(SCHEDULES),
        ),
    };
    run(name, scenario, first, count);
}

/// Runs so many schedules, and returns what stands for all choices of the last one.
fn run(name: &str, scenario: fn(), first: u64, count: u64) -> u64 {
    let fired: Arc<Mutex<BTreeMap<Place, u64>>> = Arc::default();
    let sum = Arc::clone(&fired);
    let mut config = Config::new();
    config.stack_size = sync::STACK;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    config.silence_warnings = true;
    config
        .ungraceful_shutdown_config
        .immediately_return_on_panic = true;
    let explorer = Explorer {
        next_seed: first,
        left: count,
        numbers: Numbers(0),
        strategy: Strategy::Even,
        step: 0,
    };
    let run = move || {
        Runner::new(explorer, config).run(move || {
            let patience = PATIENCE[(SEED.get() / 3 % PATIENCE.len() as u64) as usize];
            sync::begin(patience);
            let clock = shuttle::thread::spawn(sync::run_clock);
            scenario();
            sync::await_threads();
            sync::stop_clock();
            clock.join().unwrap();
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            for (place, times) in sync::end() {
                *sum.entry(place).or_default() += times;
            }
        })
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(schedules) => println!("{name}: {schedules} schedules from seed {first} on"),
        Err(fault) => {
            sync::end();
            let seed = SEED.get();
            eprintln!(
                "{name}: seed {seed} failed; again: SEED={seed} scripts/schedules.sh 1 {name}"
            );
            resume_unwind(fault);
        }
    }
    for ((file, line), times) in fired.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("{name}: timeout {file}:{line} fired {times} times");
    }
    CHOICES.get()
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..30 {
        let once = || run("twice", super::crash_amid_traffic, seed, 1);
        assert_eq!(once(), once(), "{seed}");
    }
}
