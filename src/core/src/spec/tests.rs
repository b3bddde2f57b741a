//! The specs of tests/specs and of the repository's own folders, and specs made at random.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::diagnostics::Diagnostics;

/// Set to rewrite the expected texts of tests/specs/invalid, to be read before they are committed.
const REWRITE: &str = "EWULF_REWRITE_EXPECTED";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let folder = repository().join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

fn name(file: &Path) -> String {
    file.file_name().unwrap().to_string_lossy().into_owned()
}

/// Loads a text as its name says, and checks that what is loaded survives being written.
fn load(kind: &str, file: &str, text: &[u8]) -> Result<(), Diagnostics> {
    fn round<T: PartialEq + std::fmt::Debug + Clone + Serialize + DeserializeOwned>(
        loaded: Loaded<T>,
        load: fn(&str, &[u8]) -> Result<Loaded<T>, Diagnostics>,
    ) {
        let written = serde_yaml::to_string(&loaded.spec).unwrap();
        let again = load("again", written.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{written}"));
        assert_eq!(again.spec, loaded.spec, "{written}");
    }
    match kind {
        "cluster" => load_cluster(file, text).map(|loaded| round(loaded, load_cluster)),
        "image" => load_image(file, text).map(|loaded| round(loaded, load_image)),
        "job" => load_job(file, text).map(|loaded| round(loaded, load_job)),
        _ => panic!("{file}: a name starts with cluster-, image- or job-"),
    }
}

#[test]
fn the_repositorys_own_specs_load_and_survive_being_written() {
    for (kind, folder) in [("cluster", "clusters"), ("image", "images"), ("job", "jobs")] {
        for file in yaml_files(folder) {
            let text = fs::read(&file).unwrap();
            load(kind, &name(&file), &text).unwrap_or_else(|error| panic!("{}", error.render(false)));
        }
    }
}

#[test]
fn valid_specs_load_and_survive_being_written() {
    let files = yaml_files("tests/specs/valid");
    assert!(!files.is_empty());
    for file in files {
        let name = name(&file);
        let kind = name.split('-').next().unwrap();
        load(kind, &name, &fs::read(&file).unwrap()).unwrap_or_else(|error| panic!("{}", error.render(false)));
    }
}

#[test]
fn every_mistake_of_an_invalid_spec_is_told_with_its_place_and_a_hint() {
    let files = yaml_files("tests/specs/invalid");
    assert!(!files.is_empty());
    let mut different = Vec::new();
    for file in files {
        let name = name(&file);
        let kind = name.split('-').next().unwrap();
        let diagnostics = load(kind, &name, &fs::read(&file).unwrap()).expect_err(&name);
        let rendered = diagnostics.render(false);
        let expected_file = file.with_extension("txt");
        if std::env::var_os(REWRITE).is_some() {
            fs::write(&expected_file, &rendered).unwrap();
        }
        let expected = fs::read_to_string(&expected_file).unwrap_or_default();
        if rendered != expected {
            different.push(format!("{name}: expected\n{expected}\nfound\n{rendered}"));
        }
    }
    assert!(different.is_empty(), "{}\nset {REWRITE} to accept what was found", different.join("\n"));
}

#[test]
fn a_file_of_50_megabytes_is_refused_at_once() {
    let text = vec![b'['; 50_000_000];
    let start = std::time::Instant::now();
    let diagnostics = load_cluster("large.yaml", &text).unwrap_err();
    assert!(start.elapsed().as_millis() < 100, "{:?}", start.elapsed());
    assert_eq!(diagnostics.to_string(), "large.yaml: error: file is 50000000 bytes long; a spec has at most 1048576");
}

#[test]
fn diagnostics_are_data_too() {
    let diagnostics = load_job("pi.yaml", b"job: pi\ncluster: demo\nkernel: pi\nranks: 0\n").unwrap_err();
    let json = serde_json::to_value(&diagnostics.list).unwrap();
    let expected = serde_json::json!([{
        "severity": "error",
        "message": "`ranks` must be at least 1, but is 0",
        "file": "pi.yaml",
        "line": 4, "column": 8, "length": 1,
    }]);
    assert_eq!(json, expected);
}

const CLUSTER: &[u8] = b"cluster: demo
network: {cidr: 10.42.0.0/24}
master: {instance_type: c7a.large, image: mastr}
workers:
  - {group: compute, count: 2, instance_type: c7a.large, image: {ami: ami-0a1b2c3d4e5f60718}}
";

#[test]
fn a_recipe_that_does_not_exist_is_told_with_the_nearest_that_does() {
    let loaded = load_cluster("demo.yaml", CLUSTER).unwrap();
    let recipes = ["master".to_owned(), "worker".to_owned()];
    let diagnostics = loaded.check(&ClusterContext { recipes: &recipes }).unwrap_err();
    assert_eq!(
        diagnostics.render(false),
        "error: no recipe `mastr` in images/\n --> demo.yaml:3:43\n  |\n3 | master: {instance_type: c7a.large, image: mastr}\n  \
         |                                           ^^^^^\n  = hint: did you mean `master`?\n"
    );
    let recipes = ["mastr".to_owned()];
    assert_eq!(loaded.check(&ClusterContext { recipes: &recipes }), Ok(()));
}

#[test]
fn a_recipe_is_checked_against_the_templates_and_kernels_there_are() {
    let text = b"image: worker\nbuilder: {instance_type: c7a.large}\nkernels: [pi, knm]\ntemplates: [worker, extras]\n";
    let loaded = load_image("worker.yaml", text).unwrap();
    let (templates, kernels) = (["worker".to_owned()], ["pi".to_owned(), "knn".to_owned()]);
    let context = RecipeContext { templates: &templates, kernels: &kernels };
    let told = loaded.check(&context).unwrap_err().to_string();
    let expected = "worker.yaml:3:15: error: no kernel `knm` in the kernels' sources\n\
                    worker.yaml:4:21: error: no template folder `extras` in templates/";
    assert_eq!(told, expected);
}

#[test]
fn a_job_is_checked_against_the_clusters_kernels_and_slots_there_are() {
    let text = b"job: x\ncluster: dmo\nkernel: knn\nranks: 7\nprepare: [{kernel: datgen}]\n";
    let loaded = load_job("x.yaml", text).unwrap();
    let (clusters, kernels) = (["demo".to_owned()], ["knn".to_owned(), "datagen".to_owned()]);
    let context = JobContext { clusters: Some(&clusters), kernels: Some(&kernels), slots: Some(6) };
    let told = loaded.check(&context).unwrap_err().to_string();
    let expected = "x.yaml:2:10: error: no cluster `dmo` in clusters/\n\
                    x.yaml:4:8: error: job asks for 7 ranks, and its cluster has 6 slots\n\
                    x.yaml:5:20: error: no kernel `datgen` in the cluster's images";
    assert_eq!(told, expected);
    assert_eq!(loaded.check(&JobContext::default()), Ok(()));
}

#[test]
fn a_job_may_ask_for_more_ranks_than_slots_by_oversubscription_alone() {
    let text = b"job: x\ncluster: demo\nkernel: pi\nranks: 7\noversubscribe: true\n";
    let loaded = load_job("x.yaml", text).unwrap();
    let context = JobContext { slots: Some(6), ..JobContext::default() };
    assert_eq!(loaded.check(&context), Ok(()));
}

#[test]
fn a_member_cannot_have_more_ranks_than_the_cluster_has_slots() {
    let loaded = load_job("x.yaml", b"job: x\ncluster: demo\nkernel: pi\nfolds: 5\nsplit: 7\n").unwrap();
    let context = JobContext { slots: Some(6), ..JobContext::default() };
    let told = loaded.check(&context).unwrap_err().to_string();
    assert_eq!(told, "x.yaml:5:8: error: `split` gives each member 7 ranks, and its cluster has 6 slots");
}

#[test]
fn slots_are_real_cores_of_all_nodes() {
    let text = b"cluster: x\nnetwork: {cidr: 10.0.0.0/24}\nmaster: {instance_type: c7i.xlarge, image: master}\n\
                 workers: [{group: a, count: 3, instance_type: c7i.8xlarge, image: worker}]\n";
    let spec = load_cluster("x.yaml", text).unwrap().spec;
    assert_eq!((spec.slots(), spec.node_count()), (2 + 3 * 16, 4));
    assert_eq!(spec.recipes(), ["master", "worker"]);
}

proptest! {
    #[test]
    fn loading_never_panics_and_always_says_why_it_refuses(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(diagnostics) = load_cluster("x.yaml", &bytes) {
            prop_assert!(diagnostics.has_errors());
            diagnostics.render(true);
        }
    }

    #[test]
    fn loading_never_panics_on_what_looks_like_yaml(text in "([a-c]{0,2}|[:\\-?&*!|>'\"%@`{}\\[\\], #~\n\t]|\n  |: |- |<<: |&a |\\*a |cluster: |workers:\n |network: \\{|\u{301}|\u{4e2d}|\r){0,40}") {
        for load in [|text: &[u8]| load_cluster("x", text).err(), |text: &[u8]| load_job("x", text).err()] {
            if let Some(diagnostics) = load(text.as_bytes()) {
                prop_assert!(!diagnostics.list.is_empty());
                diagnostics.render(false);
            }
        }
    }

    #[test]
    fn any_text_survives_as_argument_variable_and_tag(text in "[^\u{0}-\u{1f}\u{7f}-\u{9f}]{0,40}", number in any::<i64>(), real in -1e15..1e15f64) {
        let mut job = load_job("x", b"job: x\ncluster: x\nkernel: x\n").unwrap().spec;
        let word: crate::names::Word = text.parse().unwrap();
        let values = [Scalar::Text(word.clone()), Scalar::Integer(number), Scalar::Number(real), Scalar::Bool(true)];
        job.args.insert("all".parse().unwrap(), Argument::Many(values.to_vec()));
        job.args.insert("one".parse().unwrap(), Argument::One(Scalar::Text(word.clone())));
        job.environment.insert("X".parse().unwrap(), Scalar::Text(word));
        let written = serde_yaml::to_string(&job).unwrap();
        let again = load_job("x", written.as_bytes());
        prop_assert!(again.is_ok(), "{}\n{}", written, again.unwrap_err());
        prop_assert_eq!(&again.unwrap().spec, &job, "{}", written);

        let mut cluster = load_cluster("x", CLUSTER).unwrap().spec;
        cluster.tags.insert("key".to_owned(), text);
        let written = serde_yaml::to_string(&cluster).unwrap();
        prop_assert_eq!(&load_cluster("x", written.as_bytes()).unwrap().spec, &cluster, "{}", written);
    }
}
