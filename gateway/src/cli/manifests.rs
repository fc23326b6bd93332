//! `sallyport manifests`: a first install, as YAML for `kubectl apply -f -`.
//!
//! The files of `deploy/install` are in this program, with placeholders where clusters differ. Nothing is asked of a
//! cluster, so the same arguments print the same text.

use std::process::ExitCode;

use anyhow::{bail, ensure};

use super::{OLDEST, output::document};
use crate::{
    api::v1alpha1,
    audience::{AUDIENCE, USUAL_API_AUDIENCES},
};

/// In the order in which they are applied.
const FILES: &[&str] = &[
    include_str!("../../../deploy/install/namespace.yaml"),
    include_str!("../../../deploy/install/rbac.yaml"),
    include_str!("../../../deploy/install/admission-mutate.yaml"),
    include_str!("../../../deploy/install/admission-validate.yaml"),
    include_str!("../../../deploy/install/admission-namespace.yaml"),
    include_str!("../../../deploy/install/admission-labels.yaml"),
    include_str!("../../../deploy/install/admission-via.yaml"),
    include_str!("../../../deploy/install/admission-approvals.yaml"),
    include_str!("../../../deploy/install/admission-stops.yaml"),
    include_str!("../../../deploy/install/admission-break-glass.yaml"),
    include_str!("../../../deploy/install/node.yaml"),
    include_str!("../../../deploy/install/gateway.yaml"),
    include_str!("../../../deploy/install/controller.yaml"),
];

const AFTER_HELP: &str = "\
Example:
  sallyport manifests --image sallyport:0.1.0 --cluster prod --issuer https://kubernetes.default.svc.cluster.local \\
    | kubectl apply -f -

What the API server's issuer and audiences are, its own tokens say (`iss` and `aud`):
  kubectl create token default | cut -d. -f2 | base64 -d";

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The image of this program, for all nodes and for the start gate in agents' pods.
    #[arg(long)]
    image: String,
    /// The cluster's name in records.
    #[arg(long, value_name = "NAME")]
    cluster: String,
    /// An audience that the API server accepts (`--api-audiences`); may be given several times. The issuer and the
    /// usual ones are always among them.
    #[arg(long = "api-audience", value_name = "AUDIENCE")]
    api_audiences: Vec<String>,
    /// The API server's `--service-account-issuer`.
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://kubernetes.default.svc.cluster.local"
    )]
    issuer: String,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    document(&render(&args)?)?;
    Ok(ExitCode::SUCCESS)
}

fn render(args: &Args) -> anyhow::Result<String> {
    let values = Values::of(args)?;
    let mut documents = Vec::new();
    for file in FILES {
        let filled = values.fill(file)?;
        documents.extend(split(&filled).map(str::to_owned));
    }
    let mut text = heading(args);
    documents.extend(split(&v1alpha1::crds_yaml()?).map(str::to_owned));
    for document in in_order(documents) {
        text.push_str("---\n");
        text.push_str(document.trim_end());
        text.push('\n');
    }
    Ok(text)
}

fn heading(args: &Args) -> String {
    format!(
        "# Sallyport {} for the cluster {}. Needs Kubernetes 1.{OLDEST}: earlier API servers do not serve\n\
         # MutatingAdmissionPolicy as admissionregistration.k8s.io/v1, and refuse these documents (\"no matches for\n\
         # kind\"). If any document is refused, label no namespace before that is mended.\n",
        env!("CARGO_PKG_VERSION"),
        args.cluster,
    )
}

/// A binding whose policy was refused binds nothing, so all policies come before all bindings. Within each kind the
/// order of the files stays.
fn in_order(mut documents: Vec<String>) -> Vec<String> {
    let place = |document: &String| match kind(document) {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        kind if kind.ends_with("AdmissionPolicy") => 3,
        kind if kind.ends_with("AdmissionPolicyBinding") => 4,
        "DaemonSet" | "Deployment" | "ConfigMap" => 5,
        _ => 2,
    };
    documents.sort_by_key(place);
    documents
}

fn kind(document: &str) -> &str {
    document
        .lines()
        .find_map(|line| line.strip_prefix("kind: "))
        .unwrap_or_default()
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split("---\n")
        .filter(|document| !document.trim().is_empty())
}

/// What stands in the place of each placeholder.
struct Values([(&'static str, String); 4]);

impl Values {
    fn of(args: &Args) -> anyhow::Result<Self> {
        check("--image", &args.image)?;
        check("--issuer", &args.issuer)?;
        ensure!(
            args.issuer.starts_with("https://"),
            "--issuer {:?} must begin with https://",
            args.issuer
        );
        check_cluster(&args.cluster)?;
        Ok(Self([
            ("IMAGE", args.image.clone()),
            ("CLUSTER", args.cluster.clone()),
            ("ISSUER", args.issuer.clone()),
            ("API_AUDIENCES", audiences(args)?),
        ]))
    }

    /// `text` with every `${NAME}` replaced. One that is unknown, or does not end, is an error.
    fn fill(&self, text: &str) -> anyhow::Result<String> {
        let mut parts = text.split("${");
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let Some((name, rest)) = part.split_once('}') else {
                bail!("a placeholder does not end: ${{{part:.20}");
            };
            let Some((_, value)) = self.0.iter().find(|(known, _)| *known == name) else {
                bail!("the placeholder ${{{name}}} is unknown");
            };
            filled.push_str(value);
            filled.push_str(rest);
        }
        Ok(filled)
    }
}

/// The elements of a list of CEL, and of YAML, in an order that does not depend on the arguments'.
fn audiences(args: &Args) -> anyhow::Result<String> {
    for audience in &args.api_audiences {
        check("--api-audience", audience)?;
        ensure!(
            audience != AUDIENCE,
            "--api-audience {audience}: that is the gateway's own audience; an API server that accepts it cannot be \
             guarded, take it out of --api-audiences there"
        );
    }
    let given = args.api_audiences.iter().map(String::as_str);
    let all: std::collections::BTreeSet<&str> = USUAL_API_AUDIENCES
        .into_iter()
        .chain([args.issuer.as_str()])
        .chain(given)
        .collect();
    let quoted: Vec<_> = all.iter().map(|audience| format!("'{audience}'")).collect();
    Ok(quoted.join(", "))
}

/// The value stands in YAML, and in a string of CEL within it.
fn check(argument: &str, value: &str) -> anyhow::Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/@?&=+%".contains(&byte);
    ensure!(
        value.starts_with(|first: char| first.is_ascii_alphanumeric()) && value.bytes().all(plain),
        "{argument} {value:?} must be letters, digits and -._~:/@?&=+%, and begin with a letter or digit"
    );
    Ok(())
}

/// As the gateway checks it when it starts, which is too late to find out.
fn check_cluster(cluster: &str) -> anyhow::Result<()> {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
    };
    ensure!(
        (1..=63).contains(&cluster.len())
            && cluster.bytes().all(plain)
            && cluster.starts_with(|first: char| first.is_ascii_lowercase()),
        "--cluster {cluster:?} must be 1 to 63 of a-z, 0-9, '-' and '.', and begin with a letter"
    );
    Ok(())
}

#[cfg(test)]
mod tests;
