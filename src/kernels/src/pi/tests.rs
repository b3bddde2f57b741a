//! The count is one integer, however it is reached, and the tables add up.

use super::*;
use crate::communicator::Threads;

fn pi(samples: u64) -> Pi {
    Pi { samples, seed: 7, serial: false, speedup: false, repeats: 1 }
}

fn summary(pi: Pi, ranks: usize) -> (serde_json::Value, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    Threads::run(ranks, |communicator| pi.run(&mut Run::silent(communicator, folder.path())).unwrap());
    (serde_json::from_slice(&std::fs::read(folder.path().join("summary.json")).unwrap()).unwrap(), folder)
}

#[test]
fn the_count_is_the_same_integer_on_any_number_of_ranks() {
    for samples in [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK + 17] {
        let alone = summary(pi(samples), 1).0["hits"].clone();
        assert!(alone.as_u64().unwrap() <= samples);
        for ranks in [2, 3, 5] {
            assert_eq!(summary(pi(samples), ranks).0["hits"], alone, "{samples} samples on {ranks} ranks");
        }
        let serial = summary(Pi { serial: true, ..pi(samples) }, 3).0;
        assert_eq!((&serial["hits"], &serial["ranks"]), (&alone, &1.into()));
    }
}

#[test]
fn the_estimate_lies_within_four_standard_errors() {
    let (summary, _) = summary(pi(8 * CHUNK), 3);
    let (estimate, error) = (summary["estimate"].as_f64().unwrap(), summary["standard_error"].as_f64().unwrap());
    assert!((error - 4.0 * (0.785_f64 * 0.215 / (8.0 * CHUNK as f64)).sqrt()).abs() < 1e-5);
    assert!((estimate - std::f64::consts::PI).abs() < 4.0 * error, "{estimate} ± {error}");
}

#[test]
fn the_speed_up_has_a_line_for_every_number_of_ranks() {
    let (summary, folder) = summary(Pi { speedup: true, repeats: 2, ..pi(CHUNK + 5) }, 3);
    let lines = summary["speedup"].as_array().unwrap();
    let ranks: Vec<u64> = lines.iter().map(|line| line["ranks"].as_u64().unwrap()).collect();
    assert_eq!(ranks, [1, 2, 3]);
    assert_eq!(lines[0]["speedup"], 1.0);
    for line in lines {
        let efficiency = line["speedup"].as_f64().unwrap() / line["ranks"].as_f64().unwrap();
        assert!((line["efficiency"].as_f64().unwrap() - efficiency).abs() < 1e-12);
    }
    let table = std::fs::read_to_string(folder.path().join("speedup.csv")).unwrap();
    assert_eq!(table.lines().count(), 4);
    assert!(folder.path().join("speedup.svg").exists() && folder.path().join("speedup.png").exists());
}

#[test]
fn no_samples_have_no_estimate() {
    let (summary, _) = summary(pi(0), 2);
    assert!(summary["estimate"].is_null() && summary["standard_error"].is_null());
}
