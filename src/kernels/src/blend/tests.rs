//! Blends are better than their models, the same bytes on any number of ranks, and honest about what they were made from.

use std::fs;

use super::*;
use crate::communicator::{Solo, Threads};
use crate::random::SplitMix64;
use crate::startup::one_line;

/// Folders of runs whose models see the truth through noise of their own, of these sizes.
fn runs(folder: &Path, ratings: usize, noises: &[f64]) -> Vec<PathBuf> {
    runs_of(folder, (0..ratings as u32).map(|at| (at / 7 + 1, u32::MAX - at % 7)), noises)
}

/// The same for ratings by movie and user.
fn runs_of(folder: &Path, pairs: impl Iterator<Item = (u32, u32)>, noises: &[f64]) -> Vec<PathBuf> {
    let mut random = SplitMix64::new(8);
    let truth: Vec<(u32, u32, u8)> = pairs.map(|(movie, user)| (movie, user, random.below(10) as u8 + 1)).collect();
    let run = |(number, noise): (usize, &f64)| {
        let path = folder.join(format!("run-{number}"));
        fs::create_dir(&path).unwrap();
        let predictions: Vec<f32> =
            truth.iter().map(|(_, _, stars)| (0.5 * f64::from(*stars) + noise * random.normal()) as f32).collect();
        crate::scores::write(&path, &predictions, truth.iter().copied()).unwrap();
        path
    };
    noises.iter().enumerate().map(run).collect()
}

fn blend(predictions: &[PathBuf]) -> Blend {
    let paths = predictions.iter().map(|path| path.to_str().unwrap());
    Blend::try_parse_from(["blend", "--predictions"].into_iter().chain(paths)).unwrap()
}

fn outcome(blend: &Blend, ranks: usize) -> ([Vec<u8>; 2], serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    Threads::run(ranks, |communicator| blend.run(&mut Run::silent(communicator, folder.path())).unwrap());
    let summary = serde_json::from_slice(&fs::read(folder.path().join("summary.json")).unwrap()).unwrap();
    (["weights.csv", "blended.npy"].map(|name| fs::read(folder.path().join(name)).unwrap()), summary)
}

fn refusal(blend: &Blend) -> String {
    let folder = tempfile::tempdir().unwrap();
    one_line(&blend.run(&mut Run::silent(&Solo, folder.path())).unwrap_err())
}

#[test]
fn a_blend_is_better_than_its_best_model_and_the_same_bytes_on_any_number_of_ranks() {
    let folder = tempfile::tempdir().unwrap();
    let blend = blend(&runs(folder.path(), 3000, &[0.9, 0.6, 0.7, 2.0]));
    let (alone, summary) = outcome(&blend, 1);
    for ranks in [2, 3, 5, 8, 70] {
        let (files, other) = outcome(&blend, ranks);
        assert!(files == alone, "different files on {ranks} ranks");
        assert_eq!((&other["blended"], &other["models"]), (&summary["blended"], &summary["models"]));
    }
    let rmse = |scores: &serde_json::Value| scores["rmse"].as_f64().unwrap();
    let best = summary["models"].as_array().unwrap().iter().map(|model| rmse(&model["scores"])).fold(9.0, f64::min);
    // Independent errors of these sizes leave 1 / (1/0.9² + 1/0.6² + 1/0.7² + 1/2²) of variance at most.
    assert!(rmse(&summary["blended"]) < 0.42 && best > 0.58, "{summary}");
    assert!(rmse(&summary["fitted"]) <= rmse(&summary["blended"]));
    let table = String::from_utf8(alone[0].clone()).unwrap();
    let weights: Vec<f64> = table.lines().skip(1).take(4).map(|line| line.split(',').nth(1).unwrap().parse().unwrap()).collect();
    assert!(weights[1] > weights[2] && weights[2] > weights[0] && weights[0] > weights[3] && weights[3] > 0.0, "{table}");
}

#[test]
fn ratings_that_were_held_out_as_a_fold_are_blended_as_well_as_any() {
    let folder = tempfile::tempdir().unwrap();
    let fold = Fold { number: 1, of: 10 };
    let pairs = (1..200).flat_map(|movie| (1..100).map(move |user| (movie, user)));
    let paths = runs_of(folder.path(), pairs.filter(|(movie, user)| is_in_fold(fold, 0, *user, *movie)), &[0.9, 0.6]);
    let (_, summary) = outcome(&blend(&paths), 2);
    let rmse = |scores: &serde_json::Value| scores["rmse"].as_f64().unwrap();
    assert!(rmse(&summary["blended"]) < rmse(&summary["models"][1]["scores"]), "{summary}");
}

#[test]
fn one_row_is_not_predicted_by_weights_that_knew_it() {
    let folder = tempfile::tempdir().unwrap();
    // As many models of pure noise as ratings, almost: they fit anything they have seen, and nothing else.
    let mut blend = blend(&runs(folder.path(), 40, &[50.0; 30]));
    blend.regularization = 1e-9;
    let (_, summary) = outcome(&blend, 2);
    let rmse = |name: &str| summary[name]["rmse"].as_f64().unwrap();
    assert!(rmse("fitted") < 1.2 && rmse("blended") > 1.3, "{summary}");
}

#[test]
fn no_ratings_and_one_rating_are_no_errors() {
    for ratings in [0, 1] {
        let folder = tempfile::tempdir().unwrap();
        let blend = blend(&runs(folder.path(), ratings, &[0.5, 0.5]));
        let (files, summary) = outcome(&blend, 3);
        assert_eq!(summary["ratings"], ratings);
        assert_eq!(files[1].len(), 128 + 4 * ratings);
    }
}

#[test]
fn predictions_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let paths = runs(folder.path(), 30, &[0.5, 0.7]);
    let (first, second) = (paths[0].join(PREDICTIONS), paths[1].join(PREDICTIONS));
    let both = blend(&paths);
    let shorter = ndarray::Array1::<f32>::zeros(29);
    let good = fs::read(&second).unwrap();
    write_npy(&second, &shorter).unwrap();
    assert!(refusal(&both).contains("has 29 rows of 1, but 30 rows of 1 are expected"), "{}", refusal(&both));
    let mut nan = vec![1.0f32; 30];
    nan[7] = f32::NAN;
    write_npy(&second, &ArrayView1::from(&nan)).unwrap();
    assert!(refusal(&both).contains("no finite number in row 7"), "{}", refusal(&both));
    fs::write(&second, &good).unwrap();
    let other = paths[1].join(HOLDOUT);
    let truth = crate::npy::read(&other).unwrap();
    // The first run's file is what the models are measured by.
    let mut unknown = truth.clone();
    unknown[[11, 2]] = f64::NAN;
    let measure = paths[0].join(HOLDOUT);
    write_npy(&measure, &unknown).unwrap();
    assert!(refusal(&both).contains("run-0/holdout.npy holds what is no finite number in row 11"), "{}", refusal(&both));
    write_npy(&measure, &truth).unwrap();
    write_npy(&other, &(truth + 1.0)).unwrap();
    assert!(refusal(&both).contains("is not that of --holdout"), "{}", refusal(&both));
    fs::remove_file(&other).unwrap();
    assert!(outcome(&both, 1).1["ratings"] == 30);
    fs::copy(&first, &second).unwrap();
    let twice = Blend { regularization: 0.0, ..both };
    assert!(refusal(&twice).contains("raise --regularization"), "{}", refusal(&twice));
    fs::remove_file(&first).unwrap();
    assert!(refusal(&twice).contains("predictions.npy could not be read"), "{}", refusal(&twice));
}
