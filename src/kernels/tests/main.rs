//! The programs under a real `mpirun`: the same answers on any number of ranks, and failures that end them all.

mod abort;
mod movielens;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A program under `mpirun` in a working folder.
fn mpirun(ranks: usize, program: &str, arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args(["--oversubscribe", "--bind-to", "none", "-n", &ranks.to_string(), program])
        .args(arguments)
        .current_dir(folder)
        // As root, in a container, Open MPI asks for both.
        .envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")])
        .env_remove("EWULF_EVENTS");
    command
}

fn outcome(mut command: Command) -> Output {
    command.output().expect("mpirun is installed where the feature `mpi` is built")
}

/// The summary and standard output of a run that must succeed.
fn success(command: Command, folder: &Path) -> (Value, String) {
    let output = outcome(command);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let summary = fs::read(folder.join("summary.json")).unwrap();
    (serde_json::from_slice(&summary).unwrap(), text(&output.stdout))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const PRIMITIVES: &str = env!("CARGO_BIN_EXE_primitives");
const PI: &str = env!("CARGO_BIN_EXE_pi");
const NETPIPE: &str = env!("CARGO_BIN_EXE_netpipe");
const KNN: &str = env!("CARGO_BIN_EXE_knn");
const SVD: &str = env!("CARGO_BIN_EXE_svd");
const BLEND: &str = env!("CARGO_BIN_EXE_blend");
const DATAGEN: &str = env!("CARGO_BIN_EXE_datagen");

#[test]
fn primitives_are_right_on_any_number_of_ranks() {
    for ranks in [1, 2, 3, 5] {
        let folder = tempfile::tempdir().unwrap();
        let command = mpirun(ranks, PRIMITIVES, &["--elements", "5000,1", "--repeats", "6"], folder.path());
        let (summary, table) = success(command, folder.path());
        assert_eq!(summary["ranks"], ranks);
        assert!(summary["primitives"].as_array().unwrap().iter().all(|primitive| primitive["ok"] == true));
        assert!(table.lines().any(|line| line.starts_with("bcast") && line.contains("ok") && line.contains("µs")));
        assert!(table.contains(&format!("34 primitives ok on {ranks} ranks")), "{table}");
    }
}

#[test]
fn pi_counts_the_same_hits_on_any_number_of_ranks() {
    let hits: Vec<Value> = (1..=4)
        .map(|ranks| {
            let folder = tempfile::tempdir().unwrap();
            let command = mpirun(ranks, PI, &["--samples", "3000001", "--seed", "7"], folder.path());
            let (summary, stdout) = success(command, folder.path());
            assert_eq!(summary["ranks"], ranks);
            assert!(stdout.starts_with("pi 3.14"), "{stdout}");
            summary["hits"].clone()
        })
        .collect();
    assert!(hits[0].is_u64() && hits.iter().all(|other| *other == hits[0]), "{hits:?}");
}

#[test]
fn pi_takes_the_instructions_that_are_asked_for_and_counts_the_same() {
    let count = |simd: &str, ranks: usize, mode: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let arguments = [&["--samples", "2500000", "--seed", "9"], mode].concat();
        let mut command = mpirun(ranks, PI, &arguments, folder.path());
        command.env("EWULF_SIMD", simd);
        let (summary, _) = success(command, folder.path());
        assert_eq!(summary["simd"], simd);
        summary
    };
    let portable = count("portable", 1, &[])["hits"].clone();
    for simd in ewulf_kernels::simd::Simd::available() {
        assert_eq!(count(simd.name(), 2, &[])["hits"], portable, "{simd}");
    }
    let serial = count("portable", 3, &["--serial"]);
    assert_eq!((&serial["hits"], &serial["ranks"]), (&portable, &1.into()));
    let speedup = count("portable", 3, &["--speedup", "--repeats", "2"]);
    assert_eq!(speedup["hits"], portable);
    assert_eq!(speedup["speedup"].as_array().unwrap().len(), 3);
}

#[test]
fn netpipe_measures_every_pattern_on_any_number_of_ranks() {
    for ranks in 2..=5 {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["--to", "100000", "--milliseconds", "2"];
        let (summary, table) = success(mpirun(ranks, NETPIPE, &arguments, folder.path()), folder.path());
        let curves = summary["curves"].as_array().unwrap();
        assert_eq!(curves.len(), 2 + ranks * (ranks - 1) / 2, "{summary}");
        assert!(curves.iter().all(|curve| curve["fastest"]["latency_microseconds"].as_f64().unwrap() > 0.0), "{summary}");
        assert_eq!(table.lines().filter(|line| line.contains("MB/s")).count(), curves.len(), "{table}");
        let names = ["netpipe.csv", "netpipe.png", "netpipe.svg", "two.npy", "pairs.npy", "ring.npy"];
        names.iter().for_each(|name| assert!(folder.path().join(name).exists(), "{name} is missing"));
    }
}

#[test]
fn knn_writes_the_same_bytes_on_any_number_of_ranks_from_any_format() {
    for format in ["netflix", "movielens-csv", "movielens-100k"] {
        let folder = tempfile::tempdir().unwrap();
        let shape = ["--movies", "70", "--users", "300", "--ratings", "4000", "--output", "data", "--format", format];
        let generated = Command::new(DATAGEN).args(shape).current_dir(folder.path()).output().unwrap();
        assert!(generated.status.success(), "{}", text(&generated.stderr));
        let input = folder.path().join("data").display().to_string();
        let outputs = |ranks: usize| {
            let place = folder.path().join(ranks.to_string());
            fs::create_dir(&place).unwrap();
            let arguments = ["--input", &input, "--neighbours", "10", "--min-support", "3"];
            let (summary, _) = success(mpirun(ranks, KNN, &arguments, &place), &place);
            assert_eq!((&summary["ratings"], &summary["ranks"]), (&4000.into(), &ranks.into()));
            assert!(summary["timings"]["rows"].is_f64(), "{summary}");
            let names = ["ids.npy", "neighbours.npy", "similarities.npy", "neighbours.csv"];
            names.map(|name| fs::read(place.join(name)).unwrap())
        };
        let alone = outputs(1);
        for ranks in [2, 3] {
            assert!(outputs(ranks) == alone, "{format} on {ranks} ranks");
        }
    }
}

#[test]
fn svd_and_blend_write_the_same_bytes_on_any_number_of_ranks_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let shape = ["--movies", "60", "--users", "400", "--ratings", "6000", "--output", "data", "--format", "movielens-csv"];
    let generated = Command::new(DATAGEN).args(shape).current_dir(folder.path()).output().unwrap();
    assert!(generated.status.success(), "{}", text(&generated.stderr));
    let svd = |ranks: usize, output: &str, more: &[&str]| {
        let common = ["--input", "data", "--fold", "1/5", "--factors", "6", "--output", output];
        let command = mpirun(ranks, SVD, &[&common[..], more].concat(), folder.path());
        success(command, &folder.path().join(output));
        let names = ["user_factors.npy", "movie_factors.npy", "user_bias.npy", "predictions.npy", "rmse.csv"];
        names.map(|name| fs::read(folder.path().join(output).join(name)).unwrap())
    };
    let alone = svd(1, "alone", &["--epochs", "6"]);
    for ranks in [2, 3, 5] {
        assert!(svd(ranks, &format!("on-{ranks}"), &["--epochs", "6"]) == alone, "on {ranks} ranks");
    }
    svd(2, "again", &["--epochs", "4", "--checkpoint-every", "2"]);
    assert!(svd(3, "again", &["--epochs", "6", "--resume"]) == alone, "after a restart");
    let funk = ["--method", "funk", "--epochs", "30", "--learning-rate", "0.02"];
    assert!(svd(1, "funk", &funk) == svd(3, "funk-on-3", &funk), "funk on 3 ranks");

    let blend = |ranks: usize| {
        let arguments = ["--predictions", "alone", "funk", "--folds", "4"];
        let (summary, _) = success(mpirun(ranks, BLEND, &arguments, folder.path()), folder.path());
        assert_eq!(summary["models"].as_array().unwrap().len(), 2);
        (summary["blended"].clone(), ["weights.csv", "blended.npy"].map(|name| fs::read(folder.path().join(name)).unwrap()))
    };
    let alone = blend(1);
    assert!([2, 3].into_iter().all(|ranks| blend(ranks) == alone));
}

#[test]
fn svd_tells_a_failure_that_all_ranks_know_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("u.data"), "1\t2\t3\t4\n1\t3\t5\t4\n").unwrap();
    for arguments in [&["--patience", "2"][..], &["--learning-rate", "1e30"]] {
        let output = outcome(mpirun(3, SVD, &[&["--input", "u.data"], arguments].concat(), folder.path()));
        let stderr = text(&output.stderr);
        assert!(!output.status.success());
        assert_eq!(stderr.lines().filter(|line| line.starts_with("svd: rank 0: ")).count(), 1, "{stderr}");
        assert_eq!(stderr.lines().filter(|line| line.starts_with("svd: rank")).count(), 1, "{stderr}");
    }
}

#[test]
fn sets_with_fewer_movies_than_ranks_or_none_at_all_are_no_errors() {
    for (lines, movies) in [("", 0), ("1,7,3,0\n2,7,4,0\n1,9,1,0\n2,9,5,0\n", 2)] {
        let folder = tempfile::tempdir().unwrap();
        let header = "userId,movieId,rating,timestamp\n";
        fs::write(folder.path().join("ratings.csv"), format!("{header}{lines}")).unwrap();
        for ranks in [1, 2, 5] {
            let command = mpirun(ranks, KNN, &["--input", "ratings.csv", "--neighbours", "3"], folder.path());
            let (summary, _) = success(command, folder.path());
            assert_eq!(summary["movies"], movies);
            let table = fs::read_to_string(folder.path().join("neighbours.csv")).unwrap();
            assert_eq!(table.lines().count(), 1 + movies, "{table}");
            assert_eq!(fs::read(folder.path().join("neighbours.npy")).unwrap().len(), 128 + movies * 3 * 8);
        }
    }
}

#[test]
fn a_rank_that_fails_ends_all_with_one_line_of_reason() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("u.data"), "1\t2\t3\t4\n1\t2\tfive\t4\n").unwrap();
    let output = outcome(mpirun(3, KNN, &["--input", "u.data"], folder.path()));
    assert!(!output.status.success());
    let stderr = text(&output.stderr);
    let reasons: Vec<&str> = stderr.lines().filter(|line| line.starts_with("knn: rank")).collect();
    assert_eq!(reasons.len(), 1, "{stderr}");
    assert!(reasons[0].starts_with("knn: rank 0: u.data:2: expected user, movie, rating"), "{stderr}");
    assert!(!folder.path().join("summary.json").exists());
}

#[test]
fn wrong_arguments_are_told_once_with_status_2() {
    let folder = tempfile::tempdir().unwrap();
    for (program, arguments) in [(PI, ["--samples", "many"]), (KNN, ["--neighbours", "0"])] {
        let output = outcome(mpirun(3, program, &arguments, folder.path()));
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert_eq!(stderr.matches("error: invalid value").count(), 1, "{stderr}");
        let alone = Command::new(program).args(arguments).current_dir(folder.path()).output().unwrap();
        assert_eq!(alone.status.code(), Some(2));
    }
}

#[test]
fn help_shows_an_example_once() {
    let folder = tempfile::tempdir().unwrap();
    for program in [PRIMITIVES, PI, NETPIPE, KNN, SVD, BLEND, DATAGEN] {
        let output = outcome(mpirun(2, program, &["--help"], folder.path()));
        assert!(output.status.success());
        assert_eq!(text(&output.stdout).matches("Example:").count(), 1, "{program}");
    }
}

#[test]
fn events_go_to_the_file_that_the_environment_names() {
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("events");
    let mut command = mpirun(2, PI, &["--samples", "5000000"], folder.path());
    command.env("EWULF_EVENTS", &events);
    let output = outcome(command);
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "");
    let events = fs::read_to_string(&events).unwrap();
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0], serde_json::json!({"event": "phase", "phase": "sample"}));
    let last = serde_json::json!({"event": "progress", "phase": "sample", "done": 3, "total": 3});
    assert!(events.contains(&last), "{events:?}");
}

#[test]
fn datagen_works_once_under_mpirun() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--movies", "9", "--users", "20", "--ratings", "50", "--output", "set"];
    for (ranks, generated) in [(1, true), (2, false)] {
        let (summary, stdout) = success(mpirun(ranks, DATAGEN, &arguments, folder.path()), folder.path());
        assert_eq!(summary["generated"], generated);
        assert_eq!(stdout.lines().count(), 1, "{stdout}");
    }
    assert!(folder.path().join("set/mv_0000009.txt").exists());
}
