//! Which files a source has: a list that only grows and that all processes share.

use std::collections::{BTreeMap, HashMap, HashSet};
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
use super::identity::{Beginning, Head};
use super::location::Location;
use super::shape::Shape;
use super::store::{Found, Looked, Store};
use crate::blocking::blocking;

/// How often sizes are noted at the most, each after an eighth of growth, that are no news otherwise: each time is a record, of
/// which the next start reads all.
const NOTE_SIZES_EVERY: Duration = Duration::from_secs(60);

/// How old a list may be that says how big a file was: where many files are gone, each of them asks.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// One record of the list: files that were found together.
#[derive(Debug, Serialize, Deserialize)]
struct Batch {
    /// What positions depend on; in the first record, which decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shape: Option<Shape>,
    /// How many lanes the files are dealt to; the first record decides, since positions depend on it.
    lanes: u32,
    /// The files, by name.
    files: Vec<Found>,
    /// How watched files begin, by their numbers in the list: these, or earlier ones of which more is known now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heads: Vec<(u32, Head)>,
    /// How big watched files are that have grown since, by their numbers in the list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sizes: Vec<(u32, u64)>,
}

/// The files of a source as they were listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// In the order of the list. The size of a watched one is the last that was noted.
    pub(crate) files: Vec<Found>,
    /// How many lanes they are dealt to.
    pub(crate) lanes: u32,
    /// How watched files began when they were last looked at, by number.
    pub(crate) heads: BTreeMap<u32, Head>,
    /// Sizes as this process last saw them, of files that may grow, and of those that are gone.
    seen: HashMap<String, u64>,
}

impl Listing {
    /// The files of a lane: every `lanes`-th.
    pub(crate) fn lane(&self, lane: u32) -> Vec<Found> {
        self.files.iter().skip(lane as usize).step_by(self.lanes.max(1) as usize).cloned().collect()
    }

    /// How many lanes have a file.
    pub(crate) fn used_lanes(&self) -> u32 {
        self.used_of(self.lanes)
    }

    /// How many of so many lanes would.
    fn used_of(&self, lanes: u32) -> u32 {
        lanes.min(u32::try_from(self.files.len()).unwrap_or(u32::MAX))
    }

    /// How big a file was when it was last seen, by this process or by one that has noted it.
    pub(crate) fn last_size(&self, file: &Found) -> u64 {
        self.seen.get(&file.name).map_or(file.size, |size| file.size.max(*size))
    }

    fn extend(&mut self, batch: Batch) {
        if self.files.is_empty() {
            self.lanes = batch.lanes;
        }
        self.files.extend(batch.files);
        self.heads.extend(batch.heads);
        for (number, size) in batch.sizes {
            if let Some(file) = self.files.get_mut(number as usize) {
                file.size = file.size.max(size);
            }
        }
    }

    /// The watched files that were seen bigger than the list says, by number.
    fn grown(&self) -> Vec<(u32, u64)> {
        let grown = |(index, file): (usize, &Found)| {
            let size = self.last_size(file);
            (size > file.size).then_some((u32::try_from(index).ok()?, size))
        };
        self.files.iter().enumerate().filter_map(grown).collect()
    }

    /// Whether a file has grown by an eighth since its size was noted: of one that grows for ever, records are as many as the
    /// logarithm of its size.
    fn is_worth_noting(&self, (number, size): (u32, u64)) -> bool {
        self.files.get(number as usize).is_some_and(|file| size - file.size > file.size / 8)
    }

    /// Whether the size of a file is worth a record of its own: the list says half of it at most, or the file is not among
    /// those that were `found`, and nobody will see it again.
    fn is_urgent(&self, (number, size): (u32, u64), found: &[Found]) -> bool {
        self.files.get(number as usize).is_some_and(|file| {
            let is_gone = found.binary_search_by(|other| other.name.cmp(&file.name)).is_err();
            is_gone || size / 2 >= file.size
        })
    }

    /// The watched files whose beginnings are to be looked at, by number, with what is known of them: those that are new, and
    /// those of which more can be known.
    fn to_be_known(&self, new: &[Found]) -> Vec<(u32, Found, Option<Head>)> {
        let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let is_worth_more = |(index, file): &(usize, &Found)| {
            let head = self.heads.get(&number(*index));
            head.zip(self.seen.get(&file.name)).is_some_and(|(head, size)| head.is_worth_more(*size))
        };
        let grown = self.files.iter().enumerate().filter(is_worth_more);
        let new = new.iter().enumerate().map(|(index, file)| (self.files.len() + index, file));
        let known = |index: usize| self.heads.get(&number(index)).cloned();
        grown.chain(new).map(|(index, file)| (number(index), file.clone(), known(index))).collect()
    }

    /// What was found and is not listed yet.
    fn unlisted(&self, found: &[Found]) -> Vec<Found> {
        let listed: HashSet<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        found.iter().filter(|file| !listed.contains(file.name.as_str())).cloned().collect()
    }
}

/// How far a process has read the list and looked for files.
#[derive(Default)]
struct Known {
    records: u64,
    listed_at: Option<Duration>,
    /// When the list was last read.
    read_at: Option<Duration>,
    /// When this process last noted sizes.
    noted_at: Option<Duration>,
    /// What was passed over, as far as it was told.
    told: HashSet<String>,
}

/// Lists files and keeps the list.
pub(crate) struct Lister {
    log: Arc<dyn AppendLog>,
    clock: SharedClock,
    known: Mutex<Known>,
    /// The list as far as it was read. There is one only: it grows for as long as a folder is watched.
    listing: RwLock<Listing>,
}

impl Lister {
    /// Lists into `log`.
    pub(crate) fn new(log: Arc<dyn AppendLog>, clock: SharedClock) -> Self {
        Self { log, clock, known: Mutex::default(), listing: RwLock::default() }
    }

    /// Looks something up in the list as this process knows it.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Listing) -> T) -> T {
        look(&self.listing.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Listing)) {
        change(&mut self.listing.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Reads the list as it stands, without looking for files anew: another process may have extended it.
    ///
    /// # Errors
    /// The list cannot be read, or is of a source of another shape.
    pub(crate) async fn update(&self, config: &FilesSourceConfig, shape: &Shape) -> Result<()> {
        let mut known = self.known.lock().await;
        self.catch_up(&mut known, config, shape).await
    }

    /// How big a file was when it was last seen, by this process or by one that has noted it.
    ///
    /// # Errors
    /// As [`Lister::update`].
    pub(crate) async fn last_size(&self, number: u32, config: &FilesSourceConfig, shape: &Shape) -> Result<u64> {
        let mut known = self.known.lock().await;
        if known.read_at.is_none_or(|at| self.clock.monotonic().saturating_sub(at) >= FRESH_FOR) {
            self.catch_up(&mut known, config, shape).await?;
        }
        Ok(self.with(|listing| listing.files.get(number as usize).map_or(0, |file| listing.last_size(file))))
    }

    /// Adds to the list what appeared since; a source that does not watch looks once, ever.
    ///
    /// # Errors
    /// Files cannot be listed, or there are none and there must be; the list is of a source of another shape.
    pub(crate) async fn refreshed(
        &self,
        store: &Store,
        location: &Location,
        config: &FilesSourceConfig,
        shape: &Shape,
    ) -> Result<()> {
        let mut known = self.known.lock().await;
        if known.records == 0 {
            self.catch_up(&mut known, config, shape).await?;
            if known.records > 0 && config.watch.is_none() {
                tell_changes(&self.with(Listing::clone), store, location, config).await;
            }
        }
        while self.is_due(&known, config.watch) {
            let Looked { files: found, passed_over } = store.look(location).await?;
            for (name, what) in passed_over {
                if known.told.insert(name.clone()) {
                    tracing::warn!("`{}` is passed over: it is {what}", location.shown(&name));
                }
            }
            if known.records == 0 && found.is_empty() && !config.allow_empty {
                return Err(no_file(config));
            }
            if self.append(&mut known, found, store, (config, shape)).await? == Appended::Created {
                known.listed_at = Some(self.clock.monotonic());
            }
        }
        Ok(())
    }

    fn is_due(&self, known: &Known, watch: Option<Duration>) -> bool {
        match watch {
            None => known.records == 0,
            Some(every) => known.listed_at.is_none_or(|at| self.clock.monotonic().saturating_sub(at) >= every),
        }
    }

    /// Adds what is new; where another process was first, its record is taken instead.
    async fn append(
        &self,
        known: &mut Known,
        found: Vec<Found>,
        store: &Store,
        (config, shape): (&FilesSourceConfig, &Shape),
    ) -> Result<Appended> {
        let files = self.with(|listing| listing.unlisted(&found));
        let (mut heads, mut sizes) = (Vec::new(), Vec::new());
        if config.watch.is_some() {
            self.change(|listing| listing.seen.extend(found.iter().map(|file| (file.name.clone(), file.size))));
            heads = beginnings(store, self.with(|listing| listing.to_be_known(&files))).await;
            sizes = self.with(Listing::grown);
        }
        let is_news = !files.is_empty() || !heads.is_empty();
        let now = self.clock.monotonic();
        let is_time = || known.noted_at.is_none_or(|at| now.saturating_sub(at) >= NOTE_SIZES_EVERY);
        let are_worth_it = || self.with(|listing| sizes.iter().any(|size| listing.is_worth_noting(*size)));
        let is_due = || is_time() && are_worth_it();
        let are_urgent = || self.with(|listing| sizes.iter().any(|size| listing.is_urgent(*size, &found)));
        if !is_news && !is_due() && !are_urgent() {
            sizes.clear();
        }
        if !is_news && sizes.is_empty() && (known.records > 0 || config.watch.is_some()) {
            return Ok(Appended::Created);
        }
        let notes_sizes = !sizes.is_empty();
        let kept = (known.records == 0).then(|| shape.clone());
        let batch = Batch { shape: kept, lanes: config.lanes.max(1), files, heads, sizes };
        let record = serde_json::to_vec(&batch).map_err(|error| Error::internal("writing a listing", error))?;
        let appended = self.log.append(known.records, Bytes::from(record)).await?;
        if notes_sizes && appended == Appended::Created {
            known.noted_at = Some(now);
        }
        // Whoever was first has decided.
        self.catch_up(known, config, shape).await?;
        Ok(appended)
    }

    async fn catch_up(&self, known: &mut Known, config: &FilesSourceConfig, shape: &Shape) -> Result<()> {
        let now = self.clock.monotonic();
        let records = self.log.read(known.records).await?;
        let mut batches = Vec::with_capacity(records.len());
        for (index, record) in (known.records..).zip(&records) {
            let batch: Batch = serde_json::from_slice(record).map_err(|error| unreadable(&error))?;
            if index == 0 {
                let kept =
                    batch.shape.as_ref().ok_or_else(|| unreadable(&"it does not say of which settings it is"))?;
                kept.check(shape, &config.url)?;
            }
            batches.push(batch);
        }
        known.records += batches.len() as u64;
        known.read_at = Some(now);
        self.change(|listing| batches.into_iter().for_each(|batch| listing.extend(batch)));
        Ok(())
    }
}

fn unreadable(cause: &dyn std::fmt::Display) -> Error {
    Error::internal("reading a listing", cause)
        .with_hint("another version wrote it; start all of it anew: --fresh, in a cluster another restart.nonce")
}

/// How files begin, where that can be told and they are still those that were listed.
async fn beginnings(store: &Store, files: Vec<(u32, Found, Option<Head>)>) -> Vec<(u32, Head)> {
    if files.is_empty() || !matches!(store, Store::Local(_)) {
        return Vec::new();
    }
    let store = store.clone();
    let looked = move || {
        let head = |(number, file, known): (u32, Found, Option<Head>)| {
            // What cannot be read is for whoever reads it.
            let now = Beginning::of(&store.open(&file).ok()?).ok()??;
            let is_same = known.is_none_or(|head| head.is_of(&now, u64::MAX));
            is_same.then(|| (number, now.head()))
        };
        Ok::<_, Error>(files.into_iter().filter_map(head).collect::<Vec<_>>())
    };
    blocking(looked).await.unwrap_or_default()
}

/// When what is told comes to count.
const UNTIL_ANEW: &str = "until all of it is started anew: --fresh, in a cluster another restart.nonce";

/// What a list that was frozen by an earlier run does not say any more: nobody reads it, so that somebody must be told.
async fn tell_changes(listing: &Listing, store: &Store, location: &Location, config: &FilesSourceConfig) {
    let url = &config.url;
    if listing.used_of(config.lanes) != listing.used_lanes() {
        tracing::warn!(
            "`files.url` `{url}`: `files.lanes` is {}; files stay dealt to {} lanes, as an earlier run dealt them, {UNTIL_ANEW}",
            config.lanes,
            listing.lanes
        );
    }
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
             was {UNTIL_ANEW}",
            files.len()
        );
    }
}

pub(crate) fn no_file(config: &FilesSourceConfig) -> Error {
    let base = if config.base_dir.as_os_str().is_empty() { Path::new(".") } else { &config.base_dir };
    let base = base.display();
    let pattern = match config.url.find(['[', '{']).map(|at| &config.url[at..=at]) {
        Some(sign) => format!(" (`{sign}` begins a pattern: where it is part of the name, write `[{sign}]`)"),
        None => String::new(),
    };
    Error::user(
        format!("`files.url` `{}`", config.url),
        format!("no file matches (relative paths start from `{base}`)"),
    )
    .with_hint(format!("correct the path{pattern}, or set `files.allowEmpty: true`"))
}
