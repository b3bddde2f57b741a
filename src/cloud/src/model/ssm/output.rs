//! How much of a script's output the API shows, and how it says that there was more.

/// Characters of standard output and standard error in GetCommandInvocation.
pub const STDOUT_LIMIT: usize = 24_000;
pub const STDERR_LIMIT: usize = 8_000;

/// Characters of both in a plugin of ListCommandInvocations.
const PLUGIN_LIMIT: usize = 2_500;

const CONTENT_CUT: &str = "--output truncated--";
const PLUGIN_CUT: &str = "\n---Output truncated---";
const PLUGIN_ERROR: &str = "\n----------ERROR-------\n";

/// One stream as GetCommandInvocation shows it: its head, and a mark if there was more.
pub fn content(stream: &[u8], more: bool, limit: usize) -> String {
    let text = String::from_utf8_lossy(stream);
    if !more && text.chars().count() <= limit {
        return text.into_owned();
    }
    let mut cut: String = text.chars().take(limit - CONTENT_CUT.len()).collect();
    cut.push_str(CONTENT_CUT);
    cut
}

/// Both streams as a plugin's `Output` shows them; each gets half, or what the other leaves.
pub fn plugin_output(stdout: &str, stderr: &str) -> String {
    let title = if stderr.is_empty() { "" } else { PLUGIN_ERROR };
    let (out, error) = (stdout.chars().count(), stderr.chars().count());
    let room = PLUGIN_LIMIT - title.len();
    if out + error <= room {
        return format!("{stdout}{title}{stderr}");
    }
    let (out_room, error_room) = match (out <= room / 2, error <= room / 2) {
        (true, _) => (out, room - out),
        (false, true) => (room - error, error),
        (false, false) => (room / 2, room - room / 2),
    };
    format!("{}{title}{}", head(stdout, out_room), head(stderr, error_room))
}

fn head(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(room.saturating_sub(PLUGIN_CUT.len())).collect();
    cut.push_str(PLUGIN_CUT);
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_keeps_its_head_and_says_so() {
        let long = "x".repeat(STDOUT_LIMIT + 1);
        let shown = content(long.as_bytes(), false, STDOUT_LIMIT);
        assert_eq!(shown.chars().count(), STDOUT_LIMIT);
        assert!(shown.ends_with("x--output truncated--"));
        assert_eq!(content(b"short", false, STDOUT_LIMIT), "short");
        assert_eq!(content(b"short", true, STDOUT_LIMIT), "short--output truncated--");
    }

    #[test]
    fn a_plugin_shows_at_most_2500_characters_of_both_streams() {
        assert_eq!(plugin_output("a\n", ""), "a\n");
        assert_eq!(plugin_output("a", "b"), "a\n----------ERROR-------\nb");
        let (out, error) = ("ö".repeat(5_000), "e".repeat(5_000));
        for (stdout, stderr) in [(out.as_str(), error.as_str()), (&out, "b"), ("a", &error), (&out, "")] {
            let shown = plugin_output(stdout, stderr);
            assert_eq!(shown.chars().count(), PLUGIN_LIMIT);
            assert!(shown.contains("---Output truncated---"));
        }
    }
}
