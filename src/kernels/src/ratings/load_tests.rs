//! Every rank gets the same ratings, from text or cached columns, whatever happens to the latter.

use std::fs;
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime};

use super::*;
use crate::communicator::{Solo, Threads};
use crate::ratings::Rows;

const LINES: &str = "userId,movieId,rating,timestamp\n5,31,2.5,1\n4294967295,31,4.0,1\n5,4294967295,0.5,2\n";

fn expected() -> Ratings {
    let mut rows = Rows::default();
    [(31, 5, 5), (31, u32::MAX, 8), (u32::MAX, 5, 1)].into_iter().for_each(|(movie, user, stars)| rows.push(movie, user, stars));
    Ratings::from_rows(rows).unwrap()
}

/// A folder with an input that was last changed long ago.
fn input(text: &str) -> (tempfile::TempDir, Input) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ratings.csv");
    fs::write(&path, text).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(1000);
    fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    (folder, Input::new(path))
}

/// What rank 0 gets, and what it has to say.
fn obtained(input: &Input, way: Way) -> (Store, Vec<String>) {
    let mut notes = Vec::new();
    let working = input.path.parent().unwrap();
    let store = obtain(input, working, way, Workers::of_number(2), |_, _| {}, &mut notes).unwrap();
    (store, notes)
}

fn cached(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "ewulf")).collect()
}

#[test]
fn the_second_run_takes_what_the_first_one_left() {
    let (folder, input) = input(LINES);
    for _ in 0..2 {
        let (store, notes) = obtained(&input, Way::Cached);
        assert_eq!((store.to_ratings(), notes.len()), (expected(), 0));
        assert_eq!(cached(folder.path()), [store.path().unwrap()]);
    }
    // What the second run takes is the file itself.
    let path = cached(folder.path()).remove(0);
    let other = Ratings::from_rows(Rows { movies: vec![1], users: vec![2], stars: vec![3] }).unwrap();
    let key = Mapped::open(&path).unwrap().key();
    cache::write(&path, &key, &other, true).unwrap();
    assert_eq!(obtained(&input, Way::Cached).0.to_ratings(), other);
    assert_eq!(obtained(&Input { no_cache: true, ..input }, Way::Memory).0.to_ratings(), expected());
}

#[test]
fn other_content_and_another_reading_have_columns_of_their_own() {
    let (folder, mut input) = input("user,movie,other,rating\n1,2,3,4\n");
    assert_eq!(obtained(&input, Way::Cached).0.movie_ids(), [2]);
    input.names.movie_column = Some("other".into());
    assert_eq!(obtained(&input, Way::Cached).0.movie_ids(), [3]);
    fs::write(&input.path, "user,movie,other,rating\n1,2,4,4\n").unwrap();
    assert_eq!(obtained(&input, Way::Cached).0.movie_ids(), [4]);
    input.names.movie_column = None;
    assert_eq!(obtained(&input, Way::Cached).0.movie_ids(), [2]);
    assert_eq!(cached(folder.path()).len(), 4);
}

#[test]
fn content_is_told_by_its_hash_where_there_is_no_stamp() {
    let (folder, input) = input(LINES);
    let (first, _) = obtained(&input, Way::Cached);
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "stamp") {
            fs::remove_file(path).unwrap();
        }
    }
    // The same text in another file with other times, under the same name.
    fs::write(folder.path().join("new"), LINES).unwrap();
    fs::rename(folder.path().join("new"), &input.path).unwrap();
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before = inode(first.path().unwrap());
    let (second, _) = obtained(&input, Way::Cached);
    assert_eq!((inode(second.path().unwrap()), second.to_ratings()), (before, expected()));
}

#[test]
fn a_change_that_keeps_size_and_time_is_seen() {
    let (_folder, input) = input(LINES);
    obtained(&input, Way::Cached);
    let modified = fs::metadata(&input.path).unwrap().modified().unwrap();
    fs::write(&input.path, LINES.replace("2.5", "3.5")).unwrap();
    fs::File::options().write(true).open(&input.path).unwrap().set_modified(modified).unwrap();
    assert_eq!(obtained(&input, Way::Cached).0.stars()[0], 7);
}

#[test]
fn damaged_columns_are_made_again_on_any_number_of_ranks() {
    for (ranks, place) in [(1, 4096), (3, 4096), (1, 50), (2, 50), (2, 0), (2, usize::MAX)] {
        let (folder, input) = input(LINES);
        obtained(&input, Way::Cached);
        let path = cached(folder.path()).remove(0);
        let mut bytes = fs::read(&path).unwrap();
        match bytes.get_mut(place) {
            Some(byte) => *byte ^= 4,
            None => bytes.truncate(5000),
        }
        fs::write(&path, bytes).unwrap();
        let stores = Threads::run(ranks, |communicator| load(&mut Run::silent(communicator, folder.path()), &input).unwrap());
        assert!(stores.iter().all(|store| store.to_ratings() == expected()), "{ranks} ranks, byte {place}");
        let again = Mapped::open(&path).unwrap();
        assert!(again.check(0, 1).is_ok(), "{ranks} ranks, byte {place}");
    }
}

#[test]
fn damage_is_told() {
    let (folder, input) = input(LINES);
    obtained(&input, Way::Cached);
    let path = cached(folder.path()).remove(0);
    fs::write(&path, "gone").unwrap();
    let (store, notes) = obtained(&input, Way::Cached);
    assert_eq!(store.to_ratings(), expected());
    assert!(notes[0].contains("are damaged: it does not begin like one: they are made again"), "{notes:?}");
}

#[test]
fn many_jobs_at_once_all_get_their_ratings() {
    let (folder, input) = input(LINES);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert_eq!(obtained(&input, Way::Cached).0.to_ratings(), expected()));
        }
    });
    assert_eq!(cached(folder.path()).len(), 1);
}

#[test]
fn where_the_inputs_folder_takes_nothing_the_working_folder_does() {
    let (folder, input) = input(LINES);
    let file = fs::File::open(&input.path).unwrap();
    // A folder in which nobody, not even root, can create files.
    let input = Input::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    for _ in 0..2 {
        let stores = Threads::run(2, |communicator| load(&mut Run::silent(communicator, folder.path()), &input).unwrap());
        assert!(stores.iter().all(|store| store.to_ratings() == expected()));
        assert_eq!(cached(folder.path()), [stores[1].path().unwrap()]);
    }
    let mut notes = Vec::new();
    let nowhere = Path::new("/proc/self");
    let store = obtain(&input, nowhere, Way::Cached, Workers::ONE, |_, _| {}, &mut notes).unwrap();
    assert_eq!((store.to_ratings(), store.path()), (expected(), None));
    assert!(notes[0].starts_with("ratings are not cached: "), "{notes:?}");
    let stores = Threads::run(3, |communicator| load(&mut Run::silent(communicator, nowhere), &input).unwrap());
    assert!(stores.iter().all(|store| store.to_ratings() == expected()));
}

#[test]
fn columns_are_an_input_too_and_cannot_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(cache::FILE);
    cache::write(&path, &[0; 32], &expected(), false).unwrap();
    for input in [Input::new(&path), Input::new(folder.path()), Input { no_cache: true, ..Input::new(&path) }] {
        let stores = Threads::run(2, |communicator| load(&mut Run::silent(communicator, folder.path()), &input).unwrap());
        assert!(stores.iter().all(|store| store.to_ratings() == expected()));
    }
    let mut bytes = fs::read(&path).unwrap();
    bytes[5000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = load(&mut Run::silent(&Solo, folder.path()), &Input::new(&path)).unwrap_err();
    let line = one_line(&error);
    assert!(line.contains("ratings.ewulf cannot be used; make it again: cached ratings"), "{line}");
}

#[test]
fn pairs_without_stars_are_not_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe.txt");
    fs::write(&path, "1:\n5\n").unwrap();
    let error = load(&mut Run::silent(&Solo, folder.path()), &Input::new(&path)).unwrap_err().to_string();
    assert!(error.contains("probe.txt names pairs of movies and users without stars"), "{error}");
    assert_eq!(load_pairs(&mut Run::silent(&Solo, folder.path()), &Input::new(&path)).unwrap().stars(), [0]);
}

#[test]
fn a_duplicate_is_named_by_the_input_and_nothing_is_cached() {
    let (folder, input) = input("1,2,3\n1,3,3\n1,2,4\n");
    let error = load(&mut Run::silent(&Solo, folder.path()), &input).unwrap_err().to_string();
    assert!(error.ends_with("ratings.csv: movie 2 has more than one rating by user 1"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn empty_inputs_and_single_ratings_load() {
    for (text, count) in [("", 0), ("userId,movieId,rating\n", 0), ("1,1,1\n", 1)] {
        let (folder, input) = input(text);
        let stores = Threads::run(3, |communicator| load(&mut Run::silent(communicator, folder.path()), &input).unwrap());
        assert!(stores.iter().all(|store| store.len() == count && store.offsets().len() == count + 1), "{text:?}");
    }
}
