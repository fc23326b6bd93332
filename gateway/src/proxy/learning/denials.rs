//! Why a call is denied whose decision depends on what is not known.

use http::StatusCode;

use super::{COLLECTION, Call};
use crate::{
    policy::Denial,
    proxy::content::{NotApplied, PatchType, Unreadable},
};

pub(super) fn denial(rule: &str, reason: &str, hint: &str) -> Denial {
    Denial {
        rule: format!("built-in/{rule}"),
        reason: reason.to_owned(),
        hint: hint.to_owned(),
    }
}

pub(super) fn unreadable(call: &Call<'_>, error: &Unreadable) -> Denial {
    let resource = &call.attributes.request.resource;
    denial(
        "unreadable-body",
        &format!(
            "the decision depends on what is written to {resource}, and the body is not understood: {error}"
        ),
        "Send JSON with each field given once.",
    )
}

pub(super) fn may_not_read(call: &Call<'_>, verb: &str) -> Denial {
    let user = &call.attributes.identity.upstream_user.username;
    let resource = &call.attributes.request.resource;
    denial(
        "lookup",
        &format!(
            "the decision depends on the object as it is, and the API server does not let {user:?} {verb} {resource}"
        ),
        &format!("Ask for the right to {verb} {resource}, then try again."),
    )
}

pub(super) fn no_version(call: &Call<'_>) -> Denial {
    let resource = &call.attributes.request.resource;
    denial(
        "lookup",
        &format!(
            "the decision depends on the object as it is, and {resource} have no uid and resourceVersion to be held to"
        ),
        "Ask whoever owns the policy for a rule that does not read the object.",
    )
}

pub(super) fn unanswered(call: &Call<'_>, problem: &str) -> Denial {
    let resource = &call.attributes.request.resource;
    denial(
        "lookup",
        &format!(
            "the decision depends on the object in {resource}, and the API server could not be asked for it: {problem}"
        ),
        "Try again; nothing was changed.",
    )
}

pub(super) fn too_many(call: &Call<'_>) -> Denial {
    let resource = &call.attributes.request.resource;
    denial(
        "not-approvable",
        &format!(
            "people must approve it, and it would delete more than {COLLECTION} {resource}, which nobody could look at"
        ),
        "Delete fewer at a time, with a narrower selector.",
    )
}

pub(super) fn part_of_collection(parameter: &str) -> Denial {
    denial(
        "not-approvable",
        &format!(
            "people must approve it, and with the parameter {parameter:?} it would delete others than those they are shown"
        ),
        "Send it without that parameter; a label or field selector narrows it.",
    )
}

pub(super) fn other_collection(call: &Call<'_>) -> Denial {
    let resource = &call.attributes.request.resource;
    denial(
        "not-approvable",
        &format!(
            "the {resource} it would delete are not those any more that people were asked about"
        ),
        "Send it again, so that they are asked about those that are there now.",
    )
}

pub(super) fn no_pod(call: &Call<'_>) -> Denial {
    let request = call.attributes.request;
    let reason = format!(
        "people must approve it, and there is no pod {:?} in namespace {:?}",
        request.name, request.namespace
    );
    denial(
        "lookup",
        &reason,
        "Name a pod that is there: kubectl get pods.",
    )
}

pub(super) fn other_pod(call: &Call<'_>) -> Denial {
    let reason = format!(
        "the pod {:?} that people were asked about is gone, whether or not there is another of that name",
        call.attributes.request.name
    );
    denial(
        "not-approvable",
        &reason,
        "Send it again, so that they are asked about the pod that is there now.",
    )
}

pub(super) fn not_applied(call: &Call<'_>, kind: PatchType, error: &NotApplied) -> Denial {
    if matches!(error, NotApplied::NeedsServer) {
        return no_dry_run(call, kind);
    }
    denial(
        "unreadable-body",
        &format!("the patch cannot be applied to the object as it is: {error}"),
        "Look at the object, then send a patch that fits it.",
    )
}

fn no_dry_run(call: &Call<'_>, kind: PatchType) -> Denial {
    let what = match kind {
        PatchType::Apply => "a server-side apply",
        _ => "a strategic merge patch",
    };
    let resource = &call.attributes.request.resource;
    denial(
        "dry-run",
        &format!(
            "the decision depends on the object after the change, and what {what} of {resource} makes is not known without a dry run, which is not safe for them"
        ),
        "Use kubectl apply without --server-side, kubectl patch --type=merge, a JSON Patch, or send the whole object.",
    )
}

pub(super) fn refused_dry_run(status: StatusCode, message: &str) -> Denial {
    denial(
        "dry-run",
        &format!(
            "the decision depends on the object after the change, and the API server refused to try it ({status}): {message}"
        ),
        "Correct what it says, then try again.",
    )
}
