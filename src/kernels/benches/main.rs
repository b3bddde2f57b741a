//! The kernels against their peers: `make bench`, or `cargo bench -p ewulf-kernels --features mpi -- pi knn`.
//!
//! Each subject measures ours and the peer in the same run, in alternating rounds, and fills rows of one table: what,
//! ours, peer, ratio, bar, aim, and whether the bar is reached. What a subject needs from the outside (a Python
//! environment with the peers, data sets) is made under `target/bench` when it is first asked for.

mod kit;
mod knn;
mod netpipe;
mod pi;
mod ratings;
mod svd;

use std::process::ExitCode;

use kit::table::Row;

/// A subject's name, what it compares, and how.
type Subject = (&'static str, &'static str, fn() -> Result<Vec<Row>, kit::Failure>);

const SUBJECTS: &[Subject] = &[
    ("pi", "random points a second against NumPy", pi::rows),
    ("knn", "neighbours of movies against Surprise, and on the Netflix Prize's size", knn::rows),
    ("netpipe", "messages between two ranks against NetPIPE in C", netpipe::rows),
    ("ratings", "rating files to columns", ratings::rows),
    ("svd", "epochs of matrix factorisation against Surprise and LIBMF", svd::rows),
];

fn main() -> ExitCode {
    // Cargo adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let Some(unknown) = arguments.iter().find(|name| !SUBJECTS.iter().any(|(subject, ..)| subject == name)) {
        eprintln!("{unknown} is no subject; there are:");
        SUBJECTS.iter().for_each(|(subject, what, _)| eprintln!("  {subject:<12} {what}"));
        return ExitCode::from(2);
    }
    let mut rows = Vec::new();
    let mut failed = false;
    for (subject, what, measure) in SUBJECTS.iter().copied() {
        if !arguments.is_empty() && !arguments.iter().any(|name| name == subject) {
            continue;
        }
        eprintln!("{subject}: {what}");
        match measure().and_then(|rows| kit::table::save(subject, &rows).map(|()| rows)) {
            Ok(measured) => rows.extend(measured),
            Err(failure) => {
                failed = true;
                eprintln!("{subject}: {}", ewulf_kernels::startup::one_line(&failure));
            }
        }
    }
    print!("{}", kit::table::render(&rows));
    if failed || rows.iter().any(|row| !row.reaches_bar()) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
