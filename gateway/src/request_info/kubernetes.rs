//! kube-apiserver's `RequestInfoFactory.NewRequestInfo`, with `APIPrefixes` `api` and `apis`.

use super::{Ambiguous, RequestInfo, list_options::ListOptions, query::Query};

pub(super) fn request_info(
    method: &str,
    path: String,
    query: Query<'_>,
) -> Result<RequestInfo, Ambiguous> {
    let owned = path.clone();
    let mut info = RequestInfo {
        path,
        verb: method.to_ascii_lowercase(),
        ..RequestInfo::default()
    };
    let parts = split_path(&owned);
    let Some(parts) = resource_parts(&mut info, method, &parts) else {
        return Ok(info);
    };
    let by_prefix = matches!(parts[0], "proxy" | "watch");
    let parts = if by_prefix { &parts[1..] } else { parts };
    if parts.is_empty() {
        return Err(Ambiguous::NoResource);
    }
    info.is_resource_request = true;
    name_object(&mut info, parts);
    if !by_prefix {
        refine_verb(&mut info, &query)?;
        record_selectors(&mut info, &query)?;
    }
    record_options(&mut info, &query)?;
    Ok(info)
}

/// What is no part of Kubernetes' own `RequestInfo`. The server refuses a dry run that is not `All`.
fn record_options(info: &mut RequestInfo, query: &Query<'_>) -> Result<(), Ambiguous> {
    if info.subresource == "exec" {
        info.command = query.all("command")?;
    }
    let dry_run = query.all("dryRun")?;
    info.asks_dry_run = !dry_run.is_empty() && dry_run.iter().all(|stage| stage == "All");
    Ok(())
}

fn split_path(path: &str) -> Vec<&str> {
    match path.trim_matches('/') {
        "" => Vec::new(),
        trimmed => trimmed.split('/').collect(),
    }
}

/// Consumes prefix, group and version and sets the verb; `None` for a non-resource request. What is
/// returned is never empty.
fn resource_parts<'p>(
    info: &mut RequestInfo,
    method: &str,
    parts: &'p [&'p str],
) -> Option<&'p [&'p str]> {
    let (prefix, rest) = parts.split_first()?;
    if parts.len() < 3 || !matches!(*prefix, "api" | "apis") {
        return None;
    }
    info.api_prefix = (*prefix).to_owned();
    let rest = match *prefix {
        "api" => rest,
        _ if rest.len() < 3 => return None,
        _ => {
            info.api_group = rest[0].to_owned();
            &rest[1..]
        }
    };
    info.api_version = rest[0].to_owned();
    info.verb = verb(method, rest[1]).to_owned();
    Some(&rest[1..])
}

fn verb<'a>(method: &str, first_part: &'a str) -> &'a str {
    match (first_part, method) {
        ("proxy" | "watch", _) => first_part,
        (_, "POST") => "create",
        (_, "GET" | "HEAD") => "get",
        (_, "PUT") => "update",
        (_, "PATCH") => "patch",
        (_, "DELETE") => "delete",
        _ => "",
    }
}

/// Parts look like `resource/name/subresource/whatever`, below `namespaces/<namespace>` or not.
fn name_object(info: &mut RequestInfo, mut parts: &[&str]) {
    if let ["namespaces", namespace, below @ ..] = parts {
        info.namespace = (*namespace).to_owned();
        if below
            .first()
            .is_some_and(|part| !matches!(*part, "status" | "finalize"))
        {
            parts = below;
        }
    }
    let part = |index: usize| parts.get(index).copied().unwrap_or_default().to_owned();
    info.resource = part(0);
    info.name = part(1);
    if info.verb != "proxy" {
        info.subresource = part(2);
    }
    info.parts = parts.iter().map(|part| (*part).to_owned()).collect();
}

/// A `get` without a name is a list or a watch, and a field selector may name the one object after all.
fn refine_verb(info: &mut RequestInfo, query: &Query<'_>) -> Result<(), Ambiguous> {
    if info.name.is_empty() && info.verb == "get" {
        let options = ListOptions::parse(query)?;
        info.verb = if options.watch { "watch" } else { "list" }.to_owned();
        info.name = options.name.unwrap_or_default();
    }
    if info.name.is_empty() && info.verb == "delete" {
        info.verb = "deletecollection".to_owned();
    }
    Ok(())
}

/// The selectors are kept as sent, also where the server will not be able to parse them.
fn record_selectors(info: &mut RequestInfo, query: &Query<'_>) -> Result<(), Ambiguous> {
    if matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") {
        info.field_selector = query.first("fieldSelector")?.unwrap_or_default();
        info.label_selector = query.first("labelSelector")?.unwrap_or_default();
    }
    Ok(())
}
