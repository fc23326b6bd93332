use std::os::unix::fs::PermissionsExt;

use clap::Parser;
use tempfile::TempDir;

use super::*;

#[derive(Debug, Parser)]
struct TestCommand {
    #[command(flatten)]
    args: Args,
}

struct Setup {
    directory: TempDir,
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let key =
            rcgen::generate_simple_self_signed(["ca.example".to_owned()]).expect("a certificate");
        std::fs::write(directory.path().join("ca.pem"), key.cert.pem()).expect("written");
        Self { directory }
    }

    fn out(&self) -> PathBuf {
        self.directory.path().join("agent.kubeconfig")
    }

    fn args(&self, rest: &[&str]) -> Result<Args, clap::Error> {
        let ca = self.directory.path().join("ca.pem");
        let out = self.out();
        let fixed = [
            "kubeconfig",
            "--server",
            "https://gateway.example:6443",
            "--certificate-authority",
        ];
        let paths = [
            ca.to_str().expect("UTF-8"),
            "--out",
            out.to_str().expect("UTF-8"),
        ];
        TestCommand::try_parse_from(fixed.iter().chain(&paths).chain(rest))
            .map(|command| command.args)
    }

    fn written(&self, rest: &[&str]) -> Value {
        run(self.args(rest).expect("arguments")).expect("written");
        let text = std::fs::read_to_string(self.out()).expect("a file");
        serde_saphyr::from_str(&text).expect("YAML")
    }
}

#[test]
fn the_file_is_private_and_holds_an_exec_plugin_instead_of_a_token() {
    let setup = Setup::new();
    let config = setup.written(&["--github", "--audience", "mine", "--namespace", "prod"]);
    let mode = std::fs::metadata(setup.out())
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let exec = &config["users"][0]["user"]["exec"];
    assert_eq!(exec["apiVersion"], "client.authentication.k8s.io/v1");
    assert_eq!(exec["interactiveMode"], "Never");
    assert_eq!(
        exec["args"],
        json!(["credential", "--github", "--audience", "mine"])
    );
    assert!(Path::new(exec["command"].as_str().expect("a path")).is_absolute());
    assert_eq!(
        config["clusters"][0]["cluster"]["server"],
        "https://gateway.example:6443"
    );
    assert_eq!(config["contexts"][0]["context"]["namespace"], "prod");
    assert_eq!(config["current-context"], "sallyport");
    let ca = config["clusters"][0]["cluster"]["certificate-authority-data"]
        .as_str()
        .expect("base64");
    assert!(
        BASE64_STANDARD
            .decode(ca)
            .expect("base64")
            .starts_with(b"-----BEGIN CERTIFICATE-----")
    );
}

#[test]
fn the_plugin_is_told_the_same_source_from_any_directory() {
    let gitlab = Setup::new().written(&["--gitlab", "--variable", "OTHER"]);
    assert_eq!(
        gitlab["users"][0]["user"]["exec"]["args"],
        json!(["credential", "--gitlab", "--variable", "OTHER"])
    );
    let file = Setup::new().written(&["--token-file", "relative/token"]);
    let path = file["users"][0]["user"]["exec"]["args"][2]
        .as_str()
        .expect("a path")
        .to_owned();
    assert!(Path::new(&path).is_absolute() && path.ends_with("relative/token"));
}

#[test]
fn an_existing_file_is_replaced_only_by_force() {
    let setup = Setup::new();
    setup.written(&["--github"]);
    let error = run(setup.args(&["--gitlab"]).expect("arguments")).expect_err("refused");
    assert!(error.to_string().contains("--force"), "{error}");
    let replaced = setup.written(&["--gitlab", "--force"]);
    assert_eq!(replaced["users"][0]["user"]["exec"]["args"][1], "--gitlab");
    let mode = std::fs::metadata(setup.out())
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_persons_own_kubeconfig_is_never_written() {
    let home = std::env::home_dir().expect("a home");
    assert!(refuse_default_kubeconfig(&home.join(".kube/config")).is_err());
    assert!(refuse_default_kubeconfig(&home.join(".kube/agent")).is_ok());
}

#[test]
fn exactly_one_source_is_required() {
    let setup = Setup::new();
    assert!(setup.args(&[]).is_err());
    assert!(setup.args(&["--github", "--gitlab"]).is_err());
    assert!(setup.args(&["--token-file", "x"]).is_ok());
}

#[test]
fn a_plain_http_server_or_a_ca_without_a_certificate_is_refused() {
    let setup = Setup::new();
    let mut args = setup.args(&["--github"]).expect("arguments");
    args.server = "http://gateway.example".into();
    assert!(run(args).is_err());
    std::fs::write(setup.directory.path().join("ca.pem"), "not PEM").expect("written");
    let error = run(setup.args(&["--github"]).expect("arguments")).expect_err("refused");
    assert!(error.to_string().contains("no PEM certificate"), "{error}");
    assert!(!setup.out().exists());
}
