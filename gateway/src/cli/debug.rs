//! `sallyport debug`: how this version sees things.

use std::process::ExitCode;

use crate::{
    api::v1alpha1,
    cli::output::{document, note, say},
    request_info::RequestInfo,
};

#[cfg(target_os = "linux")]
mod destinations;

/// The exit code for a request that is refused as ambiguous.
const REFUSED: u8 = 2;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Print how a request is understood, as JSON with the field names of Kubernetes' RequestInfo.
    #[command(after_help = REQUEST_INFO_HELP)]
    RequestInfo {
        /// The HTTP method, such as GET.
        method: String,
        /// The request target as sent: path and query, still encoded.
        target: String,
    },
    /// Print the CustomResourceDefinitions of this version, as YAML for `kubectl apply -f -`.
    Crds,
    /// Print what a node agent redirects and guards, as JSON, once it has asked for all of it.
    #[cfg(target_os = "linux")]
    Destinations(destinations::Args),
}

const REQUEST_INFO_HELP: &str = "\
Example:
  sallyport debug request-info GET '/apis/apps/v1/namespaces/shop/deployments/web/scale'

Exit code 2: the gateway refuses the request as ambiguous; the reason is on stderr.";

pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::RequestInfo { method, target } => request_info(&method, &target),
        Command::Crds => {
            document(&v1alpha1::crds_yaml()?)?;
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(target_os = "linux")]
        Command::Destinations(args) => destinations::run(args),
    }
}

fn request_info(method: &str, target: &str) -> anyhow::Result<ExitCode> {
    match RequestInfo::parse(method, target) {
        Ok(info) => {
            say!("{}", serde_json::to_string_pretty(&info)?);
            Ok(ExitCode::SUCCESS)
        }
        Err(reason) => {
            note!("refused: {reason}");
            Ok(ExitCode::from(REFUSED))
        }
    }
}
