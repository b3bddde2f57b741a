//! One writer for a cluster: a parameter that exists while somebody works (DESIGN.md section 6).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ssm::types::ParameterType;
use ewulf_core::names::ClusterName;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::aws::{Backoff, CallError, Class, Cloud, failure};

/// How long a lock lasts without being renewed: renewals may fail for minutes before somebody else takes it.
const LASTS: SignedDuration = SignedDuration::from_secs(180);
/// How much of it is left when it is renewed.
const RENEWS_AT: SignedDuration = SignedDuration::from_secs(130);
const LOOKS_EVERY: Duration = Duration::from_secs(5);
/// How long what somebody did last may stay invisible (ec2.md 1.1).
const SETTLES: SignedDuration = SignedDuration::from_secs(300);
/// Longest wait for one renewal; an answer that comes later is told from others by its version.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a write may be overtaken.
const ROUNDS: usize = 5;

/// Who holds a lock, where, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub who: String,
    pub host: String,
    pub process: u32,
    /// Start time of the process in clock ticks since boot: a recycled process id is not the holder.
    pub started: u64,
    pub doing: String,
    pub since: Timestamp,
    pub until: Timestamp,
    /// When its work failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclean: Option<Timestamp>,
    /// Version of the parameter that its writer had read, 0 for one that was not there; None if it did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<i64>,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("cluster {cluster} is being changed by {who} on {host} (process {process}, {doing}) since {age} s ago", who = holder.who, host = holder.host, process = holder.process, doing = holder.doing)]
    Held { cluster: ClusterName, holder: Box<Holder>, age: i64 },
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A held lock; it is renewed until it is released.
#[derive(Debug)]
pub struct Lock {
    cloud: Cloud,
    name: String,
    held: Arc<Mutex<Record>>,
    lost: watch::Receiver<bool>,
    renewal: JoinHandle<()>,
    unsettled: bool,
    clean: AtomicBool,
}

/// Tells whether a lock is still held; clones share one answer.
#[derive(Debug, Clone)]
pub struct Guard(watch::Receiver<bool>);

impl Guard {
    /// A guard of nothing, for work that needs no lock.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self(watch::channel(false).1)
    }

    #[cfg(test)]
    pub(super) fn of(lost: watch::Receiver<bool>) -> Self {
        Self(lost)
    }

    /// Whether somebody else has the lock now, or nobody can tell.
    pub fn is_lost(&self) -> bool {
        *self.0.borrow()
    }
}

/// A version of the lock's parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    version: i64,
    holder: Holder,
}

impl Record {
    /// Whether it followed the very version that its writer had read. One that did not was written by somebody who came
    /// too late, and counts for nothing.
    fn is_valid(&self) -> bool {
        self.holder.replaces.is_none_or(|read| read == self.version - 1)
    }
}

impl Lock {
    /// Takes the cluster's lock. One that expired, or whose process on this machine is gone, is taken over.
    pub async fn acquire(cloud: &Cloud, cluster: &ClusterName, doing: &str) -> Result<Self, LockError> {
        let name = format!("/ewulf/{cluster}/lock");
        let (held, unsettled) = take(cloud, &name, cluster, &holder(doing)).await?;
        let held = Arc::new(Mutex::new(held));
        let (losing, lost) = watch::channel(false);
        let renewal = tokio::spawn(renew(cloud.clone(), name.clone(), held.clone(), losing));
        let clean = AtomicBool::new(!unsettled);
        Ok(Self { cloud: cloud.clone(), name, held, lost, renewal, unsettled, clean })
    }

    /// Whether it was taken from somebody whose last calls may not be visible everywhere yet.
    pub fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// Says whether all that was done is known to be visible. A lock that is given back when it is not leaves its record,
    /// as one that is over: whoever comes next within minutes then knows what to wait for.
    pub fn mark(&self, clean: bool) {
        self.clean.store(clean, Ordering::Relaxed);
    }

    pub fn guard(&self) -> Guard {
        Guard(self.lost.clone())
    }

    /// Gives the lock back.
    pub async fn release(self) -> Result<(), CallError> {
        self.renewal.abort();
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // What somebody else holds by now is theirs.
        if *self.lost.borrow()
            || effective(&self.cloud, &self.name).await?.is_none_or(|record| !record.holder.is_same(&held.holder))
        {
            return Ok(());
        }
        if !self.clean.load(Ordering::Relaxed) {
            let now = Timestamp::now();
            let over = Holder { until: now, unclean: Some(now), replaces: Some(held.version), ..held.holder };
            return put(&self.cloud, &self.name, &over, true).await.map(drop);
        }
        match self.cloud.ssm.delete_parameter().name(&self.name).send().await {
            Ok(_) => Ok(()),
            Err(error) => match failure("DeleteParameter", &self.name, error) {
                error if error.class == Class::NotFound => Ok(()),
                error => Err(error),
            },
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl Holder {
    /// Whether it expired, or was of this machine and its process is gone.
    pub fn is_over(&self) -> bool {
        self.until < Timestamp::now() || (self.host == host() && process_start(self.process) != Some(self.started))
    }

    /// Whether both are one piece of work of one process.
    fn is_same(&self, other: &Self) -> bool {
        let key = |holder: &Self| (holder.host.clone(), holder.process, holder.started, holder.since);
        key(self) == key(other)
    }

    /// Whether what it did last may not be visible everywhere yet: it did not end well, and only minutes ago.
    fn is_unsettled(&self) -> bool {
        let last = self.unclean.unwrap_or_else(|| self.until.saturating_sub(LASTS).unwrap_or(Timestamp::MIN));
        Timestamp::now().duration_since(last) < SETTLES
    }

    fn renewed(&self, replaces: i64) -> Self {
        let until = Timestamp::now().saturating_add(LASTS).unwrap_or(Timestamp::MAX);
        Self { until, replaces: Some(replaces), ..self.clone() }
    }
}

/// Takes the lock, and tells whether the one before left anything unsettled.
async fn take(cloud: &Cloud, name: &str, cluster: &ClusterName, wanted: &Holder) -> Result<(Record, bool), LockError> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2), Duration::from_secs(10));
    loop {
        match put(cloud, name, wanted, false).await {
            Ok(version) => return Ok((Record { version, holder: wanted.clone() }, false)),
            Err(error) if error.class == Class::Exists => {}
            Err(error) => return Err(error.into()),
        }
        let Some(newest) = read(cloud, name, None).await? else {
            // Released in between, or not readable everywhere yet.
            if backoff.pause().await {
                continue;
            }
            return Err(CallError::unexpected("PutParameter", name, "it exists and cannot be read").into());
        };
        // The put had taken effect, its answer was lost, and the SDK repeated it.
        if newest.holder.is_same(wanted) && newest.is_valid() {
            return Ok((newest, false));
        }
        let before = in_force(cloud, name, newest.clone()).await?;
        if let Some(record) = &before
            && !record.holder.is_over()
        {
            let age = Timestamp::now().as_second() - record.holder.since.as_second();
            return Err(LockError::Held { cluster: cluster.clone(), holder: Box::new(record.holder.clone()), age });
        }
        let unsettled = before.is_none_or(|record| record.holder.is_unsettled());
        let holder = wanted.renewed(newest.version);
        let version = put(cloud, name, &holder, true).await?;
        let record = Record { version, holder };
        if record.is_valid() {
            return Ok((record, unsettled));
        }
        // Somebody else was faster: theirs counts, or, if an answer was lost, ours of a moment ago.
        if let Some(winner) = effective(cloud, name).await?
            && winner.holder.is_same(wanted)
        {
            return Ok((winner, unsettled));
        }
        if !backoff.pause().await {
            return Err(CallError::unexpected("PutParameter", name, "others take it all the time").into());
        }
    }
}

/// The newest version that counts, of all that there are.
async fn effective(cloud: &Cloud, name: &str) -> Result<Option<Record>, CallError> {
    match read(cloud, name, None).await? {
        Some(newest) => in_force(cloud, name, newest).await,
        None => Ok(None),
    }
}

/// The newest version that counts, from this one on downwards.
async fn in_force(cloud: &Cloud, name: &str, newest: Record) -> Result<Option<Record>, CallError> {
    let mut record = newest;
    while !record.is_valid() {
        match read(cloud, name, Some(record.version - 1)).await? {
            Some(older) => record = older,
            None => return Ok(None),
        }
    }
    Ok(Some(record))
}

/// Renews a lock until it is lost: taken over by somebody else, or not renewed for as long as it lasts.
async fn renew(cloud: Cloud, name: String, held: Arc<Mutex<Record>>, losing: watch::Sender<bool>) {
    loop {
        // By the wall clock, and looked at often: a machine that slept finds out soon.
        tokio::time::sleep(LOOKS_EVERY).await;
        let record = held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let left = record.holder.until.duration_since(Timestamp::now());
        if left > RENEWS_AT {
            continue;
        }
        let renewal = tokio::time::timeout(PATIENCE, renew_once(&cloud, &name, &record)).await;
        match renewal.unwrap_or_else(|_| Err(CallError::unexpected("PutParameter", &name, "no answer in time"))) {
            Ok(Some(renewed)) => *held.lock().unwrap_or_else(PoisonError::into_inner) = renewed,
            Ok(None) => break,
            // Tried again while it lasts.
            Err(_) if record.holder.until > Timestamp::now() => {}
            Err(_) => break,
        }
    }
    losing.send_replace(true);
}

/// Writes the next version of a lock that is held; None if it is not held any more.
async fn renew_once(cloud: &Cloud, name: &str, held: &Record) -> Result<Option<Record>, CallError> {
    let mut replaces = held.version;
    // Each round is lost to somebody who came too late, or to an answer that was lost.
    for _ in 0..ROUNDS {
        let holder = held.holder.renewed(replaces);
        let version = put(cloud, name, &holder, true).await?;
        let record = Record { version, holder };
        if record.is_valid() {
            return Ok(Some(record));
        }
        match in_force(cloud, name, record).await? {
            Some(winner) if winner.holder.is_same(&held.holder) => replaces = version,
            _ => return Ok(None),
        }
    }
    Err(CallError::unexpected("PutParameter", name, "others write it all the time"))
}

fn holder(doing: &str) -> Holder {
    let since = Timestamp::now();
    let process = std::process::id();
    Holder {
        who: std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "unknown".to_owned()),
        host: host(),
        process,
        started: process_start(process).unwrap_or(0),
        doing: doing.to_owned(),
        since,
        until: since.saturating_add(LASTS).unwrap_or(Timestamp::MAX),
        unclean: None,
        replaces: Some(0),
    }
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// Start time of a process, field 22 of proc(5)'s stat; None when there is no such process.
fn process_start(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything; fields count from behind it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Writes the parameter; answers its new version.
async fn put(cloud: &Cloud, name: &str, holder: &Holder, overwrite: bool) -> Result<i64, CallError> {
    let value = serde_json::to_string(holder).map_err(|error| CallError::unexpected("PutParameter", name, error.to_string()))?;
    let request = cloud.ssm.put_parameter().name(name).value(value).r#type(ParameterType::String).overwrite(overwrite);
    request.send().await.map(|answer| answer.version).map_err(|error| failure("PutParameter", name, error))
}

/// Reads one version of the parameter, or the newest.
async fn read(cloud: &Cloud, name: &str, version: Option<i64>) -> Result<Option<Record>, CallError> {
    let selected = version.map_or_else(|| name.to_owned(), |version| format!("{name}:{version}"));
    match cloud.ssm.get_parameter().name(selected).send().await {
        Ok(answer) => {
            let Some(parameter) = answer.parameter else { return Ok(None) };
            let holder = serde_json::from_str(parameter.value().unwrap_or_default());
            let holder =
                holder.map_err(|error| CallError::unexpected("GetParameter", name, format!("not a lock of ewulf: {error}")))?;
            Ok(Some(Record { version: parameter.version, holder }))
        }
        Err(error) => match failure("GetParameter", name, error) {
            error if error.class == Class::NotFound || error.is("ParameterVersionNotFound") => Ok(None),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::testing::RecordsCloud;

    const NAME: &str = "/ewulf/demo/lock";

    fn cluster() -> ClusterName {
        "demo".parse().unwrap()
    }

    /// Somebody on another machine, whose lock ended so many seconds ago.
    fn stranger(ended: i64) -> Holder {
        let until = Timestamp::now().saturating_sub(SignedDuration::from_secs(ended)).unwrap();
        Holder { host: "elsewhere".into(), until, ..holder("apply") }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_many_who_find_an_expired_lock_one_takes_it() {
        let records = RecordsCloud::start().await;
        put(&records.cloud, NAME, &stranger(600), false).await.unwrap();
        let mut takers = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let cloud = records.cloud.clone();
            takers.spawn(async move { Lock::acquire(&cloud, &cluster(), "apply").await });
        }
        let answers = takers.join_all().await;
        let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(taken.len(), 1, "{taken:?}");
        assert!(refused.iter().all(|answer| matches!(answer, Err(LockError::Held { .. }))), "{refused:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lock_whose_first_answer_was_lost_is_ones_own() {
        let records = RecordsCloud::start().await;
        let ours = holder("apply");
        put(&records.cloud, NAME, &ours, false).await.unwrap();
        let (record, unsettled) = take(&records.cloud, NAME, &cluster(), &ours).await.unwrap();
        assert_eq!((record.version, record.holder.is_same(&ours), unsettled), (1, true, false));
        assert!(matches!(Lock::acquire(&records.cloud, &cluster(), "apply").await, Err(LockError::Held { .. })));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_slept_does_not_take_back_what_somebody_else_took_over() {
        let records = RecordsCloud::start().await;
        let cloud = &records.cloud;
        let sleeper = Record { version: put(cloud, NAME, &stranger(600), false).await.unwrap(), holder: stranger(600) };
        let (taken, _) = take(cloud, NAME, &cluster(), &holder("destroy")).await.unwrap();
        assert_eq!(renew_once(cloud, NAME, &sleeper).await.unwrap(), None);
        // The late write stands in the parameter, and counts for nothing.
        let renewed = renew_once(cloud, NAME, &taken).await.unwrap().unwrap();
        assert!(effective(cloud, NAME).await.unwrap().unwrap().holder.is_same(&taken.holder));
        assert!(renewed.version > taken.version);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lock_that_nobody_took_over_is_renewed_even_late() {
        let records = RecordsCloud::start().await;
        let late = stranger(600);
        let held = Record { version: put(&records.cloud, NAME, &late, false).await.unwrap(), holder: late };
        let renewed = renew_once(&records.cloud, NAME, &held).await.unwrap().unwrap();
        assert!(!renewed.holder.is_over());
        // A renewal whose answer was lost is followed by another.
        assert!(renew_once(&records.cloud, NAME, &held).await.unwrap().is_some());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn after_work_that_failed_the_next_one_lets_the_world_settle() {
        let records = RecordsCloud::start().await;
        let first = Lock::acquire(&records.cloud, &cluster(), "apply").await.unwrap();
        assert!(!first.is_unsettled());
        first.mark(false);
        first.release().await.unwrap();
        let second = Lock::acquire(&records.cloud, &cluster(), "apply").await.unwrap();
        assert!(second.is_unsettled());
        second.mark(true);
        second.release().await.unwrap();
        assert!(!Lock::acquire(&records.cloud, &cluster(), "apply").await.unwrap().is_unsettled());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_killed_process_left_long_ago_has_settled() {
        let records = RecordsCloud::start().await;
        for (ended, unsettled) in [(600, false), (30, true)] {
            put(&records.cloud, NAME, &stranger(ended), false).await.unwrap();
            let lock = Lock::acquire(&records.cloud, &cluster(), "apply").await.unwrap();
            assert_eq!(lock.is_unsettled(), unsettled, "{ended} s ago");
            lock.mark(true);
            lock.release().await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lock_that_somebody_else_has_by_now_is_not_given_back() {
        let records = RecordsCloud::start().await;
        let lock = Lock::acquire(&records.cloud, &cluster(), "apply").await.unwrap();
        let version = lock.held.lock().unwrap().version;
        put(&records.cloud, NAME, &stranger(-100).renewed(version), true).await.unwrap();
        lock.release().await.unwrap();
        assert_eq!(effective(&records.cloud, NAME).await.unwrap().unwrap().holder.host, "elsewhere");
    }
}
