use std::fs;

use super::*;

fn path_in(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("identity")
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A file that only its owner can read, as a user would leave it.
fn write_private(path: &Path, content: &[u8]) {
    open_private(path).unwrap().write_all(content).unwrap();
}

fn key_line() -> String {
    HEXLOWER.encode(&[7; 32])
}

#[test]
fn a_new_identity_survives_a_restart() {
    let dir = dir();
    let created = IdentityFile::open_or_create(path_in(&dir)).unwrap();
    let node_id = created.secret_key().node_id();
    let content = fs::read(path_in(&dir)).unwrap();
    drop(created);

    let loaded = IdentityFile::open_or_create(path_in(&dir)).unwrap();
    assert_eq!(loaded.secret_key().node_id(), node_id);
    assert_eq!(loaded.path(), path_in(&dir));
    assert_eq!(fs::read(path_in(&dir)).unwrap(), content);
}

#[test]
fn a_key_is_read_with_any_end_of_line() {
    for end in ["", "\n", "\r\n"] {
        let dir = dir();
        write_private(&path_in(&dir), format!("{}{end}", key_line()).as_bytes());
        let loaded = IdentityFile::open_or_create(path_in(&dir)).unwrap();
        assert_eq!(loaded.secret_key().to_bytes(), [7; 32]);
    }
}

#[test]
fn an_empty_file_becomes_an_identity() {
    let dir = dir();
    write_private(&path_in(&dir), b"");
    let created = IdentityFile::open_or_create(path_in(&dir)).unwrap();
    let node_id = created.secret_key().node_id();
    drop(created);
    let loaded = IdentityFile::open_or_create(path_in(&dir)).unwrap();
    assert_eq!(loaded.secret_key().node_id(), node_id);
}

#[test]
fn anything_but_a_key_is_refused_and_left_alone() {
    let line = key_line();
    for content in [
        b"hello\n".to_vec(),
        b"\n".to_vec(),
        line.as_bytes()[..63].to_vec(),
        line.as_bytes()[..62].to_vec(),
        format!("{line}00\n").into_bytes(),
        format!("{line}\n\n").into_bytes(),
        format!("{line}\r\nx").into_bytes(),
        format!("{line}\n{line}\n").into_bytes(),
        format!("{line}{}x", " ".repeat(100)).into_bytes(),
        line.to_uppercase().replace('0', "G").into_bytes(),
        vec![0xff; 64],
        vec![b'a'; 1 << 20],
    ] {
        let dir = dir();
        write_private(&path_in(&dir), &content);
        let refused = IdentityFile::open_or_create(path_in(&dir));
        assert!(
            matches!(refused, Err(IdentityError::Malformed { .. })),
            "{refused:?}"
        );
        assert_eq!(fs::read(path_in(&dir)).unwrap(), content);
    }
}

#[test]
fn a_second_node_cannot_use_the_same_identity() {
    let dir = dir();
    let first = IdentityFile::open_or_create(path_in(&dir)).unwrap();
    let second = IdentityFile::open_or_create(path_in(&dir));
    assert!(
        matches!(second, Err(IdentityError::InUse { .. })),
        "{second:?}"
    );
    drop(first);
    assert!(IdentityFile::open_or_create(path_in(&dir)).is_ok());
}

#[test]
fn a_path_that_cannot_be_opened_is_an_io_error() {
    let dir = dir();
    for path in [dir.path().to_owned(), dir.path().join("missing/identity")] {
        let refused = IdentityFile::open_or_create(&path);
        assert!(
            matches!(refused, Err(IdentityError::Io { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn the_secret_does_not_show_when_the_file_is_printed() {
    let dir = dir();
    write_private(&path_in(&dir), key_line().as_bytes());
    let loaded = IdentityFile::open_or_create(path_in(&dir)).unwrap();
    assert!(!format!("{loaded:?}").contains(&key_line()[..16]));
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_its_owners_only() {
        let dir = dir();
        let _created = IdentityFile::open_or_create(path_in(&dir)).unwrap();
        assert_eq!(mode(&path_in(&dir)) & 0o077, 0);
    }

    #[test]
    fn a_file_open_to_others_is_refused_and_left_alone() {
        for open in [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666, 0o777] {
            let dir = dir();
            let path = path_in(&dir);
            write_private(&path, key_line().as_bytes());
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            match IdentityFile::open_or_create(&path) {
                Err(IdentityError::Exposed { mode, .. }) => assert_eq!(mode, open),
                other => panic!("mode {open:o}: {other:?}"),
            }
            assert_eq!(mode(&path), open);
            assert_eq!(fs::read(&path).unwrap(), key_line().as_bytes());
        }
    }

    #[test]
    fn an_empty_file_open_to_others_gets_no_key() {
        let dir = dir();
        let path = path_in(&dir);
        fs::write(&path, b"").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = IdentityFile::open_or_create(&path);
        assert!(matches!(refused, Err(IdentityError::Exposed { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"");
    }
}
