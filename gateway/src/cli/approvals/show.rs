use std::{
    io::{self, Write},
    process::ExitCode,
};

use jiff::Timestamp;
use kube::ResourceExt;

use super::{Named, block_on, list::age};
use crate::{
    api::v1alpha1::approval_request::{ApprovalRequest, ApprovalRequestSpec, State, Verdict},
    approval::state,
    cli::{output::Output, text::printable},
};

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    named: Named,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

const AFTER_HELP: &str = "\
In the place of a secret value stands `masked:<key id>:<keyed digest>`. In brackets is who says so: `operator-declared` \
and `oidc-claim` cannot be set by the agent, `self-declared` can.

Example:
  sallyport approvals show -n shop patch-deployments-3f9a2c1b7e

Exit code 0: it is shown. 1: an error, or there is none of this name.";

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let request = block_on(async {
        let client = args.named.client().await?;
        args.named.read(&client).await
    })?;
    args.output.show(&request, |out| {
        print(&request, out)?;
        if state(&request, Timestamp::now()) == State::Pending {
            how_to_decide(&request, out)?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What is decided on: all that a reviewer needs.
pub(super) fn print(request: &ApprovalRequest, out: &mut dyn Write) -> io::Result<()> {
    let (spec, now) = (&request.spec, Timestamp::now());
    let state = state(request, now);
    writeln!(
        out,
        "{state:?}: {} wants to {}",
        printable(
            spec.requester
                .agent
                .as_ref()
                .unwrap_or(&spec.requester.username)
        ),
        printable(&spec.call.summary)
    )?;
    for (label, value) in lines(request, now) {
        writeln!(out, "  {label:<12}{}", printable(&value))?;
    }
    for (title, text) in [
        ("WHAT WOULD CHANGE", &spec.diff),
        ("THE REQUEST'S OBJECT", &spec.object),
    ] {
        if let Some(text) = text {
            writeln!(out, "\n{title}")?;
            text.lines()
                .try_for_each(|line| writeln!(out, "  {}", printable(line)))?;
        }
    }
    Ok(())
}

fn lines(request: &ApprovalRequest, now: Timestamp) -> Vec<(&'static str, String)> {
    let spec = &request.spec;
    let requester = &spec.requester;
    let sourced = |value: &Option<String>, source: &Option<String>| {
        let value = value.as_ref()?;
        let source = source.as_deref().unwrap_or("source unknown");
        Some(format!("{value}  [{source}]"))
    };
    let call = &spec.call;
    let (argv, params) = (quoted(&call.argv), quoted(&call.params));
    let target = (!call.target.is_empty()).then(|| call.target.clone());
    let humans = (!requester.humans.is_empty()).then(|| requester.humans.join(", "));
    let mut lines: Vec<_> = [
        ("agent", sourced(&requester.agent, &requester.agent_source)),
        ("model", sourced(&requester.model, &requester.model_source)),
        ("user", Some(requester.username.clone())),
        ("people", humans),
        ("CI run", requester.ci_run.clone()),
        ("pod", requester.pod.clone()),
        ("request", target),
        ("parameters", params),
        ("command", argv),
        ("rule", Some(spec.rule.clone())),
        ("needs", Some(needs(spec))),
        ("asked", Some(format!("{} ago", age(request, now)))),
        ("expires", Some(format!("{:.0}", spec.expires_at))),
        (
            "record",
            Some(format!("sallyport audit show {}", spec.audit_id)),
        ),
    ]
    .into_iter()
    .filter_map(|(label, value)| Some((label, value?)))
    .collect();
    lines.push(("risk", spec.risk.level.as_str().to_owned()));
    lines.extend(spec.risk.reasons.iter().map(|reason| ("", reason.clone())));
    lines.extend(
        spec.reasons
            .iter()
            .map(|reason| ("asked for", reason.clone())),
    );
    lines.extend(said(request));
    lines
}

/// For what is one to be seen as one, whatever is in it.
fn quoted(texts: &[String]) -> Option<String> {
    (!texts.is_empty()).then(|| format!("{texts:?}"))
}

fn needs(spec: &ApprovalRequestSpec) -> String {
    let terms = &spec.terms;
    let people = match terms.people {
        0 | 1 => "one person".to_owned(),
        people => format!("{people} people"),
    };
    let groups: String = terms
        .groups
        .iter()
        .map(|list| format!(", of group {}", list.join(" or ")))
        .collect();
    let scopes: Vec<_> = terms
        .scopes
        .iter()
        .map(|scope| format!("{scope:?}"))
        .collect();
    format!("{people}{groups}; for {}", scopes.join(", "))
}

fn said(request: &ApprovalRequest) -> Vec<(&'static str, String)> {
    let Some(status) = &request.status else {
        return Vec::new();
    };
    let vote = |vote: &crate::api::v1alpha1::approval_request::Vote| {
        let label = match vote.result {
            Verdict::Approved => "approved",
            Verdict::Denied => "denied",
        };
        let reason = vote.reason.iter().map(|reason| format!(": {reason}"));
        let reason: String = reason.collect();
        (
            label,
            format!("by {} for {:?}{reason}", vote.by, vote.scope),
        )
    };
    let used = status.uses.iter().map(|one| {
        let when = format!(
            "{:.0} by gateway {}, call {}",
            one.at, one.gateway, one.audit_id
        );
        ("used", when)
    });
    status.votes.iter().map(vote).chain(used).collect()
}

/// With and without this program: it needs nothing that kubectl has not.
fn how_to_decide(request: &ApprovalRequest, out: &mut dyn Write) -> io::Result<()> {
    let namespace = request.namespace().unwrap_or_default();
    let name = request.name_any();
    writeln!(
        out,
        "\nHOW TO DECIDE\n  sallyport approvals approve -n {namespace} {name}\n  \
         sallyport approvals deny -n {namespace} {name} --reason TEXT\n\nor with kubectl alone, as yourself:\n  \
         kubectl -n {namespace} patch approvalrequest {name} --subresource=status --type=json -p \"[{{\
         \\\"op\\\":\\\"add\\\",\\\"path\\\":\\\"/status/votes/-\\\",\\\"value\\\":{{\\\"result\\\":\\\"Approved\\\",\
         \\\"by\\\":\\\"$(kubectl auth whoami -o jsonpath='{{.status.userInfo.username}}')\\\",\\\"via\\\":\\\"Kubernetes\\\",\
         \\\"at\\\":\\\"$(date -u +%FT%TZ)\\\",\\\"scope\\\":\\\"Once\\\"}}}}]\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_parameter_does_not_look_like_two() {
        let shown =
            |texts: &[&str]| quoted(&texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_ne!(shown(&["x=1, dryRun=All"]), shown(&["x=1", "dryRun=All"]));
        assert_ne!(
            shown(&[r#"x=1", "dryRun=All"#]),
            shown(&["x=1", "dryRun=All"])
        );
        assert_eq!(shown(&[]), None);
    }
}
