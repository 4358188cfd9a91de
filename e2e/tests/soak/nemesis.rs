//! What goes wrong, when, and for how long: drawn from a seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use thalweg_e2e::bank::commits::quantile;
use thalweg_e2e::bank::{COPIES, EVENTS, SUMS, Traffic, Watch};
use thalweg_e2e::deck::{Deck, Kind, Pace};
use thalweg_e2e::workers::{CutOff, Fault};

use crate::bed::{Bed, COMMIT_EVERY_MS, PARTITIONS};
use crate::settings::Settings;

/// Time between two faults; the least of it where kinds come too seldom.
const PAUSE_MS: std::ops::Range<u64> = 3_000..12_000;
/// How long the coordinator is away. Whoever is lost meanwhile is given up only once the next one has heard nothing of it for as
/// long as a worker may be silent: with two such times it must stay within what a unit may stand still.
const COORDINATOR_AWAY_MS: std::ops::Range<u64> = 2_000..8_000;
/// Partitions that are added at the most.
const MORE_PARTITIONS: i32 = 24;
/// How long is waited at the end for a new partition to be known.
const KNOWN_LIMIT: Duration = Duration::from_secs(120);
/// Rows that each new partition has in the end, so that it shows whether they come out.
const NEW_ROWS: i64 = 100;
/// How long is waited at the end for them: traffic notices after 20 s that nobody answers it, and begins again.
const ROWS_LIMIT: Duration = Duration::from_secs(60);
/// Once the assignment names a split, every unit knows it so much later.
const HEARD: Duration = Duration::from_secs(2);
/// How long after its end a fault is blamed for a silence.
const BLAMED: Duration = Duration::from_secs(20);

/// A fault, from its beginning to its end.
#[derive(Clone, Copy, Debug)]
struct Done {
    kind: Kind,
    from: Instant,
    to: Instant,
}

/// A partition that was added while the pipelines ran, and is written to.
#[derive(Clone, Copy, Debug)]
struct Added {
    /// How long it took until both assignments named it.
    known_after: Duration,
    /// Since when it is written to, in milliseconds since 1970.
    written_ms: i64,
}

/// What ends a fault that lasts.
enum Heal {
    Start(usize),
    GoOn(usize),
    Store,
    Reach(usize, CutOff),
    Coordinator,
}

/// Draws faults and ends them.
pub struct Nemesis {
    random: ChaCha8Rng,
    deck: Deck,
    /// Kinds that are not drawn, and why.
    not_drawn: BTreeMap<&'static str, &'static str>,
    done: Vec<Done>,
    due: Vec<(Instant, Heal)>,
    /// Workers that are away, halted or cut off.
    disturbed: Vec<usize>,
    partitions: i32,
    /// A partition that is not written to yet: since when it is there, and since when it is known.
    growing: Option<(Instant, Option<Instant>)>,
    /// The new partitions that are written to, in their order.
    added: Vec<Added>,
    /// How many kinds are drawn.
    kinds: usize,
    started: Instant,
}

impl Nemesis {
    /// One that draws what the settings say.
    pub fn new(settings: &Settings) -> Self {
        let obstacle = |kind: Kind| match kind {
            _ if !settings.kinds.contains(&kind) => Some("SOAK_FAULTS does not name it"),
            Kind::CutOff if !CutOff::is_possible() => Some("it needs root and network namespaces"),
            Kind::Store if settings.in_folder => Some("SOAK_STATE is folder: there is no server"),
            _ => None,
        };
        let kinds: Vec<_> = settings.kinds.iter().copied().filter(|kind| obstacle(*kind).is_none()).collect();
        let not_drawn = Kind::ALL.into_iter().filter_map(|kind| Some((kind.name(), obstacle(kind)?)));
        Self {
            random: ChaCha8Rng::seed_from_u64(settings.seed),
            deck: Deck::of(&kinds),
            not_drawn: not_drawn.collect(),
            done: Vec::new(),
            due: Vec::new(),
            disturbed: Vec::new(),
            partitions: PARTITIONS,
            growing: None,
            added: Vec::new(),
            kinds: kinds.len(),
            started: Instant::now(),
        }
    }

    /// Brings faults about until then.
    pub async fn rage(&mut self, bed: &mut Bed, traffic: &Traffic, until: Instant) {
        while Instant::now() < until {
            if let Some(kind) = self.deck.deal(|kinds| kinds.shuffle(&mut self.random)) {
                let from = Instant::now();
                match self.bring_about(kind, bed).await {
                    Some(lasts) => {
                        self.tell(kind, lasts);
                        self.done.push(Done { kind, from, to: Instant::now() + lasts });
                    }
                    None if kind == Kind::Partition && !self.can_grow() => {}
                    None => self.deck.owe(kind),
                }
            }
            let next = Instant::now() + self.pause();
            while Instant::now() < next.min(until) {
                self.heal(bed, Instant::now());
                self.spread(bed, traffic);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// How long until the next fault.
    fn pause(&mut self) -> Duration {
        let drawn = self.random.random_range(PAUSE_MS);
        let is_behind = Pace::DEALT.is_behind(self.kinds, self.done.len(), self.started.elapsed());
        Duration::from_millis(if is_behind { PAUSE_MS.start } else { drawn })
    }

    /// Ends every fault at its time, and waits until each partition has rows, or has not become known or got any in time.
    pub async fn rest(&mut self, bed: &mut Bed, traffic: &Traffic) {
        let awaits_news = |growing: &Option<(Instant, Option<Instant>)>| {
            growing.is_some_and(|(since, _)| since.elapsed() < KNOWN_LIMIT)
        };
        while !self.due.is_empty() || awaits_news(&self.growing) {
            self.heal(bed, Instant::now());
            self.spread(bed, traffic);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let known = Instant::now();
        while !have_rows(bed, traffic.partitions()).await && known.elapsed() < ROWS_LIMIT {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// How often each kind was brought about.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let count = |kind: Kind| self.done.iter().filter(|done| done.kind == kind).count();
        Kind::ALL.into_iter().map(|kind| (kind.name(), count(kind))).collect()
    }

    /// How many partitions were added.
    pub fn partitions_added(&self) -> usize {
        usize::try_from(self.partitions - PARTITIONS).expect("some")
    }

    /// Since when new partitions are written to, in their order, in milliseconds since 1970: all that became known.
    pub fn written_ms(&self) -> Vec<i64> {
        self.added.iter().map(|added| added.written_ms).collect()
    }

    /// How long it took until every assignment named a new partition, in milliseconds.
    pub fn known_after(&self) -> Value {
        let millis = |added: &Added| i64::try_from(added.known_after.as_millis()).expect("not so long");
        let mut known: Vec<_> = self.added.iter().map(millis).collect();
        json!({
            "p50": quantile(&mut known, 0.5), "p99": quantile(&mut known, 0.99), "longest": quantile(&mut known, 1.0),
        })
    }

    /// The kinds of the faults that went on within a time since the first one, in the order in which they began.
    pub fn faults_within(&self, from: Duration, to: Duration) -> Vec<&'static str> {
        let (from, to) = (self.started + from, self.started + to);
        self.done.iter().filter(|done| done.from < to && done.to > from).map(|done| done.kind.name()).collect()
    }

    /// The kinds that are not drawn, and why.
    pub fn not_drawn(&self) -> &BTreeMap<&'static str, &'static str> {
        &self.not_drawn
    }

    /// For each fault the longest silence of a unit, beyond the rhythm of commits: of all of them, and by kind.
    pub fn pauses(&self, copies: &Watch) -> Value {
        let rhythm = Duration::from_millis(COMMIT_EVERY_MS);
        let pause = |done: &Done| copies.longest(done.from, done.to + BLAMED).saturating_sub(rhythm).as_millis() as u64;
        let of = |kinds: &[Kind]| {
            let mut pauses: Vec<_> = self.done.iter().filter(|done| kinds.contains(&done.kind)).map(pause).collect();
            pauses.sort_unstable();
            let at = |share: f64| pauses.get(((pauses.len() as f64 * share) as usize).min(pauses.len().max(1) - 1));
            json!({"p50": at(0.5), "p99": at(0.99), "longest": pauses.last()})
        };
        let by_kind: BTreeMap<_, _> = Kind::ALL.into_iter().map(|kind| (kind.name(), of(&[kind]))).collect();
        json!({"all": of(&Kind::ALL), "byKind": by_kind})
    }

    /// How long it lasts; `None` where it cannot be now.
    async fn bring_about(&mut self, kind: Kind, bed: &mut Bed) -> Option<Duration> {
        match kind {
            Kind::Kill => {
                let worker = self.victim(bed)?;
                bed.fleet.workers()[worker].kill();
                Some(self.until(1_000..6_000, Heal::Start(worker), Some(worker)))
            }
            Kind::Halt => {
                let worker = self.victim(bed)?;
                bed.fleet.workers()[worker].halt();
                Some(self.until(5_000..40_000, Heal::GoOn(worker), Some(worker)))
            }
            Kind::CutOff => {
                let worker = self.victim(bed)?;
                let cut = CutOff::of(&bed.fleet.workers()[worker].address);
                Some(self.until(5_000..20_000, Heal::Reach(worker, cut), Some(worker)))
            }
            Kind::Coordinator => {
                let is_away = self.due.iter().any(|(_, heal)| matches!(heal, Heal::Coordinator));
                bed.fleet.kill_coordinator();
                (!is_away).then(|| self.until(COORDINATOR_AWAY_MS, Heal::Coordinator, None))
            }
            Kind::Store => {
                let faults = [Fault::Slow(Duration::from_millis(300)), Fault::Refuses, Fault::Cuts];
                let fault = *faults.choose(&mut self.random)?;
                bed.store.as_ref()?.does(fault);
                Some(self.until(2_000..8_000, Heal::Store, None))
            }
            Kind::Broker => Some(self.restart_broker(bed)),
            Kind::Move => self.hand_over(bed),
            Kind::Partition => self.grow(bed).await,
        }
    }

    /// Notes what ends a fault after a time within `millis`.
    fn until(&mut self, millis: std::ops::Range<u64>, heal: Heal, disturbed: Option<usize>) -> Duration {
        let lasts = Duration::from_millis(self.random.random_range(millis));
        self.due.push((Instant::now() + lasts, heal));
        self.disturbed.extend(disturbed);
        lasts
    }

    /// A worker that is sound, and not the last sound one of its pipeline.
    fn victim(&mut self, bed: &mut Bed) -> Option<usize> {
        let workers = bed.fleet.workers();
        let sound = |pipeline: &str| {
            let of = (0..workers.len()).filter(|number| workers[*number].pipeline == pipeline);
            of.filter(|number| !self.disturbed.contains(number)).collect::<Vec<_>>()
        };
        let able: Vec<_> = [COPIES, SUMS].into_iter().map(sound).filter(|sound| sound.len() > 1).flatten().collect();
        // An owner, more often than a worker that would not be missed.
        let owners: Vec<_> = [COPIES, SUMS].into_iter().flat_map(|pipeline| bed.fleet.owners(pipeline)).collect();
        let missed: Vec<_> = able.iter().copied().filter(|number| owners.contains(number)).collect();
        let from = if self.random.random_bool(0.8) && !missed.is_empty() { missed } else { able };
        from.choose(&mut self.random).copied()
    }

    fn restart_broker(&mut self, bed: &mut Bed) -> Duration {
        let from = Instant::now();
        match self.random.random_bool(0.5) {
            true => bed.kafka.kill(),
            false => bed.kafka.stop(),
        }
        std::thread::sleep(Duration::from_millis(self.random.random_range(500..4_000)));
        bed.kafka.resume();
        from.elapsed()
    }

    /// Hands one unit over, or all of them.
    fn hand_over(&mut self, bed: &Bed) -> Option<Duration> {
        let pipeline = *[COPIES, SUMS].choose(&mut self.random)?;
        let spec = &bed.fleet.assignment(pipeline)["spec"];
        let units = spec["units"].as_array()?;
        let unit = units.choose(&mut self.random)?;
        let owners = bed.fleet.owners(pipeline);
        let slots: Vec<_> = spec["workers"].as_array()?.iter().filter_map(|worker| worker["slot"].as_str()).collect();
        let others: Vec<_> = slots.into_iter().filter(|slot| unit["owner"] != *slot).collect();
        let to = others.choose(&mut self.random)?;
        // Where one worker has all units, it is all of them that move.
        let what = match owners.len() > 1 && self.random.random_bool(0.8) {
            true => format!("{}/{}", unit["unit"]["stage"], unit["unit"]["index"]),
            false => "all".to_owned(),
        };
        bed.fleet.order(pipeline, &["--move", &format!("{what}={to}")]).then_some(Duration::ZERO)
    }

    /// Whether partitions may be added still.
    fn can_grow(&self) -> bool {
        self.partitions < PARTITIONS + MORE_PARTITIONS
    }

    async fn grow(&mut self, bed: &Bed) -> Option<Duration> {
        if self.growing.is_some() || !self.can_grow() {
            return None;
        }
        self.partitions += 1;
        bed.kafka.grow_topic(EVENTS, self.partitions).await;
        self.growing = Some((Instant::now(), None));
        Some(Duration::ZERO)
    }

    /// Has a new partition written to once every unit knows it.
    fn spread(&mut self, bed: &Bed, traffic: &Traffic) {
        let Some((since, known)) = &mut self.growing else { return };
        let wanted = self.partitions;
        if known.is_none() && [COPIES, SUMS].into_iter().all(|pipeline| knows(bed, pipeline, wanted)) {
            *known = Some(Instant::now());
        }
        let Some(known) = known.filter(|known| known.elapsed() >= HEARD) else { return };
        traffic.spread(wanted);
        self.added.push(Added { known_after: known - *since, written_ms: now_ms() });
        self.growing = None;
    }

    fn heal(&mut self, bed: &mut Bed, now: Instant) {
        let (due, later) = std::mem::take(&mut self.due).into_iter().partition(|(at, _)| *at <= now);
        self.due = later;
        let due: Vec<(Instant, Heal)> = due;
        for (_, heal) in due {
            match heal {
                Heal::Start(worker) => {
                    bed.fleet.workers()[worker].start();
                    self.disturbed.retain(|number| *number != worker);
                }
                Heal::GoOn(worker) => {
                    bed.fleet.workers()[worker].go_on();
                    self.disturbed.retain(|number| *number != worker);
                }
                Heal::Reach(worker, cut) => {
                    drop(cut);
                    self.disturbed.retain(|number| *number != worker);
                }
                Heal::Store => bed.store.iter().for_each(|store| store.does(Fault::None)),
                Heal::Coordinator => bed.fleet.start_coordinator(),
            }
        }
    }

    fn tell(&self, kind: Kind, lasts: Duration) {
        eprintln!("{:7.1} s  {} for {:.1} s", self.started.elapsed().as_secs_f64(), kind.name(), lasts.as_secs_f64());
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("not so late")
}

/// Whether those of so many partitions that are new have some rows.
async fn have_rows(bed: &Bed, partitions: i32) -> bool {
    for partition in PARTITIONS..partitions {
        if bed.kafka.end_of(EVENTS, partition).await < NEW_ROWS {
            return false;
        }
    }
    true
}

/// Whether the assignment of a pipeline names so many splits of the input.
fn knows(bed: &Bed, pipeline: &str, partitions: i32) -> bool {
    let assignment = bed.fleet.assignment(pipeline);
    let splits = assignment["spec"]["splits"].as_array().map_or(0, Vec::len);
    i32::try_from(splits).is_ok_and(|splits| splits >= partitions)
}
