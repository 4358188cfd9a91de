//! What the operator asks of the allocator, which is jemalloc: lists are read in pages of hundreds of objects, of which a
//! fraction is kept, and the C library's own holds pages for the few bytes that live in each.

// One of the files with `unsafe`: a symbol is exported for the allocator.
#![allow(unsafe_code)]

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc's settings (its manual: TUNING), read before `main`: what was freed goes back to the system within half a second, by
/// a thread that does nothing else. Two arenas, for what is done at once is little.
// SAFETY: the name is the one that jemalloc looks up, and its first word points to bytes that end in a zero.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static SETTINGS: &[u8; 69] = b"background_thread:true,narenas:2,dirty_decay_ms:500,muzzy_decay_ms:0\0";
