//! Reads that are only believed when they are the same twice.

use std::time::Duration;

/// Pause between two reads: what was made shows up everywhere within seconds (ec2.md 1.1).
const SPACED: Duration = Duration::from_secs(4);
/// Most reads; what still changes after them is changed by somebody or by time, and the plan will tell.
const READS: usize = 15;

/// Reads once, or, if `twice`, until two spaced reads agree: after somebody who was killed, since what their last calls
/// made may not be visible yet, and would be made a second time.
pub async fn settled<T, E, F>(twice: bool, mut read: impl FnMut() -> F) -> Result<T, E>
where
    T: PartialEq,
    F: Future<Output = Result<T, E>>,
{
    settle(if twice { READS } else { 1 }, SPACED, &mut read).await
}

async fn settle<T, E, F>(reads: usize, pause: Duration, read: &mut impl FnMut() -> F) -> Result<T, E>
where
    T: PartialEq,
    F: Future<Output = Result<T, E>>,
{
    let mut last = read().await?;
    for _ in 1..reads {
        tokio::time::sleep(pause).await;
        let next = read().await?;
        if next == last {
            break;
        }
        last = next;
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads through a list of answers; what came out, and how many reads it took.
    async fn of(reads: usize, answers: &[u32]) -> (u32, usize) {
        let mut number = 0;
        let mut read = || {
            let answer = answers[number.min(answers.len() - 1)];
            number += 1;
            std::future::ready(Ok::<_, ()>(answer))
        };
        let answer = settle(reads, Duration::ZERO, &mut read).await.unwrap();
        (answer, number)
    }

    #[tokio::test]
    async fn a_read_is_believed_when_the_next_one_agrees() {
        assert_eq!(of(15, &[1, 1, 2]).await, (1, 2));
        assert_eq!(of(15, &[1, 2, 3, 3, 4]).await, (3, 4));
        assert_eq!(of(15, &(0..40).collect::<Vec<_>>()).await, (14, 15));
        assert_eq!(of(1, &[1, 2]).await, (1, 1));
    }
}
