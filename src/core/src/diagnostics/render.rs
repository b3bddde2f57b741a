//! Diagnostics for a terminal, with the line they are about.

use super::{Diagnostic, Severity, Span, lines};

/// Widest part of a source line that is shown, in columns of a terminal: 80 less the line number's margin.
const LINE_MAX: usize = 76;

/// Columns shown before a mark in a line that is cut.
const LEAD: usize = 24;

/// Columns that a tab is shown as.
const TAB: usize = 4;

/// Longest piece of a message that is shown; values of a spec may be quoted in it.
const MESSAGE_MAX: usize = 400;

/// Renders a diagnostic with its line of the source, as compilers do, ending in a line break.
///
/// Places outside of the source are shown without a line. With `colour`, the text holds ANSI escape sequences.
pub fn render(diagnostic: &Diagnostic, source: &str, colour: bool) -> String {
    let paint = Paint { colour };
    let (name, tone) = match diagnostic.severity {
        Severity::Error => ("error", Tone::Error),
        Severity::Warning => ("warning", Tone::Warning),
    };
    let mut out =
        format!("{}{}\n", paint.with(tone, name), paint.with(Tone::Bold, &format!(": {}", visible(&diagnostic.message))));
    let excerpt = diagnostic.span.and_then(|span| Some((span, excerpt(source, span)?)));
    let margin = match diagnostic.span {
        Some(span) => span.line.to_string().len(),
        None => 1,
    };
    let place = match diagnostic.span {
        Some(span) => format!("{}:{}:{}", diagnostic.file, span.line, span.column),
        None => diagnostic.file.clone(),
    };
    let empty = " ".repeat(margin);
    let bar = paint.with(Tone::Frame, "|");
    out.push_str(&format!("{empty}{} {}\n", paint.with(Tone::Frame, "-->"), visible(&place)));
    if let Some((span, excerpt)) = excerpt {
        let label = diagnostic.label.as_deref().map(|label| format!(" {}", visible(label))).unwrap_or_default();
        let mark = format!("{}{label}", "^".repeat(excerpt.mark_width));
        let number = paint.with(Tone::Frame, &span.line.to_string());
        out.push_str(&format!("{empty} {bar}\n{number} {bar} {}\n", excerpt.line));
        out.push_str(&format!("{empty} {bar} {}{}\n", " ".repeat(excerpt.mark_column), paint.with(tone, &mark)));
    }
    let equals = paint.with(Tone::Frame, "=");
    for note in &diagnostic.notes {
        out.push_str(&format!("{empty} {equals} {}: {}\n", paint.with(Tone::Bold, "note"), visible(note)));
    }
    if let Some(hint) = &diagnostic.hint {
        out.push_str(&format!("{empty} {equals} {}: {}\n", paint.with(Tone::Hint, "hint"), visible(hint)));
    }
    out
}

/// A line of the source as a terminal shows it, and where the mark goes, in columns.
struct Excerpt {
    line: String,
    mark_column: usize,
    mark_width: usize,
}

/// Cuts a line around the place to mark; `None` if the source has no such line.
fn excerpt(source: &str, span: Span) -> Option<Excerpt> {
    let line = lines(source).nth(span.line.checked_sub(1)?)?;
    let start = span.column.saturating_sub(1);
    let end = start.saturating_add(span.length);
    let letters: Vec<(String, usize)> = line.trim_end().chars().map(shown).collect();
    let width_between = |from: usize, to: usize| -> usize {
        letters.iter().skip(from).take(to.saturating_sub(from)).map(|(_, width)| width).sum()
    };
    let start = start.min(letters.len());
    let end = end.clamp(start, letters.len());

    let (first, cut_before) = match width_between(0, letters.len()) > LINE_MAX && width_between(0, end) > LINE_MAX {
        true => (first_letter(&letters, start), true),
        false => (0, false),
    };
    let mut text = String::new();
    let mut width = 0;
    if cut_before && first > 0 {
        text.push('…');
        width = 1;
    }
    let mark_column = width + width_between(first, start);
    let mut mark_width = 0;
    for (index, (letter, letter_width)) in letters.iter().enumerate().skip(first) {
        if width + letter_width > LINE_MAX {
            text.push('…');
            break;
        }
        text.push_str(letter);
        width += letter_width;
        if (start..end).contains(&index) {
            mark_width += letter_width;
        }
    }
    Some(Excerpt { line: text, mark_column, mark_width: mark_width.max(1) })
}

/// Returns the first letter to show so that some of the line is seen before the mark.
fn first_letter(letters: &[(String, usize)], start: usize) -> usize {
    let mut width = 0;
    for index in (0..start).rev() {
        width += letters[index].1;
        if width > LEAD {
            return index + 1;
        }
    }
    0
}

/// Returns how a character is shown, and how many columns that takes.
fn shown(letter: char) -> (String, usize) {
    match letter {
        '\t' => (" ".repeat(TAB), TAB),
        // Includes escape: a file must not be able to drive the terminal.
        _ if letter.is_control() || is_invisible(letter) => ("\u{fffd}".to_owned(), 1),
        _ if is_combining(letter) => (letter.to_string(), 0),
        _ if is_wide(letter) => (letter.to_string(), 2),
        _ => (letter.to_string(), 1),
    }
}

/// Makes a text of the user's safe for one line of a terminal.
fn visible(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars().take(MESSAGE_MAX) {
        match letter {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ => out.push_str(&shown(letter).0),
        }
    }
    if text.chars().nth(MESSAGE_MAX).is_some() {
        out.push('…');
    }
    out
}

/// Characters that reorder or hide text.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Characters drawn over the one before; the common blocks.
fn is_combining(letter: char) -> bool {
    matches!(letter, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}')
}

/// Characters two columns wide: East Asian wide and full-width blocks, and emoji.
fn is_wide(letter: char) -> bool {
    matches!(letter,
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{303e}' | '\u{3041}'..='\u{33ff}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{a000}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6ff}' | '\u{1f900}'..='\u{1f9ff}' | '\u{20000}'..='\u{3fffd}')
}

#[derive(Clone, Copy)]
enum Tone {
    Error,
    Warning,
    Bold,
    Frame,
    Hint,
}

struct Paint {
    colour: bool,
}

impl Paint {
    fn with(&self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Error => "1;31",
            Tone::Warning => "1;33",
            Tone::Bold => "1",
            Tone::Frame => "1;34",
            Tone::Hint => "1;36",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}
