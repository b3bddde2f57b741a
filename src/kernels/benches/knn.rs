//! Neighbours of movies against Surprise, and on the Netflix Prize's size.

use std::fs;
use std::path::Path;

use ewulf_kernels::communicator::{Solo, Threads};
use ewulf_kernels::datagen::Format;
use ewulf_kernels::datagen::generate::{Shape, generate};
use ewulf_kernels::events::Events;
use ewulf_kernels::knn::baseline::SHRINKAGE;
use ewulf_kernels::knn::nearest::Neighbours;
use ewulf_kernels::knn::predict::Prediction;
use ewulf_kernels::knn::search::{Outcome, Search, WIDTHS};
use ewulf_kernels::knn::similarity::Similarity;
use ewulf_kernels::output::write_npy;
use ewulf_kernels::ratings::split::{Fold, HeldOut, by_fold};
use ewulf_kernels::ratings::{Input, Ratings, Store, load};
use ewulf_kernels::simd::Simd;
use ewulf_kernels::startup::{Run, one_line};

use crate::kit::peer::{Peer, number};
use crate::kit::table::{Better, Quantity, Row};
use crate::kit::{Failure, Samples, alternate, io_failure, mpirun, peak_memory, scratch, summary, timed};
use crate::ratings::data;

const OURS: Option<&str> = option_env!("CARGO_BIN_EXE_knn");
/// Movies, users and ratings of the sets.
const A: (u32, u32, u64) = (2_000, 50_000, 4_965_287);
const N: (u32, u32, u64) = (17_770, 480_189, 100_479_659);
/// One round of Surprise takes half a minute.
const ROUNDS: usize = 3;
/// Ours takes a fraction of a second, so each of its rounds is the best of some.
const REPEATS: usize = 5;

pub fn rows() -> Result<Vec<Row>, Failure> {
    Ok([netflix()?, against_surprise()?, predictions()?].concat())
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::Other(one_line(error))
}

fn search(similarity: Similarity, neighbours: u32) -> Search {
    let (simd, predict) = (Simd::widest(), Prediction::Means);
    Search { simd, similarity, neighbours, min_support: 1, shrinkage: SHRINKAGE, predict, widths: WIDTHS }
}

fn run(search: Search, store: &Store, held_out: &HeldOut) -> Result<Outcome, Failure> {
    search.run(&Solo, store, held_out, &mut Events::silent("knn")).map_err(|error| failed(&error))
}

/// Preparation, all pairs and the nearest 40 on set A.
fn against_surprise() -> Result<Vec<Row>, Failure> {
    let path = data("a", A, Format::Columns)?;
    let store = load(&mut Run::silent(&Solo, Path::new(".")), &Input::new(&path)).map_err(|error| failed(&error))?;
    let mut rows = Vec::new();
    for (similarity, name, bar, aim) in
        [(Similarity::Pearson, "pearson", 100.0, 200.0), (Similarity::PearsonBaseline, "pearson_baseline", 10.0, 30.0)]
    {
        let folder = scratch(&format!("knn-{name}"))?;
        lay_out(&folder, &store)?;
        let all = all_pairs(&folder, similarity, &store)?;
        let mut surprise = Peer::start("knn", &[name, &folder.display().to_string()])?;
        let compared = surprise.round()?;
        let ours = || {
            let mut rounds = Samples::default();
            for _ in 0..REPEATS {
                let (seconds, outcome) = timed(|| run(search(similarity, 40), &store, &HeldOut::default()));
                outcome?;
                rounds.0.push(seconds);
            }
            Ok(rounds.min())
        };
        let (own, peer) = alternate(ROUNDS, ours, || surprise.seconds())?;
        let (bits, largest) = (number(&compared, "bits")?, number(&compared, "largest")?);
        let quantity = |value| Quantity { value, unit: "" };
        rows.push(match similarity {
            Similarity::Pearson => {
                let differences = bits + differences(&all, &store)? as f64;
                let names: Vec<&str> = Simd::available().map(Simd::name).collect();
                Row::absolute("pearson on A, bits that differ", quantity(differences), Better::AtMost, 0.0, None)
                    .noted(format!("all pairs, against Surprise's matrix in f64; {}; 1, 2 and 3 ranks", names.join(", ")))
            }
            _ => Row::absolute("pearson_baseline on A, largest difference", quantity(largest), Better::AtMost, 1e-6, Some(1e-12))
                .noted("all pairs, against Surprise's matrix"),
        });
        let note = format!("preparation, all pairs, top 40; {}; spread {:.0} %", Simd::widest(), own.spread_percent());
        rows.push(Row::speed_up(&format!("{name} on A"), own.min(), "Surprise", peer.min(), bar, aim).noted(note));
    }
    Ok(rows)
}

/// Writes a training set as the peer reads it.
fn lay_out(folder: &Path, store: &Store) -> Result<(), Failure> {
    let write = |name: &str, bytes: Vec<u8>| {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(io_failure(format!("{} could not be written", path.display())))
    };
    write("offsets.u64", store.offsets().iter().flat_map(|offset| offset.to_le_bytes()).collect())?;
    write("raters.u32", store.raters().iter().flat_map(|rater| rater.to_le_bytes()).collect())?;
    write("stars.u8", store.stars().to_vec())?;
    write("users", store.users().to_string().into_bytes())
}

/// Writes the similarities of all pairs, as neighbours of every movie, and returns them.
fn all_pairs(folder: &Path, similarity: Similarity, store: &Store) -> Result<Neighbours, Failure> {
    let outcome = run(search(similarity, store.movies() as u32), store, &HeldOut::default())?;
    let neighbours = outcome.neighbours.ok_or_else(|| Failure::Other("one rank has no neighbours".into()))?;
    let ids: ndarray::Array1<i64> = store.movie_ids().iter().map(|id| i64::from(*id)).collect();
    write_npy(&folder.join("ids.npy"), &ids)
        .and_then(|()| write_npy(&folder.join("neighbours.npy"), &neighbours.ids))
        .and_then(|()| write_npy(&folder.join("similarities.npy"), &neighbours.similarities))
        .map_err(|error| failed(&error))?;
    Ok(neighbours)
}

/// Neighbours, and bits of their correlations, that are not those of the widest instructions on one rank: on each kind of
/// instructions there is, and on 2 and 3 ranks.
fn differences(expected: &Neighbours, store: &Store) -> Result<usize, Failure> {
    let mut differences = 0;
    let others = Simd::available().map(|simd| (1, simd)).chain([2, 3].map(|ranks| (ranks, Simd::widest())));
    for (ranks, simd) in others {
        let search = Search { simd, ..search(Similarity::Pearson, store.movies() as u32) };
        let mut outcomes =
            Threads::run(ranks, |communicator| search.run(communicator, store, &HeldOut::default(), &mut Events::silent("knn")));
        let outcome = outcomes.swap_remove(0).map_err(|error| failed(&error))?;
        let found = outcome.neighbours.ok_or_else(|| Failure::Other("the first rank has no neighbours".into()))?;
        let ids = found.ids.iter().zip(&expected.ids).map(|(one, other)| one == other);
        let bits = found.similarities.iter().zip(&expected.similarities).map(|(one, other)| one.to_bits() == other.to_bits());
        differences += ids.zip(bits).filter(|same| *same != (true, true)).count();
    }
    Ok(differences)
}

/// Held-out ratings of sets like MovieLens 100k, with whole and with half stars.
fn predictions() -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (half_stars, predict, similarity, name) in [
        (false, Prediction::Means, Similarity::Pearson, "pearson"),
        (true, Prediction::Means, Similarity::Pearson, "pearson"),
        (false, Prediction::Baseline, Similarity::PearsonBaseline, "pearson_baseline"),
        (true, Prediction::Baseline, Similarity::PearsonBaseline, "pearson_baseline"),
    ] {
        let shape = Shape { movies: 1_682, users: 943, ratings: 100_000, seed: 42, half_stars };
        let all = Ratings::from_rows(generate(&shape, |_, _| {}).rows).map_err(|error| failed(&error))?;
        let (training, held_out) = by_fold(&all.into(), Fold { number: 1, of: 5 }, 0);
        let kind = if predict == Prediction::Means { "means" } else { "baseline" };
        let folder = scratch(&format!("knn-{kind}-{half_stars}"))?;
        lay_out(&folder, &training)?;
        let outcome = run(Search { predict, ..search(similarity, 40) }, &training, &held_out)?;
        let pairs = held_out.movies.iter().zip(&held_out.users).flat_map(|(movie, user)| [i64::from(*movie), i64::from(*user)]);
        let pairs = ndarray::Array2::from_shape_vec((held_out.len(), 2), pairs.collect());
        let pairs = pairs.map_err(|error| failed(&error))?;
        write_npy(&folder.join("pairs.npy"), &pairs)
            .and_then(|()| write_npy(&folder.join("predictions.npy"), &ndarray::ArrayView1::from(&outcome.predictions)))
            .map_err(|error| failed(&error))?;
        let compared = Peer::start("knn", &[name, &folder.display().to_string(), kind])?.round()?;
        let largest = Quantity { value: number(&compared, "largest")?, unit: "stars" };
        let stars = if half_stars { "half stars" } else { "whole stars" };
        let what = format!("predictions by {kind}, {stars}, largest difference");
        let note = format!("{} of 100,000 ratings, against Surprise", number(&compared, "count")?);
        rows.push(Row::absolute(&what, largest, Better::AtMost, 1e-6, None).noted(note));
    }
    Ok(rows)
}

/// The Netflix Prize's size from cached columns: one core, two ranks against one, memory.
fn netflix() -> Result<Vec<Row>, Failure> {
    let path = data("n", N, Format::Columns)?;
    load(&mut Run::silent(&Solo, Path::new(".")), &Input::new(&path)).map_err(|error| failed(&error))?;
    let mut whole = Samples::default();
    let (mut alone, mut both) = (Samples::default(), Samples::default());
    let mut shares = String::new();
    let mut peak = 0;
    for _ in 0..ROUNDS {
        for (ranks, walls) in [(1, &mut alone), (2, &mut both)] {
            let folder = scratch("knn-n")?;
            let memory = peak_memory(&mut mpirun(ranks, OURS, &["--input", &path.display().to_string()], &folder)?)?;
            let summary = summary(&folder)?;
            walls.0.push(number(&summary, "seconds")?);
            shares = summary["timings"].to_string();
            if ranks == 1 {
                peak = peak.max(memory);
            }
        }
        let (seconds, outcome) = timed(|| {
            let store = load(&mut Run::silent(&Solo, Path::new(".")), &Input::new(&path)).map_err(|error| failed(&error))?;
            run(search(Similarity::Pearson, 40), &store, &HeldOut::default())
        });
        outcome?;
        whole.0.push(seconds);
    }
    let note = format!("load, preparation, all pairs, top 40; {}; spread {:.0} %", Simd::widest(), whole.spread_percent());
    let efficiency = Quantity { value: alone.min() / (2.0 * both.min()), unit: "" };
    let walls = format!(
        "wall {:.2} s and {:.2} s, files written; spread {:.0} % and {:.0} %; of two: {shares}",
        alone.min(),
        both.min(),
        alone.spread_percent(),
        both.spread_percent()
    );
    let memory = Quantity { value: peak as f64 / 1e9, unit: "GB" };
    Ok(vec![
        Row::absolute("pearson on N, 1 core", Quantity { value: whole.min(), unit: "s" }, Better::AtMost, 20.0, Some(10.0))
            .noted(note),
        Row::absolute("pearson on N, 2 ranks, efficiency", efficiency, Better::AtLeast, 0.85, Some(0.92)).noted(walls),
        Row::absolute("pearson on N, peak memory of 1 rank", memory, Better::AtMost, 3.0, Some(2.0))
            .noted("resident, the mapped columns included"),
    ])
}
