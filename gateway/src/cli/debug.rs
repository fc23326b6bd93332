//! `sallyport debug`: how this version sees things.

use std::process::ExitCode;

use crate::{api::v1alpha1, request_info::RequestInfo};

/// The exit code for a request that is refused as ambiguous.
const REFUSED: u8 = 2;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Print how a request is understood, as JSON with Kubernetes' field names. Exit code 2 where it is
    /// refused as ambiguous.
    RequestInfo {
        /// The HTTP method, such as GET.
        method: String,
        /// The request target as sent: path and query, still encoded.
        target: String,
    },
    /// Print the CustomResourceDefinitions of this version.
    Crds,
}

pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::RequestInfo { method, target } => request_info(&method, &target),
        Command::Crds => {
            print!("{}", v1alpha1::crds_yaml()?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn request_info(method: &str, target: &str) -> anyhow::Result<ExitCode> {
    match RequestInfo::parse(method, target) {
        Ok(info) => {
            println!("{}", serde_json::to_string_pretty(&info)?);
            Ok(ExitCode::SUCCESS)
        }
        Err(reason) => {
            eprintln!("refused: {reason}");
            Ok(ExitCode::from(REFUSED))
        }
    }
}
