//! How many calls are judged per millisecond of CPU: by the shipped policies, and by 5,000 rules. The reference is the
//! goal: 20 µs for a call by the shipped policies, 200 µs by 5,000 rules, each the median of a mix of calls.

use std::{fmt::Write as _, hint::black_box, path::Path};

use sallyport::{
    identity::{
        AgentIdentity, Attributes, Identity, Provenance, ProvenanceSource, Source, UserInfo,
    },
    policy::{Fact, Facts, PolicySet},
    request_info::RequestInfo,
};

use self::{
    objects::pod,
    rounds::{Measurement, ROUNDS, cpu_seconds, median},
};

#[path = "measure/objects.rs"]
mod objects;
#[allow(dead_code, reason = "the reference is a number, not a side")]
#[path = "measure/rounds.rs"]
mod rounds;

const CALLS: u32 = 500;
const POLICIES: usize = 100;
const RULES: usize = 50;

/// Reads, writes of objects, a shell, and what is denied.
const LINES: [(&str, &str); 7] = [
    ("GET", "/api/v1/namespaces/development/pods/web"),
    ("GET", "/api/v1/namespaces/development/pods?watch=1"),
    ("GET", "/apis/apps/v1/namespaces/production/deployments"),
    ("POST", "/api/v1/namespaces/development/pods"),
    (
        "PATCH",
        "/api/v1/namespaces/development/configmaps/settings",
    ),
    (
        "POST",
        "/api/v1/namespaces/development/pods/web/exec?command=sh",
    ),
    (
        "DELETE",
        "/apis/apps/v1/namespaces/development/deployments/web",
    ),
];

fn main() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/policies");
    let shipped = PolicySet::load(&shipped).expect("the shipped policies are valid");
    measure("policy_shipped_calls_per_ms", &shipped, 20.0);
    // Each team's rules for a namespace of its own, each agent's for every namespace, and all for everybody everywhere.
    let everybody = |_: usize| "all: \"*\"".to_owned();
    let one =
        |policy: usize| format!("serviceAccount: {{namespace: coders, name: developer-{policy}}}");
    let many = many_rules(everybody, |policy, rule| format!("team-{policy}-{rule}"));
    measure("policy_5000_rules_of_teams_calls_per_ms", &many, 200.0);
    let many = many_rules(one, |_, _| "\"*\"".to_owned());
    measure("policy_5000_rules_of_agents_calls_per_ms", &many, 200.0);
    let many = many_rules(everybody, |_, _| "\"*\"".to_owned());
    measure("policy_5000_rules_for_all_calls_per_ms", &many, 200.0);
}

fn many_rules(
    subjects: impl Fn(usize) -> String,
    namespace: impl Fn(usize, usize) -> String,
) -> PolicySet {
    let directory = tempfile::tempdir().expect("a directory");
    for policy in 0..POLICIES {
        let file = directory.path().join(format!("p{policy}.yaml"));
        let rules = |rule: usize| match (policy, rule) {
            (0, 0) => "development".to_owned(),
            _ => namespace(policy, rule),
        };
        std::fs::write(file, rules_of(policy, &subjects(policy), rules)).expect("room on disk");
    }
    let many = PolicySet::load(directory.path()).expect("the policies are valid");
    assert_eq!(many.len(), POLICIES * RULES);
    many
}

/// Every fifth with an expression.
fn rules_of(policy: usize, subject: &str, namespace: impl Fn(usize) -> String) -> String {
    let mut text = format!(
        "apiVersion: sallyport.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: p{policy}}}\nspec:\n  subjects: [{{{subject}}}]\n  rules:\n"
    );
    for rule in 0..RULES {
        let namespace = namespace(rule);
        let condition = match rule % 5 {
            0 => ", when: \"request.verb != 'get' || request.name != 'none'\"",
            _ => "",
        };
        let _ = writeln!(
            text,
            "  - {{name: r{rule}, effect: Allow, verbs: [get, list, watch, create, patch], apiGroups: [\"\", apps], resources: [pods, pods/exec, configmaps, deployments], namespaces: [{namespace}], names: [\"*\"]{condition}}}"
        );
    }
    text
}

fn measure(name: &str, set: &PolicySet, goal_in_micros: f64) {
    let rounds = (0..ROUNDS).map(|_| {
        let calls = LINES.map(|(method, target)| micros(set, method, target));
        median(calls.to_vec())
    });
    let micros = median(rounds.collect());
    Measurement {
        name,
        ours: 1e3 / micros,
        reference: 1e3 / goal_in_micros,
        goal: Some(1.0),
    }
    .print();
}

/// One call, with what would have been learned of it.
fn micros(set: &PolicySet, method: &str, target: &str) -> f64 {
    let identity = developer();
    let request = RequestInfo::parse(method, target).expect("an unambiguous target");
    let attributes = Attributes::new(&identity, &request);
    let facts = Facts {
        object: Fact::Known(pod(1)),
        old_object: Fact::Known(pod(1)),
    };
    let seconds = cpu_seconds(|| {
        for _ in 0..CALLS {
            let _judged = black_box(set.judge(&attributes, &facts));
        }
    });
    seconds * 1e6 / f64::from(CALLS)
}

fn developer() -> Identity {
    let agent = AgentIdentity {
        name: "developer".to_owned(),
        ..AgentIdentity::default()
    };
    Identity {
        user: UserInfo {
            username: "system:serviceaccount:coders:developer-0".to_owned(),
            ..UserInfo::default()
        },
        upstream_user: UserInfo::default(),
        issuer: None,
        claims: Default::default(),
        workload: None,
        pod_agent: None,
        provenance: Provenance {
            agent: Some(agent),
            source: ProvenanceSource {
                agent: Some(Source::OperatorDeclared),
                ..ProvenanceSource::default()
            },
            ..Provenance::default()
        },
        session_id: None,
    }
}
