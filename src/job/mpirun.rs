//! The words that start ranks: mpirun with its options, up to the program.

use ewulf_core::quantity::Ipv4Network;
use ewulf_core::spec::Bind;

use super::placement::Share;
use super::plan::CONTROL;

/// What all mpiruns of a run have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mpirun<'a> {
    /// The cluster's network, the only one that is talked over.
    pub network: Ipv4Network,
    /// The run's folder on the cluster.
    pub folder: &'a str,
}

impl Mpirun<'_> {
    /// mpirun's words up to the program, which is the launcher of ranks; `hostfile` is a name in the control folder.
    ///
    /// PRRTE's daemons and MPI's own traffic keep to the cluster's network: a second interface hangs them (ec2.md 10.4).
    /// Keep-alives find a node that vanished without a word within 5 + 3 × 5 s; the default takes over an hour.
    pub fn words(&self, hostfile: &str, shares: &[Share], binding: Option<&str>) -> Vec<String> {
        let ranks: u32 = shares.iter().map(|share| share.ranks).sum();
        let (network, control) = (self.network.to_string(), format!("{}/{CONTROL}", self.folder));
        let mut words = ["/usr/bin/mpirun", "--hostfile"].map(str::to_owned).to_vec();
        words.push(format!("{control}/{hostfile}"));
        words.extend(["-n".to_owned(), ranks.to_string()]);
        words.extend(["--map-by", "slot"].map(str::to_owned));
        let parameters = [
            ("--prtemca", "prte_if_include", network.as_str()),
            ("--prtemca", "oob_tcp_keepalive_time", "5"),
            ("--prtemca", "oob_tcp_keepalive_intvl", "5"),
            ("--prtemca", "oob_tcp_keepalive_probes", "3"),
            ("--mca", "btl_tcp_if_include", network.as_str()),
        ];
        words.extend(parameters.iter().flat_map(|(option, name, value)| [*option, *name, *value]).map(str::to_owned));
        words.extend(["--prtemca".to_owned(), "plm_ssh_agent".to_owned(), format!("{control}/agent.sh")]);
        if let Some(binding) = binding {
            words.extend(["--bind-to", binding].map(str::to_owned));
        }
        words
    }
}

/// What mpirun is told to bind ranks to; nothing where its own choice is right.
pub(super) fn binding(bind: Option<Bind>, shares: &[Share]) -> Option<&'static str> {
    let crowded = shares.iter().any(|share| share.ranks > share.node.cores);
    match (bind, crowded) {
        (None, false) => None,
        (None | Some(Bind::None), _) => Some("none"),
        (Some(Bind::Core), false) => Some("core"),
        (Some(Bind::Core), true) => Some("core:overload-allowed"),
        (Some(Bind::Numa), false) => Some("numa"),
        (Some(Bind::Numa), true) => Some("numa:overload-allowed"),
        (Some(Bind::Package), false) => Some("package"),
        (Some(Bind::Package), true) => Some("package:overload-allowed"),
    }
}
