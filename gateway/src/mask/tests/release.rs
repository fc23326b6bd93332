//! Releases of helm's in the view of an agent that is shown manifests: each object as it would be seen by itself.

use std::io::{Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use proptest::{collection::btree_map, prelude::*};
use serde_json::{Value, json};

use super::*;
use crate::config;

const CANARY: &str = CANARIES[0];
const TOKEN: &str = "AKIAQ3EGRIFAZ5YPXLBN";

const MANIFEST: &str = r#"---
# Source: web/templates/door.yaml
# the password is correct-horse-battery-staple
apiVersion: v1
kind: Secret
metadata:
  name: door
  annotations: {note: correct-horse-battery-staple, helm.sh/resource-policy: keep}
stringData: {key: correct-horse-battery-staple}
data: {old: Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ==}
---
# Source: web/templates/shop.yaml
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  template:
    spec:
      containers:
      - name: shop
        image: shop:1
        env: [{name: PASSWORD, value: correct-horse-battery-staple}]
---
# Source: web/templates/paint.yaml
apiVersion: v1
kind: ConfigMap
metadata: {name: paint}
data: {colour: green, cloud: "AKIAQ3EGRIFAZ5YPXLBN", "on": 'a

  b'}
---
# Source: web/templates/thing.yaml
apiVersion: acme.io/v1
kind: Thing
metadata: {name: thing}
spec: {token: correct-horse-battery-staple, size: 7}
"#;

fn things() -> Arc<Key> {
    let list = |text: &str| vec![text.to_owned()];
    let fields = SensitiveFields::new(&config::SensitiveFields {
        api_groups: list("acme.io"),
        resources: list("stranges"),
        namespaces: list("*"),
        names: list("*"),
        paths: list(".spec.token"),
    });
    let key = Key::from_bytes([7; 32]);
    key.look_for(&[], &[fields.expect("they are right")]);
    Arc::new(key)
}

fn release(manifest: &str, hooks: &[Value], config: &Value) -> Value {
    json!({
        "name": "site", "namespace": "shop", "version": 3, "apply_method": "ssa",
        "info": {"status": "deployed", "description": "Install complete", "notes": CANARY},
        "chart": {"metadata": {"name": "web", "version": "1.0.0"}, "values": {"password": CANARY},
            "templates": [{"name": "t", "data": CANARY}]},
        "config": config, "manifest": manifest, "hooks": hooks,
    })
}

fn hook(event: &str, manifest: &str) -> Value {
    json!({
        "name": "bye", "kind": "Job", "path": "web/templates/bye.yaml", "manifest": manifest, "events": [event],
        "weight": -5, "delete_policies": ["hook-succeeded"],
        "last_run": {"started_at": "", "completed_at": "", "phase": ""},
    })
}

fn secret_of(release: &Value) -> String {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    write!(gzip, "{release}").unwrap();
    let text = STANDARD.encode(STANDARD.encode(gzip.finish().unwrap()));
    format!(
        r#"{{"kind":"Secret","apiVersion":"v1","metadata":{{"name":"sh.helm.release.v1.site.v3","namespace":"shop"}},"data":{{"release":"{text}"}},"type":"helm.sh/release.v1"}}"#
    )
}

fn view(key: &Arc<Key>) -> View {
    let viewer = Viewer::new(key, "coder", "a session", &[]).with_plain_refusals();
    View::new(key, secrets(), Arc::new(viewer.with_manifests()))
}

/// In chunks of this length.
fn seen(key: &Arc<Key>, body: &str, chunk: usize) -> String {
    let mut view = view(key);
    let mut seen = Vec::new();
    for chunk in body.as_bytes().chunks(chunk) {
        seen.extend(view.update(chunk).expect("it is shown"));
    }
    seen.extend(view.finish().expect("it is shown").rest);
    String::from_utf8(seen).expect("UTF-8")
}

fn decoded(secret: &Value) -> Value {
    let text = STANDARD.decode(secret["data"]["release"].as_str().unwrap());
    let zipped = STANDARD.decode(text.unwrap()).expect("base64 in base64");
    let mut json = String::new();
    let inflated = GzDecoder::new(&zipped[..]).read_to_string(&mut json);
    inflated.expect("gzip");
    serde_json::from_str(&json).expect("JSON")
}

#[track_caller]
fn shown(release: &Value) -> Value {
    let text = seen(&things(), &secret_of(release), 1000);
    let shown = decoded(&serde_json::from_str(&text).expect("JSON"));
    assert_no_canary(&shown.to_string());
    assert!(!shown.to_string().contains(TOKEN), "{shown}");
    shown
}

/// What helm makes of it: the objects, in order.
fn objects(manifest: &Value) -> Vec<Value> {
    let manifest = manifest.as_str().expect("a text");
    serde_saphyr::from_multiple(manifest).expect("a stream of YAML")
}

fn is_hidden(release: &Value) -> bool {
    let manifest = release["manifest"].as_str().expect("a text");
    manifest.starts_with('[') && !manifest.contains(']')
}

fn is_placeholder(value: &Value) -> bool {
    let text = value.as_str().expect("a text");
    Placeholder::is_one(text.as_bytes())
}

#[test]
fn a_manifest_is_its_objects_each_as_it_would_be_seen() {
    let shown = shown(&release(MANIFEST, &[], &json!({"password": CANARY})));
    let manifest = shown["manifest"].as_str().unwrap();
    for file in ["door", "shop", "paint", "thing"] {
        let source = format!("---\n# Source: web/templates/{file}.yaml\n{{");
        assert!(manifest.contains(&source), "{manifest}");
    }
    assert!(!manifest.contains("the password is"), "{manifest}");
    let [door, shop, paint, thing] = &objects(&shown["manifest"])[..] else {
        panic!("{manifest}");
    };
    assert!(is_placeholder(&door["stringData"]["key"]), "{door}");
    let old = STANDARD.decode(door["data"]["old"].as_str().unwrap());
    assert!(Placeholder::is_one(&old.unwrap()), "{door}");
    let annotations = &door["metadata"]["annotations"];
    assert!(is_placeholder(&annotations["note"]), "{door}");
    assert_eq!(annotations["helm.sh/resource-policy"], "keep");
    let container = &shop["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "shop:1");
    assert_eq!(container["env"][0]["name"], "PASSWORD");
    assert!(is_placeholder(&container["env"][0]["value"]), "{shop}");
    assert_eq!(paint["data"]["colour"], "green");
    assert_eq!(paint["data"]["on"], "a\nb");
    assert!(is_placeholder(&paint["data"]["cloud"]), "{paint}");
    // Whatever the resource of a kind that Kubernetes does not know is called.
    assert!(is_placeholder(&thing["spec"]["token"]), "{thing}");
    assert_eq!(thing["spec"]["size"], 7);
}

#[test]
fn nobody_can_take_what_is_shown_for_the_release() {
    let given = shown(&release(MANIFEST, &[], &json!({"password": CANARY})));
    for values in [&given["config"], &given["chart"]["values"]] {
        let values = values.as_object().expect("values");
        assert_eq!(values.len(), 1);
        assert!(is_placeholder(&values["masked by policy"]));
    }
    assert_eq!(given["apply_method"], "ssa");
    assert_eq!(given["info"].get("notes"), None);
    assert_eq!(given["chart"].get("templates"), None);
    for none in [json!({}), Value::Null] {
        let shown = shown(&release("", &[], &none));
        assert_eq!(shown.get("config"), None, "there was nothing to reuse");
        assert!(is_placeholder(
            &shown["chart"]["values"]["masked by policy"]
        ));
    }
}

#[test]
fn equal_values_in_two_objects_of_a_manifest_look_different() {
    let secret = |name| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{k: {CANARY}}}\n"
        )
    };
    let manifest = [secret("a"), secret("b")].join("---\n");
    let hook = hook("test", &secret("a"));
    let shown = shown(&release(&manifest, &[hook], &Value::Null));
    let objects = objects(&shown["manifest"]);
    let [a, b] = [0, 1].map(|index| objects[index]["stringData"]["k"].clone());
    assert_ne!(a, b);
    let hooks = shown["hooks"][0]["manifest"].as_str().unwrap();
    assert!(!hooks.contains(a.as_str().unwrap()), "{hooks}");
}

#[test]
fn what_cannot_be_read_in_one_way_hides_the_whole_manifest() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n";
    let with = |more: &str| format!("{pod}{more}\n");
    for broken in [
        "kind: [".to_owned(),
        "just words".to_owned(),
        "[]".to_owned(),
        format!("apiVersion: v1\nkind: List\nitems: [{{kind: Secret, data: {{a: {CANARY}}}}}]"),
        "apiVersion: v1\nkind: Pod\nmetadata: {name: [p]}\n".to_owned(),
        with("kind: Secret"),
        with("on: a"),
        with("a: 1 # \u{2028}b: 2"),
        with("a: !!binary /w=="),
        with("a: &a [x, x]\nb: &b [*a, *a]\nc: *nowhere"),
        with(&format!(
            "a: &a [{}]\nb: &b [{}]\nc: [{}]",
            "x,".repeat(500),
            "*a,".repeat(300),
            "*b,".repeat(300)
        )),
        with(&format!("a: {}", "x".repeat(1 << 20))),
        with(&format!("a: {}{}", "[".repeat(200), "]".repeat(200))),
        with("--- more"),
        // The object would be another one.
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {TOKEN}}}\n"),
        format!("{pod}---\n").repeat(2001),
    ] {
        let manifest = format!("{MANIFEST}---\n{broken}\n");
        let in_manifest = shown(&release(&manifest, &[], &Value::Null));
        assert!(is_hidden(&in_manifest), "{broken:.200}");
        assert_eq!(in_manifest["hooks"][0]["events"][2], "pre-delete");
        let in_hook = shown(&release(MANIFEST, &[hook("test", &broken)], &Value::Null));
        assert!(is_hidden(&in_hook), "{broken:.200}");
    }
    let whole = with("a: b");
    assert!(!is_hidden(&shown(&release(&whole, &[], &Value::Null))));
}

#[test]
fn a_hook_that_is_not_whole_lets_nothing_be_deleted() {
    let job = "# Source: web/templates/bye.yaml\napiVersion: batch/v1\nkind: Job\nmetadata: {name: bye}\n";
    let env = format!(
        "{job}spec: {{template: {{spec: {{containers: [{{env: [{{name: A, value: {CANARY}}}]}}]}}}}}}\n"
    );
    let mode = format!(
        "{job}spec: {{template: {{spec: {{volumes: [{{secret: {{defaultMode: 0400}}}}]}}}}}}\n"
    );
    for (event, manifest, blocks) in [
        ("pre-delete", job, false),
        ("pre-delete", &env, true),
        ("post-delete", &env, true),
        ("pre-delete", &mode, true),
        ("pre-install", &env, false),
        ("test", &env, false),
    ] {
        let shown = shown(&release(MANIFEST, &[hook(event, manifest)], &Value::Null));
        assert!(!is_hidden(&shown));
        let hooks = shown["hooks"].as_array().unwrap();
        assert_eq!(hooks.len(), 1 + usize::from(blocks), "{event} {manifest}");
        let own = hooks.last().unwrap();
        assert_eq!(own["events"], json!([event]));
        assert_eq!(own["weight"], -5);
        assert_eq!(own["delete_policies"], json!(["hook-succeeded"]));
        assert_eq!(objects(&own["manifest"])[0]["metadata"]["name"], "bye");
        if blocks {
            let first = &hooks[0];
            assert_eq!(first["events"], json!(["pre-delete"]));
            assert_eq!(first["weight"], i32::MIN);
            let manifest = first["manifest"].as_str().unwrap();
            assert!(
                manifest.starts_with('[') && !manifest.contains(']'),
                "{manifest}"
            );
        }
    }
}

#[test]
fn a_hook_whose_name_is_a_secret_hides_all() {
    let mut named = hook("test", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n");
    named["name"] = TOKEN.into();
    assert!(is_hidden(&shown(&release(
        MANIFEST,
        &[named],
        &Value::Null
    ))));
}

#[test]
fn where_a_view_has_no_manifests_nothing_of_them_is_shown() {
    let body = secret_of(&release(
        MANIFEST,
        &[hook("test", MANIFEST)],
        &json!({"a": CANARY}),
    ));
    let viewer = Viewer::new(&key(), "coder", "a session", &[]).with_plain_refusals();
    let mut view = View::new(&key(), secrets(), Arc::new(viewer));
    let mut seen = view.update(body.as_bytes()).unwrap();
    seen.extend(view.finish().unwrap().rest);
    let shown = decoded(&serde_json::from_slice(&seen).unwrap());
    assert!(is_hidden(&shown));
    assert!(!shown.to_string().contains("Source"), "{shown}");
    assert_eq!(shown["hooks"].as_array().unwrap().len(), 1);
}

/// What is read a second time, because it says late what it is, has what is left of the answer and not all anew.
#[test]
fn releases_of_one_answer_share_what_may_be_inflated() {
    let mut long = release("", &[], &Value::Null);
    long["info"]["notes"] = " ".repeat(15 << 20).into();
    let secret: Value = serde_json::from_str(&secret_of(&long)).unwrap();
    let late = |index: usize| {
        format!(
            r#"{{"metadata":{{"name":"sh.helm.release.v1.site.v{index}"}},"data":{},"kind":"Secret","apiVersion":"v1"}}"#,
            secret["data"]
        )
    };
    let items = (0..6).map(late).collect::<Vec<_>>().join(",");
    let list = format!(r#"{{"kind":"List","apiVersion":"v1","items":[{items}]}}"#);
    let viewer = Viewer::new(&key(), "coder", "a session", &[]).with_plain_refusals();
    let mut view = View::new(&key(), others(), Arc::new(viewer));
    let mut seen = view.update(list.as_bytes()).unwrap();
    seen.extend(view.finish().unwrap().rest);
    let list: Value = serde_json::from_slice(&seen).unwrap();
    let placeholders = list["items"].as_array().unwrap().iter().map(|item| {
        let text = STANDARD.decode(item["data"]["release"].as_str().unwrap());
        Placeholder::is_one(&text.unwrap())
    });
    let placeholders: Vec<bool> = placeholders.collect();
    assert_eq!(placeholders, [false, false, false, false, true, true]);
}

/// As long as the API server takes a Secret.
#[test]
fn a_release_may_fill_its_secret() {
    let noise = std::iter::successors(Some(7_u32), |n| {
        Some(n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
    });
    let notes: String = noise
        .take(340_000)
        .map(|n| format!("{:04x}", n >> 16))
        .collect();
    let mut long = release(MANIFEST, &[], &Value::Null);
    long["info"]["notes"] = notes.into();
    let body = secret_of(&long);
    assert!(
        (1_300_000..1_398_000).contains(&body.len()),
        "{}",
        body.len()
    );
    let shown = decoded(&serde_json::from_str(&seen(&key(), &body, 5000)).unwrap());
    assert!(!is_hidden(&shown));
}

fn annotated(name: &str, value: &Value) -> String {
    json!({
        "kind": "Secret", "apiVersion": "v1",
        "metadata": {"name": "door", "annotations": {name: value, "other": value}},
    })
    .to_string()
}

#[test]
fn by_what_helm_knows_a_secret_is_shown_where_it_says_what_helm_writes() {
    let owners = [
        "meta.helm.sh/release-name",
        "meta.helm.sh/release-namespace",
    ];
    let policy = "helm.sh/resource-policy";
    let show = |viewer: Viewer, name: &str, value: &Value| {
        let mut view = View::new(&key(), secrets(), Arc::new(viewer.with_plain_refusals()));
        let mut seen = Vec::new();
        for byte in annotated(name, value).as_bytes().chunks(3) {
            seen.extend(view.update(byte).unwrap());
        }
        seen.extend(view.finish().unwrap().rest);
        let seen: Value = serde_json::from_slice(&seen).unwrap();
        let annotations = &seen["metadata"]["annotations"];
        assert!(is_placeholder(&annotations["other"]), "{seen}");
        annotations[name] == *value
    };
    let viewer = || Viewer::new(&key(), "coder", "a session", &[]);
    for (name, value, with, without) in [
        (policy, json!("keep"), true, true),
        (policy, json!(" Keep"), true, true),
        (policy, json!(CANARY), false, false),
        (policy, json!({"keep": "keep"}), false, false),
        (owners[0], json!("site-1"), true, false),
        (owners[1], json!("shop"), true, false),
        (owners[0], json!("Tr0ub4dor"), false, false),
        (owners[0], json!(""), false, false),
        (owners[0], json!("a b"), false, false),
        (owners[0], json!("a".repeat(64)), false, false),
        (owners[1], json!(["shop"]), false, false),
        ("meta.helm.sh/else", json!("site-1"), false, false),
    ] {
        assert_eq!(
            show(viewer().with_manifests(), name, &value),
            with,
            "{name} {value}"
        );
        assert_eq!(show(viewer(), name, &value), without, "{name} {value}");
    }
}

/// Short documents that aliases make long are counted as long as they become.
#[test]
fn what_aliases_stand_for_is_counted() {
    let long = "x".repeat(100);
    let thirty = |alias: &str| vec![alias; 30].join(", ");
    let document = format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\na: &a \"{long}\"\nb: &b [{}]\nc: [{}]\n",
        thirty("*a"),
        thirty("*b")
    );
    // About 90 kB each once they are written out, parsed and masked.
    let of = |documents: usize| shown(&release(&document.repeat(documents), &[], &json!({})));
    assert!(!is_hidden(&of(10)));
    assert!(is_hidden(&of(100)));
}

#[test]
fn a_release_with_a_token_in_it_is_hidden_whole() {
    for kind in ["TokenReview", "TokenRequest"] {
        let manifest = format!(
            "apiVersion: authentication.k8s.io/v1\nkind: {kind}\nmetadata: {{name: t}}\nspec: {{token: opaque}}\n"
        );
        assert!(
            is_hidden(&shown(&release(&manifest, &[], &json!({})))),
            "{kind}"
        );
    }
}

/// Every placeholder alike.
fn levelled(value: &Value) -> Value {
    let is_one = |text: &str| {
        let bytes = STANDARD.decode(text).unwrap_or_default();
        Placeholder::is_one(text.as_bytes()) || Placeholder::is_one(&bytes)
    };
    match value {
        Value::String(text) if is_one(text) => "placeholder".into(),
        Value::Array(values) => values.iter().map(levelled).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), levelled(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(CANARY.to_owned()),
        Just(TOKEN.to_owned()),
        Just("yes".to_owned()),
        Just("0644".to_owned()),
        "[ -~\u{85}\u{2028}é\u{1f511}\n\t#'\":{}-]{0,12}",
    ]
}

fn object() -> impl Strategy<Value = (Rule, Value)> {
    let names = || btree_map("[a-z]{1,6}", text(), 0..4);
    (names(), names(), select_kind()).prop_map(|(one, other, kind)| {
        let (rule, api_version, member) = kind;
        let object = json!({
            "apiVersion": api_version.0, "kind": api_version.1, "metadata": {"name": "x", "annotations": one},
            member: other,
            "spec": {"env": [{"name": "A", "value": other.values().next()}], "args": one.values().collect::<Vec<_>>()},
        });
        (rule, object)
    })
}

fn select_kind() -> impl Strategy<Value = (Rule, (&'static str, &'static str), &'static str)> {
    prop_oneof![
        Just((secrets(), ("v1", "Secret"), "stringData")),
        Just((others(), ("v1", "Pod"), "data")),
        Just((
            Rule::select(&request("", "configmaps", "")),
            ("v1", "ConfigMap"),
            "data"
        )),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the chart wrote it down, and wherever chunks end.
    #[test]
    fn an_object_in_a_manifest_is_seen_as_by_itself((rule, object) in object(), as_json: bool, chunk in 1_usize..400) {
        let key = key();
        let yaml = match as_json {
            true => object.to_string(),
            false => serde_saphyr::to_string(&object).unwrap(),
        };
        let body = secret_of(&release(&format!("---\n# Source: a/b.yaml\n{yaml}\n"), &[], &Value::Null));
        let whole = seen(&key, &body, body.len());
        prop_assert_eq!(&seen(&key, &body, chunk), &whole);
        let shown = decoded(&serde_json::from_str(&whole).unwrap());
        if is_hidden(&shown) {
            // JSON is read as it is, but for what YAML ends a line at.
            prop_assert!(!as_json || yaml.contains(LINE_BREAKS));
            return Ok(());
        }
        let viewer = Viewer::new(&key, "coder", "a session", &[]).with_plain_refusals();
        let mut view = View::new(&key, rule, Arc::new(viewer));
        let mut alone = view.update(object.to_string().as_bytes()).unwrap();
        alone.extend(view.finish().unwrap().rest);
        let alone: Value = serde_json::from_slice(&alone).unwrap();
        let in_manifest = &objects(&shown["manifest"])[0];
        prop_assert_eq!(levelled(in_manifest), levelled(&alone));
    }
}
