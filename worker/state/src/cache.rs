//! What is kept in memory of the tables of a process's stores.

use std::hash::RandomState;
use std::sync::Arc;

use async_trait::async_trait;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use slatedb::db_cache::{CachedEntry, CachedKey, DbCache};

/// Parts with a lock each. So many on every machine, as a part's share of the capacity is the most that one entry may have.
const SHARDS: usize = 4;

/// The size of a block, as SlateDB cuts tables by default: most of what is cached are blocks.
const BLOCK_BYTES: u64 = 4 << 10;

/// One cache of blocks, indexes and filters for all stores of a process. The ones that SlateDB brings go by the machine's clock:
/// Moka tidies up each 300 ms, so that a simulated history was not from its seed alone; Foyer measures a clock for 23 ms before
/// `main`.
pub(crate) fn block_cache(capacity_bytes: u64) -> Arc<dyn DbCache> {
    let options = OptionsBuilder::new()
        .shards(SHARDS)
        .weight_capacity(capacity_bytes)
        .estimated_items_capacity(usize::try_from(capacity_bytes / BLOCK_BYTES).unwrap_or(usize::MAX))
        .build()
        .expect("both capacities are given");
    Arc::new(BlockCache(Cache::with_options(options, Bytes, RandomState::new(), DefaultLifecycle::default())))
}

struct BlockCache(Cache<CachedKey, CachedEntry, Bytes, RandomState>);

/// An entry weighs what it holds.
#[derive(Clone)]
struct Bytes;

impl Weighter<CachedKey, CachedEntry> for Bytes {
    fn weight(&self, _: &CachedKey, entry: &CachedEntry) -> u64 {
        entry.size() as u64
    }
}

impl BlockCache {
    fn get(&self, key: &CachedKey) -> Result<Option<CachedEntry>, slatedb::Error> {
        Ok(self.0.get(key))
    }
}

#[async_trait]
impl DbCache for BlockCache {
    async fn get_block(&self, key: &CachedKey) -> Result<Option<CachedEntry>, slatedb::Error> {
        self.get(key)
    }

    async fn get_index(&self, key: &CachedKey) -> Result<Option<CachedEntry>, slatedb::Error> {
        self.get(key)
    }

    async fn get_filter(&self, key: &CachedKey) -> Result<Option<CachedEntry>, slatedb::Error> {
        self.get(key)
    }

    async fn get_stats(&self, key: &CachedKey) -> Result<Option<CachedEntry>, slatedb::Error> {
        self.get(key)
    }

    async fn insert(&self, key: CachedKey, entry: CachedEntry) {
        self.0.insert(key, entry);
    }

    async fn remove(&self, key: &CachedKey) {
        self.0.remove(key);
    }

    fn entry_count(&self) -> u64 {
        self.0.len() as u64
    }
}
