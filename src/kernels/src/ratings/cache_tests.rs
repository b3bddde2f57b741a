//! Cached columns come back as they were, or not at all.

use proptest::prelude::*;

use super::*;
use crate::ratings::Rows;
use crate::ratings::store::Store;

fn ratings(count: u32) -> Ratings {
    let mut rows = Rows::default();
    (0..count).for_each(|at| rows.push(at % 7, at.wrapping_mul(2_654_435_761), (at % 10) as u8 + 1));
    Ratings::from_rows(rows).unwrap()
}

fn read(path: &Path) -> Result<Store, CacheError> {
    let mapped = Mapped::open(path)?;
    mapped.check(0, 1)?;
    Ok(mapped.into())
}

#[test]
fn ratings_of_any_size_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    for count in [0, 1, 2, 1000, 1_500_000] {
        let path = folder.path().join(count.to_string());
        write(&path, &[7; 32], &ratings(count), false).unwrap();
        let store = read(&path).unwrap();
        assert!(store.to_ratings() == ratings(count), "{count} ratings");
        assert_eq!(Mapped::open(&path).unwrap().key(), [7; 32]);
    }
    write(&folder.path().join("default"), &[0; 32], &Ratings::default(), false).unwrap();
    assert_eq!(read(&folder.path().join("default")).unwrap().offsets(), [0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_or_a_cut_file_is_found(place in any::<proptest::sample::Index>(), bit in 0u8..8, cut in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let ratings = ratings(500);
        write(&path, &[7; 32], &ratings, false).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let place = place.index(bytes.len());
        if cut {
            bytes.truncate(place);
        } else {
            bytes[place] ^= 1 << bit;
        }
        std::fs::write(&path, &bytes).unwrap();
        match read(&path) {
            Err(CacheError::Damaged { .. }) => {}
            // An empty file cannot be mapped.
            Err(CacheError::Unreadable { .. }) => prop_assert!(bytes.is_empty()),
            // Only filling between header, columns and table is not looked at.
            Ok(store) => prop_assert!(!cut && store.to_ratings() == ratings, "byte {} of {}", place, bytes.len()),
        }
    }
}

#[test]
fn ranks_check_a_share_each_and_one_of_them_sees_the_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    write(&path, &[7; 32], &ratings(3_000_000), false).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[PAGE + 2 * BLOCK + 5] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let mapped = Mapped::open(&path).unwrap();
    let good: Vec<bool> = (0..4).map(|rank| mapped.check(rank, 4).is_ok()).collect();
    assert_eq!(good, [true, true, false, true]);
}

#[test]
fn many_writers_at_once_leave_one_good_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let ratings = ratings(50_000);
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let (path, ratings) = (&path, &ratings);
            scope.spawn(move || {
                for _ in 0..5 {
                    write(path, &[7; 32], ratings, writer % 2 == 0).unwrap();
                    assert!(read(path).unwrap().to_ratings() == *ratings);
                }
            });
        }
    });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a partial file was left behind");
}

#[test]
fn a_mapped_file_that_is_replaced_keeps_what_was_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    write(&path, &[1; 32], &ratings(9), false).unwrap();
    let first = Mapped::open(&path).unwrap();
    write(&path, &[2; 32], &ratings(700), false).unwrap();
    assert_eq!(Mapped::open(&path).unwrap().key(), [1; 32], "a good file was replaced unasked");
    write(&path, &[2; 32], &ratings(700), true).unwrap();
    assert_eq!(Mapped::open(&path).unwrap().key(), [2; 32]);
    assert!(Store::from(first).to_ratings() == ratings(9));
}

#[test]
fn another_version_and_other_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    std::fs::write(&path, vec![b'x'; 10_000]).unwrap();
    assert!(read(&path).unwrap_err().to_string().ends_with("cache are damaged: it does not begin like one"));
    write(&path, &[7; 32], &ratings(5), true).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] += 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(read(&path).unwrap_err().to_string().ends_with("another version of ewulf wrote it"));
}

#[test]
fn columns_that_are_no_ratings_are_refused_whatever_their_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let good = ratings(2_000_000);
    let second = good.offsets[1] as usize;
    let refusal = |what: &str, spoil: &dyn Fn(&mut Ratings)| {
        let mut spoilt = good.clone();
        spoil(&mut spoilt);
        let path = folder.path().join("cache");
        write(&path, &[7; 32], &spoilt, true).unwrap();
        let mapped = Mapped::open(&path).unwrap();
        let line = mapped.check(0, 1).unwrap_err().to_string();
        assert!(line.ends_with(what), "{line}");
        assert!((0..3).any(|rank| mapped.check(rank, 3).is_err()), "{what} on 3 ranks");
    };
    let ids = "its ids or offsets do not rise";
    refusal(ids, &|ratings| ratings.offsets[0] = 1);
    refusal(ids, &|ratings| ratings.offsets[3] = ratings.offsets[2] - 1);
    refusal(ids, &|ratings| ratings.offsets[7] -= 1);
    refusal(ids, &|ratings| ratings.offsets[6] = u64::MAX);
    refusal(ids, &|ratings| ratings.movie_ids[1] = ratings.movie_ids[2]);
    refusal(ids, &|ratings| ratings.user_ids.swap(70, 71));
    let users = "a movie's users do not rise, or are none";
    refusal(users, &|ratings| *ratings.raters.last_mut().unwrap() = ratings.user_ids.len() as u32);
    refusal(users, &|ratings| ratings.raters[second - 1] = u32::MAX);
    refusal(users, &|ratings| ratings.raters.swap(5, 6));
    refusal(users, &|ratings| ratings.raters[second + 1] = ratings.raters[second]);
    // The first of the second movie comes into the first.
    refusal(users, &|ratings| ratings.offsets[1] += 1);
    refusal("it has more stars than 5", &|ratings| ratings.stars[1_999_999] = 11);
}

#[test]
fn users_that_fall_between_two_blocks_are_seen_by_one_of_their_ranks() {
    let folder = tempfile::tempdir().unwrap();
    // One movie, so that users ascend throughout.
    let mut rows = Rows::default();
    (0..1_500_000).for_each(|user| rows.push(1, user, 4));
    let mut ratings = Ratings::from_rows(rows).unwrap();
    let layout = Layout::of(1, 1_500_000, 1_500_000).unwrap();
    let blocks = layout.columns().step_by(BLOCK).skip(1).filter(|begin| layout.raters.contains(begin));
    let edges: Vec<usize> = blocks.map(|begin| (begin - layout.raters.start) / 4).collect();
    assert!(!edges.is_empty());
    for edge in edges {
        ratings.raters.swap(edge - 1, edge);
        let path = folder.path().join("cache");
        write(&path, &[7; 32], &ratings, true).unwrap();
        let mapped = Mapped::open(&path).unwrap();
        assert!(mapped.check(0, 1).is_err() && (0..5).any(|rank| mapped.check(rank, 5).is_err()));
        ratings.raters.swap(edge - 1, edge);
    }
}
