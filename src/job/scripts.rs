//! The commands of a job as texts: what a node is asked to run through SSM.
//!
//! Values enter a text in three ways alone: quoted by [`shell_quote`], as base64, or as numbers. Whatever touches a run's
//! folder does so as user `ewulf`, because what lies there belongs to the job.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::plan::CONTROL;
use super::run_id::UNIT_PREFIX;
use super::{Plan, RunId};
use crate::aws::shell_quote;

const POLL: &str = include_str!("programs/poll.py");
const LIST: &str = include_str!("programs/list.py");
const RESULTS: &str = include_str!("programs/results.py");

/// Time the unit gets after a request to stop: the runner's own grace and the sweep over all nodes.
const STOP_SECONDS: u64 = 30;
/// The runner watches the time limit itself; systemd is there for a runner that cannot.
const RUNTIME_MARGIN_SECONDS: u64 = 120;
/// Bytes of a results archive in one answer: SSM keeps 24,000 characters, and the first answer has a report in it too.
pub(super) const FIRST_CHUNK: usize = 12_000;
pub(super) const CHUNK: usize = 17_400;

/// Runs the rest of a line as the user that jobs belong to.
const AS_EWULF: &str = "as_ewulf() { setpriv --reuid=ewulf --regid=ewulf --init-groups --reset-env -- \"$@\"; }\n";

/// How a command on the master gets the archive of a run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Payload<'a> {
    /// Within the command: a compressed archive.
    Inline(&'a [u8]),
    /// A plain archive that was uploaded to this path.
    File(&'a str),
}

/// Where the reader of a run has got to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Offsets {
    pub output: u64,
    pub events: u64,
}

/// Stages and starts a run, at most once however often it is sent, and answers as [`poll`] does.
pub(super) fn start(plan: &Plan, shared_path: &str, payload: Payload, share: bool) -> String {
    let control = format!("{}/{CONTROL}", plan.folder);
    let uploaded = match payload {
        Payload::File(path) => Some(path),
        Payload::Inline(_) => None,
    };
    let payload = match payload {
        Payload::Inline(packed) => format!("base64 -d <<'EWULF_PAYLOAD' | gunzip\n{}\nEWULF_PAYLOAD\n", STANDARD.encode(packed)),
        Payload::File(path) => format!("cat -- {}\n", shell_quote(path)),
    };
    let mut text = match uploaded {
        Some(path) => format!("trap 'rm -f -- '{} EXIT\n", shell_quote(&shell_quote(path))),
        None => String::new(),
    };
    text.push_str(&format!(
        "folder={folder}\ncontrol={control}\nunit={unit}\nrun={run}\nshared={shared}\nshare={share}\n{AS_EWULF}\
         payload() {{\n{payload}}}\n",
        folder = shell_quote(&plan.folder),
        control = shell_quote(&control),
        unit = shell_quote(&plan.run.unit()),
        run = shell_quote(plan.run.as_str()),
        shared = shell_quote(shared_path),
        share = u8::from(share),
    ));
    text.push_str(&format!(
        "if [ ! -e /run/ewulf/ready ]; then\n\
         \x20   printf 'ewulf-start not-ready %s\\n' \"$(head -qn 1 /run/ewulf/failed /run/ewulf/stage 2>/dev/null | head -c 500 | tr '\\n' ' ')\"\n\
         \x20   exit 0\n\
         fi\n\
         exec 9>/run/lock/ewulf-runs\nflock 9\n\
         if [ ! -e \"$control/launched\" ]; then\n\
         \x20   active=$(systemctl list-units --plain --no-legend --full --state=active,activating,deactivating '{UNIT_PREFIX}*' |\n\
         \x20       while read -r name _; do name=${{name#{UNIT_PREFIX}}}; printf ' %s' \"${{name%.service}}\"; done)\n\
         \x20   if [ -n \"$active\" ] && [ \"$share\" = 0 ]; then\n\
         \x20       printf 'ewulf-start busy%s\\n' \"$active\"\n\
         \x20       exit 0\n\
         \x20   fi\n\
         \x20   [ -d \"$shared/runs\" ] || install -d -o ewulf -g ewulf -- \"$shared/runs\"\n\
         \x20   as_ewulf rm -rf -- \"$folder\"\n\
         \x20   as_ewulf mkdir -- \"$folder\"\n\
         \x20   payload | as_ewulf tar -xf - -C \"$folder\"\n\
         \x20   as_ewulf touch -- \"$control/launched\"\n\
         \x20   {systemd_run} || {{ as_ewulf rm -f -- \"$control/launched\"; exit 1; }}\n\
         fi\n\
         exec 9>&-\n\
         printf 'ewulf-start ok\\n'\n",
        systemd_run = systemd_run(plan),
    ));
    text.push_str(&poll_program(&plan.folder, &plan.run, Offsets::default(), 1.0));
    text
}

/// The detached start: `mixed` sends a request to stop to the runner alone, which passes it on in order.
fn systemd_run(plan: &Plan) -> String {
    format!(
        "systemd-run --quiet --collect --no-ask-password --unit=\"$unit\" --description=\"ewulf run $run\" --service-type=exec \
         --uid=ewulf --gid=ewulf --working-directory=\"$folder\" --property=KillMode=mixed --property=TimeoutStopSec={STOP_SECONDS} \
         --property=RuntimeMaxSec={limit} --property=OOMPolicy=continue --property=TasksMax=infinity \
         --property=LimitMEMLOCK=infinity --property=LimitNOFILE=65536 \
         --property=\"ExecStopPost=/usr/bin/python3 $control/run.py stopped\" -- /usr/bin/python3 \"$control/run.py\" 9>&-",
        limit = plan.longest().saturating_add(RUNTIME_MARGIN_SECONDS),
    )
}

/// Asks what is new; waits up to `patience` seconds for it.
pub(super) fn poll(folder: &str, run: &RunId, offsets: Offsets, patience: f64) -> String {
    format!("{AS_EWULF}{}", poll_program(folder, run, offsets, patience))
}

fn poll_program(folder: &str, run: &RunId, offsets: Offsets, patience: f64) -> String {
    let arguments =
        format!("{} {} {} {} {patience}", shell_quote(folder), shell_quote(&run.unit()), offsets.output, offsets.events);
    python(POLL, &arguments)
}

/// Runs a program of ours as `ewulf`, isolated from what lies in folders and environments there.
fn python(program: &str, arguments: &str) -> String {
    format!("as_ewulf /usr/bin/python3 -I - {arguments} <<'EWULF_PROGRAM'\n{program}EWULF_PROGRAM\n")
}

/// Asks for the newest runs of the cluster.
pub(super) fn list(runs: &str, most: usize) -> String {
    format!("{AS_EWULF}{}", python(LIST, &format!("{} {most}", shell_quote(runs))))
}

/// Asks for the plan of a run, compressed; answers nothing if there is no such run.
pub(super) fn plan_of(folder: &str) -> String {
    let file = shell_quote(&format!("{folder}/{CONTROL}/plan.json"));
    format!("{AS_EWULF}if as_ewulf test -e {file}; then as_ewulf cat -- {file} | gzip -9n | base64 -w0; fi\n")
}

/// Packs the results and answers a report and the first chunk.
pub(super) fn results(folder: &str, limit: u64) -> String {
    format!("{AS_EWULF}{}", python(RESULTS, &format!("{} {limit} {FIRST_CHUNK}", shell_quote(folder))))
}

/// Asks for one more chunk of an archive of results.
pub(super) fn chunk(folder: &str, archive: &str, offset: usize) -> String {
    let file = shell_quote(&format!("{folder}/{CONTROL}/{archive}"));
    // No pipefail: head ends the pipe before tail is through.
    format!("{AS_EWULF}set +o pipefail\nas_ewulf tail -c +{} -- {file} | head -c {CHUNK} | base64 -w0\n", offset + 1)
}

/// Stops a run on the master and waits until it is stopped.
pub(super) fn cancel(folder: &str, run: &RunId) -> String {
    format!(
        "{AS_EWULF}unit={unit}\nas_ewulf touch -- {marker}\n\
         state=$(systemctl show --property=ActiveState --value \"$unit\")\n\
         if [ \"$state\" = inactive ] || [ \"$state\" = failed ]; then as_ewulf rm -f -- {marker}; else systemctl stop \"$unit\"; fi\n\
         printf '%s\\n' \"$state\"\n",
        unit = shell_quote(&run.unit()),
        marker = shell_quote(&format!("{folder}/{CONTROL}/cancelled")),
    )
}

/// Kills whatever of a run is left on a node and answers how many processes that were; fails if one does not go.
///
/// Every process of a run carries its id in its environment: ranks and steps by the runner, mpirun's daemons by the agent.
pub(super) fn sweep(run: &RunId) -> String {
    format!(
        "marked() {{ grep -lzxF 'EWULF_RUN={run}' /proc/[0-9]*/environ 2>/dev/null || true; }}\n\
         killed=0\n\
         for _ in {{1..40}}; do\n\
         \x20   found=$(marked)\n\
         \x20   if [ -z \"$found\" ]; then printf '%s\\n' \"$killed\"; exit 0; fi\n\
         \x20   for file in $found; do\n\
         \x20       pid=${{file#/proc/}}\n\
         \x20       if kill -KILL \"${{pid%/environ}}\" 2>/dev/null; then killed=$((killed + 1)); fi\n\
         \x20   done\n\
         \x20   sleep 0.1\n\
         done\n\
         printf 'left: %s\\n' \"$found\" >&2\nexit 1\n"
    )
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::tests::{cluster, manifest};
    use super::*;

    #[test]
    fn no_value_of_a_manifest_stands_in_the_text_of_a_command() {
        let evil = "'; touch /tmp/evil; $(id) `id` EWULF_PAYLOAD";
        let yaml = format!(
            "{{command: [\"{evil}\", \"--x\"], environment: {{A: \"{evil}\"}}, args: {{b: \"{evil}\"}}, outputs: [\"{evil}\"]}}"
        );
        let plan = Plan::new(&manifest(&yaml), &cluster(&[2, 2]), Timestamp::UNIX_EPOCH, 1).unwrap();
        let packed = super::super::bundle::pack(&plan, std::path::Path::new(".")).unwrap().packed;
        for text in [
            start(&plan, "/shared", Payload::Inline(&packed), false),
            poll(&plan.folder, &plan.run, Offsets::default(), 1.0),
            results(&plan.folder, 1),
            cancel(&plan.folder, &plan.run),
            sweep(&plan.run),
        ] {
            assert!(!text.contains("evil"), "{text}");
        }
    }

    #[test]
    fn every_command_is_shell_that_parses() {
        let plan = Plan::new(&manifest(""), &cluster(&[2, 2]), Timestamp::UNIX_EPOCH, 1).unwrap();
        for text in [
            start(&plan, "/shared", Payload::Inline(b"x"), true),
            start(&plan, "/shared", Payload::File("/var/tmp/a b"), false),
            poll(&plan.folder, &plan.run, Offsets { output: 1, events: 2 }, 0.5),
            list("/shared/runs", 50),
            plan_of(&plan.folder),
            results(&plan.folder, 1),
            chunk(&plan.folder, "results-1.tar.gz", 7),
            cancel(&plan.folder, &plan.run),
            sweep(&plan.run),
        ] {
            let checked = std::process::Command::new("bash").args(["-n", "-c", &text]).output().unwrap();
            assert!(checked.status.success(), "{}\n{text}", String::from_utf8_lossy(&checked.stderr));
        }
    }

    #[test]
    fn a_usual_start_fits_one_command() {
        let plan =
            Plan::new(&manifest("args: {samples: 200000000, seed: 2008}"), &cluster(&[8; 17]), Timestamp::UNIX_EPOCH, 1).unwrap();
        let packed = super::super::bundle::pack(&plan, std::path::Path::new(".")).unwrap().packed;
        let length = start(&plan, "/shared", Payload::Inline(&packed), false).len();
        assert!(length < super::super::INLINE_MAX, "{length}");
    }
}
