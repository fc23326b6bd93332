//! `sallyport agents`: which namespaces are agents' namespaces, which agents there are, and which are stopped.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;

use super::{
    output::say,
    person::{Access, block_on},
    refusals::cannot,
};
use crate::{
    api::names::{AGENT_LABEL, AGENTS_LABEL, CA_CONFIG_MAP, START_GATE},
    audience::is_api_audience,
};

mod applying;
mod lifting;
mod list;
mod stops;

const CA_KEY: &str = "ca.crt";
const MANAGER: &str = "sallyport-agents";

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Make a namespace an agents' namespace: its new pods are captured.
    #[command(after_help = ENFORCE_HELP)]
    Enforce(Args),
    /// Show the agents that the cluster declares, and who is stopped.
    #[command(after_help = list::HELP)]
    List(list::List),
    /// Stop an agent, a session, or all of them at once: on every gateway, until it is resumed.
    #[command(after_help = stops::STOP_HELP)]
    Stop(stops::Stop),
    /// Lift a stop.
    #[command(after_help = lifting::RESUME_HELP)]
    Resume(lifting::Resume),
}

const ENFORCE_HELP: &str = "\
Examples:
  sallyport agents enforce coders --ca-file ca/ca.crt
  sallyport agents enforce coders --observe --ca-file ca/ca.crt --dry-run

It may be run again, and changes nothing then. Pods that run already keep what they have; they are listed, and must be \
made anew.";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    namespace: String,
    /// Label it `observe`, which can be raised to `enforce` later: what policies deny passes, and the record says so.
    /// Authentication, recording, masked views, stops and what protects Sallyport itself count in both.
    #[arg(long)]
    observe: bool,
    /// What agents shall trust: `ca.crt` of `sallyport ca create`. Needed once per namespace.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// An audience that the API server accepts, as `sallyport manifests` was told; may be given several times. The
    /// usual ones are always among them. Pods with a token for one of these are listed.
    #[arg(long = "api-audience", value_name = "AUDIENCE")]
    api_audiences: Vec<String>,
    /// Check everything and say what would be done; change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    access: Access,
}

pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Enforce(args) => block_on(enforce(&args))?,
        Command::List(args) => block_on(list::list(&args))?,
        Command::Stop(args) => return block_on(stops::stop(&args)),
        Command::Resume(args) => block_on(lifting::resume(&args))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The order matters: nothing is labelled before agents' pods could start there.
async fn enforce(args: &Args) -> anyhow::Result<()> {
    let ca = args.ca_file.as_deref().map(read_ca).transpose()?;
    let place = Place {
        client: args.access.client().await?,
        name: args.namespace.clone(),
        patch: PatchParams {
            dry_run: args.dry_run,
            ..PatchParams::apply(MANAGER).force()
        },
        api_audiences: args.api_audiences.clone(),
    };
    let namespace = place.namespace().await?;
    place.refuse_token_secrets().await?;
    place.check_admission().await?;
    // What would be refused at the end leaves nothing behind.
    place.set_label(wanted(args), true).await?;
    place.put_ca(ca).await?;
    place.label(&namespace, wanted(args)).await?;
    // One may have been made between the first look and the label, after which admission refuses them.
    place.refuse_token_secrets().await?;
    place.tell_of_pods().await?;
    next(args);
    Ok(())
}

fn wanted(args: &Args) -> &'static str {
    if args.observe { "observe" } else { "enforce" }
}

fn read_ca(path: &std::path::Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading the CA {}", path.display()))?;
    let certificates = CertificateDer::pem_slice_iter(text.as_bytes())
        .filter(Result::is_ok)
        .count();
    ensure!(
        certificates > 0 && !text.contains("PRIVATE KEY"),
        "{} must hold certificates in PEM and nothing else; take ca.crt of `sallyport ca create`",
        path.display()
    );
    Ok(text)
}

/// One namespace, and how it is written to.
struct Place {
    client: Client,
    name: String,
    patch: PatchParams,
    api_audiences: Vec<String>,
}

impl Place {
    async fn namespace(&self) -> anyhow::Result<Namespace> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = namespaces.get_opt(&self.name).await;
        found
            .map_err(cannot(format!("read the namespace {}", self.name)))?
            .with_context(|| format!("there is no namespace {}; create it first", self.name))
    }

    /// A token in a Secret is good at the API server for ever, and nothing in a pod says what type a Secret has.
    async fn refuse_token_secrets(&self) -> anyhow::Result<()> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.name);
        let of_type = ListParams::default().fields("type=kubernetes.io/service-account-token");
        let found = secrets
            .list_metadata(&of_type)
            .await
            .map_err(cannot(format!("list the Secrets of {}", self.name)))?;
        let names: Vec<_> = found.iter().map(ResourceExt::name_any).collect();
        ensure!(
            names.is_empty(),
            "Secrets in {} hold ServiceAccount tokens that the API server accepts, and an agent's pod could mount \
             them: {}. Find who uses them, then: kubectl -n {} delete secret {}",
            self.name,
            names.join(", "),
            self.name,
            names.join(" ")
        );
        Ok(())
    }

    /// By a pod that is never made: it says by its label that it is an agent's, so the policies act on it already.
    async fn check_admission(&self) -> anyhow::Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.name);
        let params = PostParams {
            dry_run: true,
            field_manager: Some(MANAGER.to_owned()),
        };
        let made = pods.create(&params, &probe()?).await;
        let made = made.map_err(cannot(format!(
            "enforce {}, since an agent's pod could not start there",
            self.name
        )))?;
        if !is_agent(&made, &self.api_audiences) {
            bail!(
                "the admission policies do not act on an agent's pod; apply the output of `sallyport manifests` first, \
                 and see that no document of it is refused"
            );
        }
        Ok(())
    }

    async fn put_ca(&self, ca: Option<String>) -> anyhow::Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.name);
        let found = maps.get_opt(CA_CONFIG_MAP).await;
        let present = found
            .map_err(cannot(format!(
                "read ConfigMap {CA_CONFIG_MAP} in {}",
                self.name
            )))?
            .and_then(|map| map.data)
            .and_then(|mut data| data.remove(CA_KEY));
        let Some(ca) = ca else {
            ensure!(
                present.is_some(),
                "{} has no ConfigMap {CA_CONFIG_MAP} yet; name the CA with --ca-file",
                self.name
            );
            return Ok(());
        };
        if present.as_deref() == Some(ca.as_str()) {
            say!("ConfigMap {CA_CONFIG_MAP}: unchanged");
            return Ok(());
        }
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": CA_CONFIG_MAP},
            "data": {CA_KEY: ca},
        });
        maps.patch(CA_CONFIG_MAP, &self.patch, &Patch::Apply(&map))
            .await
            .map_err(cannot(format!(
                "write ConfigMap {CA_CONFIG_MAP} in {}",
                self.name
            )))?;
        say!("ConfigMap {CA_CONFIG_MAP}: {}", self.done("written"));
        Ok(())
    }

    async fn label(&self, namespace: &Namespace, value: &str) -> anyhow::Result<()> {
        if namespace.labels().get(AGENTS_LABEL).map(String::as_str) == Some(value) {
            say!("label {AGENTS_LABEL}={value}: unchanged");
            return Ok(());
        }
        self.set_label(value, self.patch.dry_run).await?;
        say!("label {AGENTS_LABEL}={value}: {}", self.done("set"));
        Ok(())
    }

    async fn set_label(&self, value: &str, dry_run: bool) -> anyhow::Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"metadata": {"labels": {AGENTS_LABEL: value}}}));
        let params = PatchParams {
            force: false,
            dry_run,
            ..self.patch.clone()
        };
        let patched = namespaces.patch(&self.name, &params, &patch).await;
        patched
            .map(drop)
            .map_err(cannot(format!("label the namespace {}", self.name)))
    }

    async fn tell_of_pods(&self) -> anyhow::Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.name);
        let running = pods
            .list(&ListParams::default())
            .await
            .map_err(cannot(format!("list the pods of {}", self.name)))?;
        let older: Vec<_> = running
            .iter()
            .filter(|pod| needs_recreate(pod, &self.api_audiences))
            .collect();
        if older.is_empty() {
            return Ok(());
        }
        say!(
            "\nThese pods were made before and must be made anew; until then the gateway answers 401 to them:"
        );
        for pod in older {
            say!("  {}{}", pod.name_any(), made_by(pod));
        }
        Ok(())
    }

    fn done(&self, what: &str) -> String {
        match self.patch.dry_run {
            true => format!("would be {what}"),
            false => what.to_owned(),
        }
    }
}

fn probe() -> anyhow::Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {"generateName": "sallyport-probe-", "labels": {AGENT_LABEL: "true"}},
        "spec": {"containers": [{
            "name": "probe",
            "image": "sallyport",
            // What a quota asks for and Pod Security's `restricted` demands, so that neither is what refuses it.
            "resources": {
                "requests": {"cpu": "10m", "memory": "16Mi"},
                "limits": {"cpu": "100m", "memory": "32Mi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }]},
    }))?)
}

/// Whether admission made of a pod what an agent's pod must be: gate first, no token for the API server.
fn is_agent(pod: &Pod, api_audiences: &[String]) -> bool {
    let Some(spec) = &pod.spec else {
        return false;
    };
    let first = spec.init_containers.iter().flatten().next();
    let sources = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| volume.projected.as_ref())
        .flat_map(|projected| projected.sources.iter().flatten());
    let mut tokens = sources.filter_map(|source| source.service_account_token.as_ref());
    first.is_some_and(|container| container.name == START_GATE)
        && !tokens.any(|token| {
            is_api_audience(token.audience.as_deref().unwrap_or_default(), api_audiences)
        })
}

/// Pods that have ended stay as they are.
fn needs_recreate(pod: &Pod, api_audiences: &[String]) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    !is_agent(pod, api_audiences) && !matches!(phase, Some("Succeeded" | "Failed"))
}

fn made_by(pod: &Pod) -> String {
    let owner = pod
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true));
    owner.map_or_else(
        || " (made by nobody: delete it and create it again)".to_owned(),
        |owner| format!(" (of {} {})", owner.kind, owner.name),
    )
}

fn next(args: &Args) {
    let namespace = &args.namespace;
    if args.dry_run {
        say!("\nNothing was changed: this was a dry run.");
        return;
    }
    say!(
        "\nNext:
  1. sallyport rbac generate -n {namespace} | kubectl apply -f -
  2. kubectl -n {namespace} rollout restart deployment,statefulset,daemonset
  3. sallyport coverage -n {namespace}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(audience: &str) -> Pod {
        let pod = json!({
            "metadata": {"name": "agent"},
            "spec": {
                "initContainers": [{"name": START_GATE}],
                "containers": [],
                "volumes": [{"name": "token", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token", "audience": audience}},
                ]}}],
            },
        });
        serde_json::from_value(pod).expect("a pod")
    }

    #[test]
    fn pods_with_a_token_that_the_api_server_accepts_are_listed() {
        let more = ["https://issuer.example".to_owned()];
        for (audience, listed) in [
            ("sallyport", false),
            ("vault", false),
            ("", true),
            ("api", true),
            ("https://issuer.example", true),
        ] {
            assert_eq!(needs_recreate(&pod(audience), &more), listed, "{audience}");
        }
    }
}
