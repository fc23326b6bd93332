//! The record of reads of evidence: whoever shows it to people has each read recorded here before.

use std::net::IpAddr;

use super::Gateway;
use crate::{
    api::names::GROUP,
    audit::{
        log::{Following, TooManyReaders, Wanted},
        record::{DecisionKind, ObjectRef, Record},
        wal::NotRecorded,
    },
    identity::UserInfo,
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

    /// Makes a read durable and gives its audit id. Of a person's refusals in ten seconds the first is, and the others
    /// are counted in one record behind it. People take none of the room that is kept for the calls of agents.
    pub async fn record_read(&self, read: Read) -> Result<String, NotRecorded> {
        let is_refused = !read.is_allowed;
        let record = self.read_record(read);
        if is_refused && let Some(counted) = self.folding.count_read(&record) {
            return Ok(counted);
        }
        let log = &self.recorder.log;
        log.commit(log.encode(&record)?.in_spare_room()).await?;
        let id = record.audit_id.clone();
        if is_refused {
            self.folding.begin_reads(record);
        }
        Ok(id)
    }

    fn read_record(&self, read: Read) -> Record {
        let (decision, code) = if read.is_allowed {
            (DecisionKind::Allow, 200)
        } else {
            (DecisionKind::Deny, 403)
        };
        let object = ObjectRef {
            api_group: GROUP.into(),
            resource: read.resource,
            namespace: read.namespace,
            name: read.name,
            ..ObjectRef::default()
        };
        let said = (code, &*read.reason);
        Record {
            user: Some(read.user),
            source_ips: read.source_ip.iter().map(ToString::to_string).collect(),
            decision: Some(decision),
            rule: Some(RULE.to_owned()),
            ..self
                .recorder
                .own_row(&read.verb, object, &read.request_uri, said)
        }
    }
}
