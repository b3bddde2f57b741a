//! Jobs on a real cluster.

use std::process::Stdio;
use std::time::Duration;

use super::{Bench, bench};

/// Makes the cluster that the tests of this file run on; it stays for the next one.
fn with_cluster(bench: &Bench) {
    bench.write(
        "clusters/demo.yaml",
        "cluster: demo\ncloud: local\nnetwork: {cidr: 10.78.0.0/24}\nmaster: {instance_type: c7a.large, image: master}\n\
         workers:\n- {group: compute, count: 1, instance_type: c7a.large, image: worker}\nshared: {volume: 1GiB, keep: false}\n",
    );
    bench.run(&["apply", "clusters/demo.yaml", "--yes"]).expect(0);
}

/// The folder of the newest run of a job.
fn newest(bench: &Bench, job: &str) -> std::path::PathBuf {
    let results = std::fs::read_dir(bench.project.join("results")).expect("runs leave results");
    let mut runs: Vec<_> = results
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{job}-2"))))
        .collect();
    runs.sort();
    runs.pop().expect("the job has run")
}

fn summary(bench: &Bench, job: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(newest(bench, job).join("summary.json")).expect("summary.json is fetched");
    serde_json::from_str(&text).expect("summary.json is JSON")
}

#[test]
fn kernels_and_python_programs_return_their_results() {
    let bench = bench();
    with_cluster(&bench);
    bench.run(&["run", "jobs/primitives.yaml"]).expect(0);
    bench.run(&["run", "jobs/pi.yaml"]).expect(0);
    let pi = summary(&bench, "pi");
    let estimate = pi
        .as_object()
        .unwrap()
        .values()
        .filter_map(|value| value.as_f64())
        .any(|value| (value - std::f64::consts::PI).abs() < 0.001);
    assert!(estimate, "{pi}");
    bench.run(&["run", "jobs/pi-python.yaml"]).expect(0);
    bench.write(
        "jobs/small-knn.yaml",
        "job: small-knn\ncluster: demo\nprepare:\n- kernel: datagen\n  args: {movies: 100, users: 500, ratings: 10000, seed: 1, format: netflix, output: ratings}\n\
         kernel: knn\nargs: {input: ratings, neighbours: 10}\noutputs: [summary.json, neighbours.npy]\n",
    );
    bench.run(&["run", "jobs/small-knn.yaml"]).expect(0);
    let folder = newest(&bench, "small-knn");
    assert!(folder.join("neighbours.npy").exists() && folder.join("receipt.json").exists());
    let runs = bench.run(&["runs", "demo", "--json"]).expect(0).json();
    assert!(runs.as_array().unwrap().len() >= 4, "{runs}");
}

/// The manifests that come with ewulf, as they are.
#[test]
fn every_other_manifest_of_a_new_project_runs() {
    let bench = bench();
    with_cluster(&bench);
    for job in ["knn", "svd", "blend", "netpipe", "sweep"] {
        bench.run(&["run", &format!("jobs/{job}.yaml")]).expect(0);
    }
    let rmse = |job: &str| {
        let summary = summary(&bench, job);
        summary["holdout"]["rmse"].as_f64().unwrap_or_else(|| panic!("{job} has a score: {summary}"))
    };
    assert!(rmse("svd") < 1.0, "factors explain ratings: {}", rmse("svd"));
    let blend = summary(&bench, "blend");
    let models = blend["models"].as_array().expect("a blend tells its models");
    let best = models.iter().filter_map(|model| model["scores"]["rmse"].as_f64()).fold(f64::INFINITY, f64::min);
    let blended = blend["blended"]["rmse"].as_f64().expect("a blend has a score");
    assert!(models.len() == 3 && blended < best, "a blend is better than each of its models: {blend}");
    for (job, plot) in [("netpipe", "netpipe.png"), ("svd", "rmse.png")] {
        let png = std::fs::read(newest(&bench, job).join(plot)).unwrap_or_else(|error| panic!("{job} draws {plot}: {error}"));
        assert!(png.starts_with(b"\x89PNG"), "{plot} of {job}");
    }
    let neighbours = std::fs::read(newest(&bench, "knn").join("neighbours.npy")).expect("knn's neighbours come home");
    assert!(neighbours.starts_with(b"\x93NUMPY"));
    let table = std::fs::read_to_string(newest(&bench, "knn").join("neighbours.csv")).expect("and as a table");
    assert!(table.starts_with("movie,rank,neighbour,similarity\n"));
    let table = std::fs::read_to_string(newest(&bench, "sweep").join("sweep.csv")).expect("a sweep leaves its table");
    assert_eq!(table.lines().count(), 1 + 4 * 3, "four sets of arguments in three folds: {table}");
}

#[test]
fn values_of_a_manifest_reach_the_program_unchanged_whatever_they_hold() {
    let bench = bench();
    with_cluster(&bench);
    let hostile = ["a'b", "$(touch /tmp/broken)", "`id`", "new\nline", "--option", "two  spaces", "\"quoted\"", "ünïcode", "*"];
    let words = serde_json::to_string(&[&["python3", "show.py"][..], &hostile[..]].concat()).unwrap();
    bench.write("jobs/hostile/show.py", "import json, sys\njson.dump(sys.argv[1:], open('summary.json', 'w'))\n");
    let manifest =
        format!("job: hostile\ncluster: demo\nranks: 1\nsource: ./hostile\ncommand: {words}\noutputs: [summary.json]\n");
    bench.write("jobs/hostile.yaml", &manifest);
    bench.run(&["run", "jobs/hostile.yaml"]).expect(0);
    assert_eq!(summary(&bench, "hostile"), serde_json::json!(hostile));
    for node in ["node/master", "node/compute/0"] {
        assert_eq!(bench.on_node("demo", node, "ls /tmp/broken 2>/dev/null | wc -l").trim(), "0");
    }
}

#[test]
fn a_failed_job_exits_with_5_and_names_rank_and_node() {
    let bench = bench();
    with_cluster(&bench);
    bench.write(
        "jobs/failing/fail.py",
        "import os, sys\nfrom mpi4py import MPI\nif MPI.COMM_WORLD.rank == 1:\n    print('rank one gives up', file=sys.stderr, flush=True)\n    os._exit(7)\nMPI.COMM_WORLD.barrier()\n",
    );
    bench.write("jobs/failing.yaml", "job: failing\ncluster: demo\nranks: 2\nsource: ./failing\ncommand: [python3, fail.py]\n");
    let ran = bench.run(&["run", "jobs/failing.yaml"]).expect(5);
    assert!(ran.err.contains("rank 1") && ran.err.contains("7") && ran.err.contains("rank one gives up"), "{}", ran.err);
}

#[test]
fn a_sweep_brings_the_results_of_all_members_but_those_that_failed() {
    let bench = bench();
    with_cluster(&bench);
    // Two members at a time, one on each node of two cores; and one that the program refuses.
    bench.write("jobs/data/seed.txt", "from the run's folder\n");
    bench.write(
        "jobs/sweep-pi.yaml",
        "job: sweep-pi\ncluster: demo\nranks: all\nsplit: 2\nkernel: pi\nargs: {samples: 3000000}\nsource: ./data\n\
         prepare: [{command: [bash, -c, 'test -e seed.txt']}]\n\
         sweep: {list: [{seed: 1}, {seed: 2}, {seed: 3}, {no-such-option: 1}, {seed: 4, samples: 1000000}]}\noutputs: [summary.json]\n",
    );
    let ran = bench.run(&["run", "jobs/sweep-pi.yaml"]).expect(5);
    assert!(ran.err.contains("1 of 5 members did not succeed; member 4 (--no-such-option 1): rank "), "{}", ran.err);
    assert!(ran.out.contains("4 of 5 succeeded"), "{}", ran.out);
    let folder = newest(&bench, "sweep-pi");
    let text = std::fs::read_to_string(folder.join("sweep.json")).expect("the table is there");
    let sweep: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let members = sweep["members"].as_array().expect("it has members");
    let hits =
        |samples: u64, member: &serde_json::Value| member["summary"]["hits"].as_u64().unwrap() as f64 / samples as f64 * 4.0;
    let mut nodes = std::collections::BTreeSet::new();
    for (number, member) in (1..).zip(members) {
        nodes.insert(member["nodes"].to_string());
        let own = folder.join(format!("members/{number:03}/summary.json"));
        if number == 4 {
            assert_eq!(member["outcome"], "failed");
            assert!(member["failure"]["lines"].to_string().contains("no-such-option") && !own.exists(), "{member}");
            continue;
        }
        let estimate = hits(if number == 5 { 1_000_000 } else { 3_000_000 }, member);
        assert!(own.exists() && (estimate - std::f64::consts::PI).abs() < 0.02, "{member}");
    }
    assert_eq!(nodes.len(), 2, "both groups had members: {nodes:?}");
    let csv = std::fs::read_to_string(folder.join("sweep.csv")).expect("the table is there as CSV");
    assert_eq!(csv.lines().count(), 6, "{csv}");
    assert_eq!(bench.on_node("demo", "node/compute/0", "pgrep -c prted || true").trim(), "0");
}

#[test]
fn a_member_that_aborts_takes_no_other_with_it() {
    let bench = bench();
    with_cluster(&bench);
    bench.write(
        "jobs/folds/member.py",
        "import json, sys, time\nfrom mpi4py import MPI\nworld, fold = MPI.COMM_WORLD, int(sys.argv[2].split('/')[0])\n\
         world.barrier()\nif fold == 1 and world.rank == 1:\n    print('fold one aborts', file=sys.stderr, flush=True)\n    world.Abort(7)\n\
         time.sleep(2)\ntotal = world.allreduce(world.rank + 1)\nif world.rank == 0:\n\
         \x20   json.dump({'scores': {'rmse': fold / total, 'count': world.size}}, open('summary.json', 'w'))\n",
    );
    bench.write(
        "jobs/folds.yaml",
        "job: folds\ncluster: demo\nranks: 4\nsplit: 2\noversubscribe: true\nsource: ./folds\ncommand: [python3, member.py]\nfolds: 3\noutputs: [summary.json]\n",
    );
    let ran = bench.run(&["run", "jobs/folds.yaml"]).expect(5);
    assert!(ran.err.contains("member 1 (--fold 1/3): rank 1 on node/") && ran.err.contains("status 7"), "{}", ran.err);
    let csv = std::fs::read_to_string(newest(&bench, "folds").join("folds.csv")).expect("the folds are added up");
    let row = csv.lines().nth(1).unwrap();
    // Folds 2 and 3 of two ranks each: 2/3 and 3/3.
    assert!(row.starts_with("3,2,") && row.contains("0.8333333"), "{csv}");
    assert!(ran.out.contains("2 of 3 folds succeeded"), "{}", ran.out);
}

#[test]
fn a_cancelled_job_leaves_no_process_on_any_node() {
    let bench = bench();
    with_cluster(&bench);
    bench.write("jobs/sleeping/sleep.py", "from mpi4py import MPI\nimport time\nprint('asleep', flush=True)\ntime.sleep(600)\n");
    bench.write("jobs/sleeping.yaml", "job: sleeping\ncluster: demo\nsource: ./sleeping\ncommand: [python3, sleep.py]\n");
    let mut child = bench.command(&["run", "jobs/sleeping.yaml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(8));
    let runs = bench.run(&["runs", "demo", "--json"]).expect(0).json();
    let run =
        runs.as_array().unwrap().iter().find(|run| run["run"].as_str().is_some_and(|id| id.starts_with("sleeping"))).cloned();
    let run = run.unwrap_or_else(|| panic!("{runs}"))["run"].as_str().unwrap().to_owned();
    bench.run(&["cancel", &run, "--cluster", "demo"]).expect(0);
    assert_ne!(child.wait().unwrap().code(), Some(0));
    for node in ["node/master", "node/compute/0"] {
        assert_eq!(bench.on_node("demo", node, "pgrep -fc '[s]leep.py' || true").trim(), "0", "{node}");
    }
}
