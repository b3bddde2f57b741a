//! The stories that sweeps tell: a command, what stands before it, and what must stand after it.

use tempfile::TempDir;

use super::Case;
use crate::wire::{Deed, Place, places};
use crate::world::{Inventory, Shape, World, expect};

/// Times that the plain command may be repeated until the work is done.
const REPEATED: usize = 2;

/// A command on a cloud of records.
pub struct Story {
    pub name: &'static str,
    verb: Verb,
    /// What stands before.
    from: Option<Shape>,
    /// What stands afterwards; None if nothing does.
    to: Option<Shape>,
}

/// A world in which a cluster stands.
pub struct Start {
    state: TempDir,
    /// What the account held before the cluster was made.
    before: Inventory,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Apply,
    Destroy,
    Bake,
}

/// The smallest recipe that has every step of a bake but the compilation.
const RECIPE: &str = "image: small\nbase: debian-13\nbuilder: {instance_type: c7a.large}\npackages: [openssh-server]\n\
                      templates: [common]\nchecks: ['true']\n";
const RECIPE_FILE: &str = "images/small.yaml";
/// `bake-ami` learns cloud and region from here.
const BAKE: [&str; 6] = ["bake-ami", RECIPE_FILE, "--cloud", "aws", "--region", "us-east-1"];
const APPLY: [&str; 3] = ["apply", Shape::FILE, "--yes"];
const DESTROY: [&str; 3] = ["destroy", Shape::FILE, "--yes"];
const PLAN: [&str; 3] = ["plan", Shape::FILE, "--detailed-exitcode"];

impl Story {
    pub fn apply() -> Self {
        Self { name: "apply", verb: Verb::Apply, from: None, to: Some(Shape::new(2)) }
    }

    pub fn destroy() -> Self {
        Self { name: "destroy", verb: Verb::Destroy, from: Some(Shape::new(2)), to: None }
    }

    pub fn scale_up() -> Self {
        Self { name: "scale up", verb: Verb::Apply, from: Some(Shape::new(2)), to: Some(Shape::new(5)) }
    }

    /// Workers of another market: new before old.
    pub fn replace() -> Self {
        let to = Shape { market: "spot", ..Shape::new(2) };
        Self { name: "replace", verb: Verb::Apply, from: Some(Shape::new(2)), to: Some(to) }
    }

    /// What needs no new node: other types, a larger volume, another tag, a worker less.
    pub fn change() -> Self {
        let (master_type, worker_type) = ("c7a.xlarge", "c7a.xlarge");
        let to = Shape { master_type, worker_type, is_resized: [true; 2], gibibytes: 2, team: "search", ..Shape::new(1) };
        Self { name: "change", verb: Verb::Apply, from: Some(Shape::new(2)), to: Some(to) }
    }

    /// From any cluster to any other.
    pub fn pair(from: Shape, to: Shape) -> Self {
        Self { name: "pair", verb: Verb::Apply, from: Some(from), to: Some(to) }
    }

    /// An apply whose workers find room on the second rung of their ladder.
    pub fn ladder() -> Self {
        let to = Shape { worker_type: "c7a.xlarge", ladder: "[{instance_type: c7a.2xlarge}, {}]", ..Shape::new(2) };
        Self { name: "ladder", verb: Verb::Apply, from: None, to: Some(to) }
    }

    /// The master gets a root volume of another image, Debian 12's.
    pub fn new_root() -> Self {
        let master_image = Some("{ami: ami-0deb12a64d0000001}");
        let to = Shape { master_image, is_resized: [true, false], ..Shape::new(1) };
        Self { name: "new root", verb: Verb::Apply, from: Some(Shape::new(1)), to: Some(to) }
    }

    /// An apply that ends with nodes that know each other.
    pub fn join() -> Self {
        let to = Shape { ready: "joined", ..Shape::new(2) };
        Self { name: "join", verb: Verb::Apply, from: None, to: Some(to) }
    }

    pub fn bake() -> Self {
        Self { name: "bake", verb: Verb::Bake, from: None, to: None }
    }

    fn command(&self) -> &'static [&'static str] {
        match self.verb {
            Verb::Apply => &APPLY,
            Verb::Destroy => &DESTROY,
            Verb::Bake => &BAKE,
        }
    }

    /// Makes what stands before, once for all tellings.
    pub fn start(&self) -> Option<Start> {
        let from = self.from.as_ref()?;
        let world = World::new(None);
        let before = world.inventory();
        from.write(&world.ground);
        world.expect(&APPLY, 0).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        Some(Start { state: world.save(), before })
    }

    /// A world as it is before the story, with the files that it is told from, and what an empty account holds.
    fn open(&self, start: Option<&Start>) -> (World, Inventory) {
        let world = World::new(start.map(|start| start.state.path()));
        world.ground.write(RECIPE_FILE, RECIPE);
        if let Some(shape) = self.to.as_ref().or(self.from.as_ref()) {
            shape.write(&world.ground);
            if !shape.ladder.is_empty() {
                world.ground.add_fault(&["capacity: {left: 1}", "--type", "c7a.2xlarge"]);
            }
        }
        let before = start.map_or_else(|| world.inventory(), |start| start.before.clone());
        (world, before)
    }

    /// Tells it undisturbed; answers the calls that changed something.
    pub fn clean(&self, start: Option<&Start>) -> Result<Vec<Place>, String> {
        let (world, before) = self.open(start);
        let run = world.expect(self.command(), 0)?;
        self.check(&world, &before)?;
        Ok(places(&run.calls))
    }

    /// Tells it with one thing going wrong, and again without; answers how the first run ended.
    pub fn told_with(&self, start: Option<&Start>, case: &Case) -> Result<Option<i32>, String> {
        let (world, before) = self.open(start);
        let first = world.run(self.command(), Some(case.rule.clone()));
        let said = format!("{}{}", first.out, first.err);
        if first.met == 0 {
            return Err(format!("the call was never made:\n{said}"));
        }
        let is_kill = matches!(case.rule.deed, Deed::KillBefore | Deed::KillAfter);
        if is_kill != first.code.is_none() {
            return Err(format!("it ended with {:?}:\n{said}", first.code));
        }
        let (code, words) = self.expected(case);
        if code.is_some_and(|code| first.code != Some(code)) {
            return Err(format!("it ended with {:?} and not with {code:?}:\n{said}", first.code));
        }
        if let Some(missing) = words.iter().find(|word| !said.contains(*word)) {
            return Err(format!("it does not say `{missing}`:\n{said}"));
        }
        if first.code.is_some_and(|code| ![0, 1, 4].contains(&code)) || said.contains("has a bug") {
            return Err(format!("it ended with {:?}:\n{said}", first.code));
        }
        let mut outcome = Err(String::new());
        for _ in 0..REPEATED {
            outcome = world.expect(self.command(), 0);
            if outcome.is_ok() {
                break;
            }
        }
        outcome.map_err(|error| format!("repeating does not help: {error}\nthe first time it said:\n{said}"))?;
        self.check(&world, &before).map_err(|error| format!("{error}\nthe first time it said:\n{said}"))?;
        Ok(first.code)
    }

    /// Exit code and words of the run with the fault.
    ///
    /// A bake whose image stands has done its work: what it may not clean up it names, and the next bake removes it.
    fn expected(&self, case: &Case) -> (Option<i32>, Vec<String>) {
        let is_clean_up = ["TerminateInstances", "DeleteSecurityGroup"].contains(&case.rule.at.action.as_str());
        match case.code {
            Some(_) if self.verb == Verb::Bake && is_clean_up => (Some(0), vec!["could not be removed".to_owned()]),
            code => (code, case.words.clone()),
        }
    }

    /// Fails unless exactly that stands what should, and it can be removed without a trace.
    fn check(&self, world: &World, before: &Inventory) -> Result<(), String> {
        let new = world.inventory().since(before)?;
        match (self.verb, &self.to) {
            (Verb::Bake, _) => {
                let counts: Vec<(&str, usize)> = new.counts().into_iter().collect();
                if counts != [("images", 1), ("snapshots", 1)] {
                    return Err(format!("a bake left {counts:?}"));
                }
                let image = new.0["images"][0].id.clone();
                let remove = ["images", "--remove", &image, "--cloud", "aws", "--region", "us-east-1"];
                world.expect(&remove, 0)?;
            }
            (_, Some(shape)) => {
                new.is(shape)?;
                expect(&PLAN, world.run(&PLAN, None), 0)?;
                world.expect(&DESTROY, 0)?;
            }
            (_, None) => {}
        }
        world.inventory().since(before)?.is_empty()
    }
}
