//! The columns of the `calls` table.
//!
//! Names are the serialized names of a row; where Kubernetes has a name it is Kubernetes'. Columns are only
//! ever added: files of all versions are read together.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};

/// The columns that hold whole bodies. Lists of calls never read them.
pub const BODIES: [&str; 3] = ["requestObject", "responseObject", "objectBefore"];

/// The column that is computed from all others.
pub const RECORD_DIGEST: &str = "recordDigest";

static CALLS: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(columns())));

/// All columns of a file.
pub fn calls() -> SchemaRef {
    Arc::clone(&CALLS)
}

/// The columns of a canonical row: all but `recordDigest`.
pub fn canonical() -> SchemaRef {
    let fields = CALLS
        .fields()
        .iter()
        .filter(|field| field.name() != RECORD_DIGEST);
    Arc::new(Schema::new(fields.cloned().collect::<Fields>()))
}

/// Arrow's offset form of UTC: its JSON reader knows zone names only with a time zone database.
/// Parquet keeps no name, only "adjusted to UTC".
pub(super) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

fn columns() -> Fields {
    [
        identifiers(),
        times(),
        request(),
        identity(),
        decision(),
        response(),
        bodies(),
    ]
    .concat()
    .into()
}

fn identifiers() -> Vec<FieldRef> {
    vec![
        required(text("auditID")),
        text("sessionID"),
        text("stepID"),
        text("traceID"),
        text("spanID"),
        text("node"),
        required(text("logID")),
        required(int64("sequence")),
        required(int32("schemaVersion")),
        required(column(RECORD_DIGEST, DataType::FixedSizeBinary(32))),
    ]
}

fn times() -> Vec<FieldRef> {
    vec![
        required(column("requestReceivedTimestamp", timestamp())),
        required(column("stageTimestamp", timestamp())),
        int64("durationMicros"),
        int64("heldMicros"),
    ]
}

fn request() -> Vec<FieldRef> {
    let mut columns = texts([
        "level",
        "stage",
        "outcome",
        "entry",
        "enforcement",
        "verb",
        "requestURI",
        "userAgent",
    ]);
    columns.extend(
        ["sourceIPs", "images", "changedFields", "riskReasons"]
            .map(|name| list(name, text("element"))),
    );
    columns.push(structure(
        "objectRef",
        texts([
            "apiGroup",
            "apiVersion",
            "resource",
            "subresource",
            "namespace",
            "name",
            "uid",
            "resourceVersion",
        ]),
    ));
    columns
}

fn identity() -> Vec<FieldRef> {
    let mut workload = texts(["namespace", "pod", "podUID", "serviceAccount"]);
    workload.push(map("labels", text("value")));
    workload.push(list("containerImageDigests", text("element")));
    vec![
        user("user"),
        user("impersonatedUser"),
        user("upstreamUser"),
        structure(
            "agent",
            texts(["id", "name", "version", "owner", "instanceID"]),
        ),
        structure(
            "gen_ai",
            texts([
                "provider_name",
                "request_model",
                "model_version",
                "conversation_id",
            ]),
        ),
        structure("provenanceSource", texts(["agent", "model", "ci", "human"])),
        structure(
            "cicd",
            texts([
                "provider",
                "repository",
                "repository_id",
                "workflow_ref",
                "commit_sha",
                "run_id",
                "run_attempt",
                "job_id",
                "actor",
            ]),
        ),
        structure("workload", workload),
        structure("process", vec![int32("pid"), text("exe")]),
    ]
}

fn decision() -> Vec<FieldRef> {
    let mut approval = texts(["id", "state", "by", "via"]);
    approval.push(column("decidedAt", timestamp()));
    approval.extend(texts(["reason", "scope", "viewDigest"]));
    let mut columns = texts(["decision", "rule", "policyDigest", "risk"]);
    columns.push(structure("approval", approval));
    columns
}

fn response() -> Vec<FieldRef> {
    let mut status = vec![int32("code")];
    status.extend(texts(["status", "reason", "message"]));
    vec![
        structure("responseStatus", status),
        int64("requestBytes"),
        int64("responseBytes"),
        int64("itemCount"),
        int32("maskedRequest"),
        int32("maskedResponse"),
        list(
            "secretsSeen",
            structure("element", texts(["namespace", "name", "keyDigest"])),
        ),
        list("viewPlaceholders", text("element")),
    ]
}

fn bodies() -> Vec<FieldRef> {
    let mut columns: Vec<FieldRef> = BODIES.map(json).into();
    columns.extend(texts([
        "bodyState",
        "requestDigest",
        "responseDigest",
        "bodyRef",
        "streamRef",
    ]));
    columns
}

/// Arrow's canonical extension `arrow.json`, which the Parquet writer turns into the logical type JSON.
fn json(name: &str) -> FieldRef {
    let extension = [
        ("ARROW:extension:name", "arrow.json"),
        ("ARROW:extension:metadata", ""),
    ];
    let metadata: HashMap<_, _> = extension
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    Arc::new(Field::new(name, DataType::Utf8, true).with_metadata(metadata))
}

fn user(name: &str) -> FieldRef {
    let mut fields = texts(["username", "uid"]);
    fields.push(list("groups", text("element")));
    fields.push(map("extra", list("value", text("element"))));
    structure(name, fields)
}

fn column(name: &str, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type, true))
}

fn required(field: FieldRef) -> FieldRef {
    Arc::new(Arc::unwrap_or_clone(field).with_nullable(false))
}

fn text(name: &str) -> FieldRef {
    column(name, DataType::Utf8)
}

fn texts<const N: usize>(names: [&str; N]) -> Vec<FieldRef> {
    names.map(text).into()
}

fn int32(name: &str) -> FieldRef {
    column(name, DataType::Int32)
}

fn int64(name: &str) -> FieldRef {
    column(name, DataType::Int64)
}

fn list(name: &str, element: FieldRef) -> FieldRef {
    column(name, DataType::List(element))
}

fn structure(name: &str, fields: Vec<FieldRef>) -> FieldRef {
    column(name, DataType::Struct(fields.into()))
}

fn map(name: &str, value: FieldRef) -> FieldRef {
    let entry = Fields::from(vec![required(text("key")), value]);
    let entries = required(column("key_value", DataType::Struct(entry)));
    column(name, DataType::Map(entries, false))
}

#[cfg(test)]
mod tests;
