//! Folds are a partition that depends on ids alone; files hold out exactly what they name.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;

use super::*;
use crate::communicator::{Solo, Threads};
use crate::ratings::Rows;
use crate::ratings::dialect::Names;
use crate::ratings::format::Format;

type Pairs = BTreeMap<(u32, u32), u8>;

fn store(pairs: &Pairs) -> Store {
    let mut rows = Rows::default();
    pairs.iter().for_each(|((movie, user), stars)| rows.push(*movie, *user, *stars));
    Ratings::from_rows(rows).unwrap().into()
}

/// Every rating by ids.
fn trained(store: &Store) -> Pairs {
    let of_movie = |movie: usize| {
        let (raters, stars) = store.of_movie(movie);
        assert!(raters.windows(2).all(|pair| pair[0] < pair[1]));
        raters.iter().zip(stars).map(move |(user, stars)| ((store.movie_ids()[movie], store.user_ids()[*user as usize]), *stars))
    };
    (0..store.movies()).flat_map(of_movie).collect()
}

/// Every held-out rating by ids; their order is checked on the way.
fn scored(store: &Store, held_out: &HeldOut) -> Pairs {
    let places: Vec<(u32, u32)> = held_out.movies.iter().copied().zip(held_out.users.iter().copied()).collect();
    assert!(places.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(places.len(), held_out.len());
    let ids = |place: &(u32, u32)| (store.movie_ids()[place.0 as usize], store.user_ids()[place.1 as usize]);
    places.iter().map(ids).zip(held_out.stars.iter().copied()).collect()
}

fn random_pairs() -> impl Strategy<Value = Pairs> {
    let id = prop_oneof![0u32..30, Just(u32::MAX), Just(1 << 31)];
    proptest::collection::btree_map((id.clone(), id), 1u8..=10, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn folds_are_a_partition(pairs in random_pairs(), of in 2u32..7, seed in any::<u64>()) {
        let all = store(&pairs);
        let mut together = Pairs::new();
        for number in 1..=of {
            let (training, held_out) = by_fold(&all, Fold { number, of }, seed);
            prop_assert_eq!((training.movie_ids(), training.user_ids()), (all.movie_ids(), all.user_ids()));
            let scored = scored(&training, &held_out);
            let mut both = trained(&training);
            prop_assert_eq!(both.len() + scored.len(), pairs.len());
            both.extend(&scored);
            prop_assert_eq!(&both, &pairs);
            together.extend(scored);
        }
        prop_assert_eq!(together, pairs);
    }

    #[test]
    fn a_file_holds_out_what_it_names_and_nothing_else(pairs in random_pairs(), named in random_pairs()) {
        let (training, held_out) = by_file(&store(&pairs), &store(&named), Path::new("named")).unwrap();
        prop_assert_eq!(scored(&training, &held_out), named.clone());
        let rest: Pairs = pairs.into_iter().filter(|(pair, _)| !named.contains_key(pair)).collect();
        prop_assert_eq!(trained(&training), rest);
    }
}

#[test]
fn a_rating_stays_in_its_fold_whatever_else_is_in_the_set() {
    let pairs: Pairs = (0..40).flat_map(|movie| (0..50).map(move |user| ((movie, user * 977), 4))).collect();
    let some: Pairs =
        pairs.iter().filter(|((movie, user), _)| (movie + user) % 3 > 0).map(|(pair, stars)| (*pair, *stars)).collect();
    let fold = Fold { number: 2, of: 5 };
    let of = |pairs: &Pairs| {
        let (training, held_out) = by_fold(&store(pairs), fold, 7);
        scored(&training, &held_out)
    };
    let expected: Pairs = of(&pairs).into_iter().filter(|(pair, _)| some.contains_key(pair)).collect();
    assert_eq!(of(&some), expected);
    let share = of(&pairs).len() as f64 / pairs.len() as f64;
    assert!((0.16..0.24).contains(&share), "a fifth has {share} of the ratings");
    let (training, other) = by_fold(&store(&pairs), fold, 8);
    assert_ne!(scored(&training, &other), of(&pairs), "the seed changes nothing");
}

#[test]
fn every_rank_splits_alike() {
    let pairs: Pairs = (0..9).flat_map(|movie| (0..20).map(move |user| ((movie, user), 4))).collect();
    let holdout = Holdout { fold: Some("2/3".parse().unwrap()), ..Holdout::default() };
    let answers = Threads::run(3, |communicator| {
        split(&mut Run::silent(communicator, "."), store(&pairs), &holdout, &Input::new("none")).unwrap()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert!(!answers[0].1.is_empty());
}

#[test]
fn folds_are_two_numbers() {
    assert_eq!("3/10".parse::<Fold>().unwrap(), Fold { number: 3, of: 10 });
    assert_eq!(Fold { number: 3, of: 10 }.to_string(), "3/10");
    for text in ["", "3", "0/5", "6/5", "1/1", "1/x", "-1/5", "1/5/5"] {
        assert!(text.parse::<Fold>().is_err(), "{text}");
    }
}

#[test]
fn without_arguments_everything_is_trained_on() {
    let pairs = Pairs::from([((1, 2), 3)]);
    let (training, held_out) =
        split(&mut Run::silent(&Solo, "."), store(&pairs), &Holdout::default(), &Input::new("none")).unwrap();
    assert_eq!((trained(&training), held_out.len()), (pairs, 0));
}

#[test]
fn a_probe_names_pairs_whose_stars_are_those_of_the_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe.txt");
    fs::write(&path, "9:\n7\n5\n2:\n7\n").unwrap();
    let pairs = Pairs::from([((9, 5), 2), ((9, 6), 4), ((9, 7), 6), ((2, 7), 8), ((2, 8), 10)]);
    let holdout = Holdout { file: Some(path.clone()), ..Holdout::default() };
    // What the input is in says nothing of the pairs.
    let input = Input { format: Some(Format::Netflix), ..Input::new("none") };
    let (training, held_out) = split(&mut Run::silent(&Solo, folder.path()), store(&pairs), &holdout, &input).unwrap();
    assert_eq!(scored(&training, &held_out), Pairs::from([((2, 7), 8), ((9, 5), 2), ((9, 7), 6)]));
    assert_eq!(trained(&training), Pairs::from([((2, 8), 10), ((9, 6), 4)]));
    fs::write(&path, "9:\n8\n").unwrap();
    let error = split(&mut Run::silent(&Solo, folder.path()), store(&pairs), &holdout, &input).unwrap_err().to_string();
    assert!(error.ends_with("probe.txt: movie 9 has no rating by user 8 in the input, and none is given here"), "{error}");
}

#[test]
fn a_file_is_read_as_the_input_is_with_its_columns_and_without_a_cache() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("held_out.csv");
    fs::write(&path, "viewer,film,user,rating\n5,9,1,4.5\n").unwrap();
    let holdout = Holdout { file: Some(path), ..Holdout::default() };
    let names = Names { user_column: Some("viewer".into()), movie_column: Some("film".into()), ..Names::default() };
    let input = Input { names, no_cache: true, ..Input::new("none") };
    let pairs = Pairs::from([((9, 5), 2), ((9, 1), 4)]);
    let (training, held_out) = split(&mut Run::silent(&Solo, folder.path()), store(&pairs), &holdout, &input).unwrap();
    assert_eq!((trained(&training), scored(&training, &held_out)), (Pairs::from([((9, 1), 4)]), Pairs::from([((9, 5), 9)])));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "columns were left beside the file");
}
