//! Secrets that nobody needs: whoever reads one was looking for what it may not have.

use serde::Deserialize;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Decoys {
    /// By name, and not by a mark on the Secret: a mark could be seen by who looks.
    pub secrets: Vec<DecoySecret>,
    /// Makes an `AgentStop` for the session of who read one.
    #[serde(default)]
    pub stop_session: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DecoySecret {
    pub namespace: String,
    pub name: String,
}

impl Decoys {
    /// `stops` is whether stops of the cluster count.
    pub(super) fn check(&self, stops: bool) -> Result<(), String> {
        let unnamed = |decoy: &DecoySecret| decoy.namespace.is_empty() || decoy.name.is_empty();
        if self.secrets.iter().any(unnamed) {
            return Err("decoys.secrets: each needs a namespace and a name".into());
        }
        if self.stop_session && !stops {
            return Err(
                "decoys.stopSession: set objects as well, or no gateway takes notice of the stop"
                    .into(),
            );
        }
        Ok(())
    }
}
