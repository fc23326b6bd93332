use std::path::PathBuf;

use crate::api::v1alpha1::manifest::{self, Problem};

/// Why a directory of policies is not in force.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("cannot read the policies in {}; the directory must exist, also when it is empty", directory.display())]
    Unreadable {
        directory: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Everything that is wrong in all files.
    #[error("{}", manifest::lines(.0))]
    Invalid(Vec<Problem>),
}
