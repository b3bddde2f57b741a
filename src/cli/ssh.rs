//! `ewulf ssh`: a shell on a node, without an open port.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::aws::{Place, Script, failure};

use super::connect::CloudOptions;
use super::doctor::find_program;
use super::failure::{Failure, Kind, Outcome};
use super::nodes::{Chosen, NodeChoice};
use super::session::Session;
use super::user;

/// Opens a shell on a node.
///
/// On AWS through SSM's Session Manager, which needs its plugin but no open port; on the local cloud by entering the
/// node, which needs root.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf ssh master
  sudo ewulf ssh demo/compute/1
  ewulf ssh prod/master --user root")]
pub struct Ssh {
    /// The node: master or compute/3, after CLUSTER/ if there are several clusters
    #[arg(value_name = "NODE")]
    node: NodeChoice,
    /// The cluster [default: the only one of the project]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The user on the node
    #[arg(long, value_name = "NAME", default_value = "ewulf")]
    user: String,
    #[command(flatten)]
    cloud: CloudOptions,
}

impl Ssh {
    pub async fn run(self, session: &Session) -> Outcome {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::invalid("there is no terminal for a shell").hint("`ewulf exec NODE -- CMD…` runs a program"));
        }
        if !self.user.chars().all(|character| character.is_ascii_alphanumeric() || "_-.".contains(character)) {
            return Err(Failure::invalid(format!("`{}` is no user name", self.user)));
        }
        let chosen = self.node.find(session, self.cluster.as_deref(), &self.cloud).await?;
        if chosen.nodes.len() > 1 {
            let addresses: Vec<String> = chosen.nodes.iter().map(|node| node.name.clone()).collect();
            return Err(Failure::invalid("a shell is for one node").hint(format!("choose one of {}", addresses.join(", "))));
        }
        let mut command = match chosen.cloud.place {
            Place::Aws { .. } => through_session_manager(&chosen, &self.user).await?,
            Place::Local { .. } => into_node(&chosen, &self.user).await?,
        };
        session.screen.finish();
        // Comes back only if the program cannot be started.
        let error = command.exec();
        let program = command.get_program().to_string_lossy().into_owned();
        Err(Failure::new(Kind::Failed, format!("{program}: cannot be started")).caused_by(Some(&error)))
    }
}

/// The plugin's command line for a session that this asks SSM for.
async fn through_session_manager(chosen: &Chosen, user: &str) -> Result<Command, Failure> {
    let Some(plugin) = find_program("session-manager-plugin") else {
        return Err(Failure::new(Kind::Failed, "session-manager-plugin: not found")
            .hint("see \"Install the Session Manager plugin\" in AWS's Systems Manager guide; `ewulf exec` works without it"));
    };
    let (cloud, node) = (&chosen.cloud, &chosen.nodes[0]);
    let answer = cloud
        .ssm
        .start_session()
        .target(&node.id)
        .document_name("AWS-StartInteractiveCommand")
        .parameters("command", vec![format!("sudo su --login {user}")])
        .send()
        .await
        .map_err(|error| failure("StartSession", &node.name, error))?;
    let response = serde_json::json!({
        "SessionId": answer.session_id,
        "TokenValue": answer.token_value,
        "StreamUrl": answer.stream_url,
    });
    // The plugin reads the token from the variable that its first argument names, so that no process list shows it.
    const RESPONSE: &str = "AWS_SSM_START_SESSION_RESPONSE";
    let target = serde_json::json!({ "Target": node.id });
    let mut command = Command::new(plugin);
    command.env(RESPONSE, response.to_string());
    command.args([RESPONSE, &cloud.region, "StartSession", "", &target.to_string()]);
    command.arg(format!("https://ssm.{}.amazonaws.com", cloud.region));
    Ok(command)
}

/// A login shell inside the node's namespaces.
async fn into_node(chosen: &Chosen, user: &str) -> Result<Command, Failure> {
    let node = &chosen.nodes[0];
    if !user::is_root() {
        let words: Vec<String> = std::env::args().map(|word| crate::ui::text::shell_word(&word)).collect();
        return Err(Failure::new(Kind::Failed, "a shell on a node of the local cloud needs root")
            .hint(format!("sudo {}; `ewulf exec` needs no root", words.join(" "))));
    }
    let script = Script::new("find the node's init", "stat --dereference --format=%i /proc/self/ns/pid\n");
    let outcome = chosen.cloud.run_on_one(&node.id, &script).await?;
    let init = outcome.stdout.trim().parse().ok().and_then(init_of_namespace).ok_or_else(|| {
        Failure::new(Kind::Failed, format!("{}: its init was not found on this machine", node.name))
            .hint("`ewulf exec` reaches the node by the API")
    })?;
    let mut command = Command::new("nsenter");
    command.arg(format!("--target={init}"));
    command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wdns=/", "--"]);
    command.args(["su", "--login", "--pty", user]);
    Ok(command)
}

/// Finds the process on this machine that is process 1 of a PID namespace, by the namespace's inode.
fn init_of_namespace(inode: u64) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.find(|id| {
        let is_inside = std::fs::metadata(format!("/proc/{id}/ns/pid")).is_ok_and(|namespace| namespace.ino() == inode);
        is_inside && is_first(&std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default())
    })
}

/// Whether a process is the first of its innermost namespace, by its /proc/PID/status.
fn is_first(status: &str) -> bool {
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.and_then(|ids| ids.split_whitespace().last()) == Some("1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_init_of_a_namespace_is_its_first_process() {
        assert!(is_first("Name:\tsystemd\nNSpid:\t4242\t1\n"));
        assert!(!is_first("Name:\tsshd\nNSpid:\t4243\t17\n"));
        assert!(!is_first(""));
    }

    #[test]
    fn a_new_namespace_has_an_init() {
        if !user::is_root() {
            // Without root no namespace can be made.
            return;
        }
        let program = ["--pid", "--fork", "--kill-child", "sleep", "60"];
        let mut unshare = std::process::Command::new("unshare").args(program).spawn().expect("util-linux is installed");
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let init = (0..500).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            std::fs::read_to_string(&children).ok()?.trim().parse::<u32>().ok()
        });
        let init = init.expect("unshare starts a process in the namespace");
        let inode = std::fs::metadata(format!("/proc/{init}/ns/pid")).expect("it runs").ino();
        let found = init_of_namespace(inode);
        unshare.kill().expect("it runs still");
        unshare.wait().expect("it was killed");
        assert_eq!(found, Some(init));
    }
}
