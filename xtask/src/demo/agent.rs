//! An agent: kubectl with a token that only the gateway accepts.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, bail};

use super::{
    gateway::Gateway,
    site::{Site, quickstart},
};
use crate::{
    command::{capture, command, line},
    test::Environment,
};

/// Longer output is cut; the demo shows what happens, not what is in a cluster.
const SHOWN_LINES: usize = 6;
const PODS: &str = "/api/v1/namespaces/sallyport-demo/pods";

pub(super) struct Agent {
    pub(super) kubeconfig: PathBuf,
    kubectl: PathBuf,
    token: String,
    kubectl_cache: PathBuf,
}

impl Agent {
    pub(super) fn new(
        name: &str,
        token: &str,
        site: &Site,
        environment: &Environment,
        gateway: &Gateway,
    ) -> Result<Self> {
        Ok(Self {
            kubeconfig: site.kubeconfig(name, &gateway.server(), &gateway.ca, token)?,
            kubectl: environment.kubectl.clone(),
            token: token.to_owned(),
            kubectl_cache: site.path("kubectl-cache"),
        })
    }

    /// Shows a call that has to succeed.
    pub(super) fn does(&self, args: &[&str]) -> Result<()> {
        match self.show(args)? {
            (true, _) => Ok(()),
            (false, output) => bail!("kubectl failed: {output}"),
        }
    }

    /// Shows a call that has to be refused with `reason`.
    pub(super) fn is_refused(&self, args: &[&str], reason: &str) -> Result<()> {
        match self.show(args)? {
            (false, output) if output.contains(reason) => Ok(()),
            (_, output) => bail!("expected a refusal that says {reason:?}, but: {output}"),
        }
    }

    /// Whether a call succeeds, without showing it.
    pub(super) fn runs(&self, args: &[&str]) -> Result<bool> {
        Ok(self.command(args).output()?.status.success())
    }

    /// What a call prints, without showing it.
    pub(super) fn output(&self, args: &[&str]) -> Result<String> {
        capture(&mut self.command(args))
    }

    /// kubectl as this agent.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut kubectl = self.kubectl();
        kubectl.arg("--kubeconfig").arg(&self.kubeconfig).args(args);
        kubectl
    }

    fn show(&self, args: &[&str]) -> Result<(bool, String)> {
        let mut kubectl = command("kubectl");
        println!("  $ {}", line(kubectl.args(args)));
        shown(&mut self.command(args))
    }

    /// Shows this agent's token to the API server itself, which has to refuse it.
    pub(super) fn goes_around(&self, environment: &Environment) -> Result<()> {
        let cluster = &environment.cluster;
        println!(
            "  $ kubectl --server {} --token … get --raw {PODS}",
            cluster.server
        );
        let mut kubectl = self.kubectl();
        // An empty kubeconfig, so that nothing but the token speaks for the caller.
        kubectl.args([
            "--kubeconfig",
            "/dev/null",
            "--server",
            &cluster.server,
            "--certificate-authority",
        ]);
        kubectl
            .arg(&cluster.ca_file)
            .args(["--token", &self.token, "get", "--raw", PODS]);
        match shown(&mut kubectl)? {
            (false, output) if output.contains("Unauthorized") => Ok(()),
            (_, output) => bail!("the API server must refuse this token, but: {output}"),
        }
    }

    fn kubectl(&self) -> Command {
        let mut kubectl = command(&self.kubectl);
        kubectl
            .current_dir(quickstart("work"))
            .arg("--cache-dir")
            .arg(&self.kubectl_cache);
        kubectl
    }
}

/// Runs `command`, prints the beginning of what it said, and returns whether it succeeded with all of it.
pub(super) fn shown(command: &mut Command) -> Result<(bool, String)> {
    shown_up_to(SHOWN_LINES, command)
}

pub(super) fn shown_up_to(most: usize, command: &mut Command) -> Result<(bool, String)> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    for line in text.lines().take(most) {
        println!("    {line}");
    }
    if text.lines().count() > most {
        println!("    …");
    }
    Ok((output.status.success(), text))
}
