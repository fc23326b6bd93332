//! `sallyport wait`: until people have decided, for scripts.

use std::{process::ExitCode, time::Duration};

use jiff::Timestamp;

use super::{TEMPORARY, approvals::Named, output::say, person::block_on, text::printable};
use crate::{
    api::v1alpha1::approval_request::{ApprovalRequest, State, Vote},
    approval::state,
    config::HumanDuration,
};

/// A decision is looked for so often. A watch would need a right that a script of an agent may not have.
const EVERY: Duration = Duration::from_secs(1);

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    named: Named,
    /// How long to wait, as 30s or 10m [default: until it is decided or expires].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
}

const AFTER_HELP: &str = "\
Exit code 0: approved, or used already. 1: denied, expired or withdrawn, or an error. 75: nobody has decided yet.

Example:
  kubectl apply -f release.yaml || { sallyport wait shop/patch-deployments-3f9a2c1b7e --timeout 10m && kubectl apply -f release.yaml; }";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    block_on(async {
        let client = args.named.client().await?;
        let deadline = args
            .timeout
            .map(|limit| tokio::time::Instant::now() + limit);
        loop {
            let request = args.named.read(&client).await?;
            let now = Timestamp::now();
            let left = deadline.map_or(EVERY, |deadline| {
                deadline.saturating_duration_since(tokio::time::Instant::now())
            });
            match code(&request, now) {
                Some(code) => return Ok(code),
                None if left.is_zero() => {
                    say!("Pending");
                    return Ok(ExitCode::from(TEMPORARY));
                }
                None => tokio::time::sleep(left.min(EVERY)).await,
            }
        }
    })
}

fn code(request: &ApprovalRequest, now: Timestamp) -> Option<ExitCode> {
    let state = state(request, now);
    let code = match state {
        State::Pending => return None,
        State::Approved | State::Used => ExitCode::SUCCESS,
        State::Denied | State::Expired | State::Withdrawn => ExitCode::FAILURE,
    };
    let votes = request.status.as_ref().map(|status| &status.votes[..]);
    say!("{}", told(state, votes.unwrap_or_default()));
    Some(code)
}

/// Whoever approved a call did not use the approval.
fn told(state: State, votes: &[Vote]) -> String {
    let by: Vec<_> = votes.iter().map(|vote| printable(&vote.by)).collect();
    match (state, by.is_empty()) {
        (_, true) => format!("{state:?}"),
        (State::Used, false) => format!("Used; approved by {}", by.join(", ")),
        (State::Denied, false) => format!("Denied by {}", by[by.len() - 1]),
        (_, false) => format!("{state:?} by {}", by.join(", ")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<HumanDuration>().map(|duration| duration.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_approved_is_not_said_to_have_used_it() {
        let vote = |by: &str| -> Vote {
            let vote = serde_json::json!({
                "result": "Approved", "by": by, "via": "Kubernetes", "at": "2026-03-04T12:00:00Z", "scope": "Once",
            });
            serde_json::from_value(vote).expect("a vote")
        };
        let votes = [vote("ann"), vote("bob")];
        assert_eq!(told(State::Used, &votes), "Used; approved by ann, bob");
        assert_eq!(told(State::Approved, &votes[..1]), "Approved by ann");
        assert_eq!(told(State::Denied, &votes), "Denied by bob");
        assert_eq!(told(State::Expired, &[]), "Expired");
    }
}
