//! The plan of 10,000 workers: as a value in this process, and by the binary.

use std::process::Command;
use std::time::{Duration, Instant};

use ewulf_core::plan::plan;
use ewulf_core::simulator::Simulator;
use ewulf_core::spec::{ClusterSpec, load_cluster};
use ewulf_core::world::{Ami, World as Known};

use crate::kit::table::{Better, Quantity, Row};
use crate::kit::{Failure, Samples};
use crate::world::{Shape, World};
use crate::{memory, peers};

const WORKERS: u32 = 10_000;
const ROUNDS: usize = 9;
/// A plan is looked at by somebody who waits; Terraform's core takes seconds for a tenth of it.
const SECONDS: f64 = 0.1;
const MEGABYTES: f64 = 150.0;
/// Terraform's core grows with the square of the size, so it is measured at a tenth.
const BESIDE_TERRAFORM: u32 = 1_000;
const ROUNDS_BESIDE: usize = 3;
/// The name of this subject among the arguments.
const NAME: &str = "plan";

pub fn rows(arguments: &[String]) -> Result<Vec<Row>, Failure> {
    if !arguments.is_empty() && !arguments.iter().any(|argument| argument == NAME) {
        return Ok(Vec::new());
    }
    eprintln!("a plan of {WORKERS} workers");
    let world = World::new(None);
    let shape = Shape { gibibytes: 0, ..Shape::new(WORKERS) };
    shape.write(&world.ground);
    let text = std::fs::read(world.ground.project.join(Shape::FILE));
    let text = text.map_err(|error| Failure::Other(format!("{}: {error}", Shape::FILE)))?;
    let spec = match load_cluster(Shape::FILE, &text) {
        Ok(loaded) => loaded.spec,
        Err(refused) => {
            let note = refused.list.first().map(|diagnostic| diagnostic.message.clone()).unwrap_or_default();
            return Ok(vec![seconds("plan of 10,000 workers", f64::NAN).noted(format!("the spec is refused: {note}"))]);
        }
    };
    let mut rows = values(&spec);
    let mut bytes = 0.0;
    let begun = Instant::now();
    let command = world.ground.command(&["plan", Shape::FILE]);
    let ended = world.wire.run_to(command, None, Duration::from_secs(600), |child| memory::watch(child, &mut bytes));
    if ended.code != Some(0) {
        return Err(Failure::Other(format!("ewulf plan ended with {:?}:\n{}{}", ended.code, ended.out, ended.err)));
    }
    let most = Quantity { value: bytes / 1e6, unit: "MB" };
    rows.push(
        Row::absolute("ewulf plan, 10,000 workers: peak memory", most, Better::AtMost, MEGABYTES, None)
            .noted(format!("{:.2} s with its calls", begun.elapsed().as_secs_f64())),
    );
    rows.push(beside_terraform()?);
    Ok(rows)
}

/// Our whole program against Terraform's core alone, which has no API to ask.
fn beside_terraform() -> Result<Row, Failure> {
    let world = World::new(None);
    Shape { gibibytes: 0, ..Shape::new(BESIDE_TERRAFORM) }.write(&world.ground);
    let seconds = |mut command: Command| {
        let begun = Instant::now();
        crate::kit::output(&mut command)?;
        Ok::<f64, Failure>(begun.elapsed().as_secs_f64())
    };
    let ours = (0..ROUNDS_BESIDE).map(|_| seconds(world.ground.command(&["plan", Shape::FILE])));
    let ours = Samples(ours.collect::<Result<_, _>>()?).median();
    let peers = (0..ROUNDS_BESIDE).map(|_| seconds(peers::terraform(BESIDE_TERRAFORM)?));
    let peers = Samples(peers.collect::<Result<_, Failure>>()?).median();
    let what = "ewulf plan, 1,000 workers, calls and all";
    Ok(Row::speed_up(what, ours, "Terraform 0.13.5's core, graph alone", peers, 10.0, 50.0))
}

/// The plan from nothing, and the plan that finds nothing to do.
fn values(spec: &ClusterSpec) -> Vec<Row> {
    let mut empty = Known::empty(spec.cluster.clone());
    empty.zones = vec!["us-east-1a".to_owned()];
    if let ewulf_core::spec::ImageReference::Ami(reference) = &spec.master.image {
        let id = reference.ami.to_string();
        let ami = Ami { id: id.clone(), root_device: "/dev/xvda".to_owned(), root_gibibytes: 8 };
        empty.amis.insert(id, Some(ami));
    }
    let first = plan(spec, &empty);
    let mut simulator = Simulator::new(empty.clone());
    simulator.run(&first);
    let standing = simulator.world();
    assert!(plan(spec, &standing).is_empty(), "a plan that was carried out leaves something to do");
    let timed = |world: &Known| {
        let round = || {
            let begun = Instant::now();
            let plan = plan(spec, world);
            (begun.elapsed().as_secs_f64(), plan)
        };
        Samples((0..ROUNDS).map(|_| round().0).collect()).median()
    };
    vec![
        seconds("plan of 10,000 workers from nothing", timed(&empty)),
        seconds("plan of 10,000 workers, nothing to do", timed(&standing)),
    ]
}

fn seconds(what: &str, value: f64) -> Row {
    Row::absolute(what, Quantity { value, unit: "s" }, Better::AtMost, SECONDS, None)
}
