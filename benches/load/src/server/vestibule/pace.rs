//! How often something may be asked.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Nobody waits until the server says that it was too often; from then on there is a token bucket in which one waits for
/// one's turn (the generic cell rate algorithm). So what is measured is what a server allows, not what we suppose.
pub(super) struct Pace {
    each: Duration,
    burst: Duration,
    /// When the bucket is full again; nothing while there is none.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// What the bucket holds, once there is one.
    pub(super) fn new(per_second: f64, at_once: f64) -> Self {
        let each = Duration::from_secs_f64(1.0 / per_second);
        Self { each, burst: each.mul_f64(at_once), next: Mutex::default() }
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) {
        let due = {
            let mut next = self.next.lock().await;
            let Some(full) = *next else { return };
            let now = Instant::now();
            *next = Some(full.max(now) + self.each);
            full.checked_sub(self.burst).unwrap_or(now)
        };
        tokio::time::sleep_until(due).await;
    }

    /// It was too often: nobody has a turn for so long, and then they come one by one.
    pub(super) async fn hold(&self, time: Duration) {
        let until = Instant::now() + time + self.burst;
        let mut next = self.next.lock().await;
        *next = next.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_turn_before_it_was_too_often() {
        let pace = Pace::new(10.0, 5.0);
        let start = Instant::now();
        for _ in 0..1000 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed().as_millis(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn some_at_once_and_then_one_by_one() {
        let pace = Pace::new(10.0, 5.0);
        pace.hold(Duration::ZERO).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = Instant::now();
        for _ in 0..6 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed().as_millis(), 0);
        for _ in 0..10 {
            pace.turn().await;
        }
        let took = start.elapsed();
        assert!((Duration::from_millis(990)..Duration::from_millis(1100)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_told_to_wait_waits() {
        let pace = Pace::new(10.0, 5.0);
        let start = Instant::now();
        pace.hold(Duration::from_secs(3)).await;
        pace.turn().await;
        assert!(start.elapsed() >= Duration::from_secs(3));
    }
}
