//! What a call says but for its body, in words: where it goes, what runs, and how.

use serde_json::Value;

use super::plain;
use crate::{
    api::v1alpha1::approval_request::Call as Shown,
    mask::{self, Disguised, Masked},
    proxy::{
        Call,
        content::{NotApprovable, is_opaque, telling_parameters},
    },
    request_info::RequestInfo,
};

/// Of arguments, parameters and target, together.
const MOST: usize = 8 << 10;

/// All of them, or nobody is asked.
pub(super) fn of(call: &Call<'_>, key: &mask::Key) -> Result<Shown, NotApprovable> {
    let info = call.attributes.request;
    let created = match info.verb == "create" && info.name.is_empty() {
        true => created(call.content.body(), key)?,
        false => None,
    };
    let named = match created {
        Some(created) => created,
        None => mask::shown_text(key, &info.name)?.into_inner(),
    };
    let mut summary = summary(info, &named, key)?;
    if info.verb == "deletecollection" {
        summary.push_str(&format!(" ({} objects)", call.content.targets().len()));
    }
    let argv = info.command.iter();
    let argv = argv.map(|argument| Ok(lines(mask::shown_text(key, argument)?.get())));
    let argv = argv.collect::<Result<Vec<_>, Disguised>>()?;
    let (params, target) = match is_opaque(info) {
        true => (Vec::new(), target(call, key)?),
        false => (params(call, key)?, String::new()),
    };
    let words = argv.iter().chain(&params).chain([&target]);
    if words.map(|word| word.len() + 1).sum::<usize>() > MOST {
        return Err(NotApprovable::LongCommand);
    }
    Ok(Shown {
        summary: plain(&summary),
        verb: info.verb.clone(),
        api_group: info.api_group.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        namespace: info.namespace.clone(),
        name: plain(&info.name),
        argv,
        params,
        target,
    })
}

fn params(call: &Call<'_>, key: &mask::Key) -> Result<Vec<String>, NotApprovable> {
    let has_argv = !call.attributes.request.command.is_empty();
    let params = telling_parameters(&call.arrival.target)?;
    let params = params
        .filter(|(name, _)| !(has_argv && name == "command"))
        .map(|(name, value)| Ok(plain(mask::shown_parameter(key, &name, &value)?.get())));
    params.collect()
}

fn target(call: &Call<'_>, key: &mask::Key) -> Result<String, Disguised> {
    let target = mask::shown_uri(key, &call.arrival.target)?;
    Ok(plain(&format!("{} {}", call.arrival.method, target.get())))
}

/// The name that the body gives, or how it begins.
fn created(body: Option<&Value>, key: &mask::Key) -> Result<Option<String>, Disguised> {
    let metadata = body.map(|body| &body["metadata"]);
    let text = |field: &str| {
        let text = metadata.and_then(|metadata| metadata[field].as_str());
        let text = text.filter(|text| !text.is_empty());
        let shown = text.map(|text| mask::shown_text(key, text)).transpose()?;
        Ok(shown.map(Masked::into_inner))
    };
    Ok(match text("name")? {
        None => text("generateName")?.map(|start| start + "…"),
        name => name,
    })
}

/// As in `patch deployments.apps/web in namespace shop`.
fn summary(info: &RequestInfo, name: &str, key: &mask::Key) -> Result<String, Disguised> {
    if !info.is_resource_request {
        let path = mask::shown_text(key, &info.path)?;
        return Ok(format!("{} {}", info.verb, path.get()));
    }
    let mut summary = match info.subresource.as_str() {
        kind @ ("exec" | "attach" | "portforward") => format!("{kind} {}", info.resource),
        _ => format!("{} {}", info.verb, info.resource),
    };
    let parts = [
        (".", info.api_group.as_str()),
        ("/", name),
        (
            "/",
            if info.is_stream() {
                ""
            } else {
                info.subresource.as_str()
            },
        ),
    ];
    for (before, part) in parts.into_iter().filter(|(_, part)| !part.is_empty()) {
        summary.push_str(before);
        summary.push_str(part);
    }
    if !info.namespace.is_empty() && info.resource != "namespaces" {
        summary.push_str(" in namespace ");
        summary.push_str(&info.namespace);
    }
    Ok(summary)
}

/// [`plain`], but for what a shell would read as something else than a space.
fn lines(text: &str) -> String {
    let plain = |char: char| match char.is_control() && !matches!(char, '\n' | '\t') {
        true => char.escape_default().to_string(),
        false => char.to_string(),
    };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_created_has_the_name_of_its_body() {
        let key = mask::Key::from_bytes([7; 32]);
        let named = |metadata: Value| created(Some(&json!({"metadata": metadata})), &key);
        let given = json!({"name": "web", "generateName": "x-"});
        assert_eq!(named(given), Ok(Some("web".to_owned())));
        let begun = named(json!({"generateName": "job-"}));
        assert_eq!(begun, Ok(Some("job-…".to_owned())));
        assert_eq!(named(json!({"name": ""})), Ok(None));
        let info = RequestInfo::parse("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles");
        let told = summary(&info.expect("it is unambiguous"), "reader", &key);
        assert_eq!(
            told.as_deref(),
            Ok("create clusterroles.rbac.authorization.k8s.io/reader")
        );
    }
}
