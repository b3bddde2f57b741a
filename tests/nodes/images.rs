//! Baked images.

use std::time::Instant;

use super::bench;

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

#[test]
fn a_failed_check_stops_the_bake_names_the_step_and_leaves_nothing() {
    let bench = bench();
    bench.write(
        "images/broken.yaml",
        "image: broken\nbuilder: {instance_type: c7a.large}\npackages: []\ntemplates: []\nchecks:\n- echo before; false\n",
    );
    let ran = bench.run(&["bake-ami", "images/broken.yaml"]);
    std::fs::remove_file(bench.project.join("images/broken.yaml")).unwrap();
    let ran = ran.expect(1);
    assert!(ran.err.contains("check"), "{}", ran.err);
    let (runtime, cloud) = bench.clients();
    let left = runtime.block_on(async {
        let instances = cloud
            .ec2
            .describe_instances()
            .filters(ewulf::observe::filter("tag:ewulf:image", "broken"))
            .filters(ewulf::observe::filter("instance-state-name", "running"))
            .send()
            .await
            .unwrap();
        let groups = cloud
            .ec2
            .describe_security_groups()
            .filters(ewulf::observe::filter("tag:ewulf:image", "broken"))
            .send()
            .await
            .unwrap();
        instances.reservations().len() + groups.security_groups().len()
    });
    assert_eq!(left, 0, "no builder and no security group is left");
}
