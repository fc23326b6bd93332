//! Which replica leads: the one that holds the Lease.

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub(super) use self::leadership::{Leadership, NotWritten, TRIES_AGAIN_AFTER};
use self::state::{Candidate, LEASE, LOOKS_EVERY, Next, RENEWS_EVERY, Record};

mod leadership;
mod state;

const NAME: &str = "sallyport-controller";
/// Of one look and one write.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

pub(super) struct Election {
    leases: Api<Lease>,
    candidate: Candidate,
    until: watch::Sender<Option<Instant>>,
}

/// Why the Lease is not what a candidate would have it be.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("the API server did not answer within {} s", PATIENCE.as_secs())]
    TimedOut,
    #[error(transparent)]
    Refused(#[from] kube::Error),
}

impl Election {
    pub(super) fn new(client: Client, namespace: &str, identity: String) -> (Self, Leadership) {
        let until = watch::Sender::new(None);
        let leadership = Leadership::new(until.subscribe());
        let election = Self {
            leases: Api::namespaced(client, namespace),
            candidate: Candidate::new(identity),
            until,
        };
        (election, leadership)
    }

    /// Stands for election until `shutdown`, then lets another lead at once.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let pause = match self.stand().await {
                Ok(true) => RENEWS_EVERY,
                Ok(false) => LOOKS_EVERY,
                Err(error) => {
                    tracing::warn!(%error, lease = NAME, "the Lease could not be renewed or looked at; trying again");
                    LOOKS_EVERY
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
        self.until.send_replace(None);
        if let Err(error) = self.release().await {
            let waits = LEASE.as_secs();
            tracing::warn!(%error, "the Lease could not be released: the next leader waits for {waits} s");
        }
    }

    /// Whether it leads.
    async fn stand(&mut self) -> Result<bool, LeaseError> {
        let lease = self.look().await?;
        let now = Instant::now();
        self.candidate.see(lease.as_ref().map(record), now);
        let Next::Write(next) = self.candidate.next(Timestamp::now(), now) else {
            self.until.send_replace(None);
            return Ok(false);
        };
        if !self.write(lease, &next).await? {
            return Ok(false);
        }
        self.candidate.written(next, now);
        self.until.send_replace(self.candidate.leads_until());
        Ok(true)
    }

    async fn release(&mut self) -> Result<(), LeaseError> {
        let lease = self.look().await?;
        self.candidate
            .see(lease.as_ref().map(record), Instant::now());
        if let Some(released) = self.candidate.release() {
            self.write(lease, &released).await?;
        }
        Ok(())
    }

    async fn look(&self) -> Result<Option<Lease>, LeaseError> {
        let lease = timeout(PATIENCE, self.leases.get_opt(NAME)).await;
        Ok(lease.map_err(|_| LeaseError::TimedOut)??)
    }

    /// Whether nobody was faster: the API server compares the resourceVersion of what was seen.
    async fn write(&self, seen: Option<Lease>, record: &Record) -> Result<bool, LeaseError> {
        let params = PostParams::default();
        let lease = lease(seen.as_ref(), record);
        let write = async {
            match seen {
                None => self.leases.create(&params, &lease).await,
                Some(_) => self.leases.replace(NAME, &params, &lease).await,
            }
        };
        match timeout(PATIENCE, write)
            .await
            .map_err(|_| LeaseError::TimedOut)?
        {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        renewed_at: spec.renew_time.map(|MicroTime(at)| at),
        lease_seconds: spec.lease_duration_seconds.unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}

fn lease(seen: Option<&Lease>, record: &Record) -> Lease {
    let before = seen.and_then(|lease| lease.spec.clone());
    let before = before.unwrap_or_default();
    let is_same = before.holder_identity.as_ref() == Some(&record.holder);
    let acquired = record.renewed_at.map(MicroTime);
    Lease {
        metadata: seen.map_or_else(named, |lease| lease.metadata.clone()),
        spec: Some(LeaseSpec {
            acquire_time: if is_same {
                before.acquire_time
            } else {
                acquired
            },
            holder_identity: Some(record.holder.clone()),
            lease_duration_seconds: Some(record.lease_seconds),
            lease_transitions: Some(record.transitions),
            renew_time: record.renewed_at.map(MicroTime),
            ..LeaseSpec::default()
        }),
    }
}

fn named() -> ObjectMeta {
    ObjectMeta {
        name: Some(NAME.to_owned()),
        ..ObjectMeta::default()
    }
}
