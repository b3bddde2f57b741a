//! Questions to the user, asked on stderr and answered on stdin.

use std::io::{BufRead, IsTerminal, Write};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    #[error("there is no terminal to ask on: {question}")]
    NoTerminal { question: String },
    #[error("the answer cannot be read from the terminal")]
    Read(#[source] std::io::Error),
}

/// Asks for a line; an end of input is an empty answer.
pub fn line(question: &str) -> Result<String, PromptError> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(PromptError::NoTerminal { question: question.trim().to_owned() });
    }
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{question} ").and_then(|()| stderr.flush()).map_err(PromptError::Read)?;
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer).map_err(PromptError::Read)?;
    if read == 0 {
        // Ctrl-D leaves the cursor behind the question.
        let _ = writeln!(stderr);
    }
    Ok(answer.trim().to_owned())
}

/// Tells whether an answer is a yes; everything else, an empty one too, is a no.
pub fn is_yes(answer: &str) -> bool {
    matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_a_yes() {
        assert!(is_yes("y") && is_yes("YES"));
        assert!(!is_yes("") && !is_yes("yep, no") && !is_yes("n"));
    }
}
