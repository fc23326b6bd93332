//! How long a client can be kept waiting.

use std::time::Duration;

use crate::proxy::Call;

/// Left to the answer that the decision is pending, where the client gives up by itself.
const FAREWELL: Duration = Duration::from_secs(1);

/// The hold of the policy, or less where the client's own time is over before. kubectl says its time in the query of
/// every call and does not keep to it for exec and its like.
pub(super) fn patience(call: &Call<'_>, hold: Duration) -> Duration {
    let (arrival, info) = (call.arrival, call.attributes.request);
    let limit = query_timeout(&arrival.target).filter(|_| !info.is_stream());
    let left = limit.map(|limit| {
        limit
            .saturating_sub(arrival.started.elapsed())
            .saturating_sub(FAREWELL)
    });
    left.map_or(hold, |left| hold.min(left))
}

fn query_timeout(target: &str) -> Option<Duration> {
    let (_, query) = target.split_once('?')?;
    let values = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("timeout="));
    values
        .filter_map(go_duration)
        .filter(|limit| !limit.is_zero())
        .min()
}

/// Go's form of a duration, as in `1m30s`, of units that a client's limit may have.
fn go_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let letters = unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len());
        let number: f64 = number.parse().ok()?;
        let seconds = match &unit[..letters] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &unit[letters..];
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_own_limit_is_read_as_go_writes_it() {
        let limit = |target| query_timeout(target).map(|limit| limit.as_millis());
        assert_eq!(limit("/api?timeout=32s"), Some(32_000));
        assert_eq!(limit("/api?a=b&timeout=1m0.5s"), Some(60_500));
        assert_eq!(limit("/api?timeout=1h2m3s4ms"), Some(3_723_004));
        for none in [
            "/api",
            "/api?timeout=",
            "/api?timeout=0s",
            "/api?timeout=5",
            "/api?timeout=s5",
            "/api?timeout=9e9h",
        ] {
            assert_eq!(limit(none), None, "{none}");
        }
    }
}
