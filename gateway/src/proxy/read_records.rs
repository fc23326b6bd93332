//! The record of reads of evidence: whoever shows it to people has each read recorded here before.

use std::net::IpAddr;

use jiff::Timestamp;
use uuid::Uuid;

use super::Gateway;
use crate::{
    audit::{
        log::{Following, TooManyReaders, Wanted},
        record::{DecisionKind, ObjectRef, Outcome, Record, ResponseStatus, Stage},
        wal::NotRecorded,
    },
    identity::UserInfo,
    mask,
    request_info::RequestInfo,
};

/// The person's rights are asked for with a SubjectAccessReview.
const RULE: &str = "built-in/subject-access-review";

/// A person's read of evidence, or the end that a person asked for, and whether that was allowed.
#[derive(Clone, Debug)]
pub struct Read {
    pub user: UserInfo,
    pub verb: String,
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub request_uri: String,
    pub source_ip: Option<IpAddr>,
    pub is_allowed: bool,
    pub reason: String,
}

impl Gateway {
    /// Follows the records that become durable from now on.
    pub fn follow_records(&self, wanted: Wanted) -> Result<Following, TooManyReaders> {
        self.recorder.log.follow(wanted)
    }

    /// Makes a read durable and gives its audit id.
    pub async fn record_read(&self, read: Read) -> Result<String, NotRecorded> {
        let record = self.read_record(read);
        self.recorder.log.append(&record).await?;
        Ok(record.audit_id)
    }

    fn read_record(&self, read: Read) -> Record {
        let key = &self.recorder.key;
        let (decision, code) = if read.is_allowed {
            (DecisionKind::Allow, 200)
        } else {
            (DecisionKind::Deny, 403)
        };
        let message = (!read.reason.is_empty()).then(|| mask::text(key, &read.reason));
        Record {
            stage: Stage::ResponseComplete,
            outcome: Some(Outcome::Complete),
            verb: read.verb,
            user: Some(read.user),
            source_ips: read.source_ip.iter().map(ToString::to_string).collect(),
            object_ref: Some(ObjectRef {
                api_group: "sallyport.dev".into(),
                resource: read.resource,
                namespace: read.namespace,
                name: read.name,
                ..ObjectRef::default()
            }),
            decision: Some(decision),
            rule: Some(RULE.to_owned()),
            response_status: Some(ResponseStatus {
                code,
                message,
                ..ResponseStatus::default()
            }),
            ..Record::received(
                Uuid::now_v7().to_string(),
                Timestamp::now(),
                self.recorder.node.clone(),
                mask::request_uri(key, &RequestInfo::default(), &read.request_uri),
            )
        }
    }
}
