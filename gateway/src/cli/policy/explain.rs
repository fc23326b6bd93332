//! `sallyport policy explain`.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::bail;
use serde::Serialize;

use self::call::{caller, check_kind, in_pod, object, with_target};
use crate::{
    api::v1alpha1::approval_request::Risk,
    cli::{
        output::Output,
        table::{self, Column, terminal_width},
        text::Cut,
    },
    identity::Attributes,
    policy::{Decision, Facts, PolicySet, RuleExplanation, cases::Case, risk},
};

mod call;

const AFTER_HELP: &str = "\
CALLER is system:serviceaccount:NAMESPACE:NAME, agent:NAME, or oidc:ISSUER:CLAIM=VALUE[,CLAIM=VALUE].
CALL is a verb and RESOURCE[.GROUP][/SUBRESOURCE][/NAME], or with -X a URL.
A user's token out of a captured pod is an OIDC caller with --pod-account, and with --pod-agent where an Agent object
names that ServiceAccount. Stops and BreakGlass objects are of the cluster and count for nothing here.

Where a rule or the floor reads the object, give it with --object, as it would be after the change; without it the
call is judged as if the object could not be learned.

Exit code 0: allowed. 1: an error. 3: denied. 4: it needs approval.

Examples:
  sallyport policy explain --policies policies/ --as system:serviceaccount:ci:bot get secrets/db -n shop
  sallyport policy explain --policies policies/ --as agent:coder patch deployments.apps/web -n shop --object web.yaml
  sallyport policy explain --policies policies/ --as oidc:github:repository_id=74000001 -X POST /api/v1/namespaces
  sallyport policy explain --policies policies/ --as oidc:sso:sub=ann --pod-account coders/bot --pod-agent coder \
    get secrets/db -n shop";

/// In the gateway, where the object could not be fetched; here, where none was given.
const UNKNOWN_OBJECT: &str = "built-in/floor-unknown-object";

const DENIED: u8 = 3;
const HELD: u8 = 4;

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct Args {
    /// A directory of policies, or one file.
    #[arg(long, value_name = "PATH")]
    policies: PathBuf,
    /// Who calls.
    #[arg(long = "as", value_name = "CALLER")]
    caller: String,
    /// The ServiceAccount of the captured pod out of which the OIDC caller's token comes.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pod_account: Option<String>,
    /// The agent that is declared for that ServiceAccount: what is restricted for it is restricted for the caller.
    #[arg(long, value_name = "NAME", requires = "pod_account")]
    pod_agent: Option<String>,
    /// The call: VERB RESOURCE, or a URL with -X.
    #[arg(required = true, num_args = 1..=2, value_name = "CALL")]
    call: Vec<String>,
    /// An HTTP method; the call is a URL then.
    #[arg(short = 'X', value_name = "METHOD")]
    method: Option<String>,
    /// The namespace that the call is about; none where it is left out, which is all of them for a list.
    #[arg(long, short, default_value = "", hide_default_value = true)]
    namespace: String,
    /// The namespace is an agents' namespace.
    #[arg(long)]
    in_agents_namespace: bool,
    /// The patch is a server-side apply.
    #[arg(long)]
    apply: bool,
    /// The object after the change, a file of YAML or JSON.
    #[arg(long, value_name = "FILE")]
    object: Option<PathBuf>,
    /// The object before the change; there is none where only --object is given.
    #[arg(long, value_name = "FILE")]
    old_object: Option<PathBuf>,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    decision: &'static str,
    rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    risk: Risk,
    rules: Vec<RuleExplanation>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let set = super::read(&args.policies)?;
    let explained = explain(&set, &args.case()?)?;
    args.output.show(&explained, |out| print(&explained, out))?;
    Ok(match explained.decision {
        "Allow" => ExitCode::SUCCESS,
        "Deny" => ExitCode::from(DENIED),
        _ => ExitCode::from(HELD),
    })
}

impl Args {
    fn case(&self) -> anyhow::Result<Case> {
        let caller = caller(&self.caller)?;
        let case = Case {
            caller: match &self.pod_account {
                Some(account) => in_pod(caller, account, self.pod_agent.as_deref())?,
                None => caller,
            },
            namespace: self.namespace.clone(),
            apply: self.apply,
            in_agents_namespace: self.in_agents_namespace,
            object: self.object.as_ref().map(object).transpose()?,
            old_object: self.old_object.as_ref().map(object).transpose()?,
            ..Case::default()
        };
        match (&self.method, &self.call[..]) {
            (Some(method), [url]) => Ok(Case {
                method: Some(method.clone()),
                url: Some(url.clone()),
                ..case
            }),
            (None, [verb, target]) => with_target(case, verb, target),
            (Some(_), _) => {
                bail!("with -X the call is one URL, as in -X POST /api/v1/namespaces/shop/pods")
            }
            (None, _) => {
                bail!("the call is a verb and a resource, as in get secrets/db, or a URL with -X")
            }
        }
    }
}

fn explain(set: &PolicySet, case: &Case) -> anyhow::Result<Explained> {
    let (identity, request, facts) = (case.caller.identity()?, case.request()?, case.facts());
    let attributes = Attributes {
        applies: case.apply,
        namespace_is_agents: case.in_agents_namespace,
        ..Attributes::new(&identity, &request)
    };
    for object in [&case.object, &case.old_object].into_iter().flatten() {
        check_kind(object, &request)?;
    }
    let (decision, rule, reason, mut hint) = decide(set, &attributes, &facts);
    if rule == UNKNOWN_OBJECT && case.object.is_none() {
        hint = Some(
            "Give the object as it would be after the change with --object FILE, and as it was with --old-object FILE."
                .to_owned(),
        );
    }
    Ok(Explained {
        decision,
        rule,
        reason,
        hint,
        risk: risk::assess(&attributes, facts.object.known(), facts.old_object.known()),
        rules: set.explain(&attributes, &facts),
    })
}

type Decided = (&'static str, String, Option<String>, Option<String>);

fn decide(set: &PolicySet, attributes: &Attributes<'_>, facts: &Facts) -> Decided {
    match set.conclude(attributes, facts) {
        Decision::Allow(permit) => ("Allow", permit.rule().to_owned(), None, None),
        Decision::Hold(pending) => ("RequireApproval", pending.rule().to_owned(), None, None),
        Decision::Deny(denial) => ("Deny", denial.rule, Some(denial.reason), Some(denial.hint)),
    }
}

fn print(explained: &Explained, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{} by {}", explained.decision, explained.rule)?;
    for text in [&explained.reason, &explained.hint].into_iter().flatten() {
        writeln!(out, "  {text}")?;
    }
    writeln!(out, "risk: {}", explained.risk.level.as_str())?;
    for reason in &explained.risk.reasons {
        writeln!(out, "  {reason}")?;
    }
    let (others, callers): (Vec<_>, Vec<_>) =
        explained.rules.iter().partition(|rule| is_for_others(rule));
    if !callers.is_empty() {
        writeln!(out)?;
        print_rules(&callers, out)?;
    }
    match others.len() {
        0 => Ok(()),
        1 => writeln!(out, "\n1 rule is for other callers."),
        count => writeln!(out, "\n{count} rules are for other callers."),
    }
}

fn is_for_others(rule: &RuleExplanation) -> bool {
    let mismatch = rule.mismatch.as_ref();
    mismatch.is_some_and(|mismatch| mismatch.field == "subjects")
}

/// Those that match first.
fn print_rules(rules: &[&RuleExplanation], out: &mut dyn Write) -> io::Result<()> {
    let mut rules = rules.to_vec();
    rules.sort_by_key(|rule| (!rule.matches, !rule.masks));
    let columns = [
        Column::fixed("RULE"),
        Column::fixed("EFFECT"),
        Column::fixed("MATCHES"),
        Column::shortened("WHY", 0, 30, Cut::End),
    ];
    let rows: Vec<_> = rules.into_iter().map(row).collect();
    table::print(&columns, &rows, terminal_width(), out)
}

fn row(rule: &RuleExplanation) -> Vec<String> {
    let effect = format!(
        "{:?}{}",
        rule.effect,
        if rule.audited { " (audit)" } else { "" }
    );
    let matches = match (rule.matches, rule.masks) {
        (true, false) => "yes",
        (true, true) => "yes, masks",
        (false, false) => "no",
        (false, true) => "masks",
    };
    vec![rule.rule.to_string(), effect, matches.to_owned(), why(rule)]
}

fn why(rule: &RuleExplanation) -> String {
    if let Some(mismatch) = &rule.mismatch {
        let (field, has, call) = (mismatch.field, &mismatch.rule, &mismatch.call);
        return format!("{field}: the call has {call}, the rule {has}");
    }
    let conditions = rule.conditions.iter().map(|condition| {
        format!(
            "{} {}: {}",
            condition.field, condition.result, condition.expression
        )
    });
    conditions.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_no_call_can_be_is_refused() {
        for wrong in ["secrets/x/y/z", "secrets/", "/x", ""] {
            assert!(
                with_target(Case::default(), "get", wrong).is_err(),
                "{wrong}"
            );
        }
        let directory = tempfile::tempdir().expect("a directory");
        let set = PolicySet::load(directory.path()).expect("no policies");
        let explained = |verb: &str, object: Option<Value>| {
            let case = Case {
                caller: caller("agent:coder").expect("a caller"),
                namespace: "shop".to_owned(),
                object,
                ..Case::default()
            };
            explain(&set, &with_target(case, verb, "pods").expect("a call"))
        };
        let problem = |verb, object| explained(verb, object).err().expect("refused").to_string();
        assert!(problem("gett", None).contains("not a verb"));
        let other = serde_json::json!({"kind": "Deployment"});
        assert!(problem("create", Some(other)).contains("is a Deployment"));
        let none = serde_json::json!({"listen": "0.0.0.0:6443"});
        assert!(problem("create", Some(none)).contains("no kind"));
        let pod = serde_json::json!({"kind": "Pod"});
        assert!(explained("create", Some(pod)).is_ok());
    }

    #[test]
    fn a_user_in_a_pod_is_restricted_as_the_pods_agent_is() {
        let policy = "apiVersion: sallyport.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: p}\nspec:\n  \
                      subjects: [{agent: {name: coder}}]\n  rules:\n  - {name: no, effect: Deny, verbs: [get], \
                      apiGroups: [\"\"], resources: [secrets], namespaces: [shop], names: [db]}\n";
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("p.yaml"), policy).expect("written");
        let set = PolicySet::load(directory.path()).expect("a policy");
        let rule = |agent: Option<&str>| {
            let user = caller("oidc:sso:sub=ann").expect("a caller");
            let case = Case {
                caller: in_pod(user, "coders/bot", agent).expect("a caller"),
                namespace: "shop".to_owned(),
                ..Case::default()
            };
            let case = with_target(case, "get", "secrets/db").expect("a call");
            let explained = explain(&set, &case);
            explained.expect("it is judged").rule
        };
        assert_eq!(rule(Some("coder")), "p/no");
        assert_eq!(rule(Some("other")), "default");
        assert_eq!(rule(None), "default");
        let account = caller("system:serviceaccount:coders:bot").expect("a caller");
        assert!(in_pod(account, "coders/bot", None).is_err());
    }
}
