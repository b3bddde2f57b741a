use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::load_job;
use super::*;

fn job(keys: &str) -> JobManifest {
    let text = format!("job: x\ncluster: c\nkernel: svd\n{keys}");
    load_job("job.yaml", text.as_bytes()).unwrap_or_else(|error| panic!("{}", error.render(false))).spec
}

fn shown(job: &JobManifest) -> Vec<String> {
    job.members().iter().map(|member| format!("{} {member}", member.number)).collect()
}

#[test]
fn a_grid_is_every_combination_in_order() {
    let job = job("sweep: {grid: {method: [sgd, funk], factors: [20, 50]}}\n");
    let expected = [
        "1 --factors 20 --method sgd",
        "2 --factors 20 --method funk",
        "3 --factors 50 --method sgd",
        "4 --factors 50 --method funk",
    ];
    assert_eq!(shown(&job), expected);
}

#[test]
fn a_list_is_just_its_entries_and_an_empty_one_is_the_job_as_it_is() {
    let job = job("args: {factors: 10}\nsweep: {list: [{}, {factors: 20}, {min_support: 8, file: [a, b]}]}\n");
    assert_eq!(shown(&job), ["1 ", "2 --factors 20", "3 --file a --file b --min-support 8"]);
    let words: Vec<String> = job.members().iter().map(|member| job.member_argv(member)[1..].join(" ")).collect();
    assert_eq!(words, ["--factors 10", "--factors 20", "--factors 10 --file a --file b --min-support 8"]);
}

#[test]
fn each_fold_is_a_member_and_all_folds_are_dealt_alike() {
    let job = job("args: {epochs: 5}\nsweep: {grid: {factors: [20, 50]}}\nfolds: 2\n");
    let members = job.members();
    assert_eq!(
        members.iter().map(|member| (member.set, member.fold.unwrap().number)).collect::<Vec<_>>(),
        [(0, 1), (0, 2), (1, 1), (1, 2)]
    );
    assert_eq!(job.member_argv(&members[3])[1..].join(" "), "--epochs 5 --factors 50 --fold 2/2 --fold-seed 0");
}

#[test]
fn folds_need_no_sweep_and_their_seed_is_the_users_to_choose() {
    let job = job("args: {fold-seed: 7}\nfolds: 3\n");
    let words: Vec<String> = job.members().iter().map(|member| job.member_argv(member)[1..].join(" ")).collect();
    assert_eq!(words, ["--fold 1/3 --fold-seed 7", "--fold 2/3 --fold-seed 7", "--fold 3/3 --fold-seed 7"]);
}

#[test]
fn a_job_without_sweep_and_folds_has_no_members() {
    let job = job("");
    assert_eq!((job.has_members(), job.member_count(), job.members().len()), (false, 0, 0));
}

#[test]
fn the_largest_sweep_is_counted_before_it_is_made() {
    let values: Vec<String> = (0..100).map(|value| value.to_string()).collect();
    let options: Vec<String> = ('a'..='z').map(|name| format!("{name}: [{}]", values.join(", "))).collect();
    let text = format!("job: x\ncluster: c\nkernel: svd\nfolds: 100\nsweep: {{grid: {{{}}}}}\n", options.join(", "));
    let told = load_job("job.yaml", text.as_bytes()).unwrap_err().to_string();
    assert!(told.contains("more than 10000 members"), "{told}");
}

proptest! {
    #[test]
    fn members_are_as_many_as_counted_numbered_from_one_and_all_different(
        sizes in prop::collection::vec(1_usize..5, 1..4),
        folds in prop::option::of(2_u32..6),
    ) {
        let options: Vec<String> = sizes.iter().zip('a'..).map(|(size, name)| format!("{name}: {:?}", (0..*size).collect::<Vec<_>>())).collect();
        let folds = folds.map(|folds| format!("folds: {folds}\n")).unwrap_or_default();
        let job = job(&format!("{folds}sweep: {{grid: {{{}}}}}\n", options.join(", ")));
        let members = job.members();
        prop_assert_eq!(members.len() as u64, job.member_count());
        prop_assert!(members.iter().zip(1..).all(|(member, number)| member.number == number));
        let words: BTreeSet<Vec<String>> = members.iter().map(|member| job.member_argv(member)).collect();
        prop_assert_eq!(words.len(), members.len());
    }
}
