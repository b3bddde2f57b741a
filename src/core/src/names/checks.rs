//! The checks behind the text types: each returns the text as it is kept, or why it is refused.

use super::Invalid;

/// Longest name: leaves room for `ewulf-`, the address and a generation in EC2's 255 characters, and fits a host name
/// label of 63.
const NAME_MAX: usize = 32;

fn is_lower(letter: char) -> bool {
    letter.is_ascii_lowercase()
}

pub(super) fn name(what: &str, text: &str) -> Result<String, Invalid> {
    let problem = if text.is_empty() {
        "is empty"
    } else if text.len() > NAME_MAX {
        "is longer than 32 characters"
    } else if !text.starts_with(is_lower) {
        "does not start with a lower-case letter"
    } else if !text.chars().all(|c| is_lower(c) || c.is_ascii_digit() || c == '-') {
        "has characters other than lower-case letters, digits and `-`"
    } else {
        return Ok(text.to_owned());
    };
    let invalid = Invalid::new(format!("{what} name `{text}` {problem}"));
    Err(match suggested_name(text) {
        Some(suggestion) => invalid.hint(format!("write `{suggestion}`")),
        None => invalid.hint("a name has 1 to 32 lower-case letters, digits and `-`, and starts with a letter"),
    })
}

/// Turns a text into the nearest valid name, or `None` if nothing of it is left.
fn suggested_name(text: &str) -> Option<String> {
    let mut suggestion = String::new();
    for letter in text.chars().flat_map(char::to_lowercase) {
        match letter {
            'a'..='z' => suggestion.push(letter),
            '0'..='9' if !suggestion.is_empty() => suggestion.push(letter),
            _ if suggestion.is_empty() || suggestion.ends_with('-') => {}
            _ => suggestion.push('-'),
        }
        if suggestion.len() == NAME_MAX {
            break;
        }
    }
    let suggestion = suggestion.trim_end_matches('-');
    (!suggestion.is_empty()).then(|| suggestion.to_owned())
}

pub(super) fn region(text: &str) -> Result<String, Invalid> {
    let parts: Vec<&str> = text.split('-').collect();
    let last_is_number = parts.last().is_some_and(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()));
    let words = &parts[..parts.len() - 1];
    if last_is_number && words.len() >= 2 && words.iter().all(|part| !part.is_empty() && part.chars().all(is_lower)) {
        return Ok(text.to_owned());
    }
    let invalid = Invalid::new(format!("`{text}` is not a region"));
    let without_letter = text.trim_end_matches(is_lower);
    Err(if without_letter != text && region(without_letter).is_ok() {
        invalid.hint(format!("that is a zone: write `region: {without_letter}` and `network: {{zone: {text}}}`"))
    } else {
        invalid.hint("a region looks like `us-east-1`")
    })
}

pub(super) fn zone(text: &str) -> Result<String, Invalid> {
    let without_letter = text.trim_end_matches(is_lower);
    let one_letter = text.len() == without_letter.len() + 1;
    let allowed = text.chars().all(|c| is_lower(c) || c.is_ascii_digit() || c == '-');
    if one_letter && allowed && without_letter.ends_with(|c: char| c.is_ascii_digit()) && text.contains('-') {
        return Ok(text.to_owned());
    }
    Err(Invalid::new(format!("`{text}` is not an availability zone"))
        .hint("a zone is a region and a letter, such as `us-east-1a`"))
}

pub(super) fn resource_id(prefix: &str, text: &str) -> Result<String, Invalid> {
    let digits = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    // Ids made before 2016 have 8 digits, all others 17.
    let valid = digits.is_some_and(|digits| {
        matches!(digits.len(), 8 | 17) && digits.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
    });
    if valid {
        return Ok(text.to_owned());
    }
    Err(Invalid::new(format!("`{text}` is not an id of the form `{prefix}-…`"))
        .hint(format!("such an id is `{prefix}-` and 17 digits of 0-9 and a-f, as AWS prints it")))
}

pub(super) fn instance_profile(text: &str) -> Result<String, Invalid> {
    if let Some((_, last)) = text.rsplit_once('/').filter(|_| text.starts_with("arn:")) {
        return Err(Invalid::new(format!("instance profile `{text}` is an ARN")).hint(format!("write its name: `{last}`")));
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if (1..=128).contains(&text.len()) && text.chars().all(valid) {
        return Ok(text.to_owned());
    }
    Err(Invalid::new(format!("`{text}` is not a name of an instance profile"))
        .hint("such a name has 1 to 128 letters, digits and `_+=,.@-`"))
}

pub(super) fn parameter(text: &str) -> Result<String, Invalid> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    if text.starts_with('/') && text.len() > 1 && text.len() <= 1011 && text.chars().all(valid) {
        return Ok(text.to_owned());
    }
    Err(Invalid::new(format!("`{text}` is not a full name of an SSM parameter"))
        .hint("write it with its path, such as `/aws/service/debian/release/13/latest/amd64`"))
}

pub(super) fn package(text: &str) -> Result<String, Invalid> {
    let (package, suite) = match text.split_once('/') {
        Some((package, suite)) => (package, Some(suite)),
        None => (text, None),
    };
    // Debian policy 5.6.1: at least two characters, lower case, starting alphanumeric.
    let package_valid = package.len() >= 2
        && package.starts_with(|c: char| is_lower(c) || c.is_ascii_digit())
        && package.chars().all(|c| is_lower(c) || c.is_ascii_digit() || "+.-".contains(c));
    let suite_valid = suite.is_none_or(|suite| {
        suite.starts_with(is_lower) && suite.chars().all(|c| is_lower(c) || c.is_ascii_digit() || ".-".contains(c))
    });
    if package_valid && suite_valid {
        return Ok(text.to_owned());
    }
    Err(Invalid::new(format!("`{text}` is not a Debian package"))
        .hint("write a package name such as `openmpi-bin`, with a suite after a slash if it needs one: `rustc/trixie-backports`"))
}

/// Kinds of units that can be enabled.
const UNIT_KINDS: [&str; 7] = ["service", "socket", "timer", "mount", "automount", "target", "path"];

pub(super) fn unit(text: &str) -> Result<String, Invalid> {
    let valid = |c: char| c.is_ascii_alphanumeric() || ":_.@-".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(valid) {
        return match text.rsplit_once('.') {
            Some((stem, kind)) if !stem.is_empty() && UNIT_KINDS.contains(&kind) => Ok(text.to_owned()),
            _ => Err(Invalid::new(format!("systemd unit `{text}` has no suffix")).hint(format!("write `{text}.service`"))),
        };
    }
    Err(Invalid::new(format!("`{text}` is not a systemd unit")).hint("write a unit such as `chrony.service`"))
}

pub(super) fn environment(text: &str) -> Result<String, Invalid> {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(text.to_owned());
    }
    Err(Invalid::new(format!("`{text}` is not a name of an environment variable"))
        .hint("such a name has letters, digits and `_`, and does not start with a digit"))
}

pub(super) fn option(text: &str) -> Result<String, Invalid> {
    let option = text.replace('_', "-");
    let valid = option.starts_with(is_lower) && option.chars().all(|c| is_lower(c) || c.is_ascii_digit() || c == '-');
    if valid {
        return Ok(option);
    }
    let invalid = Invalid::new(format!("`{text}` is not a name of an option"));
    let bare = text.trim_start_matches('-');
    Err(if bare != text && self::option(bare).is_ok() {
        invalid.hint(format!("write `{bare}`: the dashes are added"))
    } else {
        invalid.hint("such a name has lower-case letters, digits, `_` and `-`, and starts with a letter")
    })
}

pub(super) fn variable(text: &str) -> Result<String, Invalid> {
    let valid = text.starts_with(is_lower) && text.chars().all(|c| is_lower(c) || c.is_ascii_digit() || c == '_');
    if valid {
        return Ok(text.to_owned());
    }
    Err(Invalid::new(format!("`{text}` is not a name of a template variable"))
        .hint("such a name has lower-case letters, digits and `_`, and starts with a letter"))
}

/// Folders of the system itself: mounting over one of them, or over one of their parents, breaks a node.
const SYSTEM_FOLDERS: [&str; 16] = [
    "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp",
    "/usr", "/var",
];

pub(super) fn node_path(text: &str) -> Result<String, Invalid> {
    let path = if text.len() > 1 { text.trim_end_matches('/') } else { text };
    let Some(rest) = path.strip_prefix('/').filter(|rest| !rest.is_empty()) else {
        return Err(
            Invalid::new(format!("path `{text}` does not start with `/` and a name")).hint("write a path such as `/shared`")
        );
    };
    let segment_valid = |segment: &str| {
        !matches!(segment, "" | "." | "..") && segment.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if !rest.split('/').all(segment_valid) || path.len() > 255 {
        return Err(Invalid::new(format!("path `{text}` has a segment that is empty, `.`, `..` or not plain"))
            .hint("use letters, digits, `.`, `_` and `-` between slashes"));
    }
    // Own folders below these two are common and safe; everything else below a system folder is not.
    let below_safe = path.starts_with("/home/") || path.starts_with("/opt/") && !path.starts_with("/opt/ewulf");
    let system = SYSTEM_FOLDERS
        .iter()
        .find(|folder| path.strip_prefix(**folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    match system {
        Some(folder) if !below_safe => Err(Invalid::new(format!("path `{text}` is in `{folder}`, which belongs to the system"))
            .hint("write a path of its own, such as `/shared`")),
        _ => Ok(path.to_owned()),
    }
}

pub(super) fn relative_path(text: &str) -> Result<String, Invalid> {
    if text.is_empty() {
        return Err(Invalid::new("path is empty").hint("write a relative path, or `.` for the folder itself"));
    }
    if text.starts_with('/') {
        return Err(Invalid::new(format!("path `{text}` is absolute")).hint("write it relative to the folder it is in"));
    }
    if text.chars().any(|c| c.is_control()) {
        return Err(Invalid::new(format!("path {text:?} has a control character")));
    }
    let segments: Vec<&str> = text.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect();
    if segments.contains(&"..") {
        return Err(Invalid::new(format!("path `{text}` leaves its folder by `..`")).hint("write a path below the folder"));
    }
    if segments.iter().any(|segment| segment.len() > 255) || text.len() > 1024 {
        return Err(Invalid::new(format!("path `{:.40}…` is too long", text)));
    }
    Ok(if segments.is_empty() { ".".to_owned() } else { segments.join("/") })
}

pub(super) fn input_url(text: &str) -> Result<String, Invalid> {
    let rest = text.strip_prefix("s3://").or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic()) => {
            Ok(text.to_owned())
        }
        Some(_) => Err(Invalid::new(format!("address `{text}` has no host or has characters that an address cannot have"))
            .hint("encode spaces and other characters as `%20` and so on")),
        None => Err(Invalid::new(format!("address `{text}` is neither `s3://` nor `https://`"))
            .hint("use `path:` for a file of this machine, `url: https://…` or `url: s3://…` otherwise")),
    }
}

pub(super) fn word(text: &str) -> Result<String, Invalid> {
    match text.contains('\0') {
        true => Err(Invalid::new("text has a NUL character, which no program can be given")),
        false => Ok(text.to_owned()),
    }
}

pub(super) fn shell_line(text: &str) -> Result<String, Invalid> {
    if text.trim().is_empty() {
        return Err(Invalid::new("shell line is empty").hint("remove it, or write a command"));
    }
    if text.contains(['\n', '\r', '\0']) {
        return Err(Invalid::new("shell line has a line break").hint("write one list entry a line, or join commands by `&&`"));
    }
    Ok(text.to_owned())
}
