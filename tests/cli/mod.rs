//! The command line as a user meets it, without any cloud.

mod faults;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A command in an empty folder, with nothing of the caller's set-up in its environment.
fn ewulf(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ewulf"));
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        // A machine on EC2 has credentials of its own there.
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null());
    command
}

/// Exit code, stdout and stderr of a command.
fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = ewulf(folder).args(arguments).output().expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("it was not killed"), text(&output.stdout), text(&output.stderr))
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("there is a temporary folder")
}

/// Runs `validate` on a cluster spec of this content.
fn validate(content: &[u8]) -> (i32, String, String) {
    let folder = folder();
    std::fs::create_dir(folder.path().join("clusters")).expect("the folder is new");
    std::fs::write(folder.path().join("clusters/bad.yaml"), content).expect("the folder is writable");
    run(folder.path(), &["validate", "clusters/bad.yaml"])
}

/// The verbs that `--help` lists, with those below them.
fn verbs(folder: &Path) -> Vec<Vec<String>> {
    let listed = |path: &[&str]| -> Vec<String> {
        let (_, help, _) = run(folder, &[path, &["--help"]].concat());
        let commands = help.split_once("Commands:\n").map_or("", |(_, rest)| rest).split("\n\n").next().unwrap_or_default();
        let verb = |line: &str| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')).map(str::to_owned);
        commands.lines().filter_map(verb).filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
    };
    let mut verbs: Vec<Vec<String>> = listed(&[]).into_iter().map(|verb| vec![verb]).collect();
    verbs.extend(listed(&["local"]).into_iter().map(|act| vec!["local".to_owned(), act]));
    let faults = ["local", "faults"];
    verbs.extend(listed(&faults).into_iter().map(|act| [faults.map(str::to_owned).as_slice(), &[act]].concat()));
    verbs
}

#[test]
fn every_verb_explains_itself_with_examples() {
    let folder = folder();
    let verbs = verbs(folder.path());
    for verb in "plan apply destroy status ps reap bake-ami images run runs logs cancel ssh exec local doctor schema validate init completions demo"
        .split(' ')
    {
        assert!(verbs.contains(&vec![verb.to_owned()]), "`{verb}` is missing in {verbs:?}");
    }
    for verb in verbs {
        let words: Vec<&str> = verb.iter().map(String::as_str).collect();
        let (code, help, _) = run(folder.path(), &[words.as_slice(), &["--help"]].concat());
        assert_eq!(code, 0, "{verb:?}");
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{verb:?} has no examples:\n{help}"));
        assert!(examples.contains(&format!("ewulf {}", words.join(" "))), "{verb:?} is not in its own examples:\n{examples}");
    }
}

#[test]
fn wrong_arguments_are_invalid_input() {
    let folder = folder();
    let (code, out, err) = run(folder.path(), &["aply"]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.contains("apply"), "{err}");
    assert_eq!(run(folder.path(), &["plan", "--no-such-option"]).0, 3);
    assert_eq!(run(folder.path(), &["--version"]).0, 0);
}

#[test]
fn an_unknown_key_is_shown_with_file_line_column_and_a_suggestion() {
    let (code, out, err) = validate(b"cluster: demo\nnetwork: {cidr: 10.42.0.0/24}\nmastr: {}\n");
    assert_eq!((code, out.as_str()), (3, ""));
    for part in ["clusters/bad.yaml:3:1", "3 | mastr: {}", "did you mean `master`?", "in clusters/bad.yaml"] {
        assert!(err.contains(part), "{part} is missing in:\n{err}");
    }
}

#[test]
fn every_invalid_spec_is_refused_with_what_is_expected_of_it() {
    let specs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs/invalid");
    let folder = folder();
    let mut count = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(&specs).expect("there are invalid specs").map(|entry| entry.expect("it can be listed").path())
    {
        if entry.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        count += 1;
        let name = entry.file_name().and_then(|name| name.to_str()).expect("names are UTF-8");
        std::fs::copy(&entry, folder.path().join(name)).expect("the folder is writable");
        let expected = std::fs::read_to_string(entry.with_extension("txt")).expect("each has an expected text");
        let (code, out, err) = run(folder.path(), &["validate", name]);
        if code != 3 || !out.is_empty() || !err.contains(expected.trim()) {
            wrong.push(format!("{name}: exit code {code}\n{err}"));
        }
    }
    assert!(count >= 30, "only {count} invalid specs were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_that_are_no_text_or_too_much_of_it_are_refused_quickly() {
    let (code, _, err) = validate(b"");
    assert!(code == 3 && err.contains("file has no content"), "{err}");
    let (code, _, err) = validate(b"cluster: \xff\xfe");
    assert!(code == 3 && err.contains("bad.yaml:1:10") && err.contains("not UTF-8"), "{err}");
    let begun = std::time::Instant::now();
    let (code, _, err) = validate(&vec![b'#'; 50 << 20]);
    assert!(code == 3 && err.contains("52428800 bytes"), "{err}");
    let bomb = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, index| {
        let before = index - 1;
        format!("{text}a{index}: &a{index} [*a{before}, *a{before}, *a{before}, *a{before}]\n")
    });
    let (code, _, err) = validate(bomb.as_bytes());
    assert!(code == 3 && err.contains("error"), "{err}");
    assert!(begun.elapsed().as_secs() < 20, "{} s", begun.elapsed().as_secs());
}

#[test]
fn all_mistakes_of_all_files_are_told_at_once() {
    let folder = folder();
    let path = folder.path();
    std::fs::create_dir_all(path.join("clusters")).expect("the folder is new");
    std::fs::create_dir_all(path.join("jobs")).expect("the folder is new");
    std::fs::write(
        path.join("clusters/demo.yaml"),
        "cluster: demo\ncloud: local\nnetwork: {cidr: 10.42.0.0/24}\nmaster: {instance_type: c7a.large, image: mastr}\n",
    )
    .expect("the folder is writable");
    std::fs::write(path.join("jobs/pi.yaml"), "job: pi\ncluster: dmo\nkernel: pie\nranks: 0\n").expect("the folder is writable");
    let (code, _, err) = run(path, &["validate"]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("clusters/demo.yaml:4") && err.contains("did you mean `master`?"), "{err}");
    assert!(err.contains("jobs/pi.yaml:4"), "{err}");
    std::fs::write(path.join("jobs/pi.yaml"), "job: pi\ncluster: dmo\nkernel: pie\n").expect("the folder is writable");
    let (_, _, err) = run(path, &["validate"]);
    assert!(err.contains("jobs/pi.yaml:2") && err.contains("did you mean `demo`?"), "{err}");
}

#[test]
fn more_ranks_than_slots_are_refused() {
    let folder = folder();
    std::fs::write(folder.path().join("many.yaml"), "job: many\ncluster: demo\nkernel: pi\nranks: 1000\n")
        .expect("it is writable");
    let (code, _, err) = run(folder.path(), &["validate", "many.yaml"]);
    assert!(code == 3 && err.contains("many.yaml:4:8") && err.contains("slots"), "{err}");
}

#[test]
fn a_new_project_is_valid_and_never_overwritten() {
    let folder = folder();
    let (code, out, err) = run(folder.path(), &["init", "mine"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("cd mine"), "{out}");
    let project = folder.path().join("mine");
    for file in ["clusters/demo.yaml", "images/worker.yaml", "jobs/pi.yaml", ".gitignore"] {
        assert!(project.join(file).is_file(), "{file} is missing");
    }
    let (code, out, err) = run(&project, &["validate"]);
    assert!(code == 0 && out.contains("no errors"), "{out}{err}");
    let (code, _, err) = run(folder.path(), &["-C", "mine", "validate", "--json"]);
    assert_eq!(code, 0, "{err}");

    std::fs::write(project.join("clusters/demo.yaml"), "mine").expect("the project is writable");
    let (code, _, err) = run(folder.path(), &["init", "mine"]);
    assert!(code == 3 && err.contains("would overwrite"), "{err}");
    assert_eq!(std::fs::read(project.join("clusters/demo.yaml")).expect("it is there"), b"mine");
}

#[test]
fn away_from_any_project_the_built_in_specs_stand_in() {
    let folder = folder();
    let (code, out, err) = run(folder.path(), &["validate", "clusters/demo.yaml", "jobs/knn.yaml", "images/worker.yaml"]);
    assert!(code == 0 && out.contains("3 files"), "{out}{err}");
    let (code, _, err) = run(folder.path(), &["validate", "clusters/dmo.yaml"]);
    assert!(code == 3 && err.contains("did you mean `clusters/demo.yaml`?"), "{err}");
}

#[test]
fn schemas_are_json_that_editors_understand() {
    let folder = folder();
    for (kind, key) in [("cluster", "network"), ("image", "builder"), ("job", "ranks")] {
        let (code, out, _) = run(folder.path(), &["schema", kind]);
        let schema: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
        assert_eq!(code, 0);
        assert!(schema["properties"][key].is_object(), "{kind} has no {key}");
    }
}

#[test]
fn completions_name_the_verbs() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = run(folder.path(), &["completions", shell]);
        assert!(code == 0 && out.contains("bake-ami") && out.contains("destroy"), "{shell}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let folder = folder();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ewulf"))
        .args(["schema", "cluster"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // Closes the pipe before anything was read from it.
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn failures_are_one_json_object_under_json() {
    let folder = folder();
    let (code, out, err) = run(folder.path(), &["validate", "--json", "clusters/none.yaml"]);
    assert_eq!((code, out.as_str()), (3, ""));
    let failure: serde_json::Value = serde_json::from_str(&err).expect("stderr is JSON");
    assert_eq!((&failure["error"]["kind"], &failure["error"]["exit_code"]), (&"invalid-input".into(), &3.into()));
}

#[test]
fn without_a_terminal_nothing_is_asked() {
    let folder = folder();
    let state = folder.path().join("cloud");
    let state = state.to_str().expect("the folder is UTF-8");
    let (code, _, err) = run(folder.path(), &["local", "reset", "--local-state", state]);
    assert!(code == 3 && err.contains("no terminal") && err.contains("--yes"), "{err}");
}

#[test]
fn the_only_cluster_of_a_project_need_not_be_named() {
    let folder = folder();
    let (code, _, err) = run(folder.path(), &["init", "mine"]);
    assert_eq!(code, 0, "{err}");
    let project = folder.path().join("mine");
    let exec = |node: &str| run(&project, &["exec", node, "--cloud", "aws", "--region", "us-east-1", "--", "true"]);
    let (code, _, err) = exec("master");
    assert!(code == 3 && err.contains("which cluster is meant?") && err.contains("demo, prod"), "{err}");
    std::fs::write(project.join("clusters/prod.yaml"), "cluster: prod\nclout: aws\n").expect("it was written");
    let (_, _, err) = exec("master");
    assert!(err.contains("which cluster is meant?"), "one that is broken may be meant as well: {err}");
    std::fs::remove_file(project.join("clusters/prod.yaml")).expect("it was written");
    // Without credentials nothing is found; but it is known what was to be looked for.
    let (code, _, err) = exec("master");
    assert!(code != 0 && !err.contains("which cluster"), "{err}");
    assert_eq!((code, err), (exec("demo/master").0, exec("demo/master").2));
}

#[test]
fn a_local_cloud_that_is_down_says_how_to_start_it() {
    let folder = folder();
    let (code, out, err) = run(folder.path(), &["local", "status", "--local-state", "cloud"]);
    assert!(code == 1 && out.contains("is down"), "{out}{err}");
    let (code, _, err) = run(folder.path(), &["local", "env", "--local-state", "cloud"]);
    assert!(code == 1 && err.contains("sudo ewulf local up"), "{err}");
    assert!(!folder.path().join("cloud").exists(), "looking makes nothing");
}

#[test]
fn without_credentials_for_aws_the_failure_says_so_and_how_to_get_them() {
    let folder = folder();
    let output = ewulf(folder.path()).args(["plan", "clusters/prod.yaml"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("was not sent, for want of credentials"), "{errors}");
    assert!(errors.contains("hint: `aws configure`") && errors.contains("--cloud local"), "{errors}");
}

#[test]
fn an_interrupt_ends_what_only_reads_with_130() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("cloud")).expect("the folder is new");
    std::fs::write(folder.path().join("cloud/log"), "first\x1b[2J line\n").expect("the folder is writable");
    let mut child = Command::new(env!("CARGO_BIN_EXE_ewulf"))
        .args(["local", "logs", "--follow", "--local-state", "cloud"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().expect("stdout is piped"));
    std::io::BufRead::read_line(&mut out, &mut line).expect("the log is shown");
    assert_eq!(line, "first line\n", "escape sequences are gone");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}

#[test]
fn the_doctor_names_every_check_and_what_is_missing() {
    let folder = folder();
    let state = folder.path().join("cloud");
    let output = ewulf(folder.path())
        .args(["doctor", "local", "--json", "--local-state"])
        .arg(&state)
        // Without programs everything that is looked up there is missing, wherever the tests run.
        .env("PATH", "/nonexistent")
        .output()
        .expect("the binary starts");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let checks = report["checks"].as_array().expect("there are checks");
    let names: Vec<&str> = checks.iter().filter_map(|check| check["name"].as_str()).collect();
    for name in ["root", "systemd-nspawn", "mmdebstrap", "nft", "overlay in the kernel", "disk for the image cache"] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    let healthy = checks.iter().all(|check| check["state"] != "missing");
    assert_eq!(report["healthy"], healthy);
    assert_eq!(output.status.code(), Some(if healthy { 0 } else { 1 }));
}

#[test]
fn no_file_of_the_repository_names_a_machine_or_a_package_registry() {
    // Written in two parts, so that this file does not name them either.
    let forbidden = [concat!("/ro", "ot/."), concat!("deb.deb", "ian.org"), concat!("index.crates", ".io")];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> = ["src", "clusters", "images", "templates", "jobs", "tests", "docs", ".ci"]
        .iter()
        .map(|folder| root.join(folder))
        .collect();
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                found.extend(
                    forbidden.iter().filter(|word| text.contains(**word)).map(|word| format!("{}: {word}", path.display())),
                );
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Verbs that begin the names of EC2's and SSM's actions.
const ACTION_VERBS: [&str; 21] = [
    "Associate",
    "Attach",
    "Authorize",
    "Cancel",
    "Create",
    "Delete",
    "Deregister",
    "Describe",
    "Detach",
    "Disassociate",
    "Get",
    "List",
    "Modify",
    "Put",
    "Replace",
    "Revoke",
    "Run",
    "Send",
    "Start",
    "Stop",
    "Terminate",
];

/// Every action that the program's sources call: by the SDK's method, or, in macros, by the name in quotes for its errors.
fn actions_called() -> std::collections::BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open: Vec<PathBuf> =
        ["apply", "aws", "bake", "cli", "job", "observe"].iter().map(|folder| source.join(folder)).collect();
    let mut actions = std::collections::BTreeSet::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder is there").map(|entry| entry.expect("it can be listed").path())
        {
            if entry.is_dir() {
                open.push(entry);
                continue;
            }
            // Faults are asked for by actions of the local cloud's own, which AWS does not have.
            if entry.ends_with("cli/faults.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&entry).unwrap_or_default();
            let is_action = |word: &str| {
                word.bytes().all(|byte| byte.is_ascii_alphabetic())
                    && ACTION_VERBS.iter().any(|verb| {
                        word.strip_prefix(verb).is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_uppercase()))
                    })
            };
            actions.extend(text.split('"').filter(|word| is_action(word)).map(str::to_owned));
            let dense: String = text.split_whitespace().collect();
            let calls = [".ec2.", ".ec2_once.", ".ssm."].iter().flat_map(|client| dense.split(client).skip(1));
            actions.extend(calls.filter_map(|call| Some(camel_case(call.split_once("()")?.0))).filter(|word| is_action(word)));
        }
    }
    actions
}

/// `describe_vpcs` as `DescribeVpcs`.
fn camel_case(method: &str) -> String {
    let words = method.split('_').map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    });
    words.collect()
}

#[test]
fn the_policy_for_aws_allows_exactly_what_the_program_calls() {
    let text = include_str!("../../docs/aws-policy.json");
    let policy: serde_json::Value = serde_json::from_str(text).expect("the policy is JSON");
    let statements = policy["Statement"].as_array().expect("it has statements");
    let allowed = statements.iter().flat_map(|statement| statement["Action"].as_array().into_iter().flatten());
    let allowed: std::collections::BTreeSet<String> = allowed
        .filter_map(|action| action.as_str()?.split_once(':'))
        .filter(|(service, _)| matches!(*service, "ec2" | "ssm"))
        .map(|(_, action)| action.to_owned())
        .collect();
    let called = actions_called();
    assert!(called.len() > 40, "only {} actions were found in the sources", called.len());
    let missing: Vec<&String> = called.difference(&allowed).collect();
    let surplus: Vec<&String> = allowed.difference(&called).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing: {missing:?}, surplus: {surplus:?}");
}
