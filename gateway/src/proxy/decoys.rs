//! Decoy Secrets: a read of one is told at once, and may stop the session. Whoever gives one to a pod reads it there,
//! where no answer shows it.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Call;
use crate::{
    audit::record::Record,
    mask::{self, SecretName},
    policy::floor,
};

/// Sessions that wait to be stopped. Each is stopped once, so this is more than there are.
const WAITING: usize = 256;

/// What became of a decoy, for people.
pub(super) const READ: &str = "read";
pub(super) const GIVEN: &str = "had a pod read";

/// The decoys, and who is told of reads.
#[derive(Default)]
pub struct Decoys {
    pub(super) secrets: Arc<mask::Decoys>,
    caught: Option<mpsc::Sender<Caught>>,
}

/// Who read a decoy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caught {
    /// The session's id, or the user where there is no session.
    pub session: Result<String, String>,
    pub secret: SecretName,
    pub audit_id: String,
}

impl Decoys {
    /// Reads are told in the log and in the metrics.
    pub fn new(secrets: mask::Decoys) -> Self {
        Self {
            secrets: Arc::new(secrets),
            caught: None,
        }
    }

    /// And to who takes from the receiver.
    pub fn telling(secrets: mask::Decoys) -> (Self, mpsc::Receiver<Caught>) {
        let (caught, told) = mpsc::channel(WAITING);
        let decoys = Self {
            caught: Some(caught),
            ..Self::new(secrets)
        };
        (decoys, told)
    }

    /// Those that pods would read which the call leaves behind. A dry run leaves none.
    pub(super) fn given_to_pods(&self, call: &Call<'_>) -> Vec<SecretName> {
        let request = call.attributes.request;
        if self.secrets.is_empty() || call.attributes.dry_run {
            return Vec::new();
        }
        let read = floor::read_by_pods(request, call.content.after());
        let named = |name: &str| SecretName {
            namespace: request.namespace.clone(),
            name: name.to_owned(),
        };
        let read = read.into_iter().map(named);
        read.filter(|secret| self.secrets.contains(secret))
            .collect()
    }

    /// The call of `record` was answered with `secret`, or gives it to pods.
    pub(super) fn read(&self, record: &Record, secret: SecretName) {
        let user = record.user.as_ref().map(|user| user.username.as_str());
        tracing::warn!(
            target: "decoy",
            audit_id = record.audit_id,
            user,
            agent = record.agent.as_ref().map(|agent| agent.name.as_str()),
            session = record.session_id,
            namespace = secret.namespace,
            name = secret.name,
            "a decoy Secret was read"
        );
        let Some(caught) = &self.caught else { return };
        let session = record.session_id.clone();
        let caught = caught.try_send(Caught {
            session: session.ok_or_else(|| user.unwrap_or_default().to_owned()),
            secret,
            audit_id: record.audit_id.clone(),
        });
        if let Err(error) = caught {
            tracing::error!(
                audit_id = record.audit_id, %error,
                "the session that read a decoy is not stopped: stop it with `sallyport agents stop`"
            );
        }
    }
}
