//! The one attempt of an instant fleet: pools are tried in order until the target is met.

use super::catalog::spot_price;
use super::launch::Launch;
use super::turn::Turn;
use crate::model::ec2::instance_types::{self, InstanceType};
use crate::model::ec2::{Ec2, Fleet, FleetError, FleetLaunch, Pool, new_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;

/// One market of a fleet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Market {
    pub spot: bool,
    /// Units wanted.
    pub target: u32,
    /// Units below which nothing is launched.
    pub least: u32,
}

impl Market {
    fn options(self) -> &'static str {
        if self.spot { "SpotOptions" } else { "OnDemandOptions" }
    }
}

/// Units that an instance of these overrides counts for.
pub(super) fn weight(overrides: &Query) -> Result<u32, ApiError> {
    let Some(text) = overrides.text("WeightedCapacity") else { return Ok(1) };
    // A double on the wire; whole numbers from 1 to 999 are what EC2 takes.
    let invalid = || ApiError::invalid_value(format!("Invalid value '{text}' for WeightedCapacity: 1 to 999"));
    let whole = text.strip_suffix(".0").unwrap_or(text);
    whole.parse().ok().filter(|weight| (1..=999).contains(weight)).ok_or_else(invalid)
}

/// What the pool's template says.
fn template_data<'a>(ec2: &'a Ec2, pool: &Pool) -> Option<&'a Query> {
    let version = pool.version.parse().ok()?;
    Some(&ec2.launch_templates.get(&pool.template_id)?.versions.get(&version)?.data)
}

/// What a pool launches: its overrides over its template's data.
fn instance_type(ec2: &Ec2, pool: &Pool) -> Option<&'static InstanceType> {
    let of_template = || template_data(ec2, pool)?.text("InstanceType");
    instance_types::find(pool.overrides.text("InstanceType").or_else(of_template)?)
}

/// Where a pool launches, as far as the pool says it.
fn zone(ec2: &Ec2, pool: &Pool) -> Option<String> {
    let overrides = &pool.overrides;
    let subnet = overrides.text("SubnetId").and_then(|id| ec2.subnets.get(id)).map(|subnet| subnet.zone.clone());
    subnet.or_else(|| overrides.text("AvailabilityZone").or(overrides.text("Placement.AvailabilityZone")).map(str::to_owned))
}

/// Launches what it can of one market, and notes what it could not.
pub(super) fn fulfil(turn: &mut Turn<'_>, query: &Query, pools: &[Pool], fleet: &mut Fleet, market: Market) {
    let mut open = market.target;
    if open == 0 {
        return;
    }
    let single = |name: &str| query.boolean(&format!("{}.{name}", market.options())).ok().flatten() == Some(true);
    let (one_type, one_zone) = (single("SingleInstanceType"), single("SingleAvailabilityZone"));
    let pools = ordered(turn.ec2, query, pools, market);
    // With a minimum, the first pool that can give it alone is the one that the others may add to.
    let mut chosen: Option<(&'static str, String)> = None;
    for pool in pools {
        if open == 0 {
            break;
        }
        let units = weight(&pool.overrides).unwrap_or(1);
        let wanted = open.div_ceil(units);
        let least = match chosen {
            None => market.least.div_ceil(units).max(1),
            Some(_) => 1,
        };
        let (wanted, least) = (usize::try_from(wanted).unwrap_or(0), usize::try_from(least).unwrap_or(0));
        let outcome = Launch::prepare(turn, &call(turn.ec2, query, &pool), least, wanted.max(least));
        let launch = match outcome {
            Ok(launch) => launch.for_fleet(&fleet.id),
            Err(error) => {
                fleet.errors.push(FleetError { pool, code: error.code.into_owned(), message: error.message });
                continue;
            }
        };
        let (kind, place) = (launch.instance_type(), launch.subnet().clone());
        let differs = chosen
            .as_ref()
            .is_some_and(|(first_kind, first_zone)| (one_type && *first_kind != kind) || (one_zone && *first_zone != place.zone));
        if differs {
            continue;
        }
        let instance_ids = launch.carry_out(turn, &new_id("r"));
        if instance_ids.len() < wanted {
            fleet.errors.push(FleetError {
                pool: pool.clone(),
                code: "InsufficientInstanceCapacity".to_owned(),
                message: format!("{} of {wanted} instances could be launched.", instance_ids.len()),
            });
        }
        let launched = u32::try_from(instance_ids.len()).unwrap_or(u32::MAX).saturating_mul(units);
        open = open.saturating_sub(launched);
        chosen.get_or_insert((kind, place.zone.clone()));
        fleet.launches.push(FleetLaunch {
            pool,
            instance_type: kind.to_owned(),
            zone: place.zone,
            subnet_id: place.id,
            instance_ids,
            weight: units,
        });
    }
}

/// The pools in the order in which the market's strategy tries them.
fn ordered(ec2: &Ec2, query: &Query, pools: &[Pool], market: Market) -> Vec<Pool> {
    let mut pools: Vec<Pool> = pools.iter().map(|pool| Pool { spot: market.spot, ..pool.clone() }).collect();
    let strategy = query.text(&format!("{}.AllocationStrategy", market.options())).unwrap_or("lowest-price");
    // A priority is a rank: the lowest number is tried first; one without comes last.
    let priority = |pool: &Pool| pool.overrides.text("Priority").and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::MAX);
    // Spot and on-demand prices are in proportion here, and so is capacity.
    let price = |pool: &Pool| {
        let zone = zone(ec2, pool).unwrap_or_default();
        let units = f64::from(weight(&pool.overrides).unwrap_or(1));
        instance_type(ec2, pool).map_or(f64::MAX, |kind| spot_price(kind, &zone) / units)
    };
    match strategy {
        "prioritized" | "capacity-optimized-prioritized" => pools.sort_by(|one, other| priority(one).total_cmp(&priority(other))),
        "lowest-price" | "lowestPrice" | "price-capacity-optimized" => {
            pools.sort_by(|one, other| price(one).total_cmp(&price(other)));
        }
        _ => {}
    }
    pools
}

/// The launch of one pool as a RunInstances call would ask for it.
fn call(ec2: &Ec2, query: &Query, pool: &Pool) -> Query {
    let mut call = Query::default();
    let mut template = Query::default();
    template.insert("LaunchTemplateId", Query::scalar(&pool.template_id));
    template.insert("Version", Query::scalar(&pool.version));
    call.insert("LaunchTemplate", template);
    for name in ["InstanceType", "ImageId", "SubnetId", "BlockDeviceMapping", "Placement"] {
        if let Some(given) = pool.overrides.structure(name) {
            call.insert(name, given.clone());
        }
    }
    let mut placement = call.remove("Placement").unwrap_or_default();
    for name in ["AvailabilityZone", "AvailabilityZoneId"] {
        if let Some(given) = pool.overrides.structure(name) {
            placement.insert(name, given.clone());
        }
    }
    if placement.names().next().is_some() {
        call.insert("Placement", placement);
    }
    // A subnet goes into the template's interface, if it has one: beside it EC2 takes none.
    if let Some(interfaces) = template_data(ec2, pool).and_then(|data| data.structure("NetworkInterface"))
        && let Some(subnet) = call.remove("SubnetId")
    {
        let mut interfaces = interfaces.clone();
        let first = interfaces.names().min_by_key(|name| name.parse::<u64>().unwrap_or(u64::MAX)).map(str::to_owned);
        if let Some(first) = first
            && let Some(mut interface) = interfaces.remove(&first)
        {
            interface.insert("SubnetId", subnet);
            interfaces.insert(&first, interface);
        }
        call.insert("NetworkInterface", interfaces);
    }
    let mut market = Query::default();
    market.insert("MarketType", Query::scalar(if pool.spot { "spot" } else { "on-demand" }));
    if let Some(price) = pool.overrides.text("MaxPrice").filter(|_| pool.spot) {
        let mut options = Query::default();
        options.insert("MaxPrice", Query::scalar(price));
        market.insert("SpotOptions", options);
    }
    call.insert("InstanceMarketOptions", market);
    // The fleet's own tags are not its instances'.
    let mut specifications = Query::default();
    let kinds = query.structures("TagSpecification").into_iter().filter(|one| one.text("ResourceType") != Some("fleet"));
    for (number, specification) in (1..).zip(kinds) {
        specifications.insert(&number.to_string(), specification.clone());
    }
    if specifications.names().next().is_some() {
        call.insert("TagSpecification", specifications);
    }
    call
}
