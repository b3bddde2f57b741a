//! The neighbours are those of brute force, and the same bytes on any number of ranks.

use std::collections::HashMap;

use proptest::prelude::*;

use super::records::Widths;
use super::search::{Counts, Outcome};
use super::*;
use crate::communicator::{Solo, Threads};
use crate::datagen::generate::{Shape, generate};
use crate::events::Events;
use crate::ratings::{Ratings, Rows};

/// Movie, user and half stars.
type Row = (u32, u32, u8);

/// Neighbour ids and the bits of their similarities, by movie.
type Found = Vec<(u32, Vec<(i64, u64)>)>;

fn ratings(rows: &[Row]) -> Store {
    let mut columns = Rows::default();
    rows.iter().for_each(|(movie, user, stars)| columns.push(*movie, *user, *stars));
    Ratings::from_rows(columns).unwrap().into()
}

/// The definition, word for word, in stars and floating point over maps.
fn brute_force(rows: &[Row], measure: Similarity, neighbours: usize, min_support: usize) -> Found {
    let mut movies: HashMap<u32, HashMap<u32, f64>> = HashMap::new();
    for (movie, user, stars) in rows {
        movies.entry(*movie).or_default().insert(*user, f64::from(*stars) / 2.0);
    }
    let mut ids: Vec<u32> = movies.keys().copied().collect();
    ids.sort();
    let similarity = |one: u32, other: u32| {
        let common: Vec<(f64, f64)> =
            movies[&one].iter().filter_map(|(user, x)| Some((*x, *movies[&other].get(user)?))).collect();
        let sum = |term: fn(&(f64, f64)) -> f64| common.iter().map(term).sum::<f64>();
        let n = common.len() as f64;
        let (x, y) = (sum(|pair| pair.0), sum(|pair| pair.1));
        let (xx, yy, xy) = (sum(|pair| pair.0 * pair.0), sum(|pair| pair.1 * pair.1), sum(|pair| pair.0 * pair.1));
        let r = match measure {
            Similarity::Pearson => (n * xy - x * y) / ((n * xx - x * x) * (n * yy - y * y)).sqrt(),
            Similarity::Cosine => xy / (xx * yy).sqrt(),
            Similarity::Msd => 1.0 / (sum(|pair| (pair.0 - pair.1).powi(2)) / n + 1.0),
            Similarity::PearsonBaseline => unreachable!("has a test of its own"),
        };
        let r = if r.is_nan() { 0.0 } else { r };
        (common.len() >= min_support).then_some(r)
    };
    let nearest = |movie: u32| {
        let others = ids.iter().filter(|other| **other != movie);
        let mut all: Vec<(u32, f64)> = others.filter_map(|other| Some((*other, similarity(movie, *other)?))).collect();
        all.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        all.truncate(neighbours);
        all.into_iter().map(|(id, r)| (i64::from(id), r.to_bits())).collect()
    };
    ids.iter().map(|movie| (*movie, nearest(*movie))).collect()
}

/// What the kernel finds on some ranks, without files.
fn parallel(set: &Store, ranks: usize, piece_bytes: usize, search: Search) -> (Found, Counts) {
    let mut answers = Threads::run_in_pieces(ranks, piece_bytes, |communicator| {
        search.run(communicator, set, &HeldOut::default(), &mut Events::silent("knn")).unwrap()
    });
    assert!(answers[1..].iter().all(|answer| answer.neighbours.is_none()));
    let Outcome { neighbours, counts, rows_by_rank, .. } = answers.swap_remove(0);
    assert_eq!(rows_by_rank.len(), ranks);
    let found = neighbours.unwrap();
    let row = |row: usize| {
        let pairs = found.ids.row(row).to_vec().into_iter().zip(found.similarities.row(row).to_vec());
        let (known, unknown): (Vec<_>, Vec<_>) = pairs.partition(|(id, _)| *id >= 0);
        assert!(unknown.iter().all(|(_, similarity)| similarity.is_nan()));
        known.into_iter().map(|(id, similarity)| (id, similarity.to_bits())).collect()
    };
    (set.movie_ids().iter().enumerate().map(|(index, id)| (*id, row(index))).collect(), counts)
}

/// A search with the defaults of the arguments.
fn search(similarity: Similarity, simd: Simd, widths: Widths) -> Search {
    let predict = Prediction::Means;
    Search { simd, similarity, neighbours: 40, min_support: 1, shrinkage: SHRINKAGE, predict, widths }
}

/// Records without planes, as measured, and with nothing but planes.
const LAYOUTS: [Widths; 3] = [Widths { most: 0, ..WIDTHS }, WIDTHS, Widths { block: 0.0, ..WIDTHS }];

fn check(rows: &[Row], similarity: Similarity, neighbours: u32, min_support: u32) {
    let set = ratings(rows);
    let expected = brute_force(rows, similarity, neighbours as usize, min_support as usize);
    let movies = set.movies() as u64;
    let mut first = None;
    for simd in Simd::available() {
        for (at, (ranks, piece_bytes)) in
            [(1, usize::MAX), (2, 40), (3, usize::MAX), (4, 24), (5, usize::MAX), (7, usize::MAX)].into_iter().enumerate()
        {
            let search = Search { neighbours, min_support, ..search(similarity, simd, LAYOUTS[at % LAYOUTS.len()]) };
            let (found, counts) = parallel(&set, ranks, piece_bytes, search);
            assert_eq!(found, expected, "on {ranks} ranks, {simd}");
            assert_eq!(counts.pairs, movies * movies.saturating_sub(1) / 2, "on {ranks} ranks, {simd}");
            assert_eq!(*first.get_or_insert(counts), counts, "on {ranks} ranks, {simd}");
        }
    }
}

/// Arguments as they are if none are given.
fn arguments(input: Input) -> Knn {
    let (similarity, predict) = (Similarity::Pearson, Prediction::Means);
    let holdout = Holdout::default();
    Knn { input, similarity, neighbours: 40, min_support: 1, shrinkage: SHRINKAGE, holdout, predict, output: None }
}

/// Every exact similarity.
fn exact() -> impl Strategy<Value = Similarity> {
    prop_oneof![Just(Similarity::Pearson), Just(Similarity::Cosine), Just(Similarity::Msd)]
}

/// Up to 12 movies and 15 users with ids far apart, whole or half stars, any density.
fn random_rows() -> impl Strategy<Value = Vec<Row>> {
    (0u32..12, 1u32..15, any::<bool>(), 1u32..400_000_000).prop_flat_map(|(movies, users, halves, stride)| {
        let stars = (1u8..=10).prop_map(move |stars| if halves { stars } else { stars.div_ceil(2) * 2 });
        let cell = proptest::option::weighted(0.6, stars);
        proptest::collection::vec(cell, (movies * users) as usize).prop_map(move |cells| {
            let rated = cells.into_iter().enumerate().filter_map(|(at, stars)| Some((at as u32, stars?)));
            rated.map(|(at, stars)| (at / users * stride / 2, at % users * (stride / 2 + 1), stars)).collect()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_sets_have_the_neighbours_of_brute_force(
        mut rows in random_rows(),
        neighbours in 1u32..8,
        min_support in 1u32..5,
        similarity in exact(),
    ) {
        rows.sort();
        rows.dedup_by_key(|row| (row.0, row.1));
        check(&rows, similarity, neighbours, min_support);
    }
}

#[test]
fn no_ratings_one_user_and_one_movie_are_no_errors() {
    check(&[], Similarity::Pearson, 3, 1);
    check(&[(7, 1, 4)], Similarity::Pearson, 3, 1);
    check(&[(7, 1, 4), (9, 1, 6), (3, 1, 8)], Similarity::Pearson, 3, 1);
    check(&[(7, 1, 4), (7, 2, 6), (7, 3, 8)], Similarity::Pearson, 3, 1);
}

#[test]
fn ties_go_to_the_smaller_id() {
    let rows: Vec<Row> = (0..6).flat_map(|movie| [(10 - movie, 1, 2), (10 - movie, 2, 8)]).collect();
    let (simd, similarity) = (Simd::widest(), Similarity::Pearson);
    let search = Search { neighbours: 2, min_support: 2, ..search(similarity, simd, WIDTHS) };
    let (found, _) = parallel(&ratings(&rows), 3, usize::MAX, search);
    let of_seven = found.iter().find(|(movie, _)| *movie == 7).unwrap();
    assert_eq!(of_seven.1, [(5, 1f64.to_bits()), (6, 1f64.to_bits())]);
}

#[test]
fn a_generated_set_has_the_neighbours_of_brute_force() {
    let shape = Shape { movies: 60, users: 200, ratings: 3000, seed: 5, half_stars: true };
    let set = generate(&shape, |_, _| {}).rows;
    let rows: Vec<Row> = (0..set.len()).map(|at| (set.movies[at], set.users[at], set.stars[at])).collect();
    check(&rows, Similarity::Pearson, 10, 3);
}

#[test]
fn popular_rows_taken_in_runs_of_users_have_the_same_neighbours() {
    // Three runs of users; the most popular movies have thousands of raters.
    let shape = Shape { movies: 40, users: 12_000, ratings: 100_000, seed: 5, half_stars: false };
    let set = Store::from(Ratings::from_rows(generate(&shape, |_, _| {}).rows).unwrap());
    let found = |ranks: usize, widths: Widths, simd: Simd| {
        let search = Search { neighbours: 39, ..search(Similarity::Pearson, simd, widths) };
        parallel(&set, ranks, usize::MAX, search)
    };
    // Without planes there is nothing to take in runs.
    let expected = found(1, LAYOUTS[0], Simd::Portable);
    for simd in Simd::available() {
        for (ranks, widths) in [(1, LAYOUTS[2]), (3, LAYOUTS[2]), (2, WIDTHS)] {
            assert!(found(ranks, widths, simd) == expected, "{ranks} ranks, {simd}");
        }
    }
}

/// n, Σx, Σy, Σxx, Σyy and Σxy of every pair of movies, in stars: user by user.
fn plain_sums(set: &Store) -> Vec<[f64; 6]> {
    let movies = set.movies();
    let mut by_user = vec![Vec::new(); set.users()];
    for movie in 0..movies {
        let (raters, stars) = set.of_movie(movie);
        raters.iter().zip(stars).for_each(|(user, stars)| by_user[*user as usize].push((movie, f64::from(*stars) / 2.0)));
    }
    let mut sums = vec![[0.0; 6]; movies * movies];
    for ratings in by_user {
        for (one, x) in &ratings {
            for (other, y) in &ratings {
                let terms = [1.0, *x, *y, x * x, y * y, x * y];
                sums[one * movies + other].iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
            }
        }
    }
    sums
}

/// The neighbours by those sums.
fn plain_neighbours(set: &Store, sums: &[[f64; 6]], search: &Search) -> Found {
    let movies = set.movies();
    let nearest = |movie: usize| {
        let others = (0..movies).filter(|other| *other != movie).map(|other| (other, sums[movie * movies + other]));
        let others = others.filter(|(_, sums)| sums[0] >= f64::from(search.min_support));
        let mut all: Vec<(usize, f64)> = others
            .map(|(other, [n, x, y, xx, yy, xy])| {
                let r = match search.similarity {
                    Similarity::Pearson => (n * xy - x * y) / ((n * xx - x * x) * (n * yy - y * y)).sqrt(),
                    Similarity::Cosine => xy / (xx * yy).sqrt(),
                    Similarity::Msd => 1.0 / ((xx - 2.0 * xy + yy) / n + 1.0),
                    Similarity::PearsonBaseline => unreachable!("has a test of its own"),
                };
                (other, if r.is_nan() { 0.0 } else { r })
            })
            .collect();
        all.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        all.truncate(search.neighbours as usize);
        all.into_iter().map(|(other, r)| (i64::from(set.movie_ids()[other]), r.to_bits())).collect()
    };
    (0..movies).map(|movie| (set.movie_ids()[movie], nearest(movie))).collect()
}

#[test]
fn movies_beyond_the_first_blocks_of_columns_have_the_neighbours_of_the_definition() {
    for half_stars in [false, true] {
        // Three blocks of 512 columns, the last of them not full.
        let shape = Shape { movies: 1_200, users: 8_000, ratings: 160_000, seed: 7, half_stars };
        let set = Store::from(Ratings::from_rows(generate(&shape, |_, _| {}).rows).unwrap());
        assert!(set.movies() > 1_100 && (0..set.movies()).any(|movie| set.places(movie).len() > 3_000));
        let sums = plain_sums(&set);
        for similarity in [Similarity::Pearson, Similarity::Cosine, Similarity::Msd] {
            let of = |simd, widths| Search { neighbours: 20, min_support: 2, ..search(similarity, simd, widths) };
            let expected = plain_neighbours(&set, &sums, &of(Simd::widest(), WIDTHS));
            for simd in Simd::available() {
                for (ranks, widths) in (1..=3).flat_map(|ranks| LAYOUTS.map(|widths| (ranks, widths))) {
                    // Only the last step differs by similarity: the sums before it are looked at once in full.
                    if similarity == Similarity::Pearson || ranks == 2 {
                        let (found, counts) = parallel(&set, ranks, usize::MAX, of(simd, widths));
                        assert!(found == expected, "{similarity:?} on {ranks} ranks, {simd}, {widths:?}, {half_stars}");
                        assert_eq!(counts.pairs, (set.movies() * (set.movies() - 1) / 2) as u64);
                    }
                }
            }
        }
    }
}

#[test]
fn the_files_are_the_same_bytes_on_any_number_of_ranks() {
    let input = tempfile::tempdir().unwrap();
    let path = input.path().join("ratings.csv");
    let mut text = String::from("userId,movieId,rating,timestamp\n");
    for at in 0..400u32 {
        let stars = crate::random::derive(3, at.into()) % 10 + 1;
        text.push_str(&format!("{},{},{},0\n", at % 20 + 5, at / 20 * 3 + 1, stars as f64 / 2.0));
    }
    std::fs::write(&path, text).unwrap();
    let outputs = |ranks: usize| {
        let folder = tempfile::tempdir().unwrap();
        let knn = Knn { neighbours: 30, min_support: 2, ..arguments(Input::new(&path)) };
        Threads::run(ranks, |communicator| knn.run(&mut Run::silent(communicator, folder.path())).unwrap());
        let summary = std::fs::read(folder.path().join("summary.json")).unwrap();
        let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
        assert_eq!((&summary["movies"], &summary["users"], &summary["ratings"]), (&20.into(), &20.into(), &400.into()));
        assert_eq!(summary["pairs"], 190);
        let names = ["ids.npy", "neighbours.npy", "similarities.npy", "neighbours.csv"];
        names.map(|name| std::fs::read(folder.path().join(name)).unwrap())
    };
    let alone = outputs(1);
    assert_eq!(alone[1].len(), 128 + 20 * 30 * 8);
    assert!(String::from_utf8_lossy(&alone[3]).starts_with("movie,rank,neighbour,similarity\n1,1,"));
    for ranks in [2, 3, 5, 24] {
        assert!(outputs(ranks) == alone, "different files on {ranks} ranks");
    }
}

#[test]
fn results_go_where_they_are_told_to_with_the_arguments_that_made_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ratings.csv");
    std::fs::write(&path, "1,7,3,0\n2,7,4,0\n1,9,1,0\n2,9,5,0\n").unwrap();
    let output = Some("models/near".into());
    let knn = Knn { similarity: Similarity::PearsonBaseline, shrinkage: 7.5, output, ..arguments(Input::new(path)) };
    Threads::run(2, |communicator| knn.run(&mut Run::silent(communicator, folder.path())).unwrap());
    let output = folder.path().join("models/near");
    assert!(output.join("neighbours.npy").exists() && !folder.path().join("neighbours.npy").exists());
    let summary: serde_json::Value = serde_json::from_slice(&std::fs::read(output.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["shrinkage"], 7.5);
}

#[test]
fn an_input_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let knn = Knn { neighbours: 1, min_support: 1, ..arguments(Input::new(folder.path().join("nothing"))) };
    let error = knn.run(&mut Run::silent(&Solo, folder.path())).unwrap_err();
    let line = crate::startup::one_line(&error);
    assert!(line.contains("nothing could not be read: No such file"), "{line}");
}
