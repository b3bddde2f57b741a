//! What may happen to a call on its way.

use super::calls::Place;

/// What is done to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// The client is killed before the cloud hears of the call.
    KillBefore,
    /// The cloud answers, and the client is killed before it learns so.
    KillAfter,
    /// The cloud never hears of it; the client gets this status and code.
    Answer { status: u16, code: &'static str },
    /// The connection ends before the cloud hears of it.
    LostBefore,
    /// The cloud carries it out, and the connection ends without an answer.
    LostAfter,
    /// Nothing comes back for as long as the client waits.
    Hang,
}

impl std::fmt::Display for Deed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::KillBefore => formatter.write_str("killed before"),
            Self::KillAfter => formatter.write_str("killed after"),
            Self::Answer { code, .. } => formatter.write_str(code),
            Self::LostBefore => formatter.write_str("lost before"),
            Self::LostAfter => formatter.write_str("lost after"),
            Self::Hang => formatter.write_str("hang"),
        }
    }
}

/// A deed, and to which calls it is done.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The first call that it is done to.
    pub at: Place,
    /// How many calls of the action in a row.
    pub times: usize,
    pub deed: Deed,
}

/// A rule at work.
#[derive(Debug)]
pub(super) struct Armed {
    pub rule: Rule,
    pub seen: usize,
    pub done: usize,
}

impl Armed {
    /// Counts a call; answers what is to be done to it.
    pub fn meet(&mut self, action: &str) -> Option<Deed> {
        if action != self.rule.at.action {
            return None;
        }
        self.seen += 1;
        let is_meant = self.seen >= self.rule.at.nth && self.seen - self.rule.at.nth < self.rule.times;
        self.done += usize::from(is_meant);
        is_meant.then_some(self.rule.deed)
    }
}

/// An answer with an error code, in the words of the service.
pub(super) fn refusal(service: &str, status: u16, code: &str) -> String {
    const SAID: &str = "the wire says so";
    const ID: &str = "00000000-0000-4000-8000-000000000000";
    let (status, kind, body) = match service {
        "ssm" => {
            let (status, code) = words_of_ssm(status, code);
            let body = serde_json::json!({ "__type": code, "message": SAID }).to_string();
            (status, "application/x-amz-json-1.1", body)
        }
        _ => {
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
                 <Message>{SAID}</Message></Error></Errors><RequestID>{ID}</RequestID></Response>"
            );
            (status, "text/xml;charset=UTF-8", body)
        }
    };
    format!(
        "HTTP/1.1 {status} Refused\r\ncontent-type: {kind}\r\nx-amzn-requestid: {ID}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// SSM's code and status for what EC2 calls `code`.
fn words_of_ssm(status: u16, code: &str) -> (u16, &str) {
    match code {
        "RequestLimitExceeded" => (400, "ThrottlingException"),
        "UnauthorizedOperation" => (400, "AccessDeniedException"),
        "InternalError" => (500, "InternalServerError"),
        _ => (status, code),
    }
}
