//! Nodes on the command line: `master`, `compute/3`, `compute`, `all`, each with or without a cluster, or an instance id.

use std::str::FromStr;

use ewulf_core::names::{ClusterName, GroupName};
use ewulf_core::world::{Node, NodeState};

use crate::aws::Cloud;
use crate::observe;

use super::cluster;
use super::connect::CloudOptions;
use super::failure::{Failure, Kind};
use super::project::Kind as SpecKind;
use super::session::Session;

/// Nodes of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeChoice {
    cluster: Option<ClusterName>,
    which: Which,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    Master,
    Worker(GroupName, u32),
    Group(GroupName),
    All,
    Id(String),
}

/// A text that chooses no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no node: write master, compute/3, compute or all, after a cluster's name if there are several: demo/compute/3")]
pub struct NotANode(String);

impl FromStr for NodeChoice {
    type Err = NotANode;

    fn from_str(text: &str) -> Result<Self, NotANode> {
        let wrong = || NotANode(text.to_owned());
        let group = |name: &str| name.parse::<GroupName>().map_err(|_| wrong());
        let cluster = |name: &str| name.parse::<ClusterName>().map(Some).map_err(|_| wrong());
        // `node/compute/3` is how plans and tables write it.
        let parts: Vec<&str> = text.split('/').filter(|part| *part != "node").collect();
        let is_index = |part: &str| part.parse::<u32>().is_ok();
        let (cluster, which) = match parts.as_slice() {
            [id] if id.starts_with("i-") => (None, Which::Id((*id).to_owned())),
            [which] => (None, Which::from_words(which, group)?),
            [name, index] if is_index(index) => (None, Which::Worker(group(name)?, index.parse().map_err(|_| wrong())?)),
            [name, which] => (cluster(name)?, Which::from_words(which, group)?),
            [name, worker, index] if is_index(index) => {
                (cluster(name)?, Which::Worker(group(worker)?, index.parse().map_err(|_| wrong())?))
            }
            _ => return Err(wrong()),
        };
        Ok(Self { cluster, which })
    }
}

impl Which {
    fn from_words(word: &str, group: impl Fn(&str) -> Result<GroupName, NotANode>) -> Result<Self, NotANode> {
        Ok(match word {
            "master" => Self::Master,
            "all" => Self::All,
            name => Self::Group(group(name)?),
        })
    }

    fn is(&self, node: &Node) -> bool {
        use ewulf_core::address::Role;
        match (self, &node.role) {
            (Self::All, _) | (Self::Master, Role::Master) => true,
            (Self::Group(group), Role::Worker(role)) => group == role,
            (Self::Worker(group, index), Role::Worker(role)) => group == role && *index == node.index,
            (Self::Id(id), _) => *id == node.id,
            _ => false,
        }
    }
}

/// One running instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub id: String,
    /// Its address in the cluster; its id if it belongs to none.
    pub name: String,
}

/// Running nodes, with the way to them.
pub struct Chosen {
    pub cloud: Cloud,
    /// At least one, by address.
    pub nodes: Vec<Target>,
}

impl NodeChoice {
    /// Finds the chosen nodes that run; none is a failure that says which there are.
    pub async fn find(&self, session: &Session, cluster: Option<&str>, options: &CloudOptions) -> Result<Chosen, Failure> {
        if let (Which::Id(id), None) = (&self.which, cluster) {
            // A builder of an image is of no cluster.
            let (kind, region) = options.or_of_specs(session.project()?)?;
            let cloud = session.connect(kind, &region, &session.events()).await?;
            return Ok(Chosen { cloud, nodes: vec![Target { id: id.clone(), name: id.clone() }] });
        }
        let name = self.cluster_name(session, cluster)?;
        let spec = cluster::spec(session.project()?, &name, options)?;
        let cloud = session.connect_for(&spec, &session.events()).await?;
        let world = observe::cluster(&cloud, &spec.cluster).await?;
        let target = |node: &Node| Target { id: node.id.clone(), name: node.address().to_string() };
        let running = || world.nodes.iter().filter(|node| node.state == NodeState::Running);
        let nodes: Vec<Target> = running().filter(|node| self.which.is(node)).map(target).collect();
        if !nodes.is_empty() {
            return Ok(Chosen { cloud, nodes });
        }
        let names: Vec<String> = running().map(|node| node.address().to_string()).collect();
        let failure = Failure::new(Kind::Failed, format!("cluster {name}: no running node is meant by this"));
        Err(if names.is_empty() {
            failure.hint(format!("none of it runs: ewulf apply {}", session.project()?.path(SpecKind::Cluster, &name).display()))
        } else {
            failure.hint(format!("there are {}", names.join(", ")))
        })
    }

    fn cluster_name(&self, session: &Session, option: Option<&str>) -> Result<String, Failure> {
        if let Some(name) = option.map(str::to_owned).or_else(|| self.cluster.as_ref().map(ToString::to_string)) {
            return Ok(name);
        }
        only_cluster(session)
    }
}

/// The cluster that is meant where none is named: the only one of the project.
pub fn only_cluster(session: &Session) -> Result<String, Failure> {
    match session.project()?.own_cluster_names().as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Failure::invalid("there is no cluster spec").hint("`ewulf init DIR` writes a project to start from")),
        names => {
            Err(Failure::invalid("which cluster is meant?").hint(format!("add `--cluster NAME`; there are {}", names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(text: &str) -> (Option<String>, Which) {
        let choice: NodeChoice = text.parse().expect("it chooses nodes");
        (choice.cluster.map(|name| name.to_string()), choice.which)
    }

    fn group(name: &str) -> GroupName {
        name.parse().expect("it is a group name")
    }

    #[test]
    fn nodes_are_named_as_plans_name_them_or_shorter() {
        for text in ["compute/3", "node/compute/3"] {
            assert_eq!(choice(text), (None, Which::Worker(group("compute"), 3)));
        }
        assert_eq!(choice("master"), (None, Which::Master));
        assert_eq!(choice("node/master"), (None, Which::Master));
        assert_eq!(choice("i-0a1b"), (None, Which::Id("i-0a1b".to_owned())));
    }

    #[test]
    fn a_cluster_may_stand_before_a_node() {
        assert_eq!(choice("demo/master"), (Some("demo".to_owned()), Which::Master));
        assert_eq!(choice("demo/compute"), (Some("demo".to_owned()), Which::Group(group("compute"))));
        assert_eq!(choice("demo/compute/3"), (Some("demo".to_owned()), Which::Worker(group("compute"), 3)));
        assert_eq!(choice("demo/all"), (Some("demo".to_owned()), Which::All));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "demo/", "a/b/c", "Demo/master", "compute/3/4/5"] {
            assert!(text.parse::<NodeChoice>().is_err(), "{text}");
        }
    }
}
