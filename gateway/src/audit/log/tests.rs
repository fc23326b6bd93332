use super::*;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(5);
const FULL: u64 = 1000;

#[test]
fn only_what_is_due_sooner_wakes_the_shipper() {
    let mut backlog = Backlog::default();
    assert!(
        backlog.add(10, LONG, FULL),
        "the first record sets the time"
    );
    let first = backlog.due();
    assert!(!backlog.add(10, LONG, FULL));
    assert_eq!(backlog.due(), first);
    assert!(backlog.add(10, SHORT, FULL), "a denied call is due sooner");
    let urgent = backlog.due();
    assert!(urgent < first);
    assert!(
        backlog.add(FULL, LONG, FULL),
        "a full backlog is due at once"
    );
    assert!(backlog.due() < urgent);
    assert!(!backlog.add(10, SHORT, FULL));
}
