//! Threads, locks, waiting and time for unit tests. On a thread that explores schedules they
//! are the scheduler's, which decides every interleaving; elsewhere they are the system's.
//!
//! An exploration runs all its threads as coroutines on one system thread, of which one runs
//! at a time. A [`Mutex`] is a [`BatchSemaphore`] in front of the system's lock, which is
//! then always free. All other waiting is a [`Signal`]: those who wait, each until it is woken
//! or until its moment on the virtual clock has come. Time stands still while threads run; the
//! thread [`run_clock`], which the scheduler may choose like any other, moves it to the
//! earliest moment that somebody waits for. So the scheduler decides which timeouts fire.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use shuttle::future::batch_semaphore::{BatchSemaphore, Fairness};
use shuttle::rand::Rng;

use crate::clock;

/// Where a timeout stands in the source.
pub(crate) type Place = (&'static str, u32);

/// What one schedule has besides its threads.
struct World {
    now: Duration,
    timers: Vec<Timer>,
    /// The clock's thread, while there is nothing for it to do.
    resting_clock: Option<Arc<Waiter>>,
    /// The clock's thread has to end.
    over: bool,
    /// Waits that are longer end only when no thread can run.
    patience: Duration,
    /// Threads that have not ended.
    threads: usize,
    /// How many of the next threads with a stack of their own can't be started.
    failing_starts: usize,
    thread_ended: Arc<Signal>,
    /// How often each timeout has fired.
    fired: BTreeMap<Place, u64>,
}

struct Timer {
    due: Duration,
    begun: Duration,
    waiter: Arc<Waiter>,
    place: Place,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

fn with_world<T>(look: impl FnOnce(&mut World) -> T) -> Option<T> {
    WORLD.with(|world| world.borrow_mut().as_mut().map(look))
}

/// Whether the calling thread belongs to an exploration.
pub(crate) fn is_scheduled() -> bool {
    WORLD.with(|world| world.borrow().is_some())
}

/// Lets the scheduler choose another thread.
pub(crate) fn switch() {
    if is_scheduled() && !thread::panicking() {
        shuttle::thread::yield_now();
    }
}

/// A number below `bound`, chosen by the scheduler.
pub(crate) fn choose(bound: usize) -> usize {
    shuttle::rand::thread_rng().gen_range(0..bound.max(1))
}

/// Begins a schedule on this thread.
pub(crate) fn begin(patience: Duration) {
    let world = World {
        now: Duration::ZERO,
        timers: Vec::new(),
        resting_clock: None,
        over: false,
        patience,
        threads: 0,
        failing_starts: 0,
        thread_ended: Arc::new(Signal::default()),
        fired: BTreeMap::new(),
    };
    clock::set_virtual(Some(Duration::ZERO));
    WORLD.with(|slot| *slot.borrow_mut() = Some(world));
}

/// Lets waits that are longer than `patience` end only when no thread can run.
pub(crate) fn set_patience(patience: Duration) {
    with_world(|world| world.patience = patience);
}

/// Lets the next starts of threads fail, of those that ask for a stack of their own.
pub(crate) fn fail_starts(count: usize) {
    with_world(|world| world.failing_starts = count);
}

/// Whether the start of a thread fails.
fn start_fails(stack: Option<usize>) -> bool {
    let fails = with_world(|world| {
        let fails = stack.is_some() && world.failing_starts > 0;
        world.failing_starts -= usize::from(fails);
        world.threads += usize::from(!fails);
        fails
    });
    fails.unwrap_or(false)
}

/// Ends the schedule, and returns how often each timeout has fired.
pub(crate) fn end() -> BTreeMap<Place, u64> {
    clock::set_virtual(None);
    let world = WORLD.with(|slot| slot.borrow_mut().take());
    world.map(|world| world.fired).unwrap_or_default()
}

/// Whether the clock may run only when nothing else can.
pub(crate) fn clock_is_patient() -> bool {
    let looked = with_world(|world| {
        world.timers.retain(|timer| !timer.waiter.is_woken());
        let next = world.timers.iter().min_by_key(|timer| timer.due);
        next.is_some_and(|next| next.due.saturating_sub(world.now) > world.patience)
    });
    looked.unwrap_or(false)
}

/// The body of the clock's thread. Start it before all others.
pub(crate) fn run_clock() {
    loop {
        switch();
        let next = with_world(|world| {
            if world.over {
                return None;
            }
            world.timers.retain(|timer| !timer.waiter.is_woken());
            let next = world.timers.iter().enumerate();
            let Some((place, _)) = next.min_by_key(|(_, timer)| timer.due) else {
                let waiter = Arc::new(Waiter::default());
                world.resting_clock = Some(Arc::clone(&waiter));
                return Some((waiter, false));
            };
            let timer = world.timers.remove(place);
            world.now = world.now.max(timer.due);
            clock::set_virtual(Some(world.now));
            if timer.due > timer.begun {
                *world.fired.entry(timer.place).or_default() += 1;
            }
            Some((timer.waiter, true))
        });
        match next.flatten() {
            None => return,
            Some((waiter, true)) => waiter.wake(),
            Some((waiter, false)) => waiter.wait(),
        };
    }
}

/// Ends the clock's thread.
pub(crate) fn stop_clock() {
    let clock = with_world(|world| {
        world.over = true;
        world.resting_clock.take()
    });
    if let Some(clock) = clock.flatten() {
        clock.wake();
    }
}

/// Waits until all threads have ended that [`spawn`] has started.
pub(crate) fn await_threads() {
    loop {
        let left = with_world(|world| (world.threads, Arc::clone(&world.thread_ended)));
        match left {
            Some((1.., ended)) => ended.wait(None, place_here()),
            _ => return,
        };
    }
}

#[track_caller]
fn place_here() -> Place {
    let here = Location::caller();
    (here.file(), here.line())
}

/// One thread's wait.
struct Waiter {
    permit: BatchSemaphore,
    woken: AtomicBool,
}

impl Default for Waiter {
    fn default() -> Self {
        Waiter {
            permit: BatchSemaphore::new(0, Fairness::Unfair),
            woken: AtomicBool::new(false),
        }
    }
}

impl Waiter {
    fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Relaxed)
    }

    /// Says whether this call has woken it.
    fn wake(&self) -> bool {
        let first = !self.woken.swap(true, Ordering::Relaxed);
        if first {
            self.permit.release_no_scheduling_point(1);
        }
        first
    }

    fn wait(&self) -> bool {
        // It fails only while a failed schedule is torn down.
        self.permit.acquire_blocking(1).is_ok()
    }
}

/// Threads of an exploration that wait for the same thing.
#[derive(Default)]
pub(crate) struct Signal(std::sync::Mutex<Vec<Arc<Waiter>>>);

impl Signal {
    fn waiters(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Waiter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins those who wait, until `limit` is over.
    fn join(&self, limit: Option<Duration>, place: Place) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter::default());
        let mut waiters = self.waiters();
        waiters.retain(|other| !other.is_woken());
        waiters.push(Arc::clone(&waiter));
        drop(waiters);
        if let Some(limit) = limit {
            let clock = with_world(|world| {
                world.timers.push(Timer {
                    due: world.now.saturating_add(limit),
                    begun: world.now,
                    waiter: Arc::clone(&waiter),
                    place,
                });
                world.resting_clock.take()
            });
            if let Some(clock) = clock.flatten() {
                clock.wake();
            }
        }
        waiter
    }

    /// Waits until it is notified, or `limit` is over.
    pub(crate) fn wait(&self, limit: Option<Duration>, place: Place) {
        self.join(limit, place).wait();
    }

    /// Wakes one, whom the scheduler chooses.
    pub(crate) fn notify_one(&self) {
        switch();
        let mut waiters = self.waiters();
        waiters.retain(|waiter| !waiter.is_woken());
        if !waiters.is_empty() {
            let count = waiters.len();
            drop(waiters);
            let chosen = match count {
                1 => 0,
                count => choose(count),
            };
            let mut waiters = self.waiters();
            let waiter = waiters.remove(chosen);
            drop(waiters);
            waiter.wake();
        }
    }

    /// Wakes all.
    pub(crate) fn notify_all(&self) {
        switch();
        let waiters = std::mem::take(&mut *self.waiters());
        for waiter in waiters {
            waiter.wake();
        }
    }
}

/// A mutual exclusion lock that a panic of its holder does not close.
pub(crate) struct Mutex<T> {
    gate: BatchSemaphore,
    inner: std::sync::Mutex<T>,
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl<T> Mutex<T> {
    /// An unlocked one.
    pub(crate) const fn new(value: T) -> Self {
        Mutex {
            gate: BatchSemaphore::const_new(1, Fairness::Unfair),
            inner: std::sync::Mutex::new(value),
        }
    }

    /// Waits for the lock and takes it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let gated = is_scheduled() && self.gate.acquire_blocking(1).is_ok();
        MutexGuard {
            mutex: self,
            gated,
            inner: Some(self.inner.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

/// The right to the value of a [`Mutex`].
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    gated: bool,
    /// `None` only while it is dropped or waits.
    inner: Option<std::sync::MutexGuard<'a, T>>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().unwrap()
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().unwrap()
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.inner = None;
        if self.gated {
            self.mutex.gate.release_no_scheduling_point(1);
            switch();
        }
    }
}

/// A condition to wait for, together with a [`Mutex`].
#[derive(Default)]
pub(crate) struct Condvar {
    system: std::sync::Condvar,
    signal: Signal,
}

impl std::fmt::Debug for Condvar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Condvar")
    }
}

impl Condvar {
    /// One that nobody waits for.
    pub(crate) const fn new() -> Self {
        Condvar {
            system: std::sync::Condvar::new(),
            signal: Signal(std::sync::Mutex::new(Vec::new())),
        }
    }

    /// Waits for a notification with the lock released. It may also return without one.
    #[track_caller]
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_at_most(guard, None, place_here())
    }

    /// The same, for at most `limit`.
    #[track_caller]
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> MutexGuard<'a, T> {
        self.wait_at_most(guard, Some(limit), place_here())
    }

    fn wait_at_most<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        limit: Option<Duration>,
        place: Place,
    ) -> MutexGuard<'a, T> {
        let mutex = guard.mutex;
        if guard.gated {
            let waiter = self.signal.join(limit, place);
            drop(guard);
            waiter.wait();
            return mutex.lock();
        }
        if let Some(inner) = guard.inner.take() {
            guard.inner = Some(match limit {
                None => self
                    .system
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(limit) => {
                    let waited = self.system.wait_timeout(inner, limit);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            });
        }
        guard
    }

    /// Wakes one waiter.
    pub(crate) fn notify_one(&self) {
        match is_scheduled() {
            true => self.signal.notify_one(),
            false => self.system.notify_one(),
        }
    }

    /// Wakes all waiters.
    pub(crate) fn notify_all(&self) {
        match is_scheduled() {
            true => self.signal.notify_all(),
            false => self.system.notify_all(),
        }
    }
}

/// A thread that was started.
pub(crate) enum JoinHandle<T> {
    /// The system's.
    System(thread::JoinHandle<T>),
    /// The scheduler's.
    Scheduled(shuttle::thread::JoinHandle<T>),
}

impl<T> JoinHandle<T> {
    /// Waits for the thread's end.
    pub(crate) fn join(self) -> thread::Result<T> {
        match self {
            JoinHandle::System(handle) => handle.join(),
            JoinHandle::Scheduled(handle) => handle.join(),
        }
    }

    /// Whether the thread has ended.
    pub(crate) fn is_finished(&self) -> bool {
        match self {
            JoinHandle::System(handle) => handle.is_finished(),
            JoinHandle::Scheduled(_) => false,
        }
    }
}

/// Counts a thread's end.
struct Ending;

impl Drop for Ending {
    fn drop(&mut self) {
        let ended = with_world(|world| {
            world.threads = world.threads.saturating_sub(1);
            Arc::clone(&world.thread_ended)
        });
        if let Some(ended) = ended {
            ended.notify_all();
        }
    }
}

/// The stack of a scheduled thread, in bytes: a debug build takes more than the programs.
pub(crate) const STACK: usize = 512 * 1024;

/// Starts a named thread. `stack` is its stack in bytes; `None` takes the system's default.
///
/// # Errors
/// The system has no thread to give.
pub(crate) fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    stack: Option<usize>,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    if is_scheduled() {
        if start_fails(stack) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let builder = shuttle::thread::Builder::new().name(name.into());
        let spawned = builder.stack_size(STACK).spawn(move || {
            let _ending = Ending;
            body()
        });
        return spawned.map(JoinHandle::Scheduled);
    }
    let builder = thread::Builder::new().name(name.into());
    let spawned = match stack {
        Some(bytes) => builder.stack_size(bytes).spawn(body),
        None => builder.spawn(body),
    };
    spawned.map(JoinHandle::System)
}

/// Sleeps. Hold no lock.
#[track_caller]
pub(crate) fn sleep(time: Duration) {
    match is_scheduled() {
        true => Signal::default().wait(Some(time), place_here()),
        false => thread::sleep(time),
    }
}

/// Atomic values.
pub(crate) mod atomic;
mod channel;
pub(crate) use self::channel::{Receiver, SyncSender, sync_channel};
