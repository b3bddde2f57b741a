//! MovieLens 100k, where a copy of it is at hand: errors are those that others publish for the same folds.
//!
//! The set may not be passed on, so it is not among the tests' own files: `EWULF_MOVIELENS` names its folder.

use std::path::Path;

use ewulf_kernels::communicator::Solo;
use ewulf_kernels::knn::Knn;
use ewulf_kernels::startup::{Kernel, Run, one_line};
use ewulf_kernels::svd::Svd;
use serde_json::Value;

/// The folder with u.data, and the folds u1.base and u1.test to u5.base and u5.test.
const VARIABLE: &str = "EWULF_MOVIELENS";

/// The error of the held-out ratings, averaged over the five folds.
fn error<K: Kernel>(set: &Path, arguments: &[&str]) -> f64 {
    let of_fold = |fold: usize| {
        let file = |end: &str| set.join(format!("u{fold}.{end}")).display().to_string();
        let (training, held_out) = (file("base"), file("test"));
        let input = [K::NAME, "--input", &training, "--holdout", &held_out, "--no-cache"];
        let kernel = K::try_parse_from(input.iter().chain(arguments)).unwrap_or_else(|message| panic!("{message}"));
        let folder = tempfile::tempdir().unwrap();
        let outcome = kernel.run(&mut Run::silent(&Solo, folder.path()));
        outcome.unwrap_or_else(|error| panic!("{VARIABLE}: {}", one_line(&error)));
        let summary: Value = serde_json::from_slice(&std::fs::read(folder.path().join("summary.json")).unwrap()).unwrap();
        assert_eq!(summary["ratings"].as_u64().zip(summary["holdout"]["count"].as_u64()), Some((80_000, 20_000)), "{summary}");
        summary["holdout"]["rmse"].as_f64().unwrap()
    };
    (1..=5).map(of_fold).sum::<f64>() / 5.0
}

#[test]
fn movielens_100k_is_predicted_as_by_surprise_if_it_is_at_hand() {
    let Some(set) = std::env::var_os(VARIABLE).filter(|set| !set.is_empty()) else {
        println!("skipped: {VARIABLE} names no folder of MovieLens 100k");
        return;
    };
    let set = Path::new(&set);
    let near = |what: &str, found: f64, expected: f64, within: f64| {
        println!("{what}: {found:.5}");
        assert!((found - expected).abs() <= within, "{what}: {found} instead of {expected}");
    };
    let means = ["--similarity", "pearson", "--predict", "means"];
    near("knn by means and pearson", error::<Knn>(set, &means), 0.9425, 0.0005);
    let baselines = ["--similarity", "pearson_baseline", "--predict", "baseline"];
    near("knn by baselines and pearson_baseline", error::<Knn>(set, &baselines), 0.9204, 0.0005);
    // Surprise's own random numbers are others, so only its error can be met.
    near("svd with 100 factors", error::<Svd>(set, &["--factors", "100"]), 0.938, 0.002);
}
