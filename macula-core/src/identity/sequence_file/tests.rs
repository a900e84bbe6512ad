use super::*;
use crate::{SEQUENCE_AHEAD, Sequence};

const HOUR: u64 = 3_600_000;
const NOON: u64 = 1_800_000_000_000;

fn open(dir: &tempfile::TempDir, now: u64) -> (IdentityFile, Result<SequenceFile, IdentityError>) {
    let identity = IdentityFile::open_or_create(dir.path().join("identity")).unwrap();
    let sequence = identity.sequence(Timestamp::from_unix_millis(now));
    (identity, sequence)
}

fn path_in(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("identity.seq")
}

#[test]
fn first_run_begins_at_the_clock_with_numbers_reserved_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let (_identity, sequence) = open(&dir, NOON);
    let sequence = sequence.unwrap();
    assert_eq!(
        (sequence.first(), sequence.reserved()),
        (0, NOON + 2 * HOUR)
    );
    let content = fs::read_to_string(path_in(&dir)).unwrap();
    assert_eq!(content, format!("{}\n", NOON + 2 * HOUR));
}

#[test]
fn a_run_with_the_clock_set_back_begins_beyond_all_that_was_used() {
    let dir = tempfile::tempdir().unwrap();
    let mut used = 0;
    for clock in [NOON, NOON - HOUR, NOON - 1000 * HOUR, NOON + HOUR, 0] {
        let (_identity, sequence) = open(&dir, clock);
        let sequence = sequence.unwrap();
        assert!(used == 0 || sequence.first() > used);
        assert!(sequence.reserved() >= sequence.first() + SEQUENCE_AHEAD);
        let now = Timestamp::from_unix_millis(clock);
        used = Sequence::after(sequence.first() - u64::from(used > 0)).next(now);
        assert!(used < sequence.reserved());
    }
}

#[test]
fn what_was_reserved_and_never_used_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let (identity, sequence) = open(&dir, NOON);
    sequence.unwrap().reserve(NOON + 10 * HOUR).unwrap();
    // The run ends here, as in a crash.
    drop(identity);
    let (_identity, sequence) = open(&dir, NOON + HOUR);
    assert_eq!(sequence.unwrap().first(), NOON + 10 * HOUR);
}

#[test]
fn a_reservation_never_shrinks() {
    let dir = tempfile::tempdir().unwrap();
    let (_identity, sequence) = open(&dir, NOON);
    let sequence = sequence.unwrap();
    sequence.reserve(NOON + 5 * HOUR).unwrap();
    sequence.reserve(NOON).unwrap();
    assert_eq!(sequence.reserved(), NOON + 5 * HOUR);
    let content = fs::read_to_string(path_in(&dir)).unwrap();
    assert_eq!(content, format!("{}\n", NOON + 5 * HOUR));
}

#[test]
fn a_half_written_replacement_counts_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir, NOON));
    fs::write(dir.path().join("identity.seq.new"), "12").unwrap();
    let (_identity, sequence) = open(&dir, NOON);
    assert_eq!(sequence.unwrap().first(), NOON + 2 * HOUR);
}

#[test]
fn anything_but_a_number_is_refused_with_advice_and_left_alone() {
    for content in ["", "hello", "-1\n", "12 13\n", "99999999999999999999999"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(path_in(&dir), content).unwrap();
        let (_identity, refused) = open(&dir, NOON);
        let error = refused.unwrap_err();
        assert!(
            matches!(error, IdentityError::NoSequence { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("remove it"));
        assert_eq!(fs::read_to_string(path_in(&dir)).unwrap(), content);
    }
}

#[test]
fn a_reservation_that_cannot_be_written_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_identity, sequence) = open(&dir, NOON);
    let sequence = sequence.unwrap();
    // A folder is in the way of the new file.
    fs::create_dir(dir.path().join("identity.seq.new")).unwrap();
    assert!(sequence.reserve(NOON + 5 * HOUR).is_err());
    assert_eq!(sequence.reserved(), NOON + 2 * HOUR);
    fs::remove_dir(dir.path().join("identity.seq.new")).unwrap();
    assert!(sequence.reserve(NOON + 5 * HOUR).is_ok());
}

#[test]
fn a_run_that_is_started_again_every_second_keeps_near_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for second in 0..100 {
        let (_identity, sequence) = open(&dir, NOON + 1000 * second);
        let sequence = sequence.unwrap();
        assert!(sequence.first() > last || second == 0);
        last = sequence.first();
    }
    assert!(last <= NOON + 2 * HOUR + 100 * SEQUENCE_AHEAD);
}

#[test]
fn a_file_system_that_refuses_to_sync_folders_is_put_up_with() {
    use io::ErrorKind::{InvalidInput, Other, PermissionDenied, Unsupported};
    for refused in [InvalidInput, PermissionDenied, Unsupported] {
        assert!(unless_refused(Err(refused.into())).is_ok());
    }
    assert!(unless_refused(Err(Other.into())).is_err());
}
