//! Readers that lag behind: EC2's model as it was a while ago.
//!
//! With lag asked for, the model is copied after each change, and calls are answered from a copy of the age that the
//! rule draws. A call that changes something first looks at the copy as well: what is too young to be in it is not
//! found there, and that is what the caller is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::turn::Operation;
use super::{Outcome, carry_out, facts};
use crate::cloud::Cloud;
use crate::model::ec2::Ec2;
use crate::model::ssm::Ssm;
use crate::wire::error::ApiError;
use crate::wire::query::Query;

/// Copies of the model, each with the uptime at which it became true, oldest first. Empty unless there is lag.
#[derive(Default)]
pub(crate) struct Replicas {
    copies: Mutex<VecDeque<(Duration, Arc<Ec2>)>>,
}

impl Replicas {
    /// Adds the model as it is now, and forgets what is older than anyone may read.
    fn add(&self, ec2: &Ec2, now: Duration, greatest_lag: Duration) {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        copies.push_back((now, Arc::new(ec2.clone())));
        let oldest = now.saturating_sub(greatest_lag);
        // The last one before that moment was true at it.
        while copies.get(1).is_some_and(|(since, _)| *since <= oldest) {
            copies.pop_front();
        }
    }

    /// The model as it was then, or as it was when copying began.
    fn at(&self, moment: Duration) -> Option<Arc<Ec2>> {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let known = copies.iter().rev().find(|(since, _)| *since <= moment);
        known.or(copies.front()).map(|(_, ec2)| Arc::clone(ec2))
    }

    fn is_empty(&self) -> bool {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn clear(&self) {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Answers a call from an older copy, if lag was asked for and the copy decides it: None leaves it to the model itself.
pub(super) fn answer(
    cloud: &Cloud,
    ec2: &mut Ec2,
    ssm: &Ssm,
    operation: &Operation,
    query: &Query,
) -> Result<Option<Outcome>, ApiError> {
    let Some(greatest) = cloud.faults.greatest_lag() else { return Ok(None) };
    if cloud.replicas.is_empty() {
        cloud.replicas.add(ec2, cloud.uptime(), greatest);
    }
    let lag = cloud.faults.lag(&facts(ec2, operation.name, query));
    let copy = lag.and_then(|(age, rule)| Some((cloud.replicas.at(cloud.uptime().saturating_sub(age))?, rule)));
    if let Some((copy, rule)) = copy {
        let outcome = carry_out(cloud, &mut Ec2::clone(&copy), ssm, operation, query, false);
        if !operation.writes {
            return outcome.map(Some);
        }
        if let Err(error) = outcome
            && is_unknown(&error)
        {
            cloud.faults.exceeded(rule);
            return Err(error);
        }
    }
    if !operation.writes {
        return Ok(None);
    }
    let done = super::on_copy(ec2, false, |copy| carry_out(cloud, copy, ssm, operation, query, true))?;
    cloud.replicas.add(ec2, cloud.uptime(), greatest);
    Ok(Some(done))
}

/// Whether the refusal says that something is not there.
fn is_unknown(error: &ApiError) -> bool {
    let code = error.code.as_ref();
    [".NotFound", ".Unknown", ".NotFoundException", ".VersionNotFound"].iter().any(|end| code.ends_with(end))
}

/// Copies the model after each change that no call makes, for as long as the cloud lives.
pub async fn replicate(cloud: Arc<Cloud>) {
    let mut changes = cloud.changes();
    while changes.changed().await.is_ok() {
        match cloud.faults.greatest_lag() {
            Some(greatest) => {
                let state = cloud.state();
                cloud.replicas.add(&state.ec2, cloud.uptime(), greatest);
            }
            None => cloud.replicas.clear(),
        }
        // Changes come in bursts, and a copy of a thousand instances takes a millisecond.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(account: &str) -> Ec2 {
        Ec2 { account: account.to_owned(), ..Ec2::default() }
    }

    #[test]
    fn a_copy_is_true_from_its_moment_to_the_next_ones() {
        let replicas = Replicas::default();
        let seconds = Duration::from_secs;
        assert!(replicas.at(seconds(0)).is_none());
        for second in [10, 20, 30] {
            replicas.add(&named(&second.to_string()), seconds(second), seconds(15));
        }
        let at = |second| replicas.at(seconds(second)).unwrap().account.clone();
        assert_eq!([at(1), at(10), at(19), at(20), at(29), at(99)], ["10", "10", "10", "20", "20", "30"]);
        // Nobody reads what was true more than 15 s ago.
        replicas.add(&named("40"), seconds(40), seconds(15));
        assert_eq!([at(1), at(25), at(40)], ["20", "20", "40"]);
    }
}
