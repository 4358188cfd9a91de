//! Which files a source has: a list that only grows and that all processes share.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thalweg_core::append_log::{AppendLog, Appended};
use thalweg_core::clock::SharedClock;
use thalweg_core::error::{Error, Result};
use tokio::sync::Mutex;

use super::config::FilesSourceConfig;
use super::location::Location;
use super::store::{Found, Store};

/// One record of the list: files that were found together.
#[derive(Debug, Serialize, Deserialize)]
struct Batch {
    /// How many lanes the files are dealt to; the first record decides, since positions depend on it.
    lanes: u32,
    /// The files, by name.
    files: Vec<Found>,
}

/// The files of a source as they were listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// In the order of the list.
    pub(crate) files: Vec<Found>,
    /// How many lanes they are dealt to.
    pub(crate) lanes: u32,
}

impl Listing {
    /// The files of a lane: every `lanes`-th.
    pub(crate) fn lane(&self, lane: u32) -> Vec<Found> {
        self.files.iter().skip(lane as usize).step_by(self.lanes.max(1) as usize).cloned().collect()
    }

    /// How many lanes have a file.
    pub(crate) fn used_lanes(&self) -> u32 {
        self.lanes.min(u32::try_from(self.files.len()).unwrap_or(u32::MAX))
    }

    fn extend(&mut self, batch: Batch) {
        if self.files.is_empty() {
            self.lanes = batch.lanes;
        }
        self.files.extend(batch.files);
    }

    /// What was found and is not listed yet.
    fn unlisted(&self, found: &[Found]) -> Vec<Found> {
        let listed: HashSet<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        found.iter().filter(|file| !listed.contains(file.name.as_str())).cloned().collect()
    }
}

/// What a process knows of the list.
#[derive(Default)]
struct Known {
    records: u64,
    listing: Listing,
    /// Sizes as last seen, of files that may grow.
    sizes: HashMap<String, u64>,
    listed_at: Option<Duration>,
}

/// Lists files and keeps the list.
pub(crate) struct Lister {
    log: Arc<dyn AppendLog>,
    clock: SharedClock,
    known: Mutex<Known>,
    /// The list of [`Lister::known`], for those who cannot wait.
    listing: RwLock<Arc<Listing>>,
}

impl Lister {
    /// Lists into `log`.
    pub(crate) fn new(log: Arc<dyn AppendLog>, clock: SharedClock) -> Self {
        Self { log, clock, known: Mutex::default(), listing: RwLock::default() }
    }

    /// The list as this process knows it.
    pub(crate) fn known(&self) -> Arc<Listing> {
        Arc::clone(&self.listing.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The list as it stands, without looking for files anew: another process may have extended it.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) async fn latest(&self) -> Result<Arc<Listing>> {
        let mut known = self.known.lock().await;
        self.catch_up(&mut known).await?;
        Ok(self.known())
    }

    /// The list with what appeared since; a source that does not watch looks once, ever.
    ///
    /// # Errors
    /// Files cannot be listed, or there are none and there must be.
    pub(crate) async fn refreshed(
        &self,
        store: &Store,
        location: &Location,
        config: &FilesSourceConfig,
    ) -> Result<(Arc<Listing>, HashMap<String, u64>)> {
        let mut known = self.known.lock().await;
        if known.records == 0 {
            self.catch_up(&mut known).await?;
            if known.records > 0 && config.watch.is_none() {
                tell_changes(&known.listing, store, location, config).await;
            }
        }
        while self.is_due(&known, config.watch) {
            let found = store.list(location).await?;
            if known.records == 0 && found.is_empty() && !config.allow_empty {
                return Err(no_file(config));
            }
            if self.append(&mut known, found, config).await? == Appended::Created {
                known.listed_at = Some(self.clock.monotonic());
            }
        }
        Ok((self.known(), known.sizes.clone()))
    }

    fn is_due(&self, known: &Known, watch: Option<Duration>) -> bool {
        match watch {
            None => known.records == 0,
            Some(every) => known.listed_at.is_none_or(|at| self.clock.monotonic().saturating_sub(at) >= every),
        }
    }

    /// Adds what is new; where another process was first, its record is taken instead.
    async fn append(&self, known: &mut Known, found: Vec<Found>, config: &FilesSourceConfig) -> Result<Appended> {
        known.sizes = found.iter().map(|file| (file.name.clone(), file.size)).collect();
        let files = known.listing.unlisted(&found);
        if files.is_empty() && (known.records > 0 || config.watch.is_some()) {
            return Ok(Appended::Created);
        }
        let batch = Batch { lanes: config.lanes.max(1), files };
        let record = serde_json::to_vec(&batch).map_err(|error| Error::internal("writing a listing", error))?;
        let appended = self.log.append(known.records, Bytes::from(record)).await?;
        self.catch_up(known).await?;
        Ok(appended)
    }

    async fn catch_up(&self, known: &mut Known) -> Result<()> {
        let records = self.log.read(known.records).await?;
        for record in &records {
            let batch = serde_json::from_slice(record).map_err(|error| {
                Error::internal("reading a listing", error).with_hint("another version wrote it; start with `--fresh`")
            })?;
            known.listing.extend(batch);
            known.records += 1;
        }
        if !records.is_empty() {
            let listing = Arc::new(known.listing.clone());
            *self.listing.write().unwrap_or_else(PoisonError::into_inner) = listing;
        }
        Ok(())
    }
}

/// What a list that was frozen by an earlier run does not say any more: nobody reads it, so that somebody must be told.
async fn tell_changes(listing: &Listing, store: &Store, location: &Location, config: &FilesSourceConfig) {
    let url = &config.url;
    let Ok(found) = store.list(location).await else {
        return tracing::warn!("`files.url` `{url}` cannot be listed; files are those that an earlier run listed");
    };
    let at_hand: HashMap<&str, &Found> = found.iter().map(|file| (file.name.as_str(), file)).collect();
    let (mut gone, mut changed) = (vec![], vec![]);
    for file in &listing.files {
        match at_hand.get(file.name.as_str()) {
            None => gone.push(file),
            Some(now) if **now != *file => changed.push(file),
            Some(_) => {}
        }
    }
    let new = listing.unlisted(&found);
    let kinds = [("new", new.iter().collect()), ("gone", gone), ("changed", changed)];
    for (kind, files) in kinds.into_iter().filter(|(_, files): &(_, Vec<&Found>)| !files.is_empty()) {
        let first = location.shown(&files[0].name);
        tracing::warn!(
            "`files.url` `{url}`: {} {kind} since an earlier run listed its files, such as `{first}`; the list stays as it \
             was: start anew with `--fresh`, or watch for new files with `files.watch`",
            files.len()
        );
    }
}

pub(crate) fn no_file(config: &FilesSourceConfig) -> Error {
    let base = if config.base_dir.as_os_str().is_empty() { Path::new(".") } else { &config.base_dir };
    let base = base.display();
    Error::user(
        format!("`files.url` `{}`", config.url),
        format!("no file matches (relative paths start from `{base}`)"),
    )
    .with_hint("correct the path, or set `files.allowEmpty: true`")
}
