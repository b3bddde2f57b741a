//! Clusters of 3 to 1,000 workers made, looked at and destroyed: calls, calls in sequence, seconds and memory.

use std::process::Command;
use std::time::Duration;

use crate::kit::table::{Better, Quantity, Row};
use crate::kit::{Failure, Samples};
use crate::memory;
use crate::peers::Peer;
use crate::wire::totals;
use crate::world::{Shape, World};

const SIZES: [u32; 4] = [3, 16, 100, 1_000];
/// Milliseconds that every request waits on the wire: nothing, and about what a region is away.
const DELAYS: [u64; 2] = [0, 50];
const ROUNDS: usize = 3;
/// Ansible takes the better part of a minute for a hundred workers.
const ANSIBLES_SIZES: [u32; 2] = [3, 100];
/// Ends what hangs.
const LIMIT: Duration = Duration::from_secs(600);
/// A laptop's share for a tool that only calls an API.
const MEGABYTES: f64 = 150.0;

/// An operation as both are told to do it.
struct Operation {
    name: &'static str,
    arguments: &'static [&'static str],
    /// Most calls: a fifth more than a script of this kind needed against moto, whatever the number of workers.
    calls: f64,
    /// Most calls in sequence: as many as it needed, or as the script does in the same run. EC2 gives neither the tokens
    /// for 1,001 nodes at once.
    in_sequence: f64,
}

const OPERATIONS: [Operation; 3] = [
    Operation { name: "create", arguments: &["apply", Shape::FILE, "--yes"], calls: 1.2 * 25.0, in_sequence: 5.0 },
    Operation { name: "nothing", arguments: &["apply", Shape::FILE, "--yes"], calls: 1.2 * 11.0, in_sequence: 2.0 },
    Operation { name: "destroy", arguments: &["destroy", Shape::FILE, "--yes"], calls: 1.2 * 22.0, in_sequence: 5.0 },
];

/// What one operation came to, round by round.
#[derive(Default)]
struct Measured {
    calls: Samples,
    in_sequence: Samples,
    seconds: Samples,
    megabytes: Samples,
}

impl Measured {
    /// Runs a command over the world's wire; only calls to EC2 count.
    fn add(&mut self, world: &World, command: Command, what: &str) -> Result<(), Failure> {
        let mut bytes = 0.0;
        let ended = world.wire.run_to(command, None, LIMIT, |child| memory::watch(child, &mut bytes));
        if ended.code != Some(0) {
            return Err(Failure::Other(format!("{what} ended with {:?}:\n{}{}", ended.code, ended.out, ended.err)));
        }
        let totals = totals(ended.calls.iter().filter(|call| call.service == "ec2"));
        self.calls.0.push(totals.calls as f64);
        self.in_sequence.0.push(totals.in_sequence as f64);
        self.seconds.0.push(ended.seconds);
        self.megabytes.0.push(bytes / 1e6);
        Ok(())
    }
}

/// Ours and a peer's figures of the three operations.
type Figures = [(Measured, Measured); 3];

fn measure(peer: Peer, workers: u32, delay: u64, rounds: usize) -> Result<Figures, Failure> {
    let mut figures = Figures::default();
    for _ in 0..rounds {
        // A cloud each, so that neither walks in the other's traces.
        let (ours, theirs) = (World::new(None), World::new(None));
        // EC2's own limits: 1,001 nodes are one more than it launches or ends at once, for whoever asks.
        ours.ground.add_fault(&["throttle"]);
        theirs.ground.add_fault(&["throttle"]);
        // What the peers make: no shared volume.
        Shape { gibibytes: 0, ..Shape::new(workers) }.write(&ours.ground);
        ours.wire.delay(delay);
        theirs.wire.delay(delay);
        for (Operation { name, arguments, .. }, (own, other)) in OPERATIONS.iter().zip(&mut figures) {
            own.add(&ours, ours.ground.command(arguments), &format!("ewulf, {name} {workers}"))?;
            other.add(&theirs, peer.command(&theirs, name, workers)?, &format!("{}, {name} {workers}", peer.name()))?;
        }
    }
    Ok(figures)
}

pub fn rows(sizes: &[String]) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    let mut before: Option<(u32, Vec<f64>)> = None;
    for workers in SIZES {
        if !sizes.is_empty() && !sizes.contains(&workers.to_string()) {
            continue;
        }
        eprintln!("{workers} workers, created, looked at and destroyed");
        let [at_once, far] = DELAYS.map(|delay| measure(Peer::Script, workers, delay, ROUNDS));
        let (at_once, far) = match (at_once, far) {
            (Ok(at_once), Ok(far)) => (at_once, far),
            // The other sizes are worth their figures all the same.
            (Err(failure), _) | (_, Err(failure)) => {
                eprintln!("{failure}");
                let none = Quantity { value: f64::NAN, unit: "s" };
                let row = Row::absolute(&format!("{workers} workers"), none, Better::AtMost, 0.0, None);
                rows.push(row.noted(failure.to_string().lines().next().unwrap_or_default()));
                continue;
            }
        };
        for ((operation, at_once), far) in OPERATIONS.iter().zip(&at_once).zip(&far) {
            rows.extend(rows_of(operation, workers, at_once, far));
        }
        let seconds: Vec<f64> = at_once.iter().map(|(own, _)| own.seconds.min()).collect();
        if let Some((fewer, earlier)) = before.replace((workers, seconds.clone())).filter(|_| workers >= 1_000) {
            let growth = OPERATIONS.iter().zip(seconds.iter().zip(&earlier));
            rows.extend(growth.map(|(operation, (now, then))| grown(operation.name, fewer, workers, now / then)));
        }
    }
    for workers in ANSIBLES_SIZES {
        if sizes.is_empty() || sizes.iter().any(|size| size == "ansible") {
            rows.extend(beside_ansible(workers)?);
        }
    }
    Ok(rows)
}

/// Calls and seconds of a peer that takes long: one round, far away.
fn beside_ansible(workers: u32) -> Result<Vec<Row>, Failure> {
    eprintln!("{workers} workers, beside Ansible");
    let delay = DELAYS[1];
    let figures = measure(Peer::Ansible, workers, delay, 1)?;
    let rows = OPERATIONS.iter().zip(&figures).flat_map(|(operation, (own, peer))| {
        let what = format!("{}, {workers} workers", operation.name);
        let calls = Row {
            what: format!("{what}: calls"),
            ours: count(own.calls.median()),
            peer: Some(("Ansible".to_owned(), count(peer.calls.median()))),
            judged: own.calls.median() / peer.calls.median(),
            sign: "×",
            better: Better::AtMost,
            bar: 1.0,
            aim: None,
            note: format!("in sequence {} against {}", own.in_sequence.median(), peer.in_sequence.median()),
        };
        let wall = format!("{what}: wall, {delay} ms a call");
        [calls, Row::speed_up(&wall, own.seconds.median(), "Ansible", peer.seconds.median(), 2.0, 10.0)]
    });
    Ok(rows.collect())
}

fn count(value: f64) -> Quantity {
    Quantity { value, unit: "" }
}

fn rows_of(operation: &Operation, workers: u32, at_once: &(Measured, Measured), far: &(Measured, Measured)) -> [Row; 5] {
    let what = format!("{}, {workers} workers", operation.name);
    let calls = count(far.0.calls.median());
    let calls = Row::absolute(&format!("{what}: calls"), calls, Better::AtMost, operation.calls, None)
        .noted(format!("script: {}", far.1.calls.median()));
    let sequence = count(far.0.in_sequence.median());
    let most = operation.in_sequence.max(far.1.in_sequence.median());
    let sequence = Row::absolute(&format!("{what}: calls in sequence"), sequence, Better::AtMost, most, None)
        .noted(format!("script: {}", far.1.in_sequence.median()));
    let wall = |delay: u64, (own, peer): &(Measured, Measured)| {
        let what = format!("{what}: wall, {delay} ms a call");
        Row::speed_up(&what, own.seconds.median(), "boto3 script", peer.seconds.median(), 1.0, 2.0)
    };
    let most = Quantity { value: at_once.0.megabytes.median(), unit: "MB" };
    let memory = Row::absolute(&format!("{what}: peak memory"), most, Better::AtMost, MEGABYTES, None)
        .noted(format!("script: {:.0} MB", at_once.1.megabytes.median()));
    [calls, sequence, wall(DELAYS[0], at_once), wall(DELAYS[1], far), memory]
}

/// How many times longer ten times as many workers take.
fn grown(name: &str, fewer: u32, workers: u32, times: f64) -> Row {
    let most = f64::from(workers) / f64::from(fewer);
    let what = format!("{name}: wall of {workers} workers against {fewer}");
    Row::absolute(&what, Quantity { value: times, unit: "×" }, Better::AtMost, most, None)
}
