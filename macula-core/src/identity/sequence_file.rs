//! The file beside an identity's that remembers its sequence numbers between runs.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{IdentityError, IdentityFile};
use crate::{SequenceStore, Timestamp, sequence_reservation};

/// The end of the sequence numbers that an identity may have used, on disk.
///
/// The file stands beside the identity's, whose lock keeps other processes from it, and holds one
/// line with one decimal number. It is replaced as a whole, so that a crash leaves the old number
/// or the new one; which of them, where the file system refuses to sync folders, is up to it.
#[derive(Debug)]
pub struct SequenceFile {
    path: PathBuf,
    first: u64,
    reserved: AtomicU64,
    writing: Mutex<()>,
}

impl IdentityFile {
    /// Opens the memory of this identity's sequence numbers and reserves what the next run needs
    /// from `now` on, see [`sequence_reservation`]. Blocks for as long as the disk takes.
    ///
    /// Without a file, as at the first run, numbers begin at the clock. To be used while the
    /// identity is open.
    ///
    /// # Errors
    /// [`IdentityError::NoSequence`] when the file holds something else, which is left as it was;
    /// [`IdentityError::Io`].
    pub fn sequence(&self, now: Timestamp) -> Result<SequenceFile, IdentityError> {
        let path = beside(self.path(), ".seq");
        let io = |source| IdentityError::Io {
            path: path.clone(),
            source,
        };
        let first = match read(&path).map_err(io)? {
            Held::Nothing => 0,
            Held::Number(first) => first,
            Held::Junk => return Err(IdentityError::NoSequence { path }),
        };
        let sequence = SequenceFile {
            path: path.clone(),
            first,
            reserved: AtomicU64::new(first),
            writing: Mutex::new(()),
        };
        let end = sequence_reservation(now, first);
        sequence.reserve(end).map_err(io)?;
        Ok(sequence)
    }
}

impl SequenceStore for SequenceFile {
    fn first(&self) -> u64 {
        self.first
    }

    fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Acquire)
    }

    fn reserve(&self, end: u64) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if end > self.reserved() {
            replace(&self.path, format!("{end}\n").as_bytes())?;
            self.reserved.store(end, Ordering::Release);
        }
        Ok(())
    }
}

enum Held {
    Nothing,
    Number(u64),
    Junk,
}

fn read(path: &Path) -> io::Result<Held> {
    let mut line = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Held::Nothing),
        Err(error) => return Err(error),
        Ok(file) => file.take(MAX_LINE_BYTES + 1).read_to_end(&mut line)?,
    };
    let digits = str::from_utf8(&line).map(str::trim_end).unwrap_or("");
    Ok(digits.parse().map_or(Held::Junk, Held::Number))
}

/// Replaces a file's content so that a crash at any time leaves all of the old or all of the new.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = beside(path, ".new");
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&new, path)?;
    unless_refused(sync_folder(path))
}

/// Some file systems cannot sync a folder, or may not. The file itself is whole by then and is in
/// its place: at worst a crash of the machine brings the old one back.
fn unless_refused(synced: io::Result<()>) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match synced {
        Err(error) if matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported) => {
            Ok(())
        }
        synced => synced,
    }
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the unix twin fails")]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The digits of the greatest number and the longest end of a line.
const MAX_LINE_BYTES: u64 = 20 + 2;

#[cfg(test)]
mod tests;
