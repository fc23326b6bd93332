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
    let directory = tempfile::tempdir().expect("a directory");
    for policy in 0..POLICIES {
        let file = directory.path().join(format!("p{policy}.yaml"));
        std::fs::write(file, many_rules(policy)).expect("room on disk");
    }
    let many = PolicySet::load(directory.path()).expect("the policies are valid");
    assert_eq!(many.len(), POLICIES * RULES);
    measure("policy_5000_rules_calls_per_ms", &many, 200.0);
}

/// For every caller, each rule for a namespace of its own, every fifth with an expression.
fn many_rules(policy: usize) -> String {
    let mut text = format!(
        "apiVersion: sallyport.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: p{policy}}}\nspec:\n  subjects: [{{all: \"*\"}}]\n  rules:\n"
    );
    for rule in 0..RULES {
        let namespace = match (policy, rule) {
            (0, 0) => "development".to_owned(),
            _ => format!("team-{policy}-{rule}"),
        };
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
            username: "system:serviceaccount:coders:developer".to_owned(),
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
