use super::super::load_job;
use super::*;

fn job(text: &str) -> JobManifest {
    load_job("job.yaml", text.as_bytes()).unwrap_or_else(|error| panic!("{}", error.render(false))).spec
}

#[test]
fn a_kernel_is_started_by_its_path_with_long_options() {
    let job =
        job("job: x\ncluster: c\nkernel: knn\nargs: {min_support: 8, rate: 0.25, verbose: true, quiet: false, file: [a, b]}\n");
    let expected = ["/opt/ewulf/bin/knn", "--file", "a", "--file", "b", "--min-support", "8", "--rate", "0.25", "--verbose"];
    assert_eq!(job.program_argv(), expected);
}

#[test]
fn values_stay_single_words_whatever_they_hold() {
    let job = job(
        "job: x\ncluster: c\ncommand: [python3, my.py, \"$(id)\", \"a b\", \"\"]\nargs:\n  a: \"`id`; rm -rf / && 'x' \\\"y\\\"\"\n  b: \"line\\nbreak\"\n",
    );
    let expected = ["python3", "my.py", "$(id)", "a b", "", "--a", "`id`; rm -rf / && 'x' \"y\"", "--b", "line\nbreak"];
    assert_eq!(job.program_argv(), expected);
}

#[test]
fn values_that_look_like_options_are_joined_to_theirs() {
    let job = job("job: x\ncluster: c\nkernel: pi\nargs: {a: --evil, b: -3, c: \":\", d: \"-\"}\n");
    assert_eq!(job.program_argv(), ["/opt/ewulf/bin/pi", "--a=--evil", "--b=-3", "--c=:", "--d=-"]);
}

#[test]
fn mpirun_stays_in_the_clusters_network_and_hands_on_names_of_variables_alone() {
    let job = job(
        "job: x\ncluster: c\nkernel: pi\nranks_per_node: 2\noversubscribe: true\nbind: core\nenvironment: {TOKEN: secret, OMP_NUM_THREADS: 1}\n",
    );
    let launch = Launch {
        hostfile: "/shared/runs/1/hostfile",
        ranks: 6,
        network: "10.42.0.0/24".parse().unwrap(),
        exports: &["EWULF_EVENTS"],
    };
    let argv = job.argv(&launch).join(" ");
    assert_eq!(
        argv,
        "mpirun --hostfile /shared/runs/1/hostfile -n 6 --prtemca prte_if_include 10.42.0.0/24 --mca btl_tcp_if_include \
         10.42.0.0/24 --output tag --map-by ppr:2:node:OVERSUBSCRIBE --bind-to core -x OMP_NUM_THREADS -x TOKEN -x EWULF_EVENTS \
         /opt/ewulf/bin/pi"
    );
    let environment = [("OMP_NUM_THREADS", "1"), ("TOKEN", "secret")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(job.environment(), environment);
}

#[test]
fn steps_are_programs_of_their_own() {
    let job = job("job: x\ncluster: c\nkernel: knn\nprepare: [{kernel: datagen, args: {movies: 10}}, {command: [sort, data]}]\n");
    let argv: Vec<Vec<String>> = job.prepare.iter().map(Step::argv).collect();
    assert_eq!(argv, [vec!["/opt/ewulf/bin/datagen", "--movies", "10"], vec!["sort", "data"]]);
}
