//! The error codes that ec2.md names, each seen by a client or with a reason why none can see it here.

use super::{assert_none, report};

/// A line for each code: the code, the rule that names it, and `seen` or `unseen: REASON`.
const CODES: &str = include_str!("codes.txt");

#[test]
fn every_error_code_of_the_reference_is_seen_or_has_a_reason_not_to_be() {
    let mut wrong = Vec::new();
    let lines = CODES.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    for line in lines {
        let mut parts = line.splitn(3, ' ').map(str::trim);
        let (Some(code), Some(rule), Some(note)) = (parts.next(), parts.next(), parts.next()) else {
            wrong.push(format!("`{line}` is not a code, a rule and a note"));
            continue;
        };
        let is_seen = report().codes.iter().any(|one| one == code);
        match note {
            "seen" if is_seen => {}
            "seen" => wrong.push(format!("{code} of ec2.md {rule} was never seen")),
            note if !note.starts_with("unseen: ") => wrong.push(format!("{code} is neither seen nor unseen: {note}")),
            _ if is_seen => wrong.push(format!("{code} of ec2.md {rule} was seen after all")),
            _ => {}
        }
    }
    assert_none("codes are not as they are listed", &wrong);
}
