//! Two ranks of one machine, a rank a core, against NetPIPE in C.
//!
//! Both run for a moment in turn, many times, because what else the machine does changes a round trip by far more than
//! either program: the fastest moment of each is compared.

use std::path::Path;
use std::process::Command;

use crate::kit::table::{Better, Quantity, Row};
use crate::kit::{Failure, Samples, alternate, io_failure, mpirun, output, scratch, summary};

const OURS: Option<&str> = option_env!("CARGO_BIN_EXE_netpipe");
/// The program of Debian's netpipe-openmpi.
const PEER: &str = "NPopenmpi";
const ROUNDS: usize = 8;

/// What is compared: a name, and the size in bytes.
const CASES: [(&str, u64); 3] = [("netpipe, 1 B", 1), ("netpipe, 64 B", 64), ("netpipe, 2 MB", 1 << 21)];

pub fn rows() -> Result<Vec<Row>, Failure> {
    if output(Command::new("which").arg(PEER)).is_err() {
        return Err(Failure::Other(format!("{PEER} is missing: make bench installs netpipe-openmpi")));
    }
    CASES.into_iter().map(|(what, bytes)| row(what, bytes)).collect()
}

fn row(what: &str, bytes: u64) -> Result<Row, Failure> {
    let (own, other) = (scratch("netpipe")?, scratch("netpipe-c")?);
    let (ours, peers) = alternate(ROUNDS, || ours(&own, bytes), || peer(&other, bytes))?;
    let overhead = (ours.min() / peers.min() - 1.0) * 100.0;
    let microseconds = |samples: &Samples| Quantity { value: samples.min() * 1e6, unit: "µs" };
    let rate = |samples: &Samples| bytes as f64 / samples.min() / 1e9;
    let note = match bytes >= 1 << 20 {
        true => format!("{:.2} against {:.2} GB/s", rate(&ours), rate(&peers)),
        false => "half a round trip".to_owned(),
    };
    let spread = format!("median over minimum: ours {:.0} %, peer {:.0} %", ours.spread_percent(), peers.spread_percent());
    let row = Row::absolute(what, microseconds(&ours), Better::AtMost, 10.0, Some(3.0));
    let peer = Some(("NetPIPE in C".to_owned(), microseconds(&peers)));
    Ok(Row { peer, judged: overhead, sign: "%", ..row }.noted(format!("{note}; {spread}")))
}

/// Seconds one way of our fastest trial.
fn ours(folder: &Path, bytes: u64) -> Result<f64, Failure> {
    let size = bytes.to_string();
    let arguments = ["--patterns", "two", "--perturbation", "0", "--milliseconds", "350", "--from", &size, "--to", &size];
    output(&mut mpirun(2, OURS, &arguments, folder)?)?;
    summary(folder)?;
    column(&folder.join("netpipe.csv"), b',', 3, 5, bytes)
}

/// Seconds one way of the fastest trial of NetPIPE in C: by its bandwidth in megabits of 2^20, for which it writes more
/// digits than for the seconds.
fn peer(folder: &Path, bytes: u64) -> Result<f64, Failure> {
    let size = bytes.to_string();
    let arguments = ["-l", &size, "-u", &size, "-p", "0", "-o", "np.out"];
    output(&mut mpirun(2, Some(PEER), &arguments, folder)?)?;
    let megabits = column(&folder.join("np.out"), b' ', 0, 1, bytes)?;
    Ok((8 * bytes) as f64 / f64::from(1 << 20) / megabits)
}

/// The value in column `value` of the line whose column `key` is `bytes`.
fn column(path: &Path, separator: u8, key: usize, value: usize, bytes: u64) -> Result<f64, Failure> {
    let text = std::fs::read_to_string(path).map_err(io_failure(format!("{} could not be read", path.display())))?;
    let found = text.lines().find_map(|line| {
        let cells: Vec<&str> = line.split(separator as char).map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let is_wanted = cells.get(key)?.parse::<u64>().is_ok_and(|size| size == bytes);
        if is_wanted { cells.get(value)?.parse::<f64>().ok() } else { None }
    });
    found.ok_or_else(|| Failure::Other(format!("{} has no line of {bytes} bytes", path.display())))
}
