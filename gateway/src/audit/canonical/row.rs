//! A record's members in the order of their names. Nothing is sorted here but maps, and no tree is built.
//!
//! Each struct is taken apart in full, so that a column cannot be added to one and forgotten here.

use super::write::{Members, Out, elements};
use crate::{
    audit::record::{Approval, ObjectRef, Record, ResponseStatus, SecretSeen},
    identity::{
        AgentIdentity, CiRun, GenAi, Process, ProvenanceSource, Source, UserInfo, Workload,
    },
    mask::Masked,
};

/// Returns where the digits of the sequence belong.
pub(super) fn write<O: Out>(record: &Record, log_id: &str, out: &mut O) -> usize {
    let Record {
        agent,
        approval,
        audit_id,
        body_state,
        cicd,
        decision,
        duration_micros,
        enforcement,
        entry,
        gen_ai: model,
        held_micros,
        item_count,
        level,
        masked_request,
        masked_response,
        node,
        object_ref,
        outcome,
        policy_digest,
        process,
        provenance_source,
        request_bytes,
        request_digest,
        request_object,
        request_received_timestamp,
        request_uri,
        response_bytes,
        response_digest,
        response_object,
        response_status,
        risk,
        risk_reasons,
        rule,
        schema_version,
        secrets_seen,
        session_id,
        source_ips,
        span_id,
        stage,
        stage_timestamp,
        step_id,
        trace_id,
        upstream_user,
        user,
        user_agent,
        verb,
        view_placeholders,
        workload,
    } = record;
    let mut row = Members::open(out);
    row.object("agent", agent.as_ref(), agent_identity);
    row.object("approval", approval.as_ref(), decided);
    row.text("auditID", audit_id);
    row.optional("bodyState", body_state.map(|state| state.as_str()));
    row.object("cicd", cicd.as_ref(), ci_run);
    row.optional("decision", decision.map(|decision| decision.as_str()));
    row.decimal("durationMicros", *duration_micros);
    row.text("enforcement", enforcement.as_str());
    row.text("entry", entry.as_str());
    row.object("gen_ai", model.as_ref(), gen_ai);
    row.decimal("heldMicros", *held_micros);
    row.decimal("itemCount", *item_count);
    row.text("level", level.as_str());
    row.text("logID", log_id);
    row.number("maskedRequest", *masked_request);
    row.number("maskedResponse", *masked_response);
    row.text("node", node);
    row.object("objectRef", object_ref.as_ref(), object_reference);
    row.optional("outcome", outcome.map(|outcome| outcome.as_str()));
    row.optional("policyDigest", policy_digest.as_deref());
    row.object("process", process.as_ref(), program);
    row.object("provenanceSource", provenance_source.as_ref(), sources);
    row.decimal("requestBytes", *request_bytes);
    row.optional("requestDigest", request_digest.as_deref());
    row.optional("requestObject", masked(request_object));
    row.time("requestReceivedTimestamp", *request_received_timestamp);
    row.text("requestURI", request_uri.get());
    row.decimal("responseBytes", *response_bytes);
    row.optional("responseDigest", response_digest.as_deref());
    row.optional("responseObject", masked(response_object));
    row.object("responseStatus", response_status.as_ref(), status);
    row.optional("risk", *risk);
    row.texts("riskReasons", risk_reasons);
    row.optional("rule", rule.as_deref());
    row.number("schemaVersion", Some(*schema_version));
    if !secrets_seen.is_empty() {
        elements(row.value("secretsSeen"), secrets_seen, secret_seen);
    }
    let out = row.value("sequence");
    out.plain(b"\"");
    let digits = out.written();
    out.plain(b"\"");
    row.optional("sessionID", session_id.as_deref());
    row.texts("sourceIPs", source_ips);
    row.optional("spanID", span_id.as_deref());
    row.text("stage", stage.as_str());
    row.time("stageTimestamp", *stage_timestamp);
    row.optional("stepID", masked(step_id));
    row.optional("traceID", trace_id.as_deref());
    row.object("upstreamUser", upstream_user.as_ref(), user_info);
    row.object("user", user.as_ref(), user_info);
    row.optional("userAgent", masked(user_agent));
    row.text("verb", verb);
    row.texts("viewPlaceholders", view_placeholders);
    row.object("workload", workload.as_ref(), pod);
    row.close();
    digits
}

fn masked(text: &Option<Masked<String>>) -> Option<&str> {
    text.as_ref().map(|text| text.get().as_str())
}

fn agent_identity<O: Out>(agent: &AgentIdentity, out: &mut Members<'_, O>) {
    let AgentIdentity {
        id,
        instance_id,
        name,
        owner,
        version,
    } = agent;
    out.text("id", id);
    out.optional("instanceID", instance_id.as_deref());
    out.text("name", name);
    out.optional("owner", owner.as_deref());
    out.optional("version", version.as_deref());
}

fn decided<O: Out>(approval: &Approval, out: &mut Members<'_, O>) {
    let Approval {
        by,
        decided_at,
        id,
        reason,
        scope,
        state,
        via,
        view_digest,
    } = approval;
    out.optional("by", by.as_deref());
    if let Some(at) = decided_at {
        out.time("decidedAt", *at);
    }
    out.text("id", id);
    out.optional("reason", masked(reason));
    out.optional("scope", *scope);
    out.text("state", state);
    out.optional("via", *via);
    out.optional("viewDigest", view_digest.as_deref());
}

fn ci_run<O: Out>(run: &CiRun, out: &mut Members<'_, O>) {
    let CiRun {
        actor,
        commit_sha,
        job_id,
        provider,
        repository,
        repository_id,
        run_attempt,
        run_id,
        workflow_ref,
    } = run;
    out.optional("actor", actor.as_deref());
    out.optional("commit_sha", commit_sha.as_deref());
    out.optional("job_id", job_id.as_deref());
    out.text("provider", provider);
    out.text("repository", repository);
    out.text("repository_id", repository_id);
    out.optional("run_attempt", run_attempt.as_deref());
    out.text("run_id", run_id);
    out.optional("workflow_ref", workflow_ref.as_deref());
}

fn gen_ai<O: Out>(model: &GenAi, out: &mut Members<'_, O>) {
    let GenAi {
        conversation_id,
        model_version,
        provider_name,
        request_model,
    } = model;
    out.optional("conversation_id", conversation_id.as_deref());
    out.optional("model_version", model_version.as_deref());
    out.optional("provider_name", provider_name.as_deref());
    out.optional("request_model", request_model.as_deref());
}

fn object_reference<O: Out>(object: &ObjectRef, out: &mut Members<'_, O>) {
    let ObjectRef {
        api_group,
        api_version,
        name,
        namespace,
        resource,
        resource_version,
        subresource,
        uid,
    } = object;
    out.filled("apiGroup", api_group);
    out.filled("apiVersion", api_version);
    out.filled("name", name);
    out.filled("namespace", namespace);
    out.filled("resource", resource);
    out.filled("resourceVersion", resource_version);
    out.filled("subresource", subresource);
    out.filled("uid", uid);
}

fn sources<O: Out>(sources: &ProvenanceSource, out: &mut Members<'_, O>) {
    let ProvenanceSource {
        agent,
        ci,
        human,
        model,
    } = sources;
    out.optional("agent", agent.map(Source::as_str));
    out.optional("ci", ci.map(Source::as_str));
    out.optional("human", human.map(Source::as_str));
    out.optional("model", model.map(Source::as_str));
}

fn status<O: Out>(answer: &ResponseStatus, out: &mut Members<'_, O>) {
    let ResponseStatus {
        code,
        message,
        reason,
        status,
    } = answer;
    out.number("code", Some(*code));
    out.optional("message", masked(message));
    out.optional("reason", reason.as_deref());
    out.optional("status", status.as_deref());
}

fn secret_seen<O: Out>(secret: &SecretSeen, out: &mut O) {
    let SecretSeen {
        key_digest,
        name,
        namespace,
    } = secret;
    let mut out = Members::open(out);
    out.text("keyDigest", key_digest);
    out.text("name", name);
    out.text("namespace", namespace);
    out.close();
}

fn user_info<O: Out>(user: &UserInfo, out: &mut Members<'_, O>) {
    let UserInfo {
        extra,
        groups,
        uid,
        username,
    } = user;
    out.map("extra", extra.iter(), |values, out| {
        elements(out, values, |value, out| out.text(value));
    });
    out.texts("groups", groups);
    out.optional("uid", uid.as_deref());
    out.text("username", username);
}

fn pod<O: Out>(workload: &Workload, out: &mut Members<'_, O>) {
    let Workload {
        container_image_digests,
        labels,
        namespace,
        pod,
        pod_uid,
        service_account,
    } = workload;
    out.texts("containerImageDigests", container_image_digests);
    out.map("labels", labels.iter(), |label, out| out.text(label));
    out.text("namespace", namespace);
    out.text("pod", pod);
    out.text("podUID", pod_uid);
    out.text("serviceAccount", service_account);
}

fn program<O: Out>(process: &Process, out: &mut Members<'_, O>) {
    let Process { exe, pid } = process;
    out.optional("exe", exe.as_deref());
    out.number("pid", Some(*pid));
}
