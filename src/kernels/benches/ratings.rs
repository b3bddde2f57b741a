//! Rating files to columns on one core: text, columns from rows, and cached columns.

use std::path::{Path, PathBuf};

use ewulf_kernels::communicator::Solo;
use ewulf_kernels::datagen::{Datagen, Format, GENERATION};
use ewulf_kernels::ratings::dialect::Names;
use ewulf_kernels::ratings::format::detect;
use ewulf_kernels::ratings::scan::{scan, sources};
use ewulf_kernels::ratings::workers::Workers;
use ewulf_kernels::ratings::{Input, Rows, Store, cache, columns, load};
use ewulf_kernels::startup::{Kernel, Run, one_line};

use crate::kit::table::{Better, Quantity, Row};
use crate::kit::{Failure, Samples, folder, scratch, timed};

const ROUNDS: usize = 5;
/// The columns of the Netflix Prize's size are built this often: once takes 2 GB and seconds.
const LARGE_ROUNDS: usize = 3;
/// Movies, users and ratings of the text: 240 MB, far more than any cache, in 1,200 files as uneven as Netflix's.
const TEXT: (u32, u32, u64) = (1_200, 480_189, 12_000_000);
/// Movies, users and ratings of the Netflix Prize's set, as kernels are measured on it.
const N: (u32, u32, u64) = (17_770, 480_189, 100_479_659);

pub fn rows() -> Result<Vec<Row>, Failure> {
    Ok([text()?, large()?].concat())
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::Other(one_line(error))
}

/// A generated set under `target/bench/data`, made on first use.
pub fn data(name: &str, (movies, users, ratings): (u32, u32, u64), format: Format) -> Result<PathBuf, Failure> {
    let output = folder()?.join("data").join(format!("{name}-{GENERATION}"));
    let datagen = Datagen { movies, users, ratings, seed: 42, format, output: output.clone() };
    datagen.run(&mut Run::silent(&Solo, scratch("datagen")?)).map_err(|error| failed(&error))?;
    Ok(output)
}

/// Text that the system holds in memory, read, hashed and parsed by one thread; and rows to columns.
fn text() -> Result<Vec<Row>, Failure> {
    let path = data("text", TEXT, Format::Netflix)?;
    let found = detect(&path, None).map_err(|error| failed(&error))?;
    let sources = sources(&found, &Names::default()).map_err(|error| failed(&error))?;
    let bytes: u64 = sources.iter().map(|source| source.state.length).sum();
    let (mut all, mut hash, mut build) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        hash.0.push(timed(|| scan(&sources, false, Workers::ONE, |_, _| {})).0);
        let (seconds, scanned) = timed(|| scan(&sources, true, Workers::ONE, |_, _| {}));
        all.0.push(seconds);
        let rows = scanned.map_err(|error| failed(&error))?.rows;
        let (seconds, ratings) = timed(|| columns::build(rows, Workers::ONE));
        build.0.push(seconds);
        let count = ratings.map_err(|error| failed(&error))?.len() as u64;
        assert_eq!(count, TEXT.2, "ratings were lost");
    }
    let rate = |samples: &Samples| bytes as f64 / samples.min() / 1e9;
    let speed = Quantity { value: rate(&all), unit: "GB/s" };
    let note = format!(
        "read, hashed and parsed, {:.0} MB in {} files; read and hashed alone {:.2} GB/s; with columns {:.2} GB/s; spread {:.0} %",
        bytes as f64 / 1e6,
        sources.len(),
        rate(&hash),
        bytes as f64 / (all.min() + build.min()) / 1e9,
        all.spread_percent()
    );
    Ok(vec![Row::absolute("Netflix text, 1 core", speed, Better::AtLeast, 0.5, Some(1.5)).noted(note)])
}

/// The Netflix Prize's size: loading cached columns, and making them from rows.
///
/// The rows are ordered as Netflix has them, by movie with users in no order; the note has the worst order, by user.
fn large() -> Result<Vec<Row>, Failure> {
    let path = data("n", N, Format::Columns)?;
    let mut loading = Samples::default();
    for _ in 0..ROUNDS {
        let input = Input::new(&path);
        let (seconds, store) = timed(|| load(&mut Run::silent(&Solo, Path::new(".")), &input));
        loading.0.push(seconds);
        assert_eq!(store.map_err(|error| failed(&error))?.len() as u64, N.2, "ratings were lost");
    }
    let building = built(|| by_movie(&path))?;
    let scattering = built(|| by_user(&path))?;
    let seconds = |samples: &Samples| Quantity { value: samples.min(), unit: "s" };
    let note = |samples: &Samples, what: &str| format!("{what}; spread {:.0} %", samples.spread_percent());
    let bytes = std::fs::metadata(path.join(cache::FILE)).map_or(0, |metadata| metadata.len()) as f64 / 1e6;
    Ok(vec![
        Row::absolute("cached columns of N", seconds(&loading), Better::AtMost, 1.0, Some(0.3))
            .noted(note(&loading, &format!("{bytes:.0} MB mapped and every byte checked"))),
        Row::absolute("columns of N from rows", seconds(&building), Better::AtMost, 4.0, Some(2.0))
            .noted(note(&building, &format!("100 M rows by movie, users in no order; by user {:.2} s", scattering.min()))),
    ])
}

/// The seconds of columns from rows.
fn built(rows: impl Fn() -> Result<Rows, Failure>) -> Result<Samples, Failure> {
    let mut samples = Samples::default();
    for _ in 0..LARGE_ROUNDS {
        let rows = vec![rows()?];
        let (seconds, ratings) = timed(|| columns::build(rows, Workers::ONE));
        samples.0.push(seconds);
        assert_eq!(ratings.map_err(|error| failed(&error))?.len() as u64, N.2, "ratings were lost");
    }
    Ok(samples)
}

fn whole(path: &Path) -> Result<Store, Failure> {
    load(&mut Run::silent(&Solo, Path::new(".")), &Input::new(path)).map_err(|error| failed(&error))
}

/// The ratings as rows movie by movie, the users of each in an order that no sorting can make use of.
fn by_movie(path: &Path) -> Result<Rows, Failure> {
    let store = whole(path)?;
    let mut rows = Rows::default();
    for (movie, id) in store.movie_ids().iter().enumerate() {
        let (raters, stars) = store.of_movie(movie);
        // One of two primes is no divisor, so its multiples go through all places.
        let stride = if raters.len() % 7919 == 0 { 7907 } else { 7919 };
        for at in (0..raters.len()).map(|at| at * stride % raters.len()) {
            rows.push(*id, store.user_ids()[raters[at] as usize], stars[at]);
        }
    }
    Ok(rows)
}

/// The ratings as rows in falling order of users, so that no movie's users are in order.
fn by_user(path: &Path) -> Result<Rows, Failure> {
    let store = whole(path)?;
    let mut next = vec![0u64; store.users() + 1];
    store.raters().iter().for_each(|user| next[store.users() - *user as usize] += 1);
    (0..store.users()).for_each(|user| next[user + 1] += next[user]);
    let count = store.len();
    let mut rows = Rows { movies: vec![0; count], users: vec![0; count], stars: vec![0; count] };
    for movie in 0..store.movies() {
        let (raters, stars) = store.of_movie(movie);
        for (user, stars) in raters.iter().zip(stars) {
            let slot = &mut next[store.users() - 1 - *user as usize];
            rows.movies[*slot as usize] = store.movie_ids()[movie];
            rows.users[*slot as usize] = store.user_ids()[*user as usize];
            rows.stars[*slot as usize] = *stars;
            *slot += 1;
        }
    }
    Ok(rows)
}
