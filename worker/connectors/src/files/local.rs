//! Output into a folder: dot-files at its top, which are linked to where they belong.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use thalweg_core::clock::SharedClock;
use thalweg_core::error::{Error, ErrorKind, Result};
use thalweg_core::sink::Label;

use super::names::{FileName, StagedName, Staging, WriterName};
use super::publish::{SealedFile, SealedFiles, Stage, StagedFile, Target};
use crate::blocking::blocking;

/// Counts the lives of writers of this process.
static LIVES: AtomicU64 = AtomicU64::new(0);

/// A folder for output.
pub(crate) struct LocalFolder {
    root: PathBuf,
    shown: String,
    clock: SharedClock,
}

impl LocalFolder {
    /// The folder `root`, which people call `shown`.
    pub(crate) fn new(root: PathBuf, shown: String, clock: SharedClock) -> Self {
        Self { root, shown, clock }
    }

    /// Different for each life of any writer: processes that share a folder differ in id or start.
    fn token(&self) -> String {
        let (process, life) = (std::process::id(), LIVES.fetch_add(1, Ordering::Relaxed));
        format!("{:x}x{process:x}x{life:x}", self.clock.wall_millis())
    }
}

#[async_trait]
impl Target for LocalFolder {
    async fn check(&self) -> Result<()> {
        let (root, shown) = (self.root.clone(), self.shown.clone());
        let path = self.root.join(format!(".thalweg-check-{}", self.token()));
        blocking(move || {
            fs::create_dir_all(&root)?;
            File::create_new(&path)?.write_all(b"x")?;
            fs::remove_file(&path)
        })
        .await
        .map_err(|error| write_error(&shown, "", &error))
    }

    async fn stage(&self, writer: &WriterName) -> Result<Box<dyn Stage>> {
        let stage = LocalStage {
            root: self.root.clone(),
            shown: self.shown.clone().into(),
            writer: writer.clone(),
            token: self.token(),
            created: 0,
        };
        let (root, shown, owner) = (self.root.clone(), self.shown.clone(), writer.clone());
        let outlived = self.clock.wall_millis().saturating_sub(SEALED_KEPT_MILLIS);
        blocking(move || {
            fs::create_dir_all(&root)?;
            let is_over = |name: &StagedName| {
                is_abandoned(name, &owner) || (is_of_earlier(name, &owner) && is_older(&root, name, outlived))
            };
            remove(&root, staged(&root)?.into_iter().filter(is_over))
        })
        .await
        .map_err(|error| write_error(&shown, "", &error))?;
        Ok(Box::new(stage))
    }

    fn names_after_seal(&self) -> bool {
        true
    }

    async fn output_of(&self, pipeline: &str, suffix: &str) -> Result<Option<String>> {
        let (root, pipeline, suffix) = (self.root.clone(), pipeline.to_owned(), suffix.to_owned());
        let found = blocking(move || output_of(&root, &pipeline, &suffix)).await;
        found.map_err(|error| write_error(&self.shown, "", &error))
    }
}

/// A file that a pipeline has published at the top of a folder; where it writes into folders below, one of these, if a mark
/// says that the pipeline published any.
fn output_of(root: &Path, pipeline: &str, suffix: &str) -> io::Result<Option<String>> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let is_kept = |writer: &WriterName| writer.pipeline == pipeline && writer.incarnation.is_kept();
    let (mut is_marked, mut folder) = (false, None);
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if FileName::parse(&name, suffix).is_some_and(|found| is_kept(&found.writer)) {
            return Ok(Some(name));
        }
        let staged = StagedName::parse(&name);
        is_marked |= staged.is_some_and(|found| published_seq(&found).is_some() && is_kept(&found.writer));
        if folder.is_none() && name.contains('=') && entry.file_type()?.is_dir() {
            folder = Some(name);
        }
    }
    Ok(folder.filter(|_| is_marked))
}

/// How long what an earlier incarnation has sealed is left alone: workers of the old start go on until one of the new
/// start is there, and publish what they have committed.
const SEALED_KEPT_MILLIS: i64 = 3_600_000;

/// Whether an earlier incarnation of the writer has left it.
fn is_of_earlier(name: &StagedName, writer: &WriterName) -> bool {
    let same = name.writer.pipeline == writer.pipeline && name.writer.unit == writer.unit;
    same && name.writer.incarnation < writer.incarnation
}

/// Whether a file was last written before a moment, in milliseconds since 1970.
fn is_older(root: &Path, name: &StagedName, millis: i64) -> bool {
    let written = fs::metadata(root.join(name.to_string())).map(|meta| meta.mtime());
    written.is_ok_and(|seconds| seconds.saturating_mul(1_000) < millis)
}

/// Whether an earlier life of the writer, of this incarnation or an earlier one, left this unfinished, or it says
/// something about an earlier incarnation.
fn is_abandoned(name: &StagedName, writer: &WriterName) -> bool {
    let same = name.writer.pipeline == writer.pipeline && name.writer.unit == writer.unit;
    let (of, now) = (name.writer.incarnation, writer.incarnation);
    let is_mark = matches!(name.staging, Staging::Published(_));
    same && ((name.staging == Staging::Open && of <= now) || (is_mark && of < now))
}

/// One life of a writer in a folder.
struct LocalStage {
    root: PathBuf,
    shown: Arc<str>,
    writer: WriterName,
    token: String,
    created: u64,
}

#[async_trait]
impl Stage for LocalStage {
    async fn create(&mut self, _folder: &str, _suffix: &str) -> Result<Box<dyn StagedFile>> {
        let (writer, token, count) = (self.writer.clone(), self.token.clone(), self.created);
        let key = StagedName { staging: Staging::Open, writer, token, count }.to_string();
        self.created += 1;
        let path = self.root.join(&key);
        let file = blocking(move || File::create_new(path)).await;
        let file = file.map_err(|error| write_error(&self.shown, &key, &error))?;
        Ok(Box::new(LocalFile { file: Some(file), shown: Arc::clone(&self.shown), key, bytes: 0 }))
    }

    async fn seal(
        &mut self,
        files: Vec<Box<dyn StagedFile>>,
        names: Vec<String>,
        label: &Label,
    ) -> Result<SealedFiles> {
        let opened: Vec<String> = files.iter().map(|file| file.key().to_owned()).collect();
        let (root, shown, seq) = (self.root.clone(), Arc::clone(&self.shown), label.seq);
        let (writer, token) = (self.writer.clone(), self.token.clone());
        let sealed = blocking(move || {
            let before: Vec<_> = staged(&root)?.into_iter().filter(|name| name.writer == writer).collect();
            let last = before.iter().filter_map(published_seq).max();
            let is_past = |name: &StagedName| published_seq(name).is_some_and(|seq| Some(seq) < last);
            remove(&root, before.into_iter().filter(|name| is_past(name) || is_unrecorded(name, &token, seq)))?;
            let staged = opened.iter().map(|open| seal_file(&root, open, seq)).collect::<io::Result<Vec<_>>>()?;
            sync_folder(&root)?;
            Ok(staged)
        });
        let sealed = sealed.await.map_err(|error| write_error(&shown, "", &error))?;
        let files = sealed.into_iter().zip(names).map(|((staged, bytes), name)| SealedFile { staged, name, bytes });
        Ok(SealedFiles { label: label.clone(), files: files.collect() })
    }

    async fn publish(&mut self, sealed: &SealedFiles) -> Result<()> {
        let (root, shown, sealed) = (self.root.clone(), Arc::clone(&self.shown), sealed.clone());
        blocking(move || publish(&root, &shown, &sealed)).await
    }

    async fn last_published(&mut self, suffix: &str) -> Result<Option<Label>> {
        let (root, writer, suffix) = (self.root.clone(), self.writer.clone(), suffix.to_owned());
        let published = blocking(move || published(&root, &writer, &suffix)).await;
        let published = published.map_err(|error| write_error(&self.shown, "", &error))?;
        Ok(published.into_iter().map(|name| name.label).max_by_key(|label| (label.seq, label.position)))
    }
}

/// Whether this is a seal of another life that was never recorded: the unit counts on from the last one that was.
fn is_unrecorded(name: &StagedName, token: &str, seq: u64) -> bool {
    let is_later = matches!(name.staging, Staging::Sealed(other) if other >= seq);
    name.token != token && is_later
}

/// The seal that a mark says was published.
fn published_seq(name: &StagedName) -> Option<u64> {
    match name.staging {
        Staging::Published(seq) => Some(seq),
        Staging::Open | Staging::Sealed(_) => None,
    }
}

/// Gives an open file the name of its seal; that name and its size.
fn seal_file(root: &Path, open: &str, seq: u64) -> io::Result<(String, u64)> {
    let name = StagedName::parse(open).ok_or_else(|| io::Error::other(format!("`{open}` is no staged file")))?;
    let sealed = StagedName { staging: Staging::Sealed(seq), ..name }.to_string();
    fs::rename(root.join(open), root.join(&sealed))?;
    let bytes = fs::metadata(root.join(&sealed))?.len();
    Ok((sealed, bytes))
}

/// The names of staged files and marks, anybody's.
fn staged(root: &Path) -> io::Result<Vec<StagedName>> {
    let mut staged = Vec::new();
    for entry in fs::read_dir(root)? {
        staged.extend(entry?.file_name().to_str().and_then(StagedName::parse));
    }
    Ok(staged)
}

/// Removes staged files and marks.
fn remove(root: &Path, mut names: impl Iterator<Item = StagedName>) -> io::Result<()> {
    names.try_for_each(|name| ignore_absent(fs::remove_file(root.join(name.to_string()))))
}

/// The names of what a writer published at the top of the folder.
fn published(root: &Path, writer: &WriterName, suffix: &str) -> io::Result<Vec<FileName>> {
    let mut published = Vec::new();
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name().to_str().and_then(|name| FileName::parse(name, suffix));
        published.extend(name.filter(|name| name.writer == *writer));
    }
    Ok(published)
}

/// The mark that says that the files of a seal were published; a seal whose file is its commit needs none.
fn mark(sealed: &SealedFiles) -> Option<String> {
    let first = sealed.files.first().filter(|_| sealed.label.position.is_none())?;
    let name = StagedName::parse(&first.staged)?;
    Some(StagedName { staging: Staging::Published(sealed.label.seq), ..name }.to_string())
}

/// Links, makes the links durable, marks the seal, then removes the first names. The mark stays until a later seal is
/// published: whoever reads the output may take it away before a run that was killed publishes it again.
fn publish(root: &Path, shown: &str, sealed: &SealedFiles) -> Result<()> {
    let mut folders = BTreeSet::new();
    let mark = mark(sealed).map(|mark| root.join(mark));
    if mark.as_ref().is_some_and(|mark| mark.exists()) {
        return remove_first_names(root, shown, sealed);
    }
    for file in &sealed.files {
        let error = |error: io::Error| write_error(shown, &file.name, &error);
        if sealed.label.position.is_some() {
            check_only(root, shown, file, sealed.label.seq)?;
        }
        let path = root.join(&file.name);
        let folder = path.parent().unwrap_or(root);
        fs::create_dir_all(folder).map_err(error)?;
        link(root, shown, file, &path)?;
        folders.extend(folder.ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_owned));
    }
    for folder in &folders {
        sync_folder(folder).map_err(|error| write_error(shown, "", &error))?;
    }
    if let Some(mark) = mark {
        File::create(mark).map_err(|error| write_error(shown, "", &error))?;
    }
    remove_first_names(root, shown, sealed)
}

fn remove_first_names(root: &Path, shown: &str, sealed: &SealedFiles) -> Result<()> {
    for file in &sealed.files {
        let removed = ignore_absent(fs::remove_file(root.join(&file.staged)));
        removed.map_err(|error| write_error(shown, &file.staged, &error))?;
    }
    Ok(())
}

/// Where the file is the commit, a unit's count names one file: a second one is another owner's.
fn check_only(root: &Path, shown: &str, file: &SealedFile, seq: u64) -> Result<()> {
    let suffix = file.name.rsplit('.').next().unwrap_or_default();
    let Some(own) = FileName::parse(&file.name, suffix) else { return Ok(()) };
    let published = published(root, &own.writer, suffix).map_err(|error| write_error(shown, "", &error))?;
    match published.iter().find(|other| other.label.seq == seq && **other != own) {
        None => Ok(()),
        Some(other) => Err(fenced(shown, &file.name, &other.with_suffix(suffix))),
    }
}

fn fenced(shown: &str, name: &str, other: &str) -> Error {
    let what = format!("publishing `{name}` in `{shown}`");
    let detail = format!("`{other}` is there, of another owner, or of a state that is gone or newer than this one");
    let hint = "state and output belong together: where one was removed or put back without the other, begin anew with \
                `--fresh`";
    Error::new(ErrorKind::Fenced, what, detail).with_hint(hint)
}

/// Shows one file, without replacing any.
fn link(root: &Path, shown: &str, file: &SealedFile, path: &Path) -> Result<()> {
    let staged = root.join(&file.staged);
    let error = match fs::hard_link(&staged, path) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    match (fs::metadata(&staged), fs::metadata(path)) {
        (Ok(staged), Ok(shown_file)) if same_file(&staged, &shown_file) => Ok(()),
        (Ok(_), Ok(_)) => Err(fenced(shown, &file.name, &file.name)),
        (Err(_), Ok(found)) if found.len() == file.bytes => Ok(()),
        (Err(_), Ok(_)) => Err(fenced(shown, &file.name, &file.name)),
        (Ok(_), Err(_)) if cannot_link(&error) => {
            fs::rename(&staged, path).map_err(|error| write_error(shown, &file.name, &error))
        }
        (Ok(_), Err(_)) => Err(write_error(shown, &file.name, &error)),
        (Err(_), Err(_)) => {
            let what = format!("publishing `{}` in `{shown}`", file.name);
            let lost =
                Error::data_loss(what, format!("neither it nor `{}`, which holds its rows, is there", file.staged));
            Err(lost
                .with_hint("put back what was taken away, the files whose names begin with a dot too; else begin anew"))
        }
    }
}

fn same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Whether the file system has no links; there, no other worker can be at the same name (`run` locks its state).
fn cannot_link(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied)
}

fn ignore_absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// An unseen file.
struct LocalFile {
    file: Option<File>,
    shown: Arc<str>,
    key: String,
    bytes: u64,
}

impl LocalFile {
    async fn run(&mut self, work: impl FnOnce(&mut File) -> io::Result<()> + Send + 'static) -> Result<()> {
        let lost = || Error::internal(format!("writing `{}`", self.key), "an earlier write was abandoned");
        let mut file = self.file.take().ok_or_else(lost)?;
        let done = blocking(move || work(&mut file).map(|()| file)).await;
        self.file = Some(done.map_err(|error| write_error(&self.shown, &self.key, &error))?);
        Ok(())
    }
}

#[async_trait]
impl StagedFile for LocalFile {
    async fn append(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.run(move |file| file.write_all(&bytes)).await
    }

    async fn complete(&mut self) -> Result<()> {
        self.run(|file| file.sync_all()).await?;
        self.file = None;
        Ok(())
    }

    fn key(&self) -> &str {
        &self.key
    }
}

/// What a writing error means, and what to do.
pub(crate) fn write_error(shown: &str, name: &str, error: &io::Error) -> Error {
    let what = if name.is_empty() { format!("writing to `{shown}`") } else { format!("writing `{name}` to `{shown}`") };
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::external(what, error).with_hint("free some space, then run it again")
        }
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::InvalidFilename => {
            Error::user(what, error).with_hint("choose another `files.url`, or let the worker write there")
        }
        _ => Error::external(what, error),
    }
}
