//! `ewulf images`: the baked AMIs; and what recipes stand for, for the verbs on clusters.

use std::collections::{BTreeMap, BTreeSet};

use ewulf_core::names::{ImageName, Region};
use ewulf_core::spec::{self, ImageRecipe};
use ewulf_core::world::Image;

use crate::aws::Cloud;
use crate::bake::{Bakery, ListedImage};
use crate::ui::{Table, text};

use super::connect::CloudOptions;
use super::failure::{Exit, Failure, Outcome};
use super::project::{Kind, Project};
use super::session::Session;

/// Lists the baked images, newest first, and whether each still is what its recipe says.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf images
  ewulf images --cloud aws --region eu-central-1
  ewulf images --json | jq -r '.[] | select(.current).ami'
  ewulf images --remove ami-0a1b2c3d4e5f60718")]
pub struct Images {
    /// Remove this AMI and its snapshots
    #[arg(long, value_name = "AMI")]
    remove: Option<ewulf_core::names::AmiId>,
    #[command(flatten)]
    cloud: CloudOptions,
}

impl Images {
    pub async fn run(self, session: &Session) -> Outcome {
        let project = session.project()?;
        let (kind, region) = self.cloud.or_of_specs(project)?;
        let cloud = session.connect(kind, &region, &session.events()).await?;
        let bakery = Bakery { cloud, events: session.events(), sources: project.sources() };
        if let Some(ami) = &self.remove {
            return remove(session, &bakery, ami.as_str()).await;
        }
        let recipes = recipes(project, &project.names(Kind::Image))?;
        let images = bakery.list(&recipes).await?;
        if session.screen.is_json() {
            session.screen.print_json(&images)?;
        } else if images.is_empty() {
            session.screen.print_line("No image has been baked. `ewulf bake-ami` does it.")?;
        } else {
            session.screen.print_table(&table(session, &images))?;
        }
        session.tell_calls(&bakery.cloud);
        Ok(Exit::Done)
    }
}

async fn remove(session: &Session, bakery: &Bakery, ami: &str) -> Outcome {
    let listed = bakery.list(&[]).await?;
    let Some(image) = listed.iter().find(|image| image.ami == ami) else {
        return Err(Failure::invalid(format!("{ami}: no image that ewulf baked")).hint("`ewulf images` lists them"));
    };
    if image.instances > 0 {
        let nodes = text::count(image.instances as u64, "instance");
        return Err(Failure::invalid(format!("{ami}: {nodes} still boot from it")).hint("destroy or change their cluster first"));
    }
    bakery.remove(ami).await?;
    session.screen.tell(&format!("Removed {ami} of image {}.", image.image));
    if session.screen.is_json() {
        session.screen.print_json(&serde_json::json!({ "removed": ami }))?;
    }
    Ok(Exit::Done)
}

fn table(session: &Session, images: &[ListedImage]) -> Table {
    let style = session.screen.style();
    let mut table = Table::new(["IMAGE", "AMI", "STATE", "CURRENT", ">NODES", ">SIZE", "CREATED"]);
    for image in images {
        let current = match image.current {
            Some(true) => style.green("yes"),
            Some(false) => "no".to_owned(),
            None => "no recipe".to_owned(),
        };
        table.row([
            image.image.clone(),
            image.ami.clone(),
            image.state.clone(),
            current,
            image.instances.to_string(),
            format!("{} GiB", image.gibibytes),
            image.created.clone(),
        ]);
    }
    table
}

/// Loads recipes by name; all that is wrong with them is one failure.
pub fn recipes(project: &Project, names: &[String]) -> Result<Vec<ImageRecipe>, Failure> {
    let loaded: Vec<_> = names.iter().map(|name| project.image(&project.path(Kind::Image, name))).collect();
    let mut recipes = Vec::new();
    let outcomes: Vec<Result<(), Failure>> =
        loaded.into_iter().map(|loaded| loaded.map(|loaded| recipes.push(loaded.spec))).collect();
    super::project::gather(outcomes)?;
    Ok(recipes)
}

/// Looks up what each recipe stands for on a cloud.
pub async fn resolve(
    session: &Session,
    cloud: &Cloud,
    recipes: BTreeMap<ImageName, ImageRecipe>,
) -> Result<BTreeMap<ImageName, Image>, Failure> {
    let bakery = Bakery { cloud: cloud.clone(), events: session.events(), sources: session.project()?.sources() };
    let (names, recipes): (Vec<ImageName>, Vec<ImageRecipe>) = recipes.into_iter().unzip();
    let statuses = bakery.status(&recipes).await?;
    Ok(names.into_iter().zip(statuses).map(|(name, status)| (name, status.image)).collect())
}

impl CloudOptions {
    /// The cloud and region on the command line; what is not given there is what the cluster specs say, and local if
    /// they differ: it costs nothing.
    pub fn or_of_specs(&self, project: &Project) -> Result<(spec::Cloud, Region), Failure> {
        let own = project.files(Kind::Cluster);
        let specs: Vec<spec::ClusterSpec> = own.iter().filter_map(|file| Some(project.cluster(file).ok()?.spec)).collect();
        let clouds: BTreeSet<bool> = specs.iter().map(|spec| spec.cloud == spec::Cloud::Aws).collect();
        let only_aws = clouds.len() == 1 && clouds.contains(&true);
        let cloud = match self.cloud {
            Some(cloud) => cloud.into(),
            None if only_aws => spec::Cloud::Aws,
            None => spec::Cloud::Local,
        };
        if let Some(region) = &self.region {
            return Ok((cloud, region.clone()));
        }
        let regions: BTreeSet<String> =
            specs.iter().filter(|spec| spec.cloud == cloud).map(|spec| spec.region.to_string()).collect();
        match (cloud, regions.len()) {
            (spec::Cloud::Aws, 2..) => {
                let regions: Vec<String> = regions.into_iter().collect();
                Err(Failure::invalid("which region is meant?")
                    .hint(format!("add `--region`; specs name {}", text::enumerate(&regions))))
            }
            _ => {
                let region = regions.into_iter().next().unwrap_or_else(|| "us-east-1".to_owned());
                region.parse().map(|region| (cloud, region)).map_err(|_| Failure::invalid(format!("`{region}` is no region")))
            }
        }
    }
}
