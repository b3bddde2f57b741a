//! The whole life of a cluster through the ordinary binary, on clouds of different authors: baked, planned, made, grown,
//! shrunk, changed from outside, mended, changed in place and destroyed without a trace.

mod differential;
mod moto;

use aws_sdk_ec2::types::{IpPermission, Tag};
use ewulf::observe::filter;

use crate::wire::{Ended, Wire};
use crate::world::{Ground, Inventory, Shape, World, expect, inventory, runtime};

use moto::Moto;

const APPLY: [&str; 3] = ["apply", Shape::FILE, "--yes"];
const DESTROY: [&str; 3] = ["destroy", Shape::FILE, "--yes"];
const PLAN: [&str; 3] = ["plan", Shape::FILE, "--detailed-exitcode"];
/// `bake-ami` and `images` are told where.
const WHERE: [&str; 4] = ["--cloud", "aws", "--region", "us-east-1"];

/// One life on one cloud.
struct Life<'a> {
    ground: &'a Ground,
    wire: &'a Wire,
    /// What images are baked from.
    base: &'a str,
    /// Leaves out what this cloud is known to keep otherwise than EC2 does.
    judged: fn(Inventory) -> Inventory,
}

impl Life<'_> {
    /// Runs the binary, which must end with `code`.
    fn run(&self, arguments: &[&str], code: i32) -> Ended {
        let ended = self.wire.run(self.ground.command(arguments), None, std::time::Duration::from_secs(600));
        expect(arguments, ended, code).unwrap_or_else(|error| panic!("{error}"))
    }

    /// All that exists.
    fn inventory(&self) -> Inventory {
        (self.judged)(inventory(&self.ground.cloud()))
    }

    /// Changes the spec, carries it out, and finds nothing more to do.
    fn becomes(&self, shape: &Shape) {
        shape.write(self.ground);
        self.run(&PLAN, 2);
        self.run(&APPLY, 0);
        self.run(&PLAN, 0);
    }

    /// Changes made by others: a tag that is gone, a rule that is gone, a worker that was terminated.
    fn drift(&self) {
        let cloud = self.ground.cloud();
        let cluster = || filter("tag:ewulf:cluster", Shape::CLUSTER);
        runtime().block_on(async {
            let ec2 = &cloud.ec2;
            let vpcs = ec2.describe_vpcs().filters(cluster()).send().await.expect("the VPC is described");
            let vpc = vpcs.vpcs()[0].vpc_id().expect("a VPC has an id");
            let tag = Tag::builder().key("team").build();
            ec2.delete_tags().resources(vpc).tags(tag).send().await.expect("a tag can be deleted");
            let groups = ec2.describe_security_groups().filters(cluster()).send().await.expect("the group is described");
            let group = &groups.security_groups()[0];
            // Only what a rule is about: answers carry members that requests must not.
            let rule = |rule: &IpPermission| {
                let pair = aws_sdk_ec2::types::UserIdGroupPair::builder().group_id(group.group_id().unwrap_or_default()).build();
                IpPermission::builder()
                    .ip_protocol(rule.ip_protocol().unwrap_or_default())
                    .set_from_port(rule.from_port())
                    .set_to_port(rule.to_port())
                    .user_id_group_pairs(pair)
                    .build()
            };
            let own = group.ip_permissions().iter().find(|rule| !rule.user_id_group_pairs().is_empty());
            let revoke = ec2.revoke_security_group_ingress().group_id(group.group_id().unwrap_or_default());
            revoke.ip_permissions(rule(own.expect("nodes admit each other"))).send().await.expect("a rule can be revoked");
            let worker = filter("tag:ewulf:address", "node/compute");
            let running = filter("instance-state-name", "running");
            let nodes = ec2.describe_instances().filters(cluster()).filters(worker).filters(running).send().await;
            let nodes = nodes.expect("the workers are described");
            let id = nodes.reservations()[0].instances()[0].instance_id().expect("an instance has an id");
            ec2.terminate_instances().instance_ids(id).send().await.expect("a worker can be terminated");
        });
    }
}

/// Lives a whole life.
fn whole_life(life: &Life) {
    let ground = life.ground;
    let empty = life.inventory();
    ground.write(
        "images/small.yaml",
        &format!(
            "image: small\nbase: {}\nbuilder: {{instance_type: c7a.large}}\npackages: [openssh-server]\n\
             templates: [common]\nchecks: ['true']\n",
            life.base
        ),
    );
    let shape = Shape { image: "small".to_owned(), ready: "joined", ..Shape::new(2) };
    shape.write(ground);
    life.run(&[&["bake-ami"], WHERE.as_slice()].concat(), 0);
    let baked = life.inventory();
    let made = baked.since(&empty).expect("a bake removes nothing of others");
    assert_eq!(made.counts().into_iter().collect::<Vec<_>>(), [("images", 1), ("snapshots", 1)], "{made:#?}");
    let again = life.run(&[&["bake-ami"], WHERE.as_slice()].concat(), 0);
    assert!(again.out.contains("before"), "{}", again.out);

    let stands = |shape: &Shape| {
        let new = life.inventory().since(&baked);
        new.and_then(|new| new.is(shape)).unwrap_or_else(|error| panic!("{error}"));
    };
    life.becomes(&shape);
    stands(&shape);
    for workers in [4, 2] {
        let shape = Shape { workers, ..shape.clone() };
        life.becomes(&shape);
        stands(&shape);
    }
    life.drift();
    let plan = life.run(&PLAN, 2);
    for part in ["tags.team", "node/compute/", "group/cluster"] {
        assert!(plan.out.contains(part), "`{part}` is missing in the plan:\n{}", plan.out);
    }
    life.run(&APPLY, 0);
    life.run(&PLAN, 0);
    stands(&shape);

    let resized = Shape { worker_type: "c7a.xlarge", is_resized: [false, true], ..shape };
    life.becomes(&resized);
    stands(&resized);
    let grown = Shape { gibibytes: 3, ..resized };
    life.becomes(&grown);
    stands(&grown);
    let retagged = Shape { team: "search", ..grown };
    life.becomes(&retagged);
    stands(&retagged);

    life.run(&DESTROY, 0);
    let left = life.inventory().since(&baked).expect("destroy removes nothing of others");
    left.is_empty().unwrap_or_else(|error| panic!("{error}"));
    life.run(&DESTROY, 0);
    let image = made.0["images"][0].id.clone();
    life.run(&[&["images", "--remove", &image], WHERE.as_slice()].concat(), 0);
    let left = life.inventory().since(&empty).expect("removing an image removes nothing of others");
    left.is_empty().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_whole_life_on_a_cloud_of_records() {
    let world = World::new(None);
    whole_life(&Life { ground: &world.ground, wire: &world.wire, base: "debian-13", judged: |all| all });
}

#[test]
fn a_whole_life_on_moto() {
    let mut moto = Moto::start();
    let wire = Wire::start(&moto.endpoint);
    moto.ground.endpoint = wire.url();
    // One of moto's own public images: it has no parameter of Debian's.
    whole_life(&Life { ground: &moto.ground, wire: &wire, base: "{ami: ami-785db401}", judged: Inventory::reduced_to_moto });
}
