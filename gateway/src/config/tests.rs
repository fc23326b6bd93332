use super::*;

const MINIMAL: &str = r#"
cluster: demo
explicit: {listen: "127.0.0.1:6443"}
tls: {local: {directory: ca, names: [localhost]}}
authentication: {serviceAccounts: {issuer: "https://kubernetes.default.svc"}}
policy: {directory: policies}
recording: {wal: {directory: wal}, store: {directory: calls}}
masking: {keyFile: mask.key}
"#;

#[test]
fn a_minimal_file_gets_the_documented_defaults() {
    let config = Config::parse(MINIMAL).expect("the minimal file is valid");
    assert_eq!(config.recording.wal.limit, ByteSize(10 << 30));
    assert_eq!(config.recording.wal.segment_size.to_string(), "64MiB");
    assert_eq!(config.recording.flush.interval.0, Duration::from_secs(60));
    let explicit = config.explicit.expect("it is in the file");
    assert!(!explicit.allow_service_account_tokens);
    assert!(config.capture.is_none());
    assert_eq!(config.upgrades.allow, []);
    assert_eq!(config.upgrades.idle.0, Duration::from_secs(600));
}

#[test]
fn what_may_be_upgraded_is_written_as_kubernetes_names_it() {
    let names = [
        "watch",
        "pods/log",
        "pods/proxy",
        "services/proxy",
        "nodes/proxy",
    ];
    let text = format!(
        "{MINIMAL}upgrades: {{allow: [{}], idle: 1m}}",
        names.join(", ")
    );
    let config = Config::parse(&text).expect("every name is known");
    let allowed = config.upgrades.allow.into_iter().map(Upgradable::as_str);
    assert!(allowed.eq(names));

    let unknown = format!("{MINIMAL}upgrades: {{allow: [pods/exec]}}");
    let error = Config::parse(&unknown).expect_err("exec needs no such word");
    assert!(error.contains("pods/exec"), "{error}");
    let never = format!("{MINIMAL}upgrades: {{idle: 0s}}");
    let error = Config::parse(&never).expect_err("nothing could pass");
    assert!(error.starts_with("upgrades.idle"), "{error}");
}

#[test]
fn decoys_are_named_whole_and_stop_sessions_only_where_stops_count() {
    let parse = |more: &str| Config::parse(&format!("{MINIMAL}{more}"));
    let decoys = "decoys: {secrets: [{namespace: shop, name: root}], stopSession: true}";
    let config = parse(&format!("objects: {{}}\n{decoys}\n")).expect("stops count here");
    assert!(config.decoys.stop_session);
    assert_eq!(config.decoys.secrets[0].name, "root");
    let error = parse(decoys).expect_err("no gateway would take notice");
    assert!(
        error.starts_with("decoys.stopSession: set objects"),
        "{error}"
    );
    let unnamed = r#"decoys: {secrets: [{namespace: shop, name: ""}]}"#;
    let error = parse(unnamed).expect_err("it names no Secret");
    assert!(error.starts_with("decoys.secrets"), "{error}");
}

#[test]
fn certificate_files_are_written_as_all_fields_are() {
    let text = MINIMAL.replace(
        "{local: {directory: ca, names: [localhost]}}",
        "{files: {certFile: tls.crt, keyFile: tls.key}}",
    );
    let config = Config::parse(&text).expect("files are a way to get a certificate");
    assert!(matches!(config.tls, Tls::Files { .. }));
}

#[test]
fn agents_come_in_by_capture_or_explicitly() {
    const EXPLICIT: &str = "explicit: {listen: \"127.0.0.1:6443\"}";
    let captured = MINIMAL.replace(EXPLICIT, "capture: {}");
    let config = Config::parse(&captured).expect("capture alone is enough");
    let capture = config.capture.expect("it is in the file");
    assert_eq!(capture.socket, Path::new("/run/sallyport/node.sock"));
    assert_eq!(capture.node_uid, 0);

    let neither = MINIMAL.replace(EXPLICIT, "");
    let error = Config::parse(&neither).expect_err("nobody can call");
    assert!(error.starts_with("explicit, capture"), "{error}");

    let tokenless = captured
        .replace("serviceAccounts: {", "oidc: [{name: ci, ")
        .replace("default.svc\"}", "default.svc\"}]");
    let error = Config::parse(&tokenless).expect_err("no pod could be authenticated");
    assert!(
        error.starts_with("capture: needs authentication.serviceAccounts"),
        "{error}"
    );
}

#[test]
fn an_authority_needs_names_for_the_explicit_listener() {
    let with = |names: &str| {
        let tls = format!("{{authority: {{certFile: ca.crt, keyFile: ca.key{names}}}}}");
        Config::parse(&MINIMAL.replace("{local: {directory: ca, names: [localhost]}}", &tls))
    };
    with(", chainFile: chain.crt, names: [gate.example]").expect("all of it");
    let error = with("").expect_err("what would its certificate say?");
    assert!(error.starts_with("tls.authority.names"), "{error}");
}

#[test]
fn an_unknown_field_is_refused_with_its_line() {
    let text = MINIMAL.replace(
        "masking: {keyFile: mask.key}",
        "masking: {keyFile: mask.key, keyfile: x}",
    );
    let error = Config::parse(&text).expect_err("keyfile is not a field");
    assert!(
        error.contains("keyfile") && error.contains("line 8"),
        "{error}"
    );
}

#[test]
fn a_wrong_size_says_what_to_write() {
    let text = MINIMAL.replace(
        "wal: {directory: wal}",
        "wal: {directory: wal, limit: 10GB}",
    );
    let error = Config::parse(&text).expect_err("GB is not a unit here");
    assert!(error.contains("10GB") && error.contains("10GiB"), "{error}");
}

#[test]
fn a_host_name_is_no_address_to_listen_on() {
    let text = MINIMAL.replace("127.0.0.1:6443", "localhost:6443");
    let error = Config::parse(&text).expect_err("a name can be several addresses");
    assert!(
        error.starts_with("line 3 ") && error.contains("write 127.0.0.1:6443"),
        "{error}"
    );
    assert!(!error.contains("<input>"), "the file has a name: {error}");
}

#[test]
fn a_segment_that_may_not_hold_a_row_is_refused() {
    let with = |size: &str| {
        let wal = format!("wal: {{directory: wal, segmentSize: {size}}}");
        Config::parse(&MINIMAL.replace("wal: {directory: wal}", &wal))
    };
    with("1MiB").expect("the least that is allowed");
    let error = with("512KiB").expect_err("smaller than the least");
    assert!(
        error.contains("segmentSize") && error.contains("1MiB"),
        "{error}"
    );
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let mut config = Config::parse(MINIMAL).expect("the minimal file is valid");
    config.resolve(Path::new("/etc/sallyport"));
    let policies = config.policy.map(|policy| policy.directory);
    assert_eq!(
        policies.as_deref(),
        Some(Path::new("/etc/sallyport/policies"))
    );
    assert_eq!(
        config.masking.key_file,
        Path::new("/etc/sallyport/mask.key")
    );
}

#[test]
fn the_configuration_in_the_readme_is_valid() {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once("```yaml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let config = Config::parse(example).expect("people copy it");
    assert_eq!(config.authentication.oidc[0].name, "github");
}

#[test]
fn policies_are_of_files_or_of_the_cluster() {
    let without = MINIMAL.replace("policy: {directory: policies}", "");
    assert_ne!(without, MINIMAL);
    let error = Config::parse(&without).expect_err("nothing could be allowed");
    assert!(error.contains("policy, objects"), "{error}");
    let config = Config::parse(&format!("{without}\nobjects: {{}}\n")).expect("of the cluster");
    assert_eq!(config.objects.expect("set").namespace, "sallyport-system");
}
