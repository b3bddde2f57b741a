//! One script of calls on two clouds: moto, which ewulf's authors did not write, and the local cloud on records.

use std::process::Command;

use crate::world::World;

use super::moto::{Moto, interpreter};

/// Runs the script, compares the answers, and holds each difference against the table of known divergences.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/differential.py");

#[test]
fn the_same_calls_get_the_same_answers_from_moto_but_for_what_is_listed() {
    let moto = Moto::plain();
    let world = World::new(None);
    let output = Command::new(interpreter())
        .arg(SCRIPT)
        .args([&moto.ground.state, &world.ground.state])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("the interpreter starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let troubles = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{troubles}\nmoto said:\n{}", moto.log());
    print!("{said}");
}
