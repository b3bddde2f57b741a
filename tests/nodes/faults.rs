//! Nodes in trouble: `ewulf local faults node` on real ones, as their neighbours and the cluster's owner see it.

use std::time::{Duration, Instant};

use ewulf::observe::filter;

use super::{Bench, bench};

/// Connects to port 22 of `$1` as often as `$2` says, a third of a second each; prints how often it worked and the
/// quickest in milliseconds.
const CONNECTS: &str = r#"
import socket, sys, time
host, rounds = sys.argv[1], int(sys.argv[2])
times = []
for _ in range(rounds):
    begun = time.monotonic()
    try:
        socket.create_connection((host, 22), 0.33).close()
        times.append(time.monotonic() - begun)
    except OSError:
        pass
print(len(times), round(1000 * min(times, default=9)))
"#;

/// A cluster of a master and one worker; each test has its own, since EC2 lists what ended for an hour.
struct Patient<'a> {
    bench: &'a Bench,
    name: &'static str,
    file: String,
}

impl<'a> Patient<'a> {
    fn made(bench: &'a Bench, name: &'static str, market: &str) -> Self {
        let file = format!("clusters/{name}.yaml");
        bench.write(
            &file,
            &format!(
                "cluster: {name}\ncloud: local\nnetwork: {{cidr: 10.81.0.0/24}}\n\
                 master: {{instance_type: c7a.large, image: master}}\n\
                 workers:\n- {{group: compute, count: 1, instance_type: c7a.large, image: worker, market: {market}}}\n\
                 shared: {{volume: 1GiB, keep: false}}\n"
            ),
        );
        bench.run(&["apply", &file, "--yes"]).expect(0);
        Self { bench, name, file }
    }

    /// Runs a script as root on one node and answers its stdout.
    fn on(&self, node: &str, script: &str) -> String {
        self.bench.on_node(self.name, node, script)
    }

    /// Id and address of the worker.
    fn worker(&self) -> (String, String) {
        let status = self.bench.run(&["status", &self.file, "--json"]).json();
        let nodes = status[0]["nodes"].as_array().cloned().unwrap_or_default();
        let node = nodes.iter().find(|node| node["address"] == "node/compute/0").unwrap_or_else(|| panic!("{status}"));
        let id = node["id"].as_str().expect("a node has an id").to_owned();
        let address = self.on("node/compute/0", "hostname -I").split_whitespace().next().unwrap().to_owned();
        (id, address)
    }

    fn apply(&self) {
        self.bench.run(&["apply", &self.file, "--yes"]).expect(0);
    }

    fn destroy(&self) {
        self.bench.run(&["destroy", self.name, "--yes"]).expect(0);
    }
}

/// How often of `rounds` the master reached an address, and in how many milliseconds at best.
fn reached(patient: &Patient, address: &str, rounds: u32) -> (u32, u32) {
    let script = format!("python3 -c '{CONNECTS}' {address} {rounds}");
    let out = patient.on("node/master", &script);
    let mut numbers = out.split_whitespace().map(|number| number.parse().expect("it is a number"));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn trouble(bench: &Bench, arguments: &[&str]) {
    bench.run(&[&["local", "faults", "node"], arguments].concat()).expect(0);
}

#[test]
fn a_node_in_trouble_is_not_reached_or_badly_and_comes_back_when_it_is_over() {
    let bench = bench();
    let patient = Patient::made(&bench, "trouble", "on-demand");
    let (id, address) = patient.worker();
    assert_eq!(reached(&patient, &address, 5).0, 5);

    // Frozen: its kernel still answers, none of its programs does.
    let beat = "for i in $(seq 600); do date +%s%N > /shared/beat; sleep 0.05; done";
    patient.on("node/compute/0", &format!("systemd-run --quiet --collect bash -c '{beat}'"));
    let beats = || {
        patient
            .on("node/master", "a=$(cat /shared/beat); sleep 1; [ \"$a\" = \"$(cat /shared/beat)\" ] && echo still || echo beats")
    };
    assert_eq!(beats().trim(), "beats");
    trouble(&bench, &["freeze", &id]);
    assert_eq!(beats().trim(), "still");
    trouble(&bench, &["thaw", &id]);
    assert_eq!(beats().trim(), "beats");

    trouble(&bench, &["cut", &address]);
    assert_eq!(reached(&patient, &address, 3).0, 0);
    trouble(&bench, &["join", &id]);
    assert_eq!(reached(&patient, &address, 5).0, 5);

    // 30 of 100 on the way there and on the way back: half of the connections stand within a third of a second.
    trouble(&bench, &["lossy", &id, "--percent", "30"]);
    let (worked, _) = reached(&patient, &address, 60);
    assert!((10..50).contains(&worked), "{worked} of 60 connections");
    trouble(&bench, &["lossy", &id, "--percent", "0"]);
    assert_eq!(reached(&patient, &address, 5).0, 5);

    let slow = bench.run(&["local", "faults", "node", "slow", &id, "--milliseconds", "80"]);
    if slow.code == 0 {
        let (_, quickest) = reached(&patient, &address, 5);
        assert!(quickest >= 80, "{quickest} ms");
        trouble(&bench, &["slow", &id, "--milliseconds", "0"]);
        assert!(reached(&patient, &address, 5).1 < 80);
    } else {
        assert!(slow.err.contains("sch_netem"), "{}", slow.err);
    }

    // Where the kernel shares by NFS, the neighbour sees that the volume is full; elsewhere the shared path is a folder of
    // the host, which is left alone, and the volume is mounted somewhere else.
    let master = format!("{} node/master", patient.name);
    let shared = bench.run(&["local", "faults", "node", "fill", &master, "--path", "/shared"]);
    let (node, path) = if shared.code == 0 {
        ("node/compute/0", "/shared")
    } else {
        assert!(shared.err.contains("is a folder of the host"), "{}", shared.err);
        patient.on("node/master", "mkfs.ext4 -q -m 0 /dev/sdf && mkdir /full && mount /dev/sdf /full");
        trouble(&bench, &["fill", &master, "--path", "/full"]);
        ("node/master", "/full")
    };
    let more = format!("of={path}/more");
    let write =
        ["exec", "--cluster", patient.name, "--user", "root", node, "--", "dd", "if=/dev/zero", &more, "bs=1M", "count=8"];
    let write = bench.run(&write);
    assert!(write.code != 0 && format!("{}{}", write.out, write.err).contains("No space left"), "{}{}", write.out, write.err);
    patient.on("node/master", &format!("rm -f {path}/.filled {path}/more; umount /full || true"));
    bench.run(&["status", &patient.file]).expect(0);
    bench.run(&["plan", &patient.file, "--detailed-exitcode"]).expect(0);
    patient.destroy();
}

#[test]
fn a_node_that_dies_or_fails_its_checks_is_shown_and_the_next_apply_mends_the_cluster() {
    let bench = bench();
    let patient = Patient::made(&bench, "dying", "on-demand");
    let (id, _) = patient.worker();
    trouble(&bench, &["kill", &id]);
    let begun = Instant::now();
    while bench.run(&["status", &patient.file]).code == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "a dead node still counts as ready");
        std::thread::sleep(Duration::from_millis(500));
    }
    // What starts from now on never passes its checks.
    bench.run(&["local", "faults", "add", "impaired"]).expect(0);
    patient.apply();
    bench.run(&["local", "faults", "clear"]).expect(0);
    let (id, _) = patient.worker();
    let (runtime, cloud) = bench.clients();
    let impaired = runtime.block_on(async {
        let answer = cloud.ec2.describe_instance_status().filters(filter("instance-status.status", "impaired")).send().await;
        answer
            .expect("statuses are described")
            .instance_statuses()
            .iter()
            .filter_map(|status| status.instance_id.clone())
            .collect::<Vec<_>>()
    });
    assert_eq!(impaired, [id]);
    patient.destroy();
}

#[test]
fn a_spot_node_that_is_taken_back_has_its_notice_first_and_is_replaced_by_the_next_apply() {
    let bench = bench();
    let patient = Patient::made(&bench, "taken", "spot");
    let (id, _) = patient.worker();
    let notice = "token=$(curl -fsX PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token) && \
                  curl -s -o /dev/stdout -w ' %{http_code}' -H \"X-aws-ec2-metadata-token: $token\" \
                  http://169.254.169.254/latest/meta-data/spot/instance-action";
    let asked = || patient.on("node/compute/0", notice);
    assert!(asked().trim().ends_with("404"), "{}", asked());
    trouble(&bench, &["interrupt", &id, "--notice", "8"]);
    let told = asked();
    assert!(told.contains("\"action\"") && told.contains("terminate") && told.trim().ends_with("200"), "{told}");
    let begun = Instant::now();
    let plan = loop {
        let plan = bench.run(&["plan", &patient.file, "--detailed-exitcode"]);
        if plan.code == 2 {
            break plan;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the node was not taken back");
        std::thread::sleep(Duration::from_secs(1));
    };
    assert!(plan.out.contains("Server.SpotInstanceTermination"), "{}", plan.out);
    patient.apply();
    assert_ne!(patient.worker().0, id);
    patient.destroy();
}
