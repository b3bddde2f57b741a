//! Spot requests: one-time, and fulfilled as they are made.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Ec2, Instance, InstanceState, Tags};

/// The request that a spot instance came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpotRequest {
    pub id: String,
    pub instance_id: String,
    pub created: Timestamp,
    /// Dollars an hour, as asked; the on-demand price when nothing was asked.
    pub max_price: Option<String>,
    pub cancelled: Option<Timestamp>,
    pub tags: Tags,
}

/// Where a request stands: its state, and the code and message of its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpotStanding {
    pub state: &'static str,
    pub code: &'static str,
    pub message: &'static str,
}

impl Ec2 {
    /// Makes an id that no request has: `sir-` and 8 letters and digits.
    pub fn new_spot_request_id(&self) -> String {
        loop {
            let mut bits: u64 = rand::random();
            let digits = std::iter::repeat_with(|| {
                let digit = char::from_digit((bits % 36) as u32, 36);
                bits /= 36;
                digit
            });
            let id: String = "sir-".chars().chain(digits.take(8).flatten()).collect();
            if !self.spot_requests.contains_key(&id) {
                return id;
            }
        }
    }
}

impl SpotRequest {
    /// Where the request stands, given its instance.
    pub fn standing(&self, instance: Option<&Instance>) -> SpotStanding {
        let ended = instance.is_none_or(|it| [InstanceState::ShuttingDown, InstanceState::Terminated].contains(&it.state));
        let by_user =
            instance.and_then(|instance| instance.state_reason.as_ref()).is_some_and(|reason| reason.code.starts_with("Client."));
        match (self.cancelled.is_some(), ended) {
            (false, false) => SpotStanding { state: "active", code: "fulfilled", message: "Your Spot request is fulfilled." },
            (true, false) => SpotStanding {
                state: "cancelled",
                code: "request-canceled-and-instance-running",
                message: "Your Spot request is canceled, but your instance is still running.",
            },
            (cancelled, true) => SpotStanding {
                state: if cancelled { "cancelled" } else { "closed" },
                code: if by_user { "instance-terminated-by-user" } else { "instance-terminated-by-service" },
                message: "Your Spot instance was terminated.",
            },
        }
    }
}
