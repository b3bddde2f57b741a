//! Baked images.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ewulf::observe::filter;

use super::{Bench, bench};

#[test]
fn an_image_that_is_fresh_is_not_baked_again() {
    let bench = bench();
    let begun = Instant::now();
    let ran = bench.run(&["bake-ami", "--json"]).expect(0);
    assert!(begun.elapsed().as_secs() < 20, "{} s: {}", begun.elapsed().as_secs(), ran.out);
    let images = bench.run(&["images", "--json"]).expect(0).json();
    let names: Vec<&str> = images.as_array().unwrap().iter().filter_map(|image| image["image"].as_str()).collect();
    assert!(names.contains(&"master") && names.contains(&"worker"), "{images}");
    assert_eq!(names.len(), 2, "nothing was baked twice: {images}");
}

#[test]
fn a_changed_recipe_makes_its_image_stale_and_the_plan_says_so() {
    let bench = bench();
    let recipe = std::fs::read_to_string(bench.project.join("images/worker.yaml")).unwrap();
    bench.write("images/worker.yaml", &format!("{recipe}\nvariables:\n  motd_note: changed\n"));
    let plan = bench.run(&["plan", "clusters/demo.yaml"]);
    bench.write("images/worker.yaml", &recipe);
    let plan = plan.expect(0);
    assert!(plan.out.contains("stale") && plan.out.contains("ewulf bake-ami images/worker.yaml"), "{}", plan.out);
}

/// A recipe that needs nothing but the base, and one check.
fn recipe(bench: &Bench, image: &str, check: &str) -> String {
    let file = format!("images/{image}.yaml");
    bench.write(
        &file,
        &format!("image: {image}\nbuilder: {{instance_type: c7a.large}}\npackages: []\ntemplates: []\nchecks:\n- {check}\n"),
    );
    file
}

/// Removes a recipe again, so that the project's other bakes do not see it.
fn forget(bench: &Bench, file: &str) {
    std::fs::remove_file(bench.project.join(file)).unwrap();
}

/// Builders, groups, and unfinished images of an image that are there, by id.
fn made_for(bench: &Bench, image: &str) -> Vec<String> {
    let (runtime, cloud) = bench.clients();
    runtime.block_on(async {
        let tag = || filter("tag:ewulf:bake", image);
        let instances = cloud.ec2.describe_instances().filters(tag()).send().await.unwrap();
        let alive =
            instances.reservations().iter().flat_map(|reservation| reservation.instances()).filter(|instance| {
                instance.state().and_then(|state| state.name()).is_some_and(|name| name.as_str() != "terminated")
            });
        let mut made: Vec<String> = alive.filter_map(|instance| instance.instance_id().map(str::to_owned)).collect();
        let groups = cloud.ec2.describe_security_groups().filters(tag()).send().await.unwrap();
        made.extend(groups.security_groups().iter().filter_map(|group| group.group_id().map(str::to_owned)));
        let images = cloud.ec2.describe_images().owners("self").filters(filter("tag:ewulf:image", image)).send().await.unwrap();
        made.extend(images.images().iter().filter_map(|image| image.image_id().map(str::to_owned)));
        made
    })
}

/// Starts a bake whose check sleeps, and returns once that check runs.
fn bake_that_sleeps(bench: &Bench, image: &str) -> (String, Child) {
    let file = recipe(bench, image, "sleep 300");
    let log = bench.project.join(format!("{image}.err"));
    let errors = std::fs::File::create(&log).unwrap();
    let child = bench.command(&["bake-ami", &file]).stdout(Stdio::null()).stderr(errors).spawn().unwrap();
    let begun = Instant::now();
    while !std::fs::read_to_string(&log).unwrap().contains("check") {
        assert!(begun.elapsed().as_secs() < 300, "the check never began: {}", std::fs::read_to_string(&log).unwrap());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(made_for(bench, image).len(), 2, "a builder and its group");
    (file, child)
}

#[test]
fn a_failed_check_stops_the_bake_names_the_step_and_leaves_nothing() {
    let bench = bench();
    let file = recipe(&bench, "broken", "echo before; false");
    let ran = bench.run(&["bake-ami", &file]);
    forget(&bench, &file);
    let ran = ran.expect(1);
    assert!(ran.err.contains("check"), "{}", ran.err);
    assert_eq!(made_for(&bench, "broken"), Vec::<String>::new());
}

#[test]
fn a_failed_bake_may_keep_its_builder_and_the_next_bake_removes_it() {
    let bench = bench();
    let file = recipe(&bench, "kept", "echo saw-this; false");
    let ran = bench.run(&["bake-ami", &file, "--on-error", "keep"]).expect(1);
    let made = made_for(&bench, "kept");
    let builder = made.iter().find(|id| id.starts_with("i-")).expect("the builder is left").clone();
    assert!(ran.err.contains(&format!("ewulf ssh {builder} --user root")), "says how to enter: {}", ran.err);
    assert!(ran.err.contains("saw-this"), "shows the last lines: {}", ran.err);
    let entered = bench.run(&["exec", &builder, "--user", "root", "--", "hostname"]).expect(0);
    assert!(!entered.out.trim().is_empty());

    recipe(&bench, "kept", "'true'");
    let mended = bench.run(&["bake-ami", &file]);
    forget(&bench, &file);
    mended.expect(0);
    let left = made_for(&bench, "kept");
    assert!(left.len() == 1 && left[0].starts_with("ami-"), "only the image is left: {left:?}");
    bench.run(&["images", "--remove", &left[0]]).expect(0);
}

#[test]
fn an_interrupted_bake_unwinds_all_it_made() {
    let bench = bench();
    let (file, mut child) = bake_that_sleeps(&bench, "interrupted");
    let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    let status = child.wait().unwrap();
    forget(&bench, &file);
    assert_eq!(status.code(), Some(130), "{}", std::fs::read_to_string(bench.project.join("interrupted.err")).unwrap());
    assert_eq!(made_for(&bench, "interrupted"), Vec::<String>::new());
}

#[test]
fn what_a_killed_bake_left_is_removed_by_the_next_one() {
    let bench = bench();
    let (file, mut child) = bake_that_sleeps(&bench, "slain");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(made_for(&bench, "slain").len(), 2, "nobody cleaned up");
    recipe(&bench, "slain", "'true'");
    let again = bench.run(&["bake-ami", &file]);
    forget(&bench, &file);
    again.expect(0);
    let left = made_for(&bench, "slain");
    assert!(left.len() == 1 && left[0].starts_with("ami-"), "only the image is left: {left:?}");
    bench.run(&["images", "--remove", &left[0]]).expect(0);
}
