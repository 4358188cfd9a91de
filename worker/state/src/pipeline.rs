//! One incarnation of a pipeline's state, opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use thalweg_core::append_log::{AppendLog, Appended};
use thalweg_core::commit::{UnitEntries, UnitStore};
use thalweg_core::error::{Cause, Error, Result};
use thalweg_core::ownership::claim::{Adopt, Claim, Expected as Before, StateOwner, claim, still_ours};
use thalweg_core::ownership::restart::{self, Begin, Restart};
use thalweg_core::unit::{Incarnation, StageId, UnitId};
use thalweg_crds::statements::{Kept, Next, Numbered, Statement};

use crate::error::from_objects;
use crate::layout::{Expected, Notes, differences, version_differences};
use crate::list::ObjectList;
use crate::memory::MemoryStore;
use crate::objects;
use crate::root::StateRoot;
use crate::store::SlateStore;
use crate::view::StoreView;

/// How many objects are removed at once.
const REMOVED_AT_ONCE: usize = 16;
/// Name of the object that says whose an incarnation is.
const PIPELINE: &str = "pipeline.json";
/// Name of the list of statements that an incarnation was kept for, plan by plan; the last one counts.
const STATEMENTS: &str = "statements";
/// Name of the list of those who have taken a pipeline's state over from other owners; the last one has it.
const OWNERS: &str = "owners";
/// Name of the folder of units.
const UNITS: &str = "units";

/// How to begin anew where state fits no more.
const ANEW: &str = "start all of it anew: --fresh, in a cluster another restart.nonce, which leaves what was kept and written where \
                    it is; a new folder for state wants a new one for output, too";

/// `pipeline.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    owner: StateOwner,
    /// The start from scratch that it was made for, where somebody asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restart: Option<Restart>,
    versions: BTreeMap<String, u32>,
}

impl Record {
    /// The start from scratch that it was made for. One of another owner is before all of ours: when that one's pipeline was made
    /// says nothing about ours.
    fn restart_before(&self, me: &StateOwner) -> Option<Restart> {
        let restart = self.restart.clone()?;
        Some(if self.owner == *me { restart } else { Restart { made: i64::MIN, ..restart } })
    }
}

/// That somebody has taken a pipeline's state over from another owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Adoption {
    owner: StateOwner,
    /// The newest incarnation by then, and for how many plans it had been kept: those of others.
    incarnation: Incarnation,
    plans: u64,
}

/// How a pipeline's state has changed hands, as far as this process has seen.
#[derive(Clone, Debug, Default)]
struct Hands {
    /// How often.
    count: u64,
    last: Option<Adoption>,
}

impl Hands {
    /// Whether what was kept for the plan of this number in an incarnation is another owner's.
    fn is_of_others(&self, incarnation: Incarnation, plan: usize) -> bool {
        self.last.as_ref().is_some_and(|last| last.incarnation == incarnation && (plan as u64) < last.plans)
    }
}

/// One incarnation of a pipeline's state.
#[derive(Clone)]
pub struct PipelineState {
    root: StateRoot,
    owner: StateOwner,
    /// `NAMESPACE/NAME`
    pipeline: Path,
    /// How often the state had been taken over when it was opened.
    hands: u64,
    /// `NAMESPACE/NAME/INCARNATION`
    path: Path,
    incarnation: Incarnation,
    /// By the number that a stage has in the plan, the one under which its units are kept.
    kept: BTreeMap<StageId, StageId>,
}

impl PipelineState {
    /// Opens the newest incarnation, or makes the first one. With `fresh` a new one is made, and the old ones are kept; its
    /// number is the clock's seconds at least, so that no state that is gone has had it.
    ///
    /// # Errors
    /// `User` where the state belongs to another owner (`StateInUse`) or was made for other stages, each difference
    /// named; `DataLoss` where an incarnation holds data and not what it was made for.
    pub async fn open(root: &StateRoot, namespace: &str, name: &str, expected: &Expected, fresh: bool) -> Result<Self> {
        let (begin, least) = match fresh {
            true => (Begin::Anew, root.fresh_incarnation()),
            false => (Begin::Continue, root.first_incarnation()),
        };
        Self::begin(root, namespace, name, expected, None, least, |_| begin).await
    }

    /// Opens the incarnation of a start from scratch that somebody asked for, or makes it; the old ones are kept. Without
    /// one, the newest.
    ///
    /// # Errors
    /// As [`PipelineState::open`]; `External` where a later start has begun.
    pub async fn open_at(
        root: &StateRoot,
        namespace: &str,
        name: &str,
        expected: &Expected,
        restart: Option<&Restart>,
    ) -> Result<Self> {
        let decide = |found: Option<&Restart>| restart::begin(found, restart);
        Self::begin(root, namespace, name, expected, restart, root.first_incarnation(), decide).await
    }

    async fn begin(
        root: &StateRoot,
        namespace: &str,
        name: &str,
        expected: &Expected,
        restart: Option<&Restart>,
        least: Incarnation,
        decide: impl Fn(Option<&Restart>) -> Begin,
    ) -> Result<Self> {
        let owner = StateOwner {
            installation: root.installation().to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let wanted = Record { owner, restart: restart.cloned(), versions: expected.versions.clone() };
        let place = Place::of(root, namespace, name);
        let newest = place.newest().await?;
        let hands = place.claim(newest.as_ref(), &wanted.owner, expected).await?;
        let incarnation = match newest {
            None => place.begun(least, &wanted, expected).await?,
            Some((newest, stored)) => match decide(stored.restart_before(&wanted.owner).as_ref()) {
                Begin::Anew => place.begun(Incarnation(newest.0 + 1).max(least), &wanted, expected).await?,
                Begin::Continue => {
                    place.check_versions(newest, &stored, &wanted)?;
                    newest
                }
                Begin::Overtaken => return Err(place.overtaken(newest)),
            },
        };
        let numbered = place.numbered(incarnation, expected, &hands).await?;
        let kept = numbered.of_plan(&expected.statements);
        let kept = kept.into_iter().map(|(stage, kept)| (StageId(stage), StageId(kept))).collect();
        let path = place.folder(incarnation);
        let (owner, pipeline, hands) = (wanted.owner, place.path, hands.count);
        Ok(Self { root: root.clone(), owner, pipeline, hands, path, incarnation, kept })
    }

    /// Removes all that a pipeline has kept under a root, every incarnation of it; how many objects there were.
    ///
    /// # Errors
    /// `User` where it belongs to another owner (`StateInUse`). Where the store fails, what is removed by then stays removed,
    /// and another call goes on.
    pub async fn remove(root: &StateRoot, namespace: &str, name: &str) -> Result<u64> {
        let owner = StateOwner {
            installation: root.installation().to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let place = Place::of(root, namespace, name);
        if let Some(last) = place.hands().await?.last {
            // Whoever has taken state over has all of it, earlier incarnations included.
            check_owner(&place.what(last.incarnation), &last.owner, &owner)?;
        } else {
            for incarnation in place.numbers().await? {
                if let Some(stored) = place.read(incarnation).await? {
                    check_owner(&place.what(incarnation), &stored.owner, &owner)?;
                }
            }
        }
        let what = || format!("removing `{}` under the state's URL", place.path);
        let listed: Vec<Path> = root
            .objects()
            .list(Some(&place.path))
            .map_ok(|found| found.location)
            .try_collect()
            .await
            .map_err(|error| from_objects(what(), &error))?;
        // What says whose it is goes last: a call that failed in the middle is still followed by one that may go on.
        let owners = place.path.clone().join(OWNERS);
        let (owners, others): (Vec<_>, Vec<_>) = listed.into_iter().partition(|path| path.prefix_matches(&owners));
        let (records, others): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|path| path.filename() == Some(PIPELINE));
        let mut count = 0;
        for paths in [others, records, owners] {
            count += paths.len() as u64;
            let removals = paths.iter().map(|path| root.objects().delete(path));
            let mut removed = stream::iter(removals).buffer_unordered(REMOVED_AT_ONCE);
            while let Some(done) = removed.next().await {
                match done {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(from_objects(what(), &error)),
                }
            }
        }
        Ok(count)
    }

    /// Its number, part of the names of what sinks write.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whether no unit has begun under it.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn is_unused(&self) -> Result<bool> {
        let units = self.path.clone().join("units");
        let mut listing = self.root.objects().list(Some(&units));
        let first = listing.try_next().await;
        let first = first.map_err(|error| from_objects(format!("listing `{units}` under the state's URL"), &error))?;
        Ok(first.is_none())
    }

    /// Opens a unit's store as its one writer, which fences every earlier one. It may hold `budget_bytes` of entries
    /// that are not flushed yet.
    ///
    /// # Errors
    /// `User` where another owner has taken the state over since (`StateInUse`): whoever it has fenced does not fence it in turn.
    pub async fn unit_store(&self, unit: UnitId, budget_bytes: usize) -> Result<Arc<dyn UnitStore>> {
        let path = self.unit(unit);
        if self.root.is_durable() {
            self.check_still_ours().await?;
            Ok(Arc::new(SlateStore::open(&self.root, path, self.path.clone().join(PIPELINE), budget_bytes).await?))
        } else {
            Ok(Arc::new(MemoryStore::open(self.root.memory_map(path))))
        }
    }

    /// A unit's store as it is now, whoever writes it; `None` in memory, which only its writer reads.
    ///
    /// # Errors
    /// There is none yet, or it cannot be read.
    pub async fn unit_view(&self, unit: UnitId) -> Result<Option<Arc<dyn UnitEntries>>> {
        if !self.root.is_durable() {
            return Ok(None);
        }
        Ok(Some(Arc::new(StoreView::open(&self.root, self.unit(unit)).await?)))
    }

    async fn check_still_ours(&self) -> Result<()> {
        let since = owners(&self.root, &self.pipeline).read(self.hands).await?;
        let what = format!("state of pipeline `{}` in `{}`", self.pipeline, self.root.url());
        let taken = since.last().map(|last| adoption(&what, last)).transpose()?;
        match still_ours(taken.as_ref().map(|taken| &taken.owner), &self.owner) {
            Claim::InUse(owner) => Err(in_use(&what, &owner, &self.owner)),
            Claim::Adopt | Claim::Create | Claim::Use | Claim::DataLoss => Ok(()),
        }
    }

    /// By the number that a stage has in the plan, the one under which its units are kept, and which the names of what they
    /// write bear: where a pipeline was made again, or statements were written in front of others, it is not the same.
    pub fn kept(&self) -> &BTreeMap<StageId, StageId> {
        &self.kept
    }

    fn unit(&self, unit: UnitId) -> Path {
        let stage = self.kept.get(&unit.stage).copied().unwrap_or(unit.stage);
        self.path.clone().join(UNITS).join(UnitId { stage, ..unit }.to_string())
    }

    /// The append-only list of this name, which may have several parts: `trips/lane-3`.
    pub fn append_log(&self, name: &str) -> Arc<dyn AppendLog> {
        let path = named(self.path.clone().join("lists"), name);
        Arc::new(ObjectList::new(Arc::clone(self.root.objects()), path))
    }

    /// Stores a lookup table once. `Exists`: another worker, or an earlier run, was first, and its table counts. The
    /// name holds the plan's hash: `4f1c/zones`.
    pub async fn put_lookup(&self, name: &str, table: Bytes) -> Result<Appended> {
        objects::create(self.root.objects().as_ref(), &self.lookup(name), table).await
    }

    /// A lookup table that was stored.
    pub async fn get_lookup(&self, name: &str) -> Result<Option<Bytes>> {
        objects::read(self.root.objects().as_ref(), &self.lookup(name)).await
    }

    fn lookup(&self, name: &str) -> Path {
        named(self.path.clone().join("lookups"), name)
    }
}

/// A name of several parts under a path; each part is escaped, so no name leaves its folder.
fn named(under: Path, name: &str) -> Path {
    name.split('/').fold(under, |path, part| path.join(part))
}

/// The list of those who have taken a pipeline's state over.
fn owners(root: &StateRoot, pipeline: &Path) -> ObjectList {
    ObjectList::new(Arc::clone(root.objects()), pipeline.clone().join(OWNERS))
}

fn adoption(what: &str, text: &[u8]) -> Result<Adoption> {
    serde_json::from_slice(text).map_err(|error| {
        Error::user(what, format!("`{OWNERS}` cannot be read: {error}")).with_hint("restore it, or choose a new folder")
    })
}

/// That state is ours.
fn check_owner(what: &str, found: &StateOwner, me: &StateOwner) -> Result<()> {
    if let Claim::InUse(owner) = claim(Some(found), me, Before::State, Adopt::No) {
        return Err(in_use(what, &owner, me));
    }
    Ok(())
}

fn in_use(what: &str, owner: &StateOwner, me: &StateOwner) -> Error {
    let StateOwner { installation, namespace, name } = owner;
    let detail = format!("StateInUse: it belongs to `{namespace}/{name}` of installation {installation}");
    let hint = format!(
        "this is installation {}; choose another state URL, or take it over with `state.adopt: true` if that one is gone for good",
        me.installation
    );
    Error::user(what, detail).because(Cause::StateInUse).with_hint(hint)
}

/// Where a pipeline's incarnations lie.
struct Place<'a> {
    root: &'a StateRoot,
    path: Path,
    pipeline: String,
}

impl<'a> Place<'a> {
    fn of(root: &'a StateRoot, namespace: &str, name: &str) -> Self {
        let path = root.prefix().clone().join(namespace).join(name);
        Self { root, path, pipeline: format!("{namespace}/{name}") }
    }

    fn folder(&self, incarnation: Incarnation) -> Path {
        self.path.clone().join(incarnation.to_string())
    }

    fn what(&self, incarnation: Incarnation) -> String {
        format!("state of pipeline `{}` in `{}`, incarnation {incarnation}", self.pipeline, self.root.url())
    }

    /// The incarnation with the greatest number.
    async fn newest(&self) -> Result<Option<(Incarnation, Record)>> {
        for incarnation in self.numbers().await?.into_iter().rev() {
            match self.read(incarnation).await? {
                Some(record) => return Ok(Some((incarnation, record))),
                None => self.check_empty(incarnation, self.folder(incarnation), PIPELINE).await?,
            }
        }
        Ok(None)
    }

    async fn hands(&self) -> Result<Hands> {
        let records = owners(self.root, &self.path).read(0).await?;
        let what = || format!("state of pipeline `{}` in `{}`", self.pipeline, self.root.url());
        let last = records.last().map(|record| adoption(&what(), record)).transpose()?;
        Ok(Hands { count: records.len() as u64, last })
    }

    /// That the state is ours by now, or that there is none. Another owner's is refused, or taken over: then whoever has it is
    /// refused from now on, and is fenced unit by unit.
    async fn claim(
        &self,
        newest: Option<&(Incarnation, Record)>,
        me: &StateOwner,
        expected: &Expected,
    ) -> Result<Hands> {
        loop {
            let hands = self.hands().await?;
            let made = newest.map(|(incarnation, stored)| (*incarnation, &stored.owner));
            let taken = hands.last.as_ref().map(|last| (last.incarnation, &last.owner));
            let Some((incarnation, owner)) = taken.or(made) else { return Ok(hands) };
            match claim(Some(owner), me, Before::State, expected.adopt) {
                Claim::InUse(owner) => return Err(in_use(&self.what(incarnation), &owner, me)),
                Claim::Adopt if expected.notes != Notes::Nothing => {
                    // Of several processes that take it over one is first, and the others find it done.
                    self.adopt(&hands, owner, newest.map_or(incarnation, |(newest, _)| *newest), me).await?;
                }
                Claim::Adopt | Claim::Create | Claim::Use | Claim::DataLoss => return Ok(hands),
            }
        }
    }

    async fn adopt(&self, hands: &Hands, from: &StateOwner, newest: Incarnation, me: &StateOwner) -> Result<()> {
        let plans = self.statements(newest).read(0).await?.len() as u64;
        let adoption = Adoption { owner: me.clone(), incarnation: newest, plans };
        let text = serde_json::to_vec_pretty(&adoption)
            .map_err(|error| Error::internal(format!("writing `{OWNERS}`"), error))?;
        if owners(self.root, &self.path).append(hands.count, text.into()).await? == Appended::Created {
            let StateOwner { installation, namespace, name } = from;
            let whose = format!("`{namespace}/{name}` of installation {installation}");
            tracing::warn!("{}: taken over from {whose}, as `state.adopt` says", self.what(newest));
        }
        Ok(())
    }

    /// For which plans an incarnation was kept.
    fn statements(&self, incarnation: Incarnation) -> ObjectList {
        ObjectList::new(Arc::clone(self.root.objects()), self.folder(incarnation).join(STATEMENTS))
    }

    /// Every incarnation that has a folder, by number.
    async fn numbers(&self) -> Result<Vec<Incarnation>> {
        let folders = objects::folders(self.root.objects().as_ref(), &self.path).await?;
        let mut numbers: Vec<u64> = folders.iter().filter_map(|folder| folder.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers.into_iter().map(Incarnation).collect())
    }

    async fn read(&self, incarnation: Incarnation) -> Result<Option<Record>> {
        let path = self.folder(incarnation).join(PIPELINE);
        let Some(text) = objects::read(self.root.objects().as_ref(), &path).await? else { return Ok(None) };
        let parsed = serde_json::from_slice(&text).map(Some);
        parsed.map_err(|error| {
            Error::user(self.what(incarnation), format!("`{path}` cannot be read: {error}"))
                .with_hint("restore the file, or choose a new folder")
        })
    }

    /// A folder without a record is what a kill between `mkdir` and the record leaves, unless it holds anything.
    async fn check_empty(&self, incarnation: Incarnation, folder: Path, record: &str) -> Result<()> {
        let mut listing = self.root.objects().list(Some(&folder));
        let first = listing.try_next().await;
        match first.map_err(|error| from_objects(format!("listing `{folder}` under the state's URL"), &error))? {
            None => Ok(()),
            Some(found) => Err(Error::data_loss(
                self.what(incarnation),
                format!("`{}` stands there, `{record}` does not", found.location),
            )
            .with_hint("restore it, or choose a new folder")),
        }
    }

    /// An incarnation, made unless nothing is to be noted.
    async fn begun(&self, incarnation: Incarnation, wanted: &Record, expected: &Expected) -> Result<Incarnation> {
        match expected.notes {
            Notes::Nothing => Ok(incarnation),
            Notes::All | Notes::Lists => self.make(incarnation, wanted).await,
        }
    }

    /// Makes an incarnation. Where another process was first, what it made must fit.
    async fn make(&self, incarnation: Incarnation, wanted: &Record) -> Result<Incarnation> {
        let path = self.folder(incarnation).join(PIPELINE);
        let text =
            serde_json::to_vec_pretty(wanted).map_err(|error| Error::internal(format!("writing `{path}`"), error))?;
        if objects::create(self.root.objects().as_ref(), &path, Bytes::from(text)).await? == Appended::Exists {
            let vanished = || Error::data_loss(self.what(incarnation), format!("`{path}` vanished"));
            let stored = self.read(incarnation).await?.ok_or_else(vanished)?;
            check_owner(&self.what(incarnation), &stored.owner, &wanted.owner)?;
            if stored.restart != wanted.restart {
                return Err(self.overtaken(incarnation));
            }
            self.check_versions(incarnation, &stored, wanted)?;
        }
        Ok(incarnation)
    }

    fn overtaken(&self, incarnation: Incarnation) -> Error {
        Error::external(self.what(incarnation), "it was begun for another plan than this worker's")
            .with_hint("workers of the newest plan go on with it; if this is the newest, set another restart.nonce")
    }

    fn check_versions(&self, incarnation: Incarnation, stored: &Record, wanted: &Record) -> Result<()> {
        let found = version_differences(&stored.versions, &wanted.versions);
        if found.is_empty() {
            return Ok(());
        }
        Err(Error::user(self.what(incarnation), found.join("; ")).with_hint(ANEW))
    }

    /// The numbers under which the stages of a plan are kept. Of several processes that note them each finds the same.
    async fn numbered(&self, incarnation: Incarnation, expected: &Expected, hands: &Hands) -> Result<Numbered> {
        let list = self.statements(incarnation);
        loop {
            let records = list.read(0).await?;
            let found = records.last().map(|record| serde_json::from_slice::<Kept>(record)).transpose();
            let mut found = found.map_err(|error| {
                Error::user(self.what(incarnation), format!("`{STATEMENTS}` cannot be read: {error}"))
                    .with_hint("restore it, or choose a new folder")
            })?;
            if let Some(found) = &mut found
                && hands.is_of_others(incarnation, records.len() - 1)
            {
                // When a plan of another pipeline was made says nothing about ours.
                found.made = None;
            }
            if found.is_none() {
                self.check_empty(incarnation, self.folder(incarnation).join(UNITS), STATEMENTS).await?;
            }
            match Kept::next(found.as_ref(), &expected.statements, expected.made.as_ref()) {
                Next::GoOn(numbered) => return Ok(numbered),
                Next::Overtaken => return Err(self.overtaken(incarnation)),
                Next::Refuse(changed) => {
                    let stored = found.map(|kept| kept.numbered.statements).unwrap_or_default();
                    return Err(self.misfit(incarnation, &stored, &expected.statements, &changed));
                }
                Next::Note(kept) if expected.notes != Notes::All => return Ok(kept.numbered),
                Next::Note(kept) => {
                    let text = serde_json::to_vec_pretty(&kept)
                        .map_err(|error| Error::internal(format!("writing `{STATEMENTS}`"), error))?;
                    if list.append(records.len() as u64, text.into()).await? == Appended::Created {
                        return Ok(kept.numbered);
                    }
                }
            }
        }
    }

    fn misfit(
        &self,
        incarnation: Incarnation,
        stored: &[Statement],
        wanted: &[Statement],
        changed: &[(usize, usize)],
    ) -> Error {
        let pairs = changed.iter().filter_map(|(was, is)| Some((stored.get(*was)?, wanted.get(*is)?)));
        let found: Vec<_> = pairs.flat_map(|(was, is)| differences(was, is)).collect();
        let alone = "undo it, or let what has changed start anew alone: onIncompatibleChange: Restart";
        Error::user(self.what(incarnation), found.join("; ")).with_hint(format!("{alone}; or {ANEW}"))
    }
}
