//! The factors are the same bytes on any number of ranks and after a restart, and predict as the definition does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::communicator::{Solo, Threads};
use crate::datagen::generate::{Shape, generate};
use crate::ratings::Ratings;
use crate::ratings::Rows;
use crate::startup::one_line;

/// The kernel with its defaults, on a file.
fn svd(input: &Path, arguments: &[&str]) -> Svd {
    let input = input.to_str().unwrap();
    Svd::try_parse_from(["svd", "--input", input].iter().chain(arguments)).unwrap()
}

/// Every file of a folder but the summary, which tells times.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
    named.filter(|(name, _)| name != "summary.json").collect()
}

/// What a run on some ranks leaves behind, and its summary.
fn run(svd: &Svd, ranks: usize) -> (BTreeMap<String, Vec<u8>>, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), svd, ranks)
}

fn run_in(folder: &Path, svd: &Svd, ranks: usize) -> (BTreeMap<String, Vec<u8>>, serde_json::Value) {
    Threads::run(ranks, |communicator| svd.run(&mut Run::silent(communicator, folder)).unwrap());
    let summary = serde_json::from_slice(&fs::read(folder.join("summary.json")).unwrap()).unwrap();
    (files(folder), summary)
}

/// A file of generated ratings with half stars.
fn generated(folder: &Path, movies: u32, users: u32, ratings: u64) -> PathBuf {
    let set = generate(&Shape { movies, users, ratings, seed: 11, half_stars: true }, |_, _| {}).rows;
    written(folder, (0..set.len()).map(|at| (set.movies[at], set.users[at], set.stars[at])))
}

fn written(folder: &Path, rows: impl IntoIterator<Item = (u32, u32, u8)>) -> PathBuf {
    let mut text = String::from("userId,movieId,rating,timestamp\n");
    for (movie, user, stars) in rows {
        text.push_str(&format!("{user},{movie},{},0\n", f64::from(stars) / 2.0));
    }
    let path = folder.join("ratings.csv");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_files_are_the_same_bytes_on_any_number_of_ranks() {
    let input = tempfile::tempdir().unwrap();
    let path = generated(input.path(), 40, 150, 2500);
    let svd = svd(&path, &["--factors", "9", "--epochs", "4", "--fold", "1/5"]);
    let (alone, summary) = run(&svd, 1);
    let names: Vec<&str> = alone.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "holdout.npy",
            "movie_bias.npy",
            "movie_factors.npy",
            "movie_ids.npy",
            "predictions.npy",
            "rmse.csv",
            "rmse.png",
            "rmse.svg",
            "user_bias.npy",
            "user_factors.npy",
            "user_ids.npy"
        ]
    );
    assert_eq!(alone["movie_factors.npy"].len(), 128 + 40 * 9 * 4);
    assert_eq!((&summary["rounds"], &summary["kept"]), (&4.into(), &4.into()));
    // Epochs are whole numbers.
    let drawn = String::from_utf8(alone["rmse.svg"].clone()).unwrap();
    assert!(["1", "2", "3", "4"].iter().all(|mark| drawn.contains(&format!("\n{mark}\n"))) && !drawn.contains("\n1.5\n"));
    for ranks in 2..=9 {
        let (files, _) = run(&svd, ranks);
        assert!(files == alone, "different files on {ranks} ranks");
    }
}

#[test]
fn results_go_where_they_are_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = generated(folder.path(), 10, 30, 100);
    let svd = svd(&path, &["--factors", "2", "--epochs", "1", "--output", "models/first", "--checkpoint-every", "1"]);
    Threads::run(2, |communicator| svd.run(&mut Run::silent(communicator, folder.path())).unwrap());
    let names: Vec<String> = files(&folder.path().join("models/first")).into_keys().collect();
    let expected = ["checkpoint.svd", "rmse.csv", "rmse.svg", "rmse.png"];
    assert!(expected.iter().all(|name| names.iter().any(|other| other == name)), "{names:?}");
}

#[test]
fn predictions_and_scores_are_those_of_the_written_factors() {
    let input = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = generated(input.path(), 30, 100, 1500);
    let (_, summary) = run_in(folder.path(), &svd(&path, &["--factors", "5", "--epochs", "3", "--fold", "2/4"]), 3);
    let array = |name: &str| crate::npy::read(&folder.path().join(name)).unwrap();
    let place = |name: &str, id: f64| {
        let bytes = fs::read(folder.path().join(name)).unwrap();
        let ids: Vec<i64> = bytes[128..].as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
        ids.iter().position(|other| *other as f64 == id).unwrap()
    };
    let (users, movies) = (array("user_factors.npy"), array("movie_factors.npy"));
    let (user_bias, movie_bias) = (array("user_bias.npy"), array("movie_bias.npy"));
    let (truth, predictions) = (array("holdout.npy"), array("predictions.npy"));
    assert!(truth.nrows() > 300 && truth.nrows() == predictions.nrows());
    let mut squares = 0.0;
    for (row, found) in truth.outer_iter().zip(predictions.iter()) {
        let (movie, user) = (place("movie_ids.npy", row[0]), place("user_ids.npy", row[1]));
        let product = users.row(user).dot(&movies.row(movie));
        let expected = summary["mean"].as_f64().unwrap() + user_bias[[user, 0]] + movie_bias[[movie, 0]] + product;
        assert!((expected.clamp(0.5, 5.0) - found).abs() < 1e-5, "{expected} {found}");
        squares += (row[2] - found).powi(2);
    }
    let rmse = (squares / truth.nrows() as f64).sqrt();
    assert!((summary["holdout"]["rmse"].as_f64().unwrap() - rmse).abs() < 1e-12);
    assert_eq!(summary["holdout"]["count"], truth.nrows());
    let history = fs::read_to_string(folder.path().join("rmse.csv")).unwrap();
    let last: f64 = history.lines().last().unwrap().rsplit(',').next().unwrap().parse().unwrap();
    assert!((last - rmse).abs() < 1e-12);
}

/// Biased matrix factorisation word for word in `f64`: factors of users and movies, then their biases.
struct Reference {
    factors: usize,
    mean: f64,
    rows: [Vec<f64>; 2],
    biases: [Vec<f64>; 2],
}

impl Reference {
    fn predict(&self, movie: usize, user: usize) -> f64 {
        let (p, q) = (&self.rows[0][user * self.factors..], &self.rows[1][movie * self.factors..]);
        let product: f64 = p.iter().zip(q).take(self.factors).map(|(p, q)| p * q).sum();
        self.mean + self.biases[0][user] + self.biases[1][movie] + product
    }

    fn step(&mut self, movie: usize, user: usize, stars: f64) {
        let (learning, regularization) = (0.005, 0.02);
        let error = stars - self.predict(movie, user);
        for (biases, at) in self.biases.iter_mut().zip([user, movie]) {
            biases[at] += learning * (error - regularization * biases[at]);
        }
        for factor in 0..self.factors {
            let (at_p, at_q) = (user * self.factors + factor, movie * self.factors + factor);
            let (p, q) = (self.rows[0][at_p], self.rows[1][at_q]);
            self.rows[0][at_p] += learning * (error * q - regularization * p);
            self.rows[1][at_q] += learning * (error * p - regularization * q);
        }
    }

    fn rmse(&self, held_out: &HeldOut) -> f64 {
        let pairs = held_out.movies.iter().zip(&held_out.users).zip(&held_out.stars);
        let squares = pairs.map(|((movie, user), stars)| {
            (f64::from(*stars) / 2.0 - self.predict(*movie as usize, *user as usize).clamp(1.0, 5.0)).powi(2)
        });
        (squares.sum::<f64>() / held_out.len() as f64).sqrt()
    }
}

/// Movie, user and stars of all ratings in the order of the steps of one epoch.
fn order_of_steps(problem: &Problem<'_>, seed: u64) -> Vec<(usize, usize, f64)> {
    let (users, movies) = (problem.users.member_lists(), problem.movies.member_lists());
    let cells = cells::cut(problem.columns, &problem.users, &problem.movies, 0..users.len(), seed);
    let mut order = Vec::new();
    for stratum in 0..users.len() {
        for user_group in 0..users.len() {
            let movie_group = (user_group + stratum) % users.len();
            for block in cells.blocks(user_group, movie_group) {
                order.extend((block.begin..block.end).map(|at| {
                    let user = users[user_group][block.user + usize::from(cells.users[at])] as usize;
                    let movie = movies[movie_group][block.movie + usize::from(cells.movies[at])] as usize;
                    (movie, user, f64::from(cells.stars[at]) / 2.0)
                }));
            }
        }
    }
    order
}

#[test]
fn after_20_epochs_the_error_is_that_of_plain_f64_in_the_same_order_and_much_as_in_that_of_users() {
    let shape = Shape { movies: 400, users: 6_000, ratings: 400_000, seed: 42, half_stars: false };
    let all: Store = Ratings::from_rows(generate(&shape, |_, _| {}).rows).unwrap().into();
    let (training, held_out) = crate::ratings::split::by_fold(&all, "1/20".parse().unwrap(), 1);
    let columns = Columns { offsets: training.offsets(), raters: training.raters(), stars: training.stars() };
    let problem = Problem::new(columns, training.users(), 8);
    let start = Start { factors: 20, deviation: 0.1, seed: 5 };
    let settings = sgd::Settings { start, learning_rate: 0.005, regularization: 0.02 };
    let mut learner = sgd::Training::new(&Solo, &problem, &settings, Simd::widest());
    for _ in 0..20 {
        learner.epoch();
    }
    let own = Own::new(&held_out, &problem.users, &problem.movies, 0..8, (1.0, 5.0));
    let ours = own.rmse(&Solo, &learner.predictions(&own)).unwrap();

    let first = |side, groups: &Groups, counts: &[u32]| {
        let rows = start.rows(side, groups, counts, 0..8);
        let length = step::row_length(start.factors);
        let row = |member: usize| {
            let (group, place) = groups.of(member);
            rows[group][place * length..][..start.factors].iter().map(|value| f64::from(*value)).collect::<Vec<f64>>()
        };
        (0..groups.members()).flat_map(row).collect::<Vec<f64>>()
    };
    let error_after = |order: &[(usize, usize, f64)]| {
        let mut reference = Reference {
            factors: start.factors,
            mean: problem.mean,
            rows: [
                first(factors::Side::User, &problem.users, &problem.user_counts),
                first(factors::Side::Movie, &problem.movies, &problem.movie_counts),
            ],
            biases: [vec![0.0; training.users()], vec![0.0; training.movies()]],
        };
        for _ in 0..20 {
            order.iter().for_each(|(movie, user, stars)| reference.step(*movie, *user, *stars));
        }
        reference.rmse(&held_out)
    };
    let mut order = order_of_steps(&problem, start.seed);
    let same_order = error_after(&order);
    assert!((ours - same_order).abs() < 2e-5, "{ours} and {same_order}");
    order.sort_by_key(|(movie, user, _)| (*user, *movie));
    let by_user = error_after(&order);
    // Orders differ by some thousandths on a set this small, either way; set A has 5 M ratings.
    assert!((ours - by_user).abs() < 0.005 && ours < 0.8, "{ours} and {by_user}");
}

#[test]
fn a_restart_gives_the_bytes_of_the_uninterrupted_run_on_other_ranks_too() {
    let input = tempfile::tempdir().unwrap();
    let path = generated(input.path(), 30, 120, 1600);
    let base = ["--factors", "6", "--fold", "1/6", "--learning-rate", "0.05", "--patience", "4"];
    let with = |more: &[&str]| svd(&path, &[&base[..], more].concat());
    let (whole, summary) = run(&with(&["--epochs", "30"]), 2);
    let (kept, rounds) = (summary["kept"].as_u64().unwrap(), summary["rounds"].as_u64().unwrap());
    assert!(kept > 1 && kept + 4 == rounds && rounds < 30, "{summary}");
    for (stop, ranks) in [(1, [1, 3]), (kept, [3, 2]), (rounds - 1, [2, 5])] {
        let folder = tempfile::tempdir().unwrap();
        run_in(folder.path(), &with(&["--epochs", &stop.to_string(), "--checkpoint-every", "1"]), ranks[0]);
        let (mut files, resumed) = run_in(folder.path(), &with(&["--epochs", "30", "--resume"]), ranks[1]);
        assert_eq!(resumed["resumed"], stop);
        assert!(files.remove("checkpoint.svd").is_some());
        assert!(files == whole, "different files after a restart at {stop}");
    }
    let (fresh, summary) = run(&with(&["--epochs", "30", "--resume"]), 1);
    assert!(fresh == whole && summary["resumed"] == 0);
}

#[test]
fn a_restart_with_other_patience_gives_the_bytes_of_the_uninterrupted_run_or_is_refused() {
    let input = tempfile::tempdir().unwrap();
    let path = generated(input.path(), 30, 120, 1600);
    let base = ["--factors", "6", "--fold", "1/6", "--learning-rate", "0.05", "--epochs"];
    let with = |epochs: u64, more: &[&str]| svd(&path, &[&base[..], &[&epochs.to_string()], more].concat());
    let folder = tempfile::tempdir().unwrap();
    let summary = run_in(folder.path(), &with(30, &["--patience", "4"]), 1).1;
    let (kept, rounds) = (summary["kept"].as_u64().unwrap(), summary["rounds"].as_u64().unwrap());
    assert!(kept > 1 && kept + 4 == rounds && rounds < 30, "{summary}");
    let checkpoint = |epochs: u64, patience: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        run_in(folder.path(), &with(epochs, &[patience, &["--checkpoint-every", "1"]].concat()), 2);
        folder
    };
    let resumed = |folder: &Path, more: &[&str]| {
        let mut files = run_in(folder, &with(30, &[more, &["--resume"]].concat()), 3).0;
        files.remove("checkpoint.svd").expect("a checkpoint stays");
        files
    };
    let refusal = |folder: &Path, more: &[&str]| {
        let svd = with(30, &[more, &["--resume"]].concat());
        let line = one_line(&svd.run(&mut Run::silent(&Solo, folder)).unwrap_err());
        assert!(line.contains("checkpoint.svd is of another training, with another patience"), "{line}");
    };
    let whole = run(&with(30, &[]), 1).0;
    // The best is not the last, which alone counts without patience, whether training ended there or not.
    for epochs in [kept + 2, 30] {
        assert!(resumed(checkpoint(epochs, &["--patience", "4"]).path(), &[]) == whole, "{epochs} epochs");
    }
    let patient = run(&with(30, &["--patience", "4"]), 1).0;
    // Up to the best round nothing is lost; after it, its factors are; and in the end, there are rounds too many.
    assert!(resumed(checkpoint(kept, &[]).path(), &["--patience", "4"]) == patient);
    refusal(checkpoint(kept + 1, &[]).path(), &["--patience", "4"]);
    refusal(checkpoint(30, &[]).path(), &["--patience", "4"]);
    // More patience goes on from where less of it ended, but less would have ended before.
    assert!(resumed(checkpoint(30, &["--patience", "2"]).path(), &["--patience", "4"]) == patient);
    refusal(checkpoint(30, &["--patience", "4"]).path(), &["--patience", "2"]);
}

#[test]
fn funk_stops_where_factors_no_longer_help_and_restarts_to_the_same_bytes() {
    let input = tempfile::tempdir().unwrap();
    let path = generated(input.path(), 30, 120, 1600);
    let base =
        ["--method", "funk", "--factors", "12", "--epochs", "150", "--learning-rate", "0.03", "--fold", "1/6", "--patience", "2"];
    let with = |more: &[&str]| svd(&path, &[&base[..], more].concat());
    let (whole, summary) = run(&with(&[]), 1);
    let (kept, rounds) = (summary["kept"].as_u64().unwrap(), summary["rounds"].as_u64().unwrap());
    assert!(kept + 2 == rounds && rounds < 12, "{summary}");
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), &with(&["--checkpoint-every", "1"]), 3);
    let (mut files, resumed) = run_in(folder.path(), &with(&["--resume"]), 2);
    assert!(files.remove("checkpoint.svd").is_some() && files == whole && resumed["resumed"] == rounds);
    let factors = crate::npy::read(&folder.path().join("movie_factors.npy")).unwrap();
    assert!(factors.column(kept as usize).iter().all(|value| *value == 0.0));
}

#[test]
fn a_checkpoint_of_another_training_or_a_damaged_one_is_refused() {
    let input = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = generated(input.path(), 20, 60, 500);
    let with = |more: &[&str]| svd(&path, &[&["--factors", "4", "--epochs", "2"], more].concat());
    run_in(folder.path(), &with(&["--checkpoint-every", "2"]), 1);
    let refusal = |svd: Svd| one_line(&svd.run(&mut Run::silent(&Solo, folder.path())).unwrap_err());
    let line = refusal(with(&["--resume", "--seed", "7"]));
    assert!(line.contains("is of another training, with another seed"), "{line}");
    let line = refusal(with(&["--resume", "--fold", "1/5"]));
    assert!(line.contains("with another set of ratings"), "{line}");
    let file = folder.path().join("checkpoint.svd");
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&flipped[..], &whole[..whole.len() - 1], &whole[..whole.len() / 2], &[&whole[..], &[0]].concat(), b"x\n"] {
        fs::write(&file, damaged).unwrap();
        let line = refusal(with(&["--resume"]));
        assert!(line.contains("is no complete checkpoint"), "{line}");
    }
    fs::write(&file, whole).unwrap();
    assert!(with(&["--resume"]).run(&mut Run::silent(&Solo, folder.path())).is_ok());
}

#[test]
fn patience_needs_held_out_ratings_and_too_large_steps_are_told() {
    let input = tempfile::tempdir().unwrap();
    let path = generated(input.path(), 20, 60, 500);
    let refusal = |svd: Svd| one_line(&svd.run(&mut Run::silent(&Solo, input.path())).unwrap_err());
    assert!(refusal(svd(&path, &["--patience", "2"])).contains("--patience needs held-out ratings"));
    let line = refusal(svd(&path, &["--learning-rate", "9"]));
    assert!(line.contains("a smaller --learning-rate is needed"), "{line}");
    // Each training rating is predicted before the steps that spoil everything; what is held out comes after them.
    let path = written(input.path(), [(1, 1, 8), (2, 2, 4)]);
    let other = tempfile::tempdir().unwrap();
    let held_out = written(other.path(), [(1, 2, 6)]);
    let line = refusal(svd(&path, &["--learning-rate", "1e30", "--epochs", "1", "--holdout", held_out.to_str().unwrap()]));
    assert!(line.contains("errors grew beyond all bounds in round 1"), "{line}");
}

#[test]
fn sets_with_almost_nothing_in_them_are_no_errors() {
    let sets: [&[(u32, u32, u8)]; 4] =
        [&[], &[(7, u32::MAX, 9)], &[(u32::MAX, 3, 1), (2, 3, 10)], &[(5, 1, 3), (5, 2, 4), (5, u32::MAX, 10)]];
    for rows in sets {
        let input = tempfile::tempdir().unwrap();
        let path = written(input.path(), rows.iter().copied());
        for arguments in [&["--epochs", "2"][..], &["--epochs", "2", "--fold", "1/2"], &["--epochs", "0"]] {
            let svd = svd(&path, &[&["--factors", "3"], arguments].concat());
            let (alone, _) = run(&svd, 1);
            assert!(run(&svd, 3).0 == alone && run(&svd, 12).0 == alone, "{rows:?} {arguments:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_sets_have_the_same_factors_on_any_ranks_and_any_path(
        cells in proptest::collection::vec(proptest::option::weighted(0.4, 1u8..=10), 1..200),
        users in 1u32..20,
        groups in 1usize..10,
        ranks in 2usize..9,
        factors in 1usize..40,
        seed: u64,
    ) {
        let mut rows = Rows::default();
        let rated = cells.iter().enumerate().filter_map(|(at, stars)| Some((at as u32, (*stars)?)));
        rated.for_each(|(at, stars)| rows.push(at / users, at % users, stars));
        let set = Ratings::from_rows(rows).unwrap();
        let columns = Columns { offsets: &set.offsets, raters: &set.raters, stars: &set.stars };
        let problem = Problem::new(columns, set.users(), groups);
        let settings = sgd::Settings { start: Start { factors, deviation: 0.1, seed }, learning_rate: 0.01, regularization: 0.02 };
        let learnt = |ranks: usize, simd: Simd| {
            let parts = Threads::run(ranks, |communicator| {
                let mut learner = sgd::Training::new(communicator, &problem, &settings, simd);
                let errors: Vec<u64> = (0..3).map(|_| learner.epoch().to_bits()).collect();
                (errors, learner.factors().clone())
            });
            let bits = |rows: &[f32]| rows.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
            let users: Vec<Vec<u32>> = parts.iter().flat_map(|part| part.1.users.iter().map(|rows| bits(rows))).collect();
            let movies: Vec<Vec<u32>> = parts.iter().flat_map(|part| part.1.movies.iter().map(|rows| bits(rows))).collect();
            assert!(parts.iter().all(|part| part.0 == parts[0].0));
            (parts[0].0.clone(), users, movies)
        };
        let alone = learnt(1, Simd::Portable);
        for simd in Simd::available() {
            prop_assert!(learnt(ranks, simd) == alone, "{ranks} ranks, {simd}");
        }
    }
}
