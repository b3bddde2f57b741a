//! Epochs of matrix factorisation against Surprise and LIBMF, and on the Netflix Prize's size.

use std::fs;
use std::path::Path;

use ewulf_kernels::communicator::{Solo, Threads};
use ewulf_kernels::datagen::Format;
use ewulf_kernels::random::SplitMix64;
use ewulf_kernels::ratings::split::{HeldOut, by_fold};
use ewulf_kernels::ratings::{Input, Store, load};
use ewulf_kernels::simd::Simd;
use ewulf_kernels::startup::{Run, one_line};
use ewulf_kernels::svd::cells::Columns;
use ewulf_kernels::svd::factors::Start;
use ewulf_kernels::svd::holdout::Own;
use ewulf_kernels::svd::train::Learner;
use ewulf_kernels::svd::{Problem, funk, sgd};

use crate::kit::peer::{Peer, number};
use crate::kit::table::{Better, Quantity, Row};
use crate::kit::{Failure, Samples, alternate, io_failure, mpirun, peak_memory, scratch, summary, timed};
use crate::ratings::data;

const OURS: Option<&str> = option_env!("CARGO_BIN_EXE_svd");
/// Movies, users and ratings of the sets.
const A: (u32, u32, u64) = (2_000, 50_000, 4_965_287);
const N: (u32, u32, u64) = (17_770, 480_189, 100_479_659);
/// What svd itself takes unless told otherwise.
const GROUPS: usize = 8;
/// Each asks the peers for some epochs.
const ROUNDS: usize = 5;
/// Ours takes less than a tenth of a second, so each of its rounds is the best of some.
const REPEATS: usize = 5;
/// On set N.
const LARGE_ROUNDS: usize = 5;
/// Of whole runs of five epochs, each of which takes some ten seconds.
const MPI_ROUNDS: usize = 3;
/// Passes of one measurement of Funk's form.
const PASSES: usize = 10;

pub fn rows() -> Result<Vec<Row>, Failure> {
    let small = set("a", A)?;
    let mut rows = against_peers(&small)?;
    rows.push(equal_factors(&small));
    rows.push(error_of_reference(&small));
    rows.push(funk_row("Funk, one step, on A", &small));
    drop(small);
    rows.extend(large()?);
    rows.extend(under_mpirun()?);
    Ok(rows)
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::Other(one_line(error))
}

fn set(name: &str, shape: (u32, u32, u64)) -> Result<Store, Failure> {
    let path = data(name, shape, Format::Columns)?;
    load(&mut Run::silent(&Solo, Path::new(".")), &Input::new(&path)).map_err(|error| failed(&error))
}

fn problem(store: &Store) -> Problem<'_> {
    let columns = Columns { offsets: store.offsets(), raters: store.raters(), stars: store.stars() };
    Problem::new(columns, store.users(), GROUPS)
}

/// Surprise's defaults.
fn settings(factors: usize) -> sgd::Settings {
    let start = Start { factors, deviation: 0.1, seed: 1 };
    sgd::Settings { start, learning_rate: 0.005, regularization: 0.02 }
}

/// One epoch on set A with 50 and 100 factors.
fn against_peers(store: &Store) -> Result<Vec<Row>, Failure> {
    let folder = scratch("svd")?;
    lay_out(&folder, store)?;
    let problem = problem(store);
    let mut rows = Vec::new();
    for factors in [50, 100] {
        let mut learner = sgd::Training::new(&Solo, &problem, &settings(factors), Simd::widest());
        for (library, name, bar, aim) in [("surprise", "Surprise", 10.0, 15.0), ("libmf", "LIBMF, 1 thread", 2.5, 4.0)] {
            let mut peer = Peer::start("svd", &[library, &folder.display().to_string(), &factors.to_string()])?;
            let ours = || Ok((0..REPEATS).map(|_| timed(|| learner.epoch()).0).fold(f64::INFINITY, f64::min));
            let (own, others) = alternate(ROUNDS, ours, || number(&peer.round()?, "epoch"))?;
            let rate = store.len() as f64 / own.min() / 1e6;
            let note = format!("{rate:.1} M ratings/s; {}; spread {:.0} %", Simd::widest(), own.spread_percent());
            let what = format!("SGD epoch on A, k = {factors}");
            rows.push(Row::speed_up(&what, own.min(), name, others.min(), bar, aim).noted(note));
        }
    }
    Ok(rows)
}

/// Writes the ratings as the peers read them.
fn lay_out(folder: &Path, store: &Store) -> Result<(), Failure> {
    let write = |name: &str, bytes: Vec<u8>| {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(io_failure(format!("{} could not be written", path.display())))
    };
    let movies = (0..store.movies()).flat_map(|movie| store.places(movie).map(move |_| movie as u32));
    write("movies.u32", movies.flat_map(u32::to_le_bytes).collect())?;
    write("users.u32", store.raters().iter().flat_map(|user| user.to_le_bytes()).collect())?;
    write("stars.u8", store.stars().to_vec())
}

/// Values that differ between any two of 1, 2, 4 and 8 ranks and between instructions, after two epochs.
fn equal_factors(store: &Store) -> Row {
    let problem = problem(store);
    let learnt = |ranks: usize, simd: Simd| {
        let parts = Threads::run(ranks, |communicator| {
            let mut learner = sgd::Training::new(communicator, &problem, &settings(50), simd);
            for _ in 0..2 {
                learner.epoch();
            }
            learner.factors().clone()
        });
        let users = parts.iter().flat_map(|part| part.users.iter().flat_map(|rows| rows.iter().map(|value| value.to_bits())));
        let movies = parts.iter().flat_map(|part| part.movies.iter().flatten().map(|value| value.to_bits()));
        users.chain(movies).collect::<Vec<u32>>()
    };
    let alone = learnt(1, Simd::widest());
    let others = [2, 4, 8].map(|ranks| learnt(ranks, Simd::widest())).into_iter();
    let others = others.chain(Simd::available().map(|simd| learnt(2, simd)));
    let differences: usize = others.map(|other| alone.iter().zip(&other).filter(|(one, other)| one != other).count()).sum();
    let names: Vec<&str> = Simd::available().map(Simd::name).collect();
    Row::absolute("SGD on A, values that differ", Quantity { value: differences as f64, unit: "" }, Better::AtMost, 0.0, None)
        .noted(format!("1, 2, 4 and 8 ranks; {}; {} values", names.join(", "), alone.len()))
}

/// The error of held-out ratings after 20 epochs against plain `f64` in the order of users.
fn error_of_reference(store: &Store) -> Row {
    let fold = "1/50".parse().expect("a fold");
    let (training, held_out) = by_fold(store, fold, 1);
    let problem = problem(&training);
    let mut learner = sgd::Training::new(&Solo, &problem, &settings(50), Simd::widest());
    for _ in 0..20 {
        learner.epoch();
    }
    let own = Own::new(&held_out, &problem.users, &problem.movies, 0..GROUPS, (1.0, 5.0));
    let ours = own.rmse(&Solo, &learner.predictions(&own)).unwrap_or(f64::NAN);
    let theirs = reference(&training, &held_out, 50, 20);
    let off = Quantity { value: (ours - theirs).abs(), unit: "stars" };
    Row::absolute("RMSE on A after 20 epochs, off the reference", off, Better::AtMost, 0.001, None)
        .noted(format!("{ours:.5} against {theirs:.5} of plain f64 in user order; {} held-out ratings", held_out.len()))
}

/// Biased matrix factorisation word for word; the error of held-out ratings.
fn reference(training: &Store, held_out: &HeldOut, factors: usize, epochs: usize) -> f64 {
    let stars = |half_stars: &u8| f64::from(*half_stars) / 2.0;
    let mean = training.stars().iter().map(stars).sum::<f64>() / training.len() as f64;
    let mut by_user = vec![Vec::new(); training.users()];
    for movie in 0..training.movies() {
        let (raters, given) = training.of_movie(movie);
        raters.iter().zip(given).for_each(|(user, given)| by_user[*user as usize].push((movie, stars(given))));
    }
    let mut random = SplitMix64::new(99);
    let mut draw = |rows: usize| -> Vec<f64> { (0..rows * factors).map(|_| 0.1 * random.normal()).collect() };
    let (mut p, mut q) = (draw(training.users()), draw(training.movies()));
    let (mut user_bias, mut movie_bias) = (vec![0.0; training.users()], vec![0.0; training.movies()]);
    let product = |p: &[f64], q: &[f64]| p.iter().zip(q).map(|(p, q)| p * q).sum::<f64>();
    for _ in 0..epochs {
        for (user, ratings) in by_user.iter().enumerate() {
            for (movie, stars) in ratings {
                let (p, q) = (&mut p[user * factors..][..factors], &mut q[movie * factors..][..factors]);
                let error = stars - (mean + user_bias[user] + movie_bias[*movie] + product(p, q));
                user_bias[user] += 0.005 * (error - 0.02 * user_bias[user]);
                movie_bias[*movie] += 0.005 * (error - 0.02 * movie_bias[*movie]);
                for (p, q) in p.iter_mut().zip(q) {
                    let old = *p;
                    *p += 0.005 * (error * *q - 0.02 * *p);
                    *q += 0.005 * (error * old - 0.02 * *q);
                }
            }
        }
    }
    let pairs = held_out.movies.iter().zip(&held_out.users).zip(&held_out.stars);
    let squares = pairs.map(|((movie, user), given)| {
        let (movie, user) = (*movie as usize, *user as usize);
        let product = product(&p[user * factors..][..factors], &q[movie * factors..][..factors]);
        (stars(given) - (mean + user_bias[user] + movie_bias[movie] + product).clamp(1.0, 5.0)).powi(2)
    });
    (squares.sum::<f64>() / held_out.len() as f64).sqrt()
}

/// The time of one step of one factor, what is left over for the next factor included.
fn funk_row(what: &str, store: &Store) -> Row {
    let problem = problem(store);
    let settings = funk::Settings {
        factors: 1,
        passes: PASSES,
        learning_rate: 0.001,
        regularization: 0.015,
        start: 0.1,
        has_baseline: true,
        seed: 1,
    };
    let mut learner = funk::Training::new(&Solo, &problem, &settings, Simd::widest());
    let samples: Vec<f64> = (0..ROUNDS).map(|_| timed(|| learner.round(0, &mut |_, _| {})).0).collect();
    let samples = Samples(samples);
    let step = 1e9 * samples.min() / (PASSES * store.len()) as f64;
    Row::absolute(what, Quantity { value: step, unit: "ns" }, Better::AtMost, 2.0, Some(1.0))
        .noted(format!("{PASSES} passes and the residuals; spread {:.0} %", samples.spread_percent()))
}

/// One core on the Netflix Prize's size.
fn large() -> Result<Vec<Row>, Failure> {
    let store = set("n", N)?;
    let mut samples = Samples::default();
    let seconds = {
        let problem = problem(&store);
        let (seconds, mut learner) = timed(|| sgd::Training::new(&Solo, &problem, &settings(50), Simd::widest()));
        samples.0.extend((0..LARGE_ROUNDS).map(|_| timed(|| learner.epoch()).0));
        seconds
    };
    let rate = Quantity { value: store.len() as f64 / samples.min() / 1e6, unit: "M ratings/s" };
    let note = format!(
        "one epoch {:.2} s, preparation {seconds:.1} s; {}; spread {:.0} %",
        samples.min(),
        Simd::widest(),
        samples.spread_percent()
    );
    let row = Row::absolute("SGD on N, k = 50, 1 core", rate, Better::AtLeast, 70.0, Some(100.0)).noted(note);
    Ok(vec![row, funk_row("Funk, one step, on N", &store)])
}

/// The fastest epoch of two ranks against that of one, wall time, in alternating rounds; and the memory of one.
fn under_mpirun() -> Result<Vec<Row>, Failure> {
    let input = data("n", N, Format::Columns)?.display().to_string();
    let run = |ranks: usize| -> Result<(f64, u64), Failure> {
        let folder = scratch(&format!("svd-{ranks}"))?;
        let arguments = ["--input", &input, "--factors", "50", "--epochs", "5"];
        let memory = peak_memory(&mut mpirun(ranks, OURS, &arguments, &folder)?)?;
        let rounds = summary(&folder)?["round_seconds"].as_array().cloned().unwrap_or_default();
        Ok((rounds.iter().filter_map(|seconds| seconds.as_f64()).fold(f64::INFINITY, f64::min), memory))
    };
    let mut peak = 0;
    let of_one = || -> Result<f64, Failure> {
        let (seconds, memory) = run(1)?;
        peak = peak.max(memory);
        Ok(seconds)
    };
    let (alone, both) = alternate(MPI_ROUNDS, of_one, || Ok(run(2)?.0))?;
    let efficiency = Quantity { value: alone.min() / both.min() / 2.0, unit: "" };
    let note = format!(
        "fastest epoch of 5 in each of {MPI_ROUNDS} rounds: {:.3} s and {:.3} s, wall time; spread {:.0} % and {:.0} %",
        alone.min(),
        both.min(),
        alone.spread_percent(),
        both.spread_percent()
    );
    let memory = Quantity { value: peak as f64 / 1e9, unit: "GB" };
    Ok(vec![
        Row::absolute("SGD on N, k = 50, 2 ranks against 1", efficiency, Better::AtLeast, 0.95, Some(0.98)).noted(note),
        Row::absolute("SGD on N, k = 50, peak memory of 1 rank", memory, Better::AtMost, 2.0, Some(1.5))
            .noted("resident, the mapped columns included"),
    ])
}
