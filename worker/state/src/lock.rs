//! One process at a time in a local folder, or several whose units are assigned to them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thalweg_core::error::{Error, Result};

use crate::root::Sharing;

/// Name of the file that is locked.
const LOCK_FILE: &str = "thalweg.lock";

/// An OS lock, held until it is dropped or the process ends, however that happens.
#[derive(Debug)]
pub(crate) struct FolderLock {
    file: File,
    path: PathBuf,
}

/// Unlocks by word, not by closing: a child that is being forked holds the same open file until it runs its program.
impl Drop for FolderLock {
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "unlocking the state folder; the end of the process will");
        }
    }
}

impl FolderLock {
    /// Locks a folder.
    ///
    /// # Errors
    /// `User` where another process holds it that does not share it, or the lock's file cannot be made.
    pub(crate) fn take(folder: &Path, sharing: Sharing) -> Result<Self> {
        let what = || format!("state folder `{}`", folder.display());
        let path = folder.join(LOCK_FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| Error::user(what(), error).with_hint("choose a folder that can be written"))?;
        let locked = match sharing {
            Sharing::Alone => file.try_lock(),
            Sharing::Assigned => file.try_lock_shared(),
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held_by_another(what(), file)),
            Err(TryLockError::Error(error)) => return Err(Error::external(format!("locking {}", what()), error)),
        }
        note_holder(&file).map_err(|error| Error::external(format!("locking {}", what()), error))?;
        Ok(Self { file, path })
    }

    /// Whether what was locked still is what has its name: neither removed nor replaced. Blocks.
    ///
    /// # Errors
    /// The disk did not answer.
    pub(crate) fn stands(&self) -> std::io::Result<bool> {
        let held = self.file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Leaves the process id for whoever finds the folder locked.
fn note_holder(mut file: &File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}

fn held_by_another(what: String, mut file: File) -> Error {
    let mut holder = String::new();
    let known = file.read_to_string(&mut holder).is_ok() && !holder.is_empty();
    let process = if known { format!(" (process {holder})") } else { String::new() };
    Error::user(what, format!("another `thalweg`{process} holds it"))
        .with_hint("stop that one first, or give this one a folder of its own with `--state`")
}
