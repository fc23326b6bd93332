//! From a call to the request that people see: one that is there already, or a new one.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::{
    api::PostParams,
    core::{DynamicObject, ObjectMeta},
};
use tokio::time::timeout;

use super::{Approvals, Ticket, name, state, understand};
use crate::{
    api::{
        approval_decision::Claim,
        v1alpha1::approval_request::{ApprovalRequest, ApprovalRequestSpec, State},
    },
    informer::Key,
    policy::{NotApproved, usable},
};

/// For one answer of the API server.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Requests of one agent that nobody has decided, on all gateways. One that is over counts until it is deleted, or
/// calls that leave at once would fill the API server with them.
const MOST_UNDECIDED: usize = 100;
/// Of one agent in this gateway, since people who are asked too much approve anything: such as the objects of one apply,
/// and then one by one.
pub(super) const BURST: u32 = 100;
pub(super) const EVERY: Duration = Duration::from_secs(2);
/// Two gateways that ask at once meet at the first name; what is older has taken others.
const MOST_NAMES: usize = 8;
const TRIES: usize = 3;

/// What people are asked.
#[derive(Clone, Debug)]
pub struct Question {
    pub spec: ApprovalRequestSpec,
    pub claim: Claim,
}

/// Why people could not be asked. Nothing is forwarded.
#[derive(Debug, thiserror::Error)]
pub enum NotAsked {
    #[error(
        "{MOST_UNDECIDED} requests of this agent are undecided already; have some decided, or wait some minutes until those that nobody waits for are deleted"
    )]
    TooManyUndecided,
    #[error("this agent has asked for approval too often; ask again in {} s", .0.as_secs().max(1))]
    TooOften(Duration),
    #[error("the API server did not take the request for approval: {0}")]
    Refused(String),
    #[error(
        "the API server could not be asked to keep the request for approval; run the call again"
    )]
    Unreachable,
}

impl Approvals {
    /// The ticket of a request that this call can share, or of a new one.
    pub async fn open(&self, question: &Question) -> Result<Ticket<'_>, NotAsked> {
        if let Some(key) = self.shared(question) {
            return Ok(Ticket::new(self, key));
        }
        if !self.is_being_asked(question) {
            self.check_share(question)?;
        }
        self.create(question).await
    }

    /// One that lets this call pass, else one that waits for people, else one that was denied and is not over.
    fn shared(&self, question: &Question) -> Option<Key> {
        let now = Timestamp::now();
        let known = self.known.borrow();
        let ranked = known.valid().filter_map(|(key, request)| {
            let rank = rank(request, question, now)?;
            Some((rank, key))
        });
        ranked.min().map(|(_, key)| key.clone())
    }

    /// A call of this gateway asks the same, and it was not heard of yet: people are asked nothing more.
    fn is_being_asked(&self, question: &Question) -> bool {
        let namespace = self.namespace_of(question);
        let names = self.free_names(&namespace, question);
        let first = names.into_iter().next();
        first.is_some_and(|name| self.waiting.has(&(namespace, name)))
    }

    fn check_share(&self, question: &Question) -> Result<(), NotAsked> {
        let now = Timestamp::now();
        let who = &question.claim.upstream_user;
        let known = self.known.borrow();
        let undecided = known.valid().filter(|(_, request)| {
            request.spec.requester.upstream_user == *who && is_undecided(request, now)
        });
        if undecided.count() >= MOST_UNDECIDED {
            return Err(NotAsked::TooManyUndecided);
        }
        let mut rates = self
            .rates
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        rates.take(who, Instant::now()).map_err(NotAsked::TooOften)
    }

    /// Under the first name that is free. Who finds it taken by the same call shares it. The ticket comes first: a client
    /// that leaves before the API server has answered withdraws what it asked, too.
    async fn create(&self, question: &Question) -> Result<Ticket<'_>, NotAsked> {
        let namespace = self.namespace_of(question);
        let objects = self.objects(&namespace);
        for name in self.free_names(&namespace, question) {
            let object = object(&question.spec, &name);
            let mut ticket = Ticket::new(self, (namespace.clone(), name));
            let is_new = self.create_one(&objects, &object).await?;
            if is_new || self.is_shared(&objects, &ticket.key.1, question).await? {
                return Ok(ticket);
            }
            // It is about another call.
            ticket.keep();
        }
        Err(NotAsked::TooManyUndecided)
    }

    /// Whether it is new. An answer that is lost is asked for again: by the same name it is the same object.
    async fn create_one(
        &self,
        objects: &kube::Api<DynamicObject>,
        object: &DynamicObject,
    ) -> Result<bool, NotAsked> {
        for _ in 0..TRIES {
            match timeout(PATIENCE, objects.create(&PostParams::default(), object)).await {
                Ok(Ok(_)) => return Ok(true),
                Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => {
                    return Ok(false);
                }
                Ok(Err(kube::Error::Api(status))) if status.code < 500 => {
                    return Err(NotAsked::Refused(status.message));
                }
                Ok(Err(error)) => tracing::warn!(%error, "asking for approval"),
                Err(_) => tracing::warn!("asking for approval: no answer from the API server"),
            }
        }
        Err(NotAsked::Unreachable)
    }

    async fn is_shared(
        &self,
        objects: &kube::Api<DynamicObject>,
        name: &str,
        question: &Question,
    ) -> Result<bool, NotAsked> {
        let found = timeout(PATIENCE, objects.get(name)).await;
        let object = found
            .map_err(|_| NotAsked::Unreachable)?
            .map_err(|error| NotAsked::Refused(error.to_string()))?;
        let request = understand(&object).map_err(|error| NotAsked::Refused(error.to_string()))?;
        Ok(rank(&request, question, Timestamp::now()).is_some())
    }

    /// As far as is known. Of the requests for this very call, any may have been deleted.
    fn free_names(&self, namespace: &str, question: &Question) -> Vec<String> {
        let known = self.known.borrow();
        let is_free = |name: &String| {
            !known
                .objects
                .contains_key(&(namespace.to_owned(), name.clone()))
        };
        let names = (1..).map(|n| name::of(&question.spec, n));
        names.filter(is_free).take(MOST_NAMES).collect()
    }

    /// A request about a namespace must outlive it.
    fn namespace_of(&self, question: &Question) -> String {
        let call = &question.spec.call;
        match call.namespace.as_str() {
            "" => self.namespace.clone(),
            _ if call.resource == "namespaces" => self.namespace.clone(),
            namespace => namespace.to_owned(),
        }
    }
}

/// The lower the better; none where the call has nothing of this request.
fn rank(request: &ApprovalRequest, question: &Question, now: Timestamp) -> Option<u8> {
    let (spec, claim) = (&question.spec, &question.claim);
    let same = request.spec.digest == claim.digest
        && request.spec.requester.upstream_user == claim.upstream_user;
    match usable(request, spec, claim, now) {
        Ok(_) => Some(0),
        Err(NotApproved::Open { .. }) if same => Some(1),
        Err(NotApproved::Denied { .. }) if same && now < request.spec.expires_at => Some(2),
        Err(_) => None,
    }
}

/// It waits for people, or is over and no person ever said anything of it.
fn is_undecided(request: &ApprovalRequest, now: Timestamp) -> bool {
    request.has_no_votes() || state(request, now) == State::Pending
}

fn object(spec: &ApprovalRequestSpec, name: &str) -> DynamicObject {
    let resource = kube::core::ApiResource::erase::<ApprovalRequest>(&());
    let mut object = DynamicObject::new(name, &resource).data(serde_json::json!({ "spec": spec }));
    object.metadata = ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    };
    object
}
