use super::*;

const FULL: &str = r#"
kubeconfig: admin.yaml
namespace: sallyport-system
approvals: {retention: 24h}
webhooks:
  ask:
    - {name: ops, urlFile: url, secretFile: secret}
  alerts:
    - {name: pager, url: "https://pager.example/hook", secretFile: secret, caFile: ca.crt}
decisions:
  listen: 0.0.0.0:8443
  tls: {files: {certFile: tls.crt, keyFile: tls.key}}
  secretFile: slack
  users:
    U0123: {username: alice@example.com, groups: [approvers]}
evidence:
  listen: 0.0.0.0:8444
  tls: {files: {certFile: tls.crt, keyFile: tls.key}}
  gateways:
    pods: {namespace: sallyport-system, selector: app.kubernetes.io/name=sallyport-gateway, port: 9443}
    caFile: ca.crt
    certFile: tls.crt
    keyFile: tls.key
  store: {directory: calls}
admin: {listen: 0.0.0.0:9090}
"#;

#[test]
fn an_empty_file_is_a_controller_that_tells_nobody() {
    let config = ControllerConfig::parse("{}").expect("all is optional");
    assert_eq!(config.namespace, "sallyport-system");
    assert_eq!(config.approvals.retention.0.as_secs(), 604_800);
    assert!(config.webhooks.ask.is_empty() && config.decisions.is_none());
}

#[test]
fn paths_are_relative_to_the_file() {
    let mut config = ControllerConfig::parse(FULL).expect("it is valid");
    config.resolve(Path::new("/etc/sallyport"));
    let at = |name: &str| Path::new("/etc/sallyport").join(name);
    let decisions = config.decisions.expect("there is one");
    assert_eq!(config.kubeconfig, Some(at("admin.yaml")));
    assert!(matches!(&config.webhooks.ask[0].url, Url::File(path) if *path == at("url")));
    assert_eq!(config.webhooks.alerts[0].ca_file, Some(at("ca.crt")));
    assert_eq!(decisions.secret_file, at("slack"));
    assert_eq!(decisions.tls.files(), [at("tls.crt"), at("tls.key")]);
    let evidence = config.evidence.expect("there is one");
    assert_eq!(evidence.gateways.ca_file, at("ca.crt"));
    assert!(
        matches!(evidence.store, Some(crate::config::Store::Directory(path)) if path == at("calls"))
    );
    assert_eq!(decisions.response_hosts, ["hooks.slack.com"]);
}

#[test]
fn what_nobody_reads_is_refused_where_it_stands() {
    for (broken, named) in [
        (FULL.replace("retention", "keep"), "keep"),
        (FULL.replace("secretFile: slack", "secret: slack"), "secret"),
        (FULL.replace("groups:", "group:"), "group"),
        (FULL.replace("retention: 24h", "retention: 1s"), "retention"),
        (FULL.replace("name: ops", "name: ''"), "webhooks.ask"),
        (
            FULL.replace("certFile: tls.crt\n", "cert: tls.crt\n"),
            "cert",
        ),
        (
            FULL.replace("pods: {", "addresses: []\n    pods: {"),
            "one of pods",
        ),
        (
            FULL.replace("app.kubernetes.io/name=sallyport-gateway", "''"),
            "evidence.gateways.pods",
        ),
    ] {
        let problem = ControllerConfig::parse(&broken).expect_err("it is refused");
        assert!(problem.contains(named), "{problem}");
    }
}

#[test]
fn only_people_decide() {
    for username in [
        "system:serviceaccount:agents:coder",
        "sallyport:sa:agents:coder",
        "system:admin",
        "",
    ] {
        let text = FULL.replace("alice@example.com", &format!("{username:?}"));
        let problem = ControllerConfig::parse(&text).expect_err("it is refused");
        assert!(problem.contains("U0123"), "{problem}");
    }
}
