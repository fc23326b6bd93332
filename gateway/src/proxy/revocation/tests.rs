use std::{
    collections::BTreeMap,
    future::{pending, poll_fn},
};

use serde_json::json;

use super::*;
use crate::{
    api::v1alpha1::{agent_policy::AgentView, break_glass::BreakGlass},
    audit::record::Level,
    informer::Known,
    proxy::content::tests::identity,
};

#[tokio::test(start_paused = true)]
async fn what_is_idle_ends_and_what_passes_something_goes_on() {
    let limit = Duration::from_secs(60);
    let mut ends = Ends {
        judged: Box::pin(pending()),
        idle: Some((limit, Box::pin(sleep(limit)))),
        traffic: Counters::default(),
    };
    let began = Instant::now();
    for _ in 0..3 {
        let half = timeout(limit / 2, poll_fn(|cx| ends.poll(cx)));
        assert!(half.await.is_err(), "it ended early");
        ends.passed(1);
    }
    let ending = poll_fn(|cx| ends.poll(cx)).await;
    assert_eq!(ending.to_string(), "nothing passed for 60 s");
    assert_eq!(began.elapsed(), limit / 2 * 3 + limit);
}

/// One that lets every agent pass for some seconds from now on.
fn glasses() -> Glasses {
    let at = Timestamp::now();
    let object: BreakGlass = serde_json::from_value(json!({
        "apiVersion": "sallyport.dev/v1alpha1",
        "kind": "BreakGlass",
        "metadata": {"name": "outage", "creationTimestamp": at.to_string()},
        "spec": {
            "agents": ["*"], "namespaces": ["*"], "reason": "an outage", "durationSeconds": 3,
            "by": "ann", "via": "Kubernetes",
        },
        "status": {"votes": [
            {"result": "Approved", "by": "bob", "via": "Kubernetes", "at": at.to_string()},
        ]},
    }))
    .expect("a BreakGlass");
    let key = (String::new(), "outage".to_owned());
    Glasses::of(&Known {
        synced: true,
        objects: BTreeMap::from([(key, Ok(Arc::new(object)))]),
        ..Known::default()
    })
}

/// Time alone changes what was decided, so it is not enough to judge again when something is heard.
#[tokio::test(start_paused = true)]
async fn what_runs_is_judged_again_also_when_nothing_is_heard() {
    let policies = PolicySet::read(&[]).expect("no policies");
    let stops = Stops::of(&Known {
        synced: true,
        ..Known::default()
    });
    let (_policies, policies) = watch::channel(Arc::new(policies));
    let (_stops, stops) = watch::channel(Arc::new(stops));
    let (_glasses, glasses) = watch::channel(Arc::new(glasses()));
    let (_namespaces, namespaces) = watch::channel(Arc::default());
    let target = "/api/v1/namespaces/shop/configmaps?watch=true";
    let (caller, facts) = (identity(), Facts::default());
    let request = RequestInfo::parse("GET", target).expect("a watch");
    let revocation = Revocation {
        attributes: Attributes::new(&caller, &request),
        facts: &facts,
        sources: Sources {
            policies,
            stops,
            glasses,
            namespaces,
        },
        is_own_namespace: false,
        is_approved: false,
        pod_namespace: None,
        bounds: Bounds {
            record: Some(Level::RequestResponse),
            agent_view: AgentView::Masked,
            hides_manifests: true,
            ..Bounds::default()
        },
        clock: Clock::of(Counters::default()),
    };
    let began = Instant::now();
    let ending = revocation.revoked().await;
    let text = ending.to_string();
    assert!(text.starts_with("ended by rule \"default\""), "{text}");
    assert!(began.elapsed() >= AGAIN);
}

#[test]
fn an_answer_shows_less_where_it_is_masked_now_or_has_no_manifests() {
    let bounds = |agent_view, hides_manifests| Bounds {
        agent_view,
        hides_manifests,
        ..Bounds::default()
    };
    let views = [
        bounds(AgentView::Clear, false),
        bounds(AgentView::Masked, false),
        bounds(AgentView::Masked, true),
    ];
    for (before, began) in views.iter().enumerate() {
        for (after, now) in views.iter().enumerate() {
            assert_eq!(
                now.show_less_than(began),
                after > before,
                "{now:?} {began:?}"
            );
        }
    }
}
