//! Randomness and the wall clock of the operating system, played: the keys of hash maps, the order in which a `select!` asks,
//! names that are drawn, the time at which objects were written. In a process that replays a history every thread draws
//! the same sequence, and the clock shows the history's time; elsewhere nothing changes.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

/// Names the history that a process replays, by its number.
pub const SEED: &str = "THALWEG_SEED";

thread_local! {
    static DRAWN: Cell<u64> = const { Cell::new(0) };
}

fn seed() -> Option<u64> {
    static SEED_OF_PROCESS: OnceLock<Option<u64>> = OnceLock::new();
    *SEED_OF_PROCESS.get_or_init(|| std::env::var(SEED).ok()?.parse().ok())
}

/// SplitMix64 (Steele, Lea, Flood, 2014).
fn next(seed: u64) -> u64 {
    let drawn = DRAWN.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    DRAWN.set(drawn);
    let mut mixed = seed.wrapping_add(drawn);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// In place of the function of the C library of this name, which the standard library and `getrandom` call.
///
/// # Safety
/// As of getrandom(2): `buffer` points to `length` bytes that may be written.
#[expect(
    unsafe_code,
    reason = "the one way to repeat what hash maps and tokio draw; sound by the contract of getrandom(2)"
)]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, flags: libc::c_uint) -> libc::ssize_t {
    let Some(seed) = seed() else {
        // SAFETY: the arguments are those of the caller, for the system call that he meant.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as libc::ssize_t };
    };
    for at in 0..length {
        let byte = next(seed).to_le_bytes()[0];
        // SAFETY: `at` is below `length`, and the caller vouches for so many bytes.
        unsafe { buffer.add(at).write(byte) };
    }
    libc::ssize_t::try_from(length).unwrap_or(libc::ssize_t::MAX)
}

/// Milliseconds since 1970 that the wall clock shows; 0 where it is the machine's.
static WALL_CLOCK: AtomicI64 = AtomicI64::new(0);

/// The wall clock shows so many milliseconds since 1970 from now on, where a history is replayed.
pub fn set_wall_clock(millis: i64) {
    if seed().is_some() {
        WALL_CLOCK.store(millis, Ordering::Relaxed);
    }
}

/// What the wall clock shows, in milliseconds since 1970; 0 where it is the machine's.
pub fn wall_clock() -> i64 {
    WALL_CLOCK.load(Ordering::Relaxed)
}

/// In place of the function of the C library of this name, which the standard library calls.
///
/// # Safety
/// As of clock_gettime(2): `to` points to a time that may be written.
#[expect(
    unsafe_code,
    reason = "objects in memory take no clock from outside; sound by the contract of clock_gettime(2)"
)]
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, to: *mut libc::timespec) -> libc::c_int {
    let millis = wall_clock();
    if clock != libc::CLOCK_REALTIME || millis == 0 {
        // SAFETY: the arguments are those of the caller, for the system call that he meant.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, to) as libc::c_int };
    }
    let shown = libc::timespec { tv_sec: millis / 1_000, tv_nsec: millis % 1_000 * 1_000_000 };
    // SAFETY: the caller vouches for one time that may be written.
    unsafe { to.write(shown) };
    0
}
