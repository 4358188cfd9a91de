//! What commits cost: `cargo run --workspace --example commit_cost -- [UNITS] [SECONDS] [FOLDER]`.
//!
//! Each unit commits 100 entries of 100 bytes a second, as a pipeline under `commitEvery: 1s` does. CPU time is that of
//! the whole process, compaction and its polls included. The measured note is `docs/design/0003-state-store.md`.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use thalweg_core::clock::{Clock, SystemClock};
use thalweg_core::commit::{UnitStore, WriteSet};
use thalweg_core::error::Result;
use thalweg_core::unit::{StageId, UnitId};
use thalweg_state::{Expected, PipelineState, RootOptions, StateRoot};

const ENTRIES: u64 = 100;
const VALUE_BYTES: usize = 100;
/// Keys of a unit, over which commits go round.
const KEYS: u64 = 5_000;
const BUDGET: usize = 16 << 20;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let units: u32 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(8);
    let seconds: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(60);
    let folder = arguments.next().unwrap_or_else(|| "target/commit-cost".to_owned());
    for fsync in [false, true] {
        println!("{units} units, {ENTRIES} entries of {VALUE_BYTES} bytes a commit, fsync {fsync}");
        measure(&format!("{folder}/fsync-{fsync}"), fsync, units, seconds).await?;
    }
    Ok(())
}

async fn measure(folder: &str, fsync: bool, units: u32, seconds: u64) -> Result<()> {
    let clock = SystemClock::new();
    let root = StateRoot::open(folder, &RootOptions { fsync, ..RootOptions::default() }).await?;
    let state = PipelineState::open(&root, "default", "cost", &Expected::default(), true).await?;

    let (stores, opened) = timed(&clock, open_all(&state, units)).await;
    println!("  open, new store          {:>8.2} ms each", opened.as_secs_f64() * 1e3 / f64::from(units));
    let stores = stores?;

    let cpu = cpu_seconds();
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("  idle                     {:>8.2} % of a core, all units", (cpu_seconds() - cpu) * 10.0);

    let cpu = cpu_seconds();
    let mut latencies = paced(&clock, &stores, seconds).await?;
    report("one commit a second", &mut latencies, cpu_seconds() - cpu);

    let cpu = cpu_seconds();
    let mut latencies = back_to_back(&clock, &stores, 100).await?;
    report("back to back", &mut latencies, cpu_seconds() - cpu);

    let (closed, took) = timed(&clock, close_all(&stores)).await;
    closed?;
    println!("  close                    {:>8.2} ms each", took.as_secs_f64() * 1e3 / f64::from(units));
    let (stores, took) = timed(&clock, open_all(&state, units)).await;
    let stores = stores?;
    println!("  open again               {:>8.2} ms each", took.as_secs_f64() * 1e3 / f64::from(units));
    let (found, took) = timed(&clock, scan_all(&stores)).await;
    println!("  scan of {:>7} entries  {:>8.2} ms in all", found?, took.as_secs_f64() * 1e3);
    close_all(&stores).await?;
    println!("  files left               {:>8}", files_below(folder.as_ref()));
    println!("  resident memory          {:>8} MiB", resident_mib());
    Ok(())
}

async fn timed<T>(clock: &dyn Clock, work: impl Future<Output = T>) -> (T, Duration) {
    let start = clock.monotonic();
    let done = work.await;
    (done, clock.monotonic() - start)
}

async fn open_all(state: &PipelineState, units: u32) -> Result<Vec<Arc<dyn UnitStore>>> {
    let mut stores = Vec::new();
    for index in 0..units {
        stores.push(state.unit_store(UnitId { stage: StageId(0), index }, BUDGET).await?);
    }
    Ok(stores)
}

async fn close_all(stores: &[Arc<dyn UnitStore>]) -> Result<()> {
    for store in stores {
        store.close().await?;
    }
    Ok(())
}

async fn scan_all(stores: &[Arc<dyn UnitStore>]) -> Result<usize> {
    let mut found = 0;
    for store in stores {
        found += store.scan(b"", None, usize::MAX).await?.len();
    }
    Ok(found)
}

/// All units commit at the same moment, each second.
async fn paced(clock: &dyn Clock, stores: &[Arc<dyn UnitStore>], seconds: u64) -> Result<Vec<Duration>> {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut latencies = Vec::new();
    for round in 0..seconds {
        tick.tick().await;
        latencies.extend(commit_all(clock, stores, round).await?);
    }
    Ok(latencies)
}

async fn back_to_back(clock: &dyn Clock, stores: &[Arc<dyn UnitStore>], rounds: u64) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    for round in 0..rounds {
        latencies.extend(commit_all(clock, stores, round).await?);
    }
    Ok(latencies)
}

async fn commit_all(clock: &dyn Clock, stores: &[Arc<dyn UnitStore>], round: u64) -> Result<Vec<Duration>> {
    let commits = stores.iter().map(|store| timed(clock, store.commit(entries(round))));
    join_all(commits).await.into_iter().map(|(committed, took)| committed.map(|()| took)).collect()
}

fn entries(round: u64) -> WriteSet {
    let mut writes = WriteSet::default();
    for index in 0..ENTRIES {
        let key = (round * ENTRIES + index) % KEYS;
        writes.put(key.to_be_bytes().to_vec(), vec![b'x'; VALUE_BYTES]);
    }
    writes
}

fn report(name: &str, latencies: &mut [Duration], cpu_seconds: f64) {
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    let per_commit = cpu_seconds * 1e3 / latencies.len() as f64;
    println!("  {name:<24} {per_commit:>8.2} ms CPU a commit, p50 {:.1} ms, p99 {:.1} ms", at(50), at(99));
}

/// CPU seconds of this process so far (proc(5): fields 14 and 15 of `stat`, in hundredths of a second).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn files_below(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}
