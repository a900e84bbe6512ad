//! The file that holds a node's secret key between its runs.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::SecretKey;

/// An identity on disk, locked by this process while the value lives.
///
/// The file holds the secret key as one line of hexadecimal digits and is readable by its owner
/// only. The lock keeps two processes from signing under one identity with diverging sequence
/// numbers.
#[derive(Debug)]
pub struct IdentityFile {
    secret_key: SecretKey,
    path: PathBuf,
    /// Held for its lock, which ends with it.
    _lock: File,
}

/// Why an identity could not be loaded or created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The operating system gave no entropy for a new key.
    #[error("no entropy for a new key")]
    Entropy,
    /// The file could not be opened, read or written.
    #[error("identity file {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file holds something else than a secret key; it is left as it was.
    #[error("identity file {path} holds no secret key")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The file that remembers the sequence numbers holds something else; it is left as it was.
    /// Without it, numbers begin at the clock: right unless that was set back since the last run.
    #[error("file {path} holds no sequence number; remove it to begin at the clock")]
    NoSequence {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read or write the file; it is left as it was.
    #[error("identity file {path} is open to others (mode {mode:o}); make it 600")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A node runs under this identity, in another process or in this one.
    #[error("identity file {path} is in use by another node")]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

impl IdentityFile {
    /// Loads the identity at `path`, creating a new one when there is no file or an empty one, which
    /// is what a run that died before writing leaves behind.
    ///
    /// # Errors
    /// Every variant of [`IdentityError`], each for the reason it names; what a file holds is never
    /// overwritten.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, IdentityError> {
        let path = path.as_ref().to_owned();
        let io = |source| IdentityError::Io {
            path: path.clone(),
            source,
        };
        let mut file = open_private(&path).map_err(io)?;
        check_private(&file, &path)?;
        lock(&file, &path)?;

        // Room for all of it, so that growing leaves no copy behind.
        let mut line = Zeroizing::new(Vec::with_capacity(2 * MAX_LINE_BYTES as usize));
        (&mut file)
            .take(MAX_LINE_BYTES + 1)
            .read_to_end(&mut line)
            .map_err(io)?;
        let secret_key = if line.is_empty() {
            create(&mut file).map_err(|error| error.at(&path))?
        } else {
            parse(&line).ok_or_else(|| IdentityError::Malformed { path: path.clone() })?
        };
        Ok(Self {
            secret_key,
            path,
            _lock: file,
        })
    }

    /// The secret key in the file.
    pub fn secret_key(&self) -> &SecretKey {
        &self.secret_key
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

enum CreateError {
    Entropy(IdentityError),
    Write(io::Error),
}

impl CreateError {
    fn at(self, path: &Path) -> IdentityError {
        match self {
            Self::Entropy(error) => error,
            Self::Write(source) => IdentityError::Io {
                path: path.to_owned(),
                source,
            },
        }
    }
}

fn create(file: &mut File) -> Result<SecretKey, CreateError> {
    let secret_key = SecretKey::generate().map_err(CreateError::Entropy)?;
    let seed = Zeroizing::new(secret_key.to_bytes());
    let line = Zeroizing::new(HEXLOWER.encode(&*seed));
    let written = file
        .write_all(line.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all());
    match written {
        Ok(()) => Ok(secret_key),
        Err(source) => {
            // Half a key would be refused for ever after; nothing is lost with it.
            let _ = file.set_len(0);
            Err(CreateError::Write(source))
        }
    }
}

fn parse(line: &[u8]) -> Option<SecretKey> {
    let digits = line.strip_suffix(b"\n").unwrap_or(line);
    let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
    let seed = Zeroizing::new(HEXLOWER.decode(digits).ok()?);
    Some(SecretKey::from_bytes(seed.as_slice().try_into().ok()?))
}

fn lock(file: &File, path: &Path) -> Result<(), IdentityError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => IdentityError::InUse {
            path: path.to_owned(),
        },
        TryLockError::Error(source) => IdentityError::Io {
            path: path.to_owned(),
            source,
        },
    })
}

#[cfg(unix)]
fn open_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

#[cfg(not(unix))]
fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

#[cfg(unix)]
fn check_private(file: &File, path: &Path) -> Result<(), IdentityError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = file.metadata().map_err(|source| IdentityError::Io {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(IdentityError::Exposed {
            path: path.to_owned(),
            mode,
        })
    }
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the unix twin fails")]
fn check_private(_file: &File, _path: &Path) -> Result<(), IdentityError> {
    Ok(())
}

/// The hexadecimal digits of a key and the longest end of a line.
const MAX_LINE_BYTES: u64 = 2 * SecretKey::LEN_BYTES as u64 + 2;

#[cfg(test)]
mod tests;
