use super::*;

const MIB: u64 = 1 << 20;

/// A log of 100 MiB that refuses at 95 MiB, under a clock of its own.
struct World {
    forecast: Forecast,
    now: Instant,
    usage: Usage,
}

impl World {
    fn new() -> Self {
        Self {
            forecast: Forecast::default(),
            now: Instant::now(),
            usage: Usage {
                limit: 100 * MIB,
                refuse_at: 95 * MIB,
                ..Usage::default()
            },
        }
    }

    /// `seconds` in which `appended` MiB a second come and, where files wait, `released` go.
    fn pass(&mut self, seconds: u64, appended: u64, released: u64) -> Option<Duration> {
        let mut full_in = None;
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.usage.used = self.usage.used + appended * MIB - released * MIB;
            full_in = self.forecast.look(self.now, &self.usage);
        }
        full_in
    }

    fn files_wait(&mut self, wait: bool) {
        self.usage.unreleased_bytes = u64::from(wait);
    }
}

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[test]
fn a_log_that_only_fills_until_its_next_file_is_not_filling_up() {
    let mut world = World::new();
    for _ in 0..20 {
        assert_eq!(world.pass(58, 1, 0), None);
        world.files_wait(true);
        assert_eq!(world.pass(2, 1, 0), None, "a file is under way");
        world.files_wait(false);
        world.usage.used = 0;
    }
}

#[test]
fn a_store_that_is_down_shows_after_ten_seconds() {
    let mut world = World::new();
    world.pass(5, 1, 0);
    world.files_wait(true);
    assert_eq!(world.pass(9, 1, 0), None);
    assert_eq!(world.pass(1, 1, 0), seconds(80), "15 of 95 MiB are used");
    assert_eq!(world.pass(40, 1, 0), seconds(40));
    assert_eq!(world.pass(40, 1, 0), seconds(0), "calls are refused now");
    assert_eq!(
        world.pass(400, 0, 0),
        seconds(0),
        "and as long as it is full"
    );
    world.files_wait(false);
    world.usage.used = 0;
    assert_eq!(world.pass(1, 0, 0), None, "and it is back");
}

#[test]
fn what_is_released_counts_against_what_is_appended() {
    let mut world = World::new();
    world.files_wait(true);
    assert_eq!(world.pass(1, 0, 0), None);
    assert_eq!(
        world.pass(20, 3, 1),
        Some(Duration::from_secs_f64(55.0 / 2.0))
    );

    let mut shrinking = World::new();
    shrinking.usage.used = 90 * MIB;
    shrinking.files_wait(true);
    assert_eq!(shrinking.pass(30, 1, 2), None);
}

#[test]
fn only_the_last_minutes_count() {
    let mut world = World::new();
    world.files_wait(true);
    world.pass(50, 1, 0);
    world.pass(400, 0, 0);
    assert_eq!(world.usage.used, 50 * MIB);
    assert_eq!(world.pass(1, 0, 0), None, "it stopped growing long ago");
    assert!(world.forecast.samples.len() < 70);
}
