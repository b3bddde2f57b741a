//! Clusters of chance that become others, each with something going wrong on the way: what the simulator is asked about
//! plans (`plan/convergence_tests.rs`), asked of the whole program on a cloud of records.

use super::story::Story;
use super::{Case, Chance, KILLS, SEED, is_whole};
use crate::wire::{Deed, Place};
use crate::world::Shape;

/// What goes wrong.
const DEEDS: [Deed; 5] =
    [KILLS[0], KILLS[1], Deed::LostAfter, Deed::LostBefore, Deed::Answer { status: 500, code: "InternalError" }];
const TYPES: [&str; 3] = ["c7a.large", "c7a.xlarge", "c7i.large"];

fn any_shape(chance: &mut Chance) -> Shape {
    Shape {
        master_type: chance.of(&TYPES[..2]),
        worker_type: chance.of(&TYPES),
        gibibytes: chance.of(&[1, 2]),
        team: chance.of(&["recsys", "search"]),
        ready: chance.of(&["running", "joined"]),
        ..Shape::new(chance.of(&[0, 1, 2, 3, 5]))
    }
}

/// What a cluster becomes: volumes do not shrink.
fn next_shape(from: &Shape, chance: &mut Chance) -> Shape {
    let to = any_shape(chance);
    // Who changes its type in place leaves no template behind; workers that are added are launched from one.
    let workers = to.worker_type != from.worker_type && to.workers <= from.workers;
    let is_resized = [to.master_type != from.master_type, workers];
    Shape { gibibytes: to.gibibytes.max(from.gibibytes), is_resized, ..to }
}

/// Tells of one pair, undisturbed and with two things going wrong.
fn tell(seed: u64) -> Result<(), String> {
    let mut chance = Chance(seed);
    let from = any_shape(&mut chance);
    let to = next_shape(&from, &mut chance);
    let about = format!("seed {seed}, from {from:?} to {to:?}");
    let story = Story::pair(from, to);
    let start = story.start();
    let places = story.clean(start.as_ref()).map_err(|error| format!("{about}: {error}"))?;
    // Locks are taken and given back by calls that have sweeps of their own.
    let places: Vec<&Place> = places.iter().filter(|place| !place.action.ends_with("Parameter")).collect();
    for _ in 0..if places.is_empty() { 0 } else { 2 } {
        let case = Case::new(places[chance.below(places.len())], chance.of(&DEEDS), 1);
        let told = story.told_with(start.as_ref(), &case);
        told.map_err(|error| format!("{about}, {case}: {error}"))?;
    }
    Ok(())
}

#[test]
fn any_cluster_becomes_any_other_whatever_goes_wrong_on_the_way() {
    let number = if is_whole() { 32 } else { 4 };
    let failures: Vec<String> = (0..number).filter_map(|round| tell(SEED + round).err()).collect();
    println!("sweep pairs: {number} pairs, {} failed", failures.len());
    assert!(failures.is_empty(), "{} of {number} failed\n\n{}", failures.len(), failures.join("\n\n"));
}
