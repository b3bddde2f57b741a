//! Generated sets are exact in size, deterministic, realistic, and readable in every format.

use super::*;
use crate::communicator::Solo;
use crate::events::Events;
use crate::knn::baseline::SHRINKAGE;
use crate::knn::predict::Prediction;
use crate::knn::search::{Search, WIDTHS};
use crate::knn::similarity::Similarity;
use crate::ratings::split::HeldOut;
use crate::ratings::{Input, Ratings, load};
use crate::simd::Simd;

fn shape(movies: u32, users: u32, ratings: u64) -> Shape {
    Shape { movies, users, ratings, seed: 42, half_stars: false }
}

fn set(shape: &Shape) -> Ratings {
    Ratings::from_rows(generate(shape, |_, _| {}).rows).unwrap()
}

#[test]
fn a_set_has_exactly_the_size_asked_for() {
    for (movies, users, ratings) in [(500, 5000, 100_000), (1, 1, 1), (7, 3, 0), (20, 30, 600), (20, 30, 5), (3, 9, 26)] {
        assert_eq!(set(&shape(movies, users, ratings)).len() as u64, ratings, "{movies} x {users}");
    }
}

#[test]
fn a_large_enough_set_has_every_movie_and_every_user() {
    let set = set(&shape(500, 5000, 100_000));
    assert_eq!((set.movies(), set.users()), (500, 5000));
}

#[test]
fn popularity_and_activity_are_as_uneven_as_netflix_was() {
    let set = set(&shape(1777, 48_018, 1_000_000));
    let mut counts: Vec<u64> = set.offsets.windows(2).map(|bounds| bounds[1] - bounds[0]).collect();
    counts.sort();
    let top: u64 = counts.iter().rev().take(30).sum();
    let share = top as f64 / 1e6;
    assert!((0.25..0.40).contains(&share), "the top 1.7 % have {share} of the ratings");
    let mut active = vec![0u32; set.users()];
    set.raters.iter().for_each(|user| active[*user as usize] += 1);
    active.sort();
    let ratio = (1e6 / set.users() as f64) / f64::from(active[set.users() / 2]);
    assert!((1.6..2.8).contains(&ratio), "mean to median activity is {ratio}");
}

#[test]
fn movies_correlate_with_each_other() {
    let set = set(&shape(60, 2000, 40_000));
    let (simd, similarity, predict, widths) = (Simd::widest(), Similarity::Pearson, Prediction::Means, WIDTHS);
    let search = Search { simd, similarity, neighbours: 5, min_support: 50, shrinkage: SHRINKAGE, predict, widths };
    let outcome = search.run(&Solo, &set.into(), &HeldOut::default(), &mut Events::silent("knn")).unwrap();
    let nearest = outcome.neighbours.unwrap();
    let strong = nearest.similarities.column(0).iter().filter(|similarity| **similarity > 0.35).count();
    assert!(strong > 40, "only {strong} of 60 movies have a close neighbour: {}", nearest.similarities.column(0));
}

#[test]
fn every_format_reads_back_as_the_same_set() {
    let folder = tempfile::tempdir().unwrap();
    for (format, half_stars) in
        [(Format::Netflix, false), (Format::MovielensCsv, true), (Format::Movielens100k, false), (Format::Columns, false)]
    {
        let output = folder.path().join(format!("{format:?}"));
        let datagen = Datagen { movies: 40, users: 90, ratings: 1000, seed: 3, format, output: output.clone() };
        datagen.run(&mut Run::silent(&Solo, folder.path())).unwrap();
        let mut expected = set(&Shape { movies: 40, users: 90, ratings: 1000, seed: 3, half_stars });
        if matches!(format, Format::Netflix | Format::Columns) {
            expected.user_ids.iter_mut().for_each(|user| *user = write::customer(3, *user) as u32);
        }
        let store = load(&mut Run::silent(&Solo, folder.path()), &Input::new(&output)).unwrap();
        assert!(store.to_ratings() == expected, "{format:?}");
    }
}

#[test]
fn the_same_set_is_left_alone_and_another_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("deep/ratings");
    let datagen = |seed| {
        let (format, output) = (Format::Movielens100k, output.clone());
        Datagen { movies: 5, users: 9, ratings: 20, seed, format, output }.run(&mut Run::silent(&Solo, folder.path()))
    };
    datagen(1).unwrap();
    let first = fs::read(output.join("u.data")).unwrap();
    datagen(1).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["generated"], false);
    let error = datagen(2).unwrap_err().to_string();
    assert!(error.contains("holds something else"), "{error}");
    assert_eq!(fs::read(output.join("u.data")).unwrap(), first);
    assert_eq!(fs::read_dir(folder.path().join("deep")).unwrap().count(), 1, "a partial folder was left behind");
}

#[test]
fn what_an_interrupted_run_left_does_not_come_into_a_new_set() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("ratings");
    let leftover = folder.path().join(format!(".ratings.{}.partial", std::process::id()));
    fs::create_dir(&leftover).unwrap();
    fs::write(leftover.join("mv_0000009.txt"), "9:\n1,5,2005-01-01\n").unwrap();
    let datagen = Datagen { movies: 2, users: 9, ratings: 10, seed: 1, format: Format::Netflix, output: output.clone() };
    datagen.run(&mut Run::silent(&Solo, folder.path())).unwrap();
    let mut names: Vec<_> = fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["dataset.json", "mv_0000001.txt", "mv_0000002.txt"]);
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("summary.json")).unwrap()).unwrap();
    assert!(summary["timings"]["generate"].is_f64() && summary["timings"]["write"].is_f64(), "{summary}");
}

#[test]
fn more_ratings_than_pairs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("ratings");
    let datagen = Datagen { movies: 5, users: 9, ratings: 46, seed: 1, format: Format::Netflix, output };
    let error = datagen.run(&mut Run::silent(&Solo, folder.path())).unwrap_err().to_string();
    assert_eq!(error, "46 ratings do not fit 5 movies and 9 users: at most 45 do");
}
