//! How busy a process is, and for how long its units wait for sinks: what the autoscaler learns from.
//!
//! Busy is the greatest of three shares: of the processors that the process may use, of its busiest unit's time, which can
//! use no more than one processor, and of what a [`Throttle`] allows.

use std::collections::{BTreeMap, VecDeque};
use std::fs::read_to_string;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use thalweg_core::clock::Clock;
use thalweg_core::unit::{Epoch, UnitId};

use super::counters::{Counter, Counters};

/// Over what time rates and shares are taken: chunks, and commits, come in jumps.
pub const RECENT: Duration = Duration::from_secs(5);

/// Ticks a second in which the kernel tells processor time to user space: `USER_HZ`, 100 on every Linux (times(2)).
const TICKS_A_SECOND: f64 = 100.0;

/// What something was at the looks of the last [`RECENT`].
#[derive(Debug)]
pub struct Recent<T>(VecDeque<(Duration, T)>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Recent<T> {
    /// It is so now. Gives what it was [`RECENT`] ago, or later where it is not known for so long, and how long ago that
    /// was; `None` at first.
    pub fn note(&mut self, now: Duration, value: T) -> Option<(&T, Duration)> {
        if self.0.back().is_some_and(|(last, _)| now <= *last) {
            self.0.pop_back();
        }
        self.0.push_back((now, value));
        while self.0.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= RECENT) {
            self.0.pop_front();
        }
        let (at, value) = self.0.front()?;
        let passed = now.saturating_sub(*at);
        (!passed.is_zero()).then_some((value, passed))
    }
}

/// Time that was waited, the wait that goes on included.
#[derive(Debug, Default)]
pub struct Waits {
    nanos: Counter,
    /// When the wait that goes on began, in nanoseconds of the clock; 0 where none does.
    since: AtomicU64,
}

impl Waits {
    fn begin(&self, now: Duration) {
        self.since.store(nanos(now).max(1), Ordering::Relaxed);
    }

    fn end(&self, now: Duration) {
        let since = self.since.swap(0, Ordering::Relaxed);
        if since > 0 {
            self.nanos.add(nanos(now).saturating_sub(since));
        }
    }

    /// All of it until now.
    pub fn total(&self, now: Duration) -> Duration {
        let since = self.since.load(Ordering::Relaxed);
        let going_on = if since > 0 { nanos(now).saturating_sub(since) } else { 0 };
        Duration::from_nanos(self.nanos.get().saturating_add(going_on))
    }
}

/// Ends a wait also where whoever waits is dropped.
struct Waiting<'a> {
    waits: &'a Waits,
    clock: &'a dyn Clock,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waits.end(self.clock.monotonic());
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Runs something, and counts how long it works: what it waits for is not counted.
pub async fn working<F: Future>(clock: &dyn Clock, worked: &Counter, what: F) -> F::Output {
    let mut what = pin!(what);
    std::future::poll_fn(|context| {
        let began = clock.monotonic();
        let polled = what.as_mut().poll(context);
        worked.add(nanos(clock.monotonic().saturating_sub(began)));
        polled
    })
    .await
}

/// Waits for something, and counts how long: what it works meanwhile is not counted.
pub async fn waiting<F: Future>(clock: &dyn Clock, waits: &Waits, what: F) -> F::Output {
    let mut what = pin!(what);
    let guard = Waiting { waits, clock };
    let done = std::future::poll_fn(|context| {
        waits.end(clock.monotonic());
        let polled = what.as_mut().poll(context);
        if matches!(polled, Poll::Pending) {
            waits.begin(clock.monotonic());
        }
        polled
    });
    let done = done.await;
    drop(guard);
    done
}

/// Lets so many rows a second through, one after the other, as a slower machine would: for tests of what is decided by how
/// busy workers are. What it makes wait counts as work.
#[derive(Debug)]
pub struct Throttle {
    row: Duration,
    now: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// When what was taken is done.
    free_at: Duration,
    /// How long all takes that was ever taken.
    taken: Duration,
}

impl Throttle {
    /// So many rows a second.
    pub fn new(rows_per_second: u32) -> Self {
        Self { row: Duration::from_secs(1) / rows_per_second.max(1), now: Mutex::default() }
    }

    /// As many rows as go through in a tenth of a second.
    pub fn rows_at_once(&self) -> u64 {
        let rows = Duration::from_millis(100).as_nanos() / self.row.as_nanos().max(1);
        u64::try_from(rows).unwrap_or(u64::MAX).max(1)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until rows are through.
    pub async fn take(&self, clock: &dyn Clock, rows: usize) {
        let now = clock.monotonic();
        let until = self.enter(now, rows);
        tokio::time::sleep(until.saturating_sub(now)).await;
    }

    fn enter(&self, now: Duration, rows: usize) -> Duration {
        let takes = self.row.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX));
        let mut line = self.line();
        line.free_at = line.free_at.max(now).saturating_add(takes);
        line.taken = line.taken.saturating_add(takes);
        line.free_at
    }

    /// For how long rows have gone through until now.
    fn worked(&self, now: Duration) -> Duration {
        let line = self.line();
        line.taken.saturating_sub(line.free_at.saturating_sub(now))
    }
}

/// What was counted of a process at one look.
#[derive(Debug, Default)]
pub struct Sample {
    /// Time of all processors; `None` where nobody tells.
    processors: Option<Duration>,
    throttled: Duration,
    units: BTreeMap<UnitId, UnitSample>,
    /// Rows that sinks were given since the job started, by the sinks' names in SQL.
    sinks: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct UnitSample {
    epoch: Epoch,
    worked: Duration,
    waited: Duration,
}

impl Sample {
    /// Looks.
    pub fn take(now: Duration, processors: Option<Duration>, counters: &Counters, throttle: Option<&Throttle>) -> Self {
        let units = counters.units().into_iter().map(|(unit, counters)| {
            let worked = Duration::from_nanos(counters.worked_nanos.get());
            (unit, UnitSample { epoch: counters.epoch, worked, waited: counters.waited.total(now) })
        });
        let throttled = throttle.map_or(Duration::ZERO, |throttle| throttle.worked(now));
        let mut sinks = BTreeMap::new();
        for stage in &counters.stages {
            let sum = stage.sink.as_ref().map(|sink| sinks.entry(sink.clone()).or_insert(0));
            sum.into_iter().for_each(|sum: &mut u64| *sum += stage.rows_out.get());
        }
        Self { processors, throttled, units: units.collect(), sinks }
    }
}

/// Shares of the last seconds, each 0 to 1, and what came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shares {
    /// That the process worked.
    pub busy: f64,
    /// That its units waited for sinks, on average.
    pub blocked: f64,
    /// That each unit worked.
    pub units: BTreeMap<UnitId, f64>,
    /// Rows a second that each sink was given.
    pub sinks: BTreeMap<String, f64>,
}

/// What was counted at the last looks.
#[derive(Debug)]
pub struct Looks {
    /// How many processors the process may use; a control group may allow a part of one.
    processors: f64,
    samples: Recent<Sample>,
}

impl Looks {
    /// No look yet.
    pub fn new(processors: f64) -> Self {
        Self { processors, samples: Recent::default() }
    }

    /// The shares since [`RECENT`] ago; none at first. Whoever works does not wait: both together are no more than 1.
    pub fn shares(&mut self, now: Duration, sample: Sample) -> Shares {
        let current = (sample.processors, sample.throttled);
        let units: Vec<_> = sample.units.iter().map(|(unit, it)| (*unit, it.epoch, it.worked, it.waited)).collect();
        let given = sample.sinks.clone();
        let Some((before, passed)) = self.samples.note(now, sample) else { return Shares::default() };
        let share = |after: Duration, before: Duration| {
            (after.saturating_sub(before).as_secs_f64() / passed.as_secs_f64()).clamp(0.0, 1.0)
        };
        let (mut worked, mut waited) = (BTreeMap::new(), 0.0);
        for (unit, epoch, has_worked, has_waited) in &units {
            let known = before.units.get(unit).filter(|before| before.epoch == *epoch);
            let (from_work, from_waits) = known.map_or_else(Default::default, |before| (before.worked, before.waited));
            worked.insert(*unit, share(*has_worked, from_work));
            waited += share(*has_waited, from_waits);
        }
        let of_processors = current.0.zip(before.processors).map_or(0.0, |(after, before)| {
            let used = after.saturating_sub(before).as_secs_f64() / passed.as_secs_f64();
            (used / self.processors).clamp(0.0, 1.0)
        });
        let of_units = worked.values().copied().fold(0.0, f64::max);
        let busy = of_processors.max(of_units).max(share(current.1, before.throttled));
        let blocked = (waited / units.len().max(1) as f64).min(1.0 - busy);
        let rate = |(sink, rows): (String, u64)| {
            let rows = rows.saturating_sub(before.sinks.get(&sink).copied().unwrap_or_default());
            (sink, rows as f64 / passed.as_secs_f64())
        };
        Shares { busy, blocked, units: worked, sinks: given.into_iter().map(rate).collect() }
    }
}

/// Processor time of this process, in all threads: proc_pid_stat(5), fields 14 and 15. The system's own file: no clock of ours.
pub fn processor_time() -> Option<Duration> {
    processor_ticks(&read_to_string("/proc/self/stat").ok()?)
        .map(|ticks| Duration::from_secs_f64(ticks as f64 / TICKS_A_SECOND))
}

fn processor_ticks(stat: &str) -> Option<u64> {
    // The name may hold anything, a parenthesis too.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    user.checked_add(system)
}

/// How many processors this process may use: those of the machine, or what its control group allows.
pub fn processors() -> f64 {
    let all = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
    let allowed = read_to_string("/sys/fs/cgroup/cpu.max").ok().and_then(|text| quota(&text));
    allowed.map_or(all, |allowed| allowed.min(all))
}

/// What a control group's `cpu.max` allows: `QUOTA PERIOD`, or `max PERIOD`.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use thalweg_core::clock::SystemClock;
    use thalweg_core::unit::StageId;

    use crate::runtime::counters::StageCounters;

    use super::*;

    const UNIT: UnitId = UnitId { stage: StageId(0), index: 0 };

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn is_near(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 0.01
    }

    #[test]
    fn what_is_recent_reaches_back_five_seconds_and_no_further() {
        let mut recent = Recent::default();
        assert_eq!(recent.note(seconds(1.0), 'a'), None);
        assert_eq!(recent.note(seconds(2.0), 'b'), Some((&'a', seconds(1.0))));
        assert_eq!(recent.note(seconds(6.0), 'c'), Some((&'a', seconds(5.0))));
        assert_eq!(recent.note(seconds(7.0), 'd'), Some((&'b', seconds(5.0))));
        assert_eq!(recent.note(seconds(60.0), 'e'), Some((&'d', seconds(53.0))), "nobody looked meanwhile");
    }

    #[test]
    fn a_process_is_as_busy_as_what_is_scarcest_of_it() {
        let sample = |processors: f64, worked: f64| {
            let unit = UnitSample { worked: seconds(worked), ..UnitSample::default() };
            Sample { processors: Some(seconds(processors)), units: [(UNIT, unit)].into(), ..Sample::default() }
        };
        let mut looks = Looks::new(4.0);
        assert_eq!(looks.shares(seconds(10.0), sample(100.0, 7.0)), Shares::default());
        let shares = looks.shares(seconds(12.0), sample(102.0, 8.8));
        assert!(
            is_near(shares.busy, 0.9) && is_near(shares.units[&UNIT], 0.9),
            "one unit has no time left: {shares:?}"
        );
        let shares = looks.shares(seconds(14.0), sample(117.0, 8.8));
        assert!(is_near(shares.busy, 1.0) && is_near(shares.units[&UNIT], 0.45), "no processor is left: {shares:?}");
    }

    #[test]
    fn a_wait_counts_while_it_goes_on_and_is_shared_among_units() {
        let counters = Counters::default();
        let other = UnitId { index: 1, ..UNIT };
        let (waits, _idle) = (counters.acquired(UNIT, Epoch(1)), counters.acquired(other, Epoch(1)));
        let mut looks = Looks::new(1.0);
        let look = |looks: &mut Looks, now: f64| {
            looks.shares(seconds(now), Sample::take(seconds(now), Some(Duration::ZERO), &counters, None))
        };
        look(&mut looks, 10.0);
        waits.waited.begin(seconds(11.0));
        assert!(is_near(look(&mut looks, 12.0).blocked, 0.25), "one of two waits for half of the time");
        waits.waited.end(seconds(14.0));
        assert!(is_near(look(&mut looks, 14.0).blocked, 0.375));
    }

    #[test]
    fn rows_that_stages_give_to_one_sink_are_counted_together_over_the_same_time() {
        let stage = |sink: Option<&str>| StageCounters::of(StageId(0), sink.map(str::to_owned));
        let counters = Counters::new(Vec::new(), vec![stage(None), stage(Some("out")), stage(Some("out"))]);
        let mut looks = Looks::new(1.0);
        let look = |looks: &mut Looks, now: f64| {
            looks.shares(seconds(now), Sample::take(seconds(now), None, &counters, None)).sinks
        };
        assert!(look(&mut looks, 1.0).is_empty(), "of nothing before it");
        counters.stages.iter().for_each(|stage| stage.rows_out.add(30));
        assert_eq!(look(&mut looks, 3.0), [("out".to_owned(), 30.0)].into());
    }

    #[test]
    fn a_unit_that_was_acquired_again_starts_from_nothing() {
        let sample = |epoch: u64, worked: f64| {
            let unit = UnitSample { epoch: Epoch(epoch), worked: seconds(worked), waited: Duration::ZERO };
            Sample { units: [(UNIT, unit)].into(), ..Sample::default() }
        };
        let mut looks = Looks::new(1.0);
        looks.shares(seconds(1.0), sample(1, 900.0));
        assert!(is_near(looks.shares(seconds(2.0), sample(2, 0.5)).busy, 0.5));
    }

    #[test]
    fn a_throttle_is_a_slow_machine_that_is_busy_while_something_waits_for_it() {
        let throttle = Throttle::new(100);
        assert_eq!(throttle.enter(seconds(10.0), 100), seconds(11.0));
        assert_eq!(throttle.enter(seconds(10.5), 200), seconds(13.0), "one after the other");
        assert_eq!(throttle.worked(seconds(12.0)), seconds(2.0), "what waits was not worked yet");
        assert_eq!(throttle.worked(seconds(20.0)), seconds(3.0));
        assert_eq!(throttle.enter(seconds(20.0), 50), seconds(20.5), "time in which nothing came is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_does_not_work_and_what_works_does_not_wait() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (worked, waits) = (Counter::default(), Waits::default());
        let before = clock.monotonic();
        let job = async {
            waiting(&*clock, &waits, async {
                tokio::time::sleep(Duration::from_secs(3_600)).await;
            })
            .await;
            7
        };
        assert_eq!(working(&*clock, &worked, job).await, 7);
        // Real time, of which an hour of the runtime's takes next to none.
        let passed = clock.monotonic() - before;
        assert!(Duration::from_nanos(worked.get()) + waits.total(clock.monotonic()) <= passed);
        assert!(worked.get() > 0 && waits.total(clock.monotonic()) > Duration::ZERO);
    }

    #[test]
    fn processor_time_is_read_past_any_name_and_quotas_may_be_parts() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(processor_ticks(stat), Some(300));
        assert_eq!(processor_ticks("7 (x"), None);
        assert_eq!([quota("50000 100000\n"), quota("max 100000\n"), quota("")], [Some(0.5), None, None]);
        assert!(processors() > 0.0 && processor_time().is_some());
    }
}
