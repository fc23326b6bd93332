//! What no policy can allow and only the body shows.
//!
//! A handful of objects would give an agent a credential of the API server's own, or take the gateway's
//! place. Each is looked for in the body as the API server will read it; a body of such a resource that
//! cannot be read here is refused. Everything else passes unread.

use self::field::{Field, Format};
use crate::{
    policy::{Denial, floor},
    request_info::{RequestInfo, media_type},
};

mod field;
mod json_patch;

const SECRET_TYPE: Field = Field {
    json: &["type"],
    protobuf: &[3],
};
const NAME: Field = Field {
    json: &["metadata", "name"],
    protobuf: &[1, 1],
};
const GENERATED_NAME: Field = Field {
    json: &["metadata", "generateName"],
    protobuf: &[1, 2],
};
/// Of a CustomResourceDefinition.
const DEFINED_GROUP: Field = Field {
    json: &["spec", "group"],
    protobuf: &[2, 1],
};
/// Of an APIService.
const SERVED_GROUP: Field = Field {
    json: &["spec", "group"],
    protobuf: &[2, 2],
};
const SIGNER: Field = Field {
    json: &["spec", "signerName"],
    protobuf: &[2, 7],
};

/// Judges the body of a request that policy allows. `content_type` is the header as it came.
pub(super) fn check(
    info: &RequestInfo,
    content_type: Option<&[u8]>,
    body: &[u8],
) -> Result<(), Denial> {
    let creates = || info.verb == "create" || info.is_apply(content_type);
    let written = Written {
        info,
        content_type,
        body,
    };
    match (info.api_group.as_str(), info.resource.as_str()) {
        ("", "secrets") if matches!(info.verb.as_str(), "create" | "update" | "patch") => {
            written.check_secret()
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") if creates() => {
            written.check_definition(DEFINED_GROUP)
        }
        ("apiregistration.k8s.io", "apiservices") if creates() => {
            written.check_definition(SERVED_GROUP)
        }
        ("certificates.k8s.io", "certificatesigningrequests") if creates() => {
            written.check_signing()
        }
        _ => Ok(()),
    }
}

/// A body that writes an object. Not `Debug`: it may hold a secret.
struct Written<'a> {
    info: &'a RequestInfo,
    content_type: Option<&'a [u8]>,
    body: &'a [u8],
}

impl Written<'_> {
    /// The controller that fills a Secret of a ServiceAccount's type puts a token into it that does not expire, and a
    /// bootstrap token is one as it is.
    ///
    /// A JSON Patch cannot give an object that type or another name, since it only changes what is there and neither
    /// ever changes. It can read, though.
    fn check_secret(&self) -> Result<(), Denial> {
        if self.patches() && media_type(self.content_type) == "application/json-patch+json" {
            return json_patch::check(self.body);
        }
        let types = self.values(SECRET_TYPE)?;
        if let Some(secret_type) = types.iter().find(|name| floor::holds_token(name)) {
            return Err(floor::token_secret(secret_type));
        }
        for field in [NAME, GENERATED_NAME] {
            let is_token = |name: &String| floor::is_bootstrap_token(&self.info.namespace, name);
            if self.values(field)?.iter().any(is_token) {
                return Err(floor::bootstrap_token());
            }
        }
        Ok(())
    }

    /// What is stored under the name is under the floor already; this is what a name in the body makes.
    fn check_definition(&self, group: Field) -> Result<(), Denial> {
        let is_ours = self
            .values(NAME)?
            .iter()
            .any(|name| floor::defines_own(name))
            || self.values(group)?.iter().any(|name| floor::is_own(name));
        if is_ours {
            return Err(floor::own_objects());
        }
        Ok(())
    }

    fn check_signing(&self) -> Result<(), Denial> {
        let authenticates = |signer: &String| {
            signer.starts_with("kubernetes.io/kube-apiserver-client")
                || signer == "kubernetes.io/kubelet-serving"
        };
        match self.values(SIGNER)?.into_iter().find(authenticates) {
            Some(signer) => Err(floor::signer(&signer)),
            None => Ok(()),
        }
    }

    fn values(&self, field: Field) -> Result<Vec<String>, Denial> {
        self.format()
            .and_then(|format| field.values(format, self.body))
            .ok_or_else(|| floor::unreadable(&self.info.resource))
    }

    fn patches(&self) -> bool {
        self.info.verb == "patch"
    }

    fn format(&self) -> Option<Format> {
        match (self.patches(), media_type(self.content_type).as_str()) {
            (false, "" | "application/json")
            | (true, "application/merge-patch+json" | "application/strategic-merge-patch+json") => {
                Some(Format::Json)
            }
            (false, "application/yaml") | (true, "application/apply-patch+yaml") => {
                Some(Format::Yaml)
            }
            (false, "application/vnd.kubernetes.protobuf") => Some(Format::Protobuf),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
