//! Changes under nodes that stay: live ones, those of a stopped node, and another root volume (ec2.md 6.1).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_sdk_ec2::types as sdk;
use ewulf_core::address::{FILE_SYSTEM_TAG, FINGERPRINT_TAG, JOINED_TAG, ROOT_IMAGE_TAG};
use ewulf_core::pacing::Deed;
use ewulf_core::plan::{RootReplacement, StoppedAttribute, StoppedChange, UNFINISHED};
use ewulf_core::world::{MetadataOptions, Tags};

use super::actions::{count, shortened};
use super::create::{SETTLE, UNCERTAIN, UNSETTLED, modify_volume, set_tags, token};
use super::instances::{send_start, stop, wait_for};
use super::pace::pace;
use super::{Run, StepError};
use crate::aws::{Backoff, CallError, Class, Script, failure, retry};
use crate::events::Work;
use crate::observe::{self, filter, metadata_options};

/// Calls about single nodes at once: more would empty the SDK's retry quota when EC2 throttles (ec2.md 3.6).
const AT_ONCE: usize = 8;
/// Most values of one filter.
const FILTER_VALUES: usize = 200;
/// How long a changed attribute may take to be told: Terraform polls as long (ec2.md 1.7).
const TOLD: Duration = Duration::from_secs(300);
/// Longest time for another root volume: restoring, a reboot, and what EC2 takes to notice.
const ROOT_BUDGET: Duration = Duration::from_secs(1800);
/// How long a node may take to see that its root volume has grown.
const GROWN: Duration = Duration::from_secs(300);

/// Makes one call for each item, a few at once; after an error those under way end, and the others are not begun.
async fn each<T, F>(run: &Run, items: Vec<T>, call: impl Fn(Run, T) -> F) -> Result<(), StepError>
where
    F: Future<Output = Result<(), StepError>> + Send + 'static,
{
    let mut running = tokio::task::JoinSet::new();
    let mut items = items.into_iter();
    let mut outcome = Ok(());
    loop {
        while outcome.is_ok()
            && running.len() < AT_ONCE
            && let Some(item) = items.next()
        {
            running.spawn(call(run.clone(), item));
        }
        match running.join_next().await {
            None => return outcome,
            Some(Ok(ended)) => outcome = outcome.and(ended),
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// Waits until EC2 tells a change of all of `ids`.
async fn told(
    run: &Run,
    ids: &[String],
    wanted: &'static str,
    is_told: impl Fn(&sdk::Instance) -> bool,
) -> Result<(), StepError> {
    let begun = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5), TOLD);
    loop {
        let has_budget = backoff.pause().await;
        let seen: HashMap<String, sdk::Instance> = instances(run, ids).await?;
        let Some(late) = ids.iter().find(|id| !seen.get(*id).is_some_and(&is_told)) else { return Ok(()) };
        if !has_budget {
            let seconds = begun.elapsed().as_secs();
            return Err(StepError::Slow { object: late.clone(), wanted, state: "not told by EC2".to_owned(), seconds });
        }
    }
}

/// The instances of `ids`: by their ids if they are few, else all of the cluster.
async fn instances(run: &Run, ids: &[String]) -> Result<HashMap<String, sdk::Instance>, StepError> {
    let only = sdk::Filter::builder().name("instance-id").set_values(Some(ids.to_vec())).build();
    let only = (ids.len() <= FILTER_VALUES).then_some(only);
    let found = observe::instances(&run.cloud, &run.plan.cluster, only).await?;
    Ok(found.into_iter().filter_map(|instance| Some((instance.instance_id.clone()?, instance))).collect())
}

/// Gives nodes a profile, or takes theirs away.
pub async fn set_instance_profile(run: &Run, ids: &[String], profile: Option<&str>) -> Result<String, StepError> {
    let mut associations = HashMap::new();
    for part in ids.chunks(FILTER_VALUES) {
        associations.extend(profile_associations(run, part).await?);
    }
    let items = ids.iter().map(|id| (id.clone(), associations.remove(id), profile.map(str::to_owned))).collect();
    each(run, items, |run, (id, association, profile)| async move {
        match (association, profile) {
            (None, None) => Ok(()),
            (None, Some(profile)) => associate(&run, &id, &profile).await,
            (Some(association), None) => disassociate(&run, &association.id).await,
            (Some(association), Some(profile)) if association.profile == profile => Ok(()),
            (Some(association), Some(profile)) => match replace(&run, &association.id, &profile).await {
                // Only a running node's can be replaced.
                Err(StepError::Call(error)) if error.is("IncorrectInstanceState") => {
                    disassociate(&run, &association.id).await?;
                    associate(&run, &id, &profile).await
                }
                answer => answer,
            },
        }
    })
    .await?;
    let name = |instance: &sdk::Instance| {
        let arn = instance.iam_instance_profile().and_then(|profile| profile.arn());
        arn.map(|arn| arn.rsplit('/').next().unwrap_or_default().to_owned())
    };
    told(run, ids, "of its instance profile", |instance| name(instance).as_deref() == profile).await?;
    Ok(match profile {
        Some(profile) => format!("{} has instance profile {profile}", shortened(ids)),
        None => format!("{} has no instance profile any more", shortened(ids)),
    })
}

struct Association {
    id: String,
    /// Name of the profile.
    profile: String,
}

/// The association of each instance that has one.
async fn profile_associations(run: &Run, ids: &[String]) -> Result<HashMap<String, Association>, CallError> {
    let by_id = sdk::Filter::builder().name("instance-id").set_values(Some(ids.to_vec())).build();
    let alive = sdk::Filter::builder().name("state").values("associating").values("associated").build();
    let found = retry(SETTLE, &[Class::Ambiguous, Class::Unreachable], || async {
        let request = run.cloud.ec2.describe_iam_instance_profile_associations().filters(by_id.clone()).filters(alive.clone());
        let found: Result<Vec<_>, _> = request.into_paginator().items().send().collect().await;
        found.map_err(|error| failure("DescribeIamInstanceProfileAssociations", shortened(ids), error))
    })
    .await?;
    let named = |association: sdk::IamInstanceProfileAssociation| {
        let arn = association.iam_instance_profile.and_then(|profile| profile.arn).unwrap_or_default();
        let profile = arn.rsplit('/').next().unwrap_or_default().to_owned();
        Some((association.instance_id?, Association { id: association.association_id?, profile }))
    };
    Ok(found.into_iter().filter_map(named).collect())
}

fn named(profile: &str) -> sdk::IamInstanceProfileSpecification {
    sdk::IamInstanceProfileSpecification::builder().name(profile).build()
}

async fn associate(run: &Run, id: &str, profile: &str) -> Result<(), StepError> {
    retry(SETTLE, &UNSETTLED, || async {
        let request = run.cloud.ec2.associate_iam_instance_profile().instance_id(id).iam_instance_profile(named(profile));
        match request.send().await.map(drop).map_err(|error| failure("AssociateIamInstanceProfile", id, error)) {
            // Our own, whose answer was lost, or the one before that is on its way out.
            Err(error) if error.is("IncorrectState") => {
                let present = profile_associations(run, &[id.to_owned()]).await?;
                if present.get(id).is_some_and(|association| association.profile == profile) { Ok(()) } else { Err(error) }
            }
            answer => answer,
        }
    })
    .await?;
    Ok(())
}

async fn disassociate(run: &Run, association: &str) -> Result<(), StepError> {
    let answer = retry(SETTLE, &[Class::Ambiguous, Class::Unreachable], || async {
        let answer = run.cloud.ec2.disassociate_iam_instance_profile().association_id(association).send().await;
        answer.map(drop).map_err(|error| failure("DisassociateIamInstanceProfile", association, error))
    });
    match answer.await {
        Err(error) if error.class == Class::NotFound => Ok(()),
        answer => Ok(answer?),
    }
}

async fn replace(run: &Run, association: &str, profile: &str) -> Result<(), StepError> {
    let answer = retry(SETTLE, &[Class::Unreachable], || async {
        let request = run.cloud.ec2.replace_iam_instance_profile_association().association_id(association);
        let answer = request.iam_instance_profile(named(profile)).send().await;
        answer.map(drop).map_err(|error| failure("ReplaceIamInstanceProfileAssociation", association, error))
    });
    match answer.await {
        // A replacement makes another association: the first of two calls took effect, and its answer was lost. Whether it
        // was this one is told by what EC2 tells of the node in the end.
        Err(error) if error.class == Class::NotFound || error.class == Class::Ambiguous => Ok(()),
        answer => Ok(answer?),
    }
}

/// Puts interfaces into the cluster's group alone; one call for each, whatever other interfaces its node has.
pub async fn set_security_group(run: &Run, interfaces: &[String]) -> Result<String, StepError> {
    let group = run.id(&ewulf_core::address::Address::SecurityGroup)?;
    let items = interfaces.iter().map(|interface| (interface.clone(), group.clone())).collect();
    each(run, items, |run, (interface, group)| async move {
        retry(SETTLE, &UNSETTLED, || async {
            let request = run.cloud.ec2.modify_network_interface_attribute().network_interface_id(&interface).groups(&group);
            request.send().await.map(drop).map_err(|error| failure("ModifyNetworkInterfaceAttribute", &interface, error))
        })
        .await?;
        Ok(())
    })
    .await?;
    Ok(format!("{} belongs to {group} alone", shortened(interfaces)))
}

pub async fn set_metadata_options(run: &Run, ids: &[String], options: MetadataOptions) -> Result<String, StepError> {
    let tokens = if options.needs_token { sdk::HttpTokensState::Required } else { sdk::HttpTokensState::Optional };
    let endpoint = match options.is_enabled {
        true => sdk::InstanceMetadataEndpointState::Enabled,
        false => sdk::InstanceMetadataEndpointState::Disabled,
    };
    let items = ids.iter().map(|id| (id.clone(), tokens.clone(), endpoint.clone())).collect();
    each(run, items, move |run, (id, tokens, endpoint)| async move {
        retry(SETTLE, &UNSETTLED, || async {
            let request = run.cloud.ec2.modify_instance_metadata_options().instance_id(&id).http_tokens(tokens.clone());
            let request = request.http_endpoint(endpoint.clone()).http_put_response_hop_limit(options.hops);
            request.send().await.map(drop).map_err(|error| failure("ModifyInstanceMetadataOptions", &id, error))
        })
        .await?;
        Ok(())
    })
    .await?;
    // They are pending before they are applied.
    let is_applied = |instance: &sdk::Instance| {
        instance.metadata_options().is_some_and(|it| {
            it.state() != Some(&sdk::InstanceMetadataOptionsState::Pending) && metadata_options(it) == Some(options)
        })
    };
    told(run, ids, "of its metadata options", is_applied).await?;
    Ok(format!("the metadata service of {} is {options}", shortened(ids)))
}

pub async fn grow_roots(run: &Run, volumes: &[String], gibibytes: u32) -> Result<String, StepError> {
    each(run, volumes.to_vec(), move |run, volume| async move { Ok(modify_volume(&run, &volume, gibibytes).await?) }).await?;
    Ok(format!("grew {} to {gibibytes} GiB", shortened(volumes)))
}

/// Grows the partition and the file system of each node's root, once the machine sees the volume's new size.
pub async fn grow_root_file_systems(run: &Run, ids: &[String], volumes: &[String], gibibytes: u32) -> Result<String, StepError> {
    // A root that is no device's was put there by whoever made the machine.
    let body = format!(
        "source=$(findmnt -nro SOURCE --mountpoint / | tail -n 1) || true\n\
         [ -b \"$source\" ] || exit 0\n\
         name=$(basename \"$(readlink -f \"$source\")\")\n\
         disk=$source number=''\n\
         if [ -e \"/sys/class/block/$name/partition\" ]; then\n\
           number=$(cat \"/sys/class/block/$name/partition\")\n\
           disk=/dev/$(basename \"$(readlink -f \"/sys/class/block/$name/..\")\")\n\
         fi\n\
         waited=0\n\
         until [ \"$(blockdev --getsize64 \"$disk\")\" -ge {bytes} ]; do\n\
           if [ $waited -ge {patience} ]; then echo \"$disk is still smaller than {bytes} bytes\"; exit 1; fi\n\
           sleep 1; waited=$((waited + 1))\n\
         done\n\
         if [ -n \"$number\" ]; then growpart \"$disk\" \"$number\" || [ $? -eq 1 ]; fi\n\
         kind=$(findmnt -nro FSTYPE --mountpoint / | tail -n 1)\n\
         case \"$kind\" in\n\
           ext?) resize2fs \"$source\" ;;\n\
           xfs) xfs_growfs / ;;\n\
           btrfs) btrfs filesystem resize max / ;;\n\
           *) echo \"no way is known to grow $kind on $source\"; exit 1 ;;\n\
         esac\n",
        bytes = u64::from(gibibytes) << 30,
        patience = GROWN.as_secs(),
    );
    let script = Script::new("grow the root file system", body).timeout(GROWN + Duration::from_secs(120));
    run.cloud.expect_success(ids, &script).await?;
    set_tags(run, volumes, &[(FILE_SYSTEM_TAG.to_owned(), gibibytes.to_string())].into()).await?;
    Ok(format!("grew the root file system of {} to {gibibytes} GiB", count(ids.len(), "node")))
}

/// Stops nodes, changes them, starts them. If EC2 refuses a change, or has no room for what they have become, they are what
/// they were again, and started; the error is that of the change or of the start.
pub async fn change_stopped(run: &Run, nodes: &[StoppedChange], work: &Work) -> Result<String, StepError> {
    let ids: Vec<String> = nodes.iter().map(|node| node.id.clone()).collect();
    // They stand still for as long as they must and no longer, so EC2's limits for their start are waited for before.
    pace(run, Deed::Start, ids.len(), None, work).await?;
    stop(run, &ids).await?;
    work.waiting(format!("waiting until {} stopped", count(ids.len(), "node")));
    wait_for(run, &ids, "stopped", |state| state == "stopped").await?;
    let with_user_data: Vec<String> =
        nodes.iter().filter(|node| node.changes.iter().any(is_user_data)).map(|it| it.id.clone()).collect();
    if !with_user_data.is_empty() {
        set_tags(run, &with_user_data, &[(FINGERPRINT_TAG.to_owned(), UNFINISHED.to_owned())].into()).await?;
    }
    let changed = each(run, nodes.to_vec(), |run, node| async move {
        for change in &node.changes {
            change_attribute(&run, &node.id, change).await?;
        }
        Ok(())
    });
    match changed.await {
        Ok(()) => {}
        Err(StepError::Call(error)) => return Err(put_back(run, nodes, &ids, error, work).await),
        Err(error) => return Err(error),
    }
    work.waiting(format!("starting {}", count(ids.len(), "node")));
    match send_start(run, &ids).await {
        Ok(()) => Ok(format!("{} is {}", shortened(&ids), becomes(nodes))),
        Err(error) if error.class == Class::Capacity => Err(put_back(run, nodes, &ids, error, work).await),
        Err(error) => Err(error.into()),
    }
}

fn is_user_data(change: &StoppedAttribute) -> bool {
    matches!(change, StoppedAttribute::UserData { .. })
}

/// Makes nodes what they were and starts them; answers the error to be told, which says what came of it.
async fn put_back(run: &Run, nodes: &[StoppedChange], ids: &[String], error: CallError, work: &Work) -> StepError {
    work.waiting("they cannot be what they were to become: making them what they were");
    let undone = each(run, nodes.to_vec(), |run, node| async move {
        for change in node.changes.iter().rev().filter_map(reversed) {
            change_attribute(&run, &node.id, &change).await?;
        }
        Ok(())
    });
    // Whatever they are by then, they should not be left stopped.
    let (undone, started) = (undone.await, send_start(run, ids).await);
    let started = undone.err().or(started.err().map(StepError::from)).map(Box::new);
    StepError::PutBack { wanted: becomes(nodes), was: described(nodes, reversed), started, source: error }
}

/// What undoes a change; user data stays, since nothing reads it before the next attempt.
fn reversed(change: &StoppedAttribute) -> Option<StoppedAttribute> {
    match change.clone() {
        StoppedAttribute::InstanceType { from, to } => Some(StoppedAttribute::InstanceType { from: to, to: from }),
        StoppedAttribute::PlacementGroup { from, to } => Some(StoppedAttribute::PlacementGroup { from: to, to: from }),
        StoppedAttribute::UserData { .. } => None,
    }
}

/// What nodes become, in words.
fn becomes(nodes: &[StoppedChange]) -> String {
    described(nodes, |change| Some(change.clone()))
}

fn described(nodes: &[StoppedChange], of: impl Fn(&StoppedAttribute) -> Option<StoppedAttribute>) -> String {
    let words = |change: StoppedAttribute| match change {
        StoppedAttribute::InstanceType { to, .. } => to,
        StoppedAttribute::PlacementGroup { to: Some(group), .. } => format!("in placement group {group}"),
        StoppedAttribute::PlacementGroup { to: None, .. } => "in no placement group".to_owned(),
        StoppedAttribute::UserData { .. } => "with other user data".to_owned(),
    };
    let mut all: Vec<String> = nodes.iter().flat_map(|node| &node.changes).filter_map(&of).map(words).collect();
    all.sort_unstable();
    all.dedup();
    all.join(", ")
}

/// One attribute of a stopped node, by one call.
async fn change_attribute(run: &Run, id: &str, change: &StoppedAttribute) -> Result<(), StepError> {
    retry(SETTLE, &UNSETTLED, || async {
        let modify = || run.cloud.ec2.modify_instance_attribute().instance_id(id);
        match change {
            StoppedAttribute::InstanceType { to, .. } => {
                let value = sdk::AttributeValue::builder().value(to).build();
                let answer = modify().instance_type(value).send().await;
                answer.map(drop).map_err(|error| failure("ModifyInstanceAttribute", id, error))
            }
            StoppedAttribute::UserData { to } => {
                // The SDK encodes it, which it does not at a launch (ec2.md 9.3).
                let value = aws_sdk_ec2::primitives::Blob::new(to.as_bytes());
                let answer = modify().user_data(sdk::SecureBlobAttributeValue::builder().value(value).build()).send().await;
                answer.map(drop).map_err(|error| failure("ModifyInstanceAttribute", id, error))
            }
            StoppedAttribute::PlacementGroup { to, .. } => {
                // An empty name takes it out of its group.
                let request = run.cloud.ec2.modify_instance_placement().instance_id(id);
                let answer = request.group_name(to.as_deref().unwrap_or_default()).send().await;
                answer.map(drop).map_err(|error| failure("ModifyInstancePlacement", id, error))
            }
        }
    })
    .await?;
    Ok(())
}

/// Gives a running node another root volume. What this run or an earlier one began is waited for and not begun twice.
pub async fn replace_root(run: &Run, replacement: &RootReplacement, work: &Work) -> Result<String, StepError> {
    let RootReplacement { id, image_id, fingerprint } = replacement;
    let ids = std::slice::from_ref(id);
    work.waiting(format!("waiting until {id} runs"));
    wait_for(run, ids, "running", |state| state == "running").await?;
    // Until it has joined again, nobody may take it for a member: its keys go with its root.
    set_tags(run, ids, &[(JOINED_TAG.to_owned(), UNFINISHED.to_owned())].into()).await?;
    let old = root_of(run, id).await?;
    let task = begin_replacement(run, id, image_id, &old).await?;
    work.waiting(format!("waiting for the new root volume of {id}"));
    await_replacement(run, id, &task).await?;
    wait_for(run, ids, "running", |state| state == "running").await?;
    let root = root_of(run, id).await?;
    let mut of_root = run.plan.tags.clone();
    of_root.extend(old.tags.into_iter().filter(|(key, _)| key.starts_with("ewulf:") || key == "Name"));
    of_root.insert(FILE_SYSTEM_TAG.to_owned(), root.gibibytes.to_string());
    set_tags(run, std::slice::from_ref(&root.id), &of_root).await?;
    // Last: these say that it is done.
    let of_node = [(ROOT_IMAGE_TAG.to_owned(), image_id.clone()), (FINGERPRINT_TAG.to_owned(), fingerprint.clone())];
    set_tags(run, ids, &of_node.into()).await?;
    Ok(format!("{id} runs from {}, made of {image_id}", root.id))
}

struct RootVolume {
    id: String,
    gibibytes: i32,
    tags: Tags,
}

/// The root volume of a node as it is now.
async fn root_of(run: &Run, id: &str) -> Result<RootVolume, StepError> {
    let seen = instances(run, &[id.to_owned()]).await?;
    let root = seen.get(id).and_then(|instance| {
        let mapping = instance.block_device_mappings().iter().find(|it| it.device_name() == instance.root_device_name());
        mapping.and_then(|it| it.ebs()).and_then(|ebs| ebs.volume_id()).map(str::to_owned)
    });
    let root = root.ok_or_else(|| CallError::unexpected("DescribeInstances", id, "it has no root volume"))?;
    let answer = retry(SETTLE, &UNCERTAIN, || async {
        let answer = run.cloud.ec2.describe_volumes().filters(filter("volume-id", &root)).send().await;
        let answer = answer.map_err(|error| failure("DescribeVolumes", &root, error))?;
        let volume = answer.volumes.unwrap_or_default().into_iter().next();
        volume.ok_or_else(|| CallError {
            class: Class::NotFound,
            ..CallError::unexpected("DescribeVolumes", &root, "it is not listed")
        })
    })
    .await?;
    Ok(RootVolume { id: root, gibibytes: answer.size.unwrap_or_default(), tags: observe::tags(answer.tags()) })
}

/// Id of the task that replaces the root volume `old`: one that is under way, or a new one.
async fn begin_replacement(run: &Run, id: &str, image_id: &str, old: &RootVolume) -> Result<String, StepError> {
    use sdk::ReplaceRootVolumeTaskState as S;
    let tasks = replacements(run, filter("instance-id", id)).await?;
    let is_ours = |task: &&sdk::ReplaceRootVolumeTask| {
        task.image_id() == Some(image_id) && matches!(task.task_state(), Some(S::Pending | S::InProgress))
    };
    if let Some(task) = tasks.iter().find(is_ours).and_then(|task| task.replace_root_volume_task_id()) {
        return Ok(task.to_owned());
    }
    let token = token(run, &["root", id, image_id, &old.id]);
    let answer = retry(SETTLE, &UNSETTLED, || async {
        let request = run.cloud.ec2.create_replace_root_volume_task().instance_id(id).image_id(image_id);
        let answer = request.delete_replaced_root_volume(true).client_token(&token).send().await;
        answer.map_err(|error| failure("CreateReplaceRootVolumeTask", id, error))
    })
    .await?;
    let task = answer.replace_root_volume_task.and_then(|task| task.replace_root_volume_task_id);
    Ok(task.ok_or_else(|| CallError::unexpected("CreateReplaceRootVolumeTask", id, "the answer has no task"))?)
}

async fn replacements(run: &Run, only: sdk::Filter) -> Result<Vec<sdk::ReplaceRootVolumeTask>, CallError> {
    retry(SETTLE, &[Class::Ambiguous, Class::Unreachable], || async {
        let request = run.cloud.ec2.describe_replace_root_volume_tasks().filters(only.clone());
        let found: Result<Vec<_>, _> = request.into_paginator().items().send().collect().await;
        found.map_err(|error| failure("DescribeReplaceRootVolumeTasks", "root volume", error))
    })
    .await
}

/// Waits for a task's end. One that failed has left the node its old root volume.
async fn await_replacement(run: &Run, id: &str, task: &str) -> Result<(), StepError> {
    let begun = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(400), Duration::from_secs(10), ROOT_BUDGET);
    loop {
        let has_budget = backoff.pause().await;
        let tasks = replacements(run, filter("instance-id", id)).await?;
        let state = tasks.iter().find(|it| it.replace_root_volume_task_id() == Some(task)).and_then(|it| it.task_state());
        use sdk::ReplaceRootVolumeTaskState as S;
        match state {
            Some(S::Succeeded) => return Ok(()),
            Some(S::Failed | S::FailedDetached) => {
                let message = format!("{task} failed: {id} keeps its old root volume");
                return Err(CallError::unexpected("CreateReplaceRootVolumeTask", id, message).into());
            }
            _ if has_budget => {}
            state => {
                let state = state.map_or("not visible", |state| state.as_str()).to_owned();
                let seconds = begun.elapsed().as_secs();
                return Err(StepError::Slow { object: format!("{id} {task}"), wanted: "succeeded", state, seconds });
            }
        }
    }
}
