//! Colours and weights, or their absence.

/// Wraps texts in terminal attributes, or leaves them alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// Makes a style that colours, or one that does not.
    pub const fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// Whether texts get colours.
    pub const fn has_colour(self) -> bool {
        self.colour
    }

    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    pub fn cyan(self, text: &str) -> String {
        self.wrap("36", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Colour {
    /// On a terminal that has them, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

impl Colour {
    /// Decides for one stream; `no_color` and `term` are the environment's NO_COLOR and TERM.
    pub fn decide(self, is_terminal: bool, no_color: Option<&str>, term: Option<&str>) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => is_terminal && no_color.is_none_or(str::is_empty) && !matches!(term, None | Some("" | "dumb")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_need_a_capable_terminal_and_no_objection() {
        assert!(Colour::Auto.decide(true, None, Some("xterm")));
        assert!(Colour::Auto.decide(true, Some(""), Some("xterm")));
        assert!(!Colour::Auto.decide(true, Some("1"), Some("xterm")));
        assert!(!Colour::Auto.decide(true, None, Some("dumb")));
        assert!(!Colour::Auto.decide(true, None, None));
        assert!(!Colour::Auto.decide(false, None, Some("xterm")));
        assert!(Colour::Always.decide(false, Some("1"), None));
        assert!(!Colour::Never.decide(true, None, Some("xterm")));
    }

    #[test]
    fn a_plain_style_leaves_texts_alone() {
        assert_eq!(Style::new(false).red("down"), "down");
        assert_eq!(Style::new(true).red("down"), "\x1b[31mdown\x1b[0m");
    }
}
