//! Which API versions the API server serves itself, and which it passes on to somebody else's.

use std::collections::BTreeSet;

use crate::request_info::RequestInfo;

/// What `kubectl get apiservices` shows as `Local`: the resources of Kubernetes' own groups and custom resources.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LocalApis(BTreeSet<(String, String)>);

impl LocalApis {
    pub fn serve(&self, request: &RequestInfo) -> bool {
        let api = (request.api_version.clone(), request.api_group.clone());
        request.is_resource_request && self.0.contains(&api)
    }
}

/// Of the names of APIServices, `<version>.<group>`: no version has a dot in it.
impl<'n> FromIterator<&'n str> for LocalApis {
    fn from_iter<I: IntoIterator<Item = &'n str>>(names: I) -> Self {
        let apis = names.into_iter().filter_map(|name| name.split_once('.'));
        let owned = apis.map(|(version, group)| (version.to_owned(), group.to_owned()));
        Self(owned.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_is_known_by_group_and_version() {
        let known = LocalApis::from_iter(["v1.example.com", "v1."]);
        for (path, expected) in [
            ("/apis/example.com/v1/namespaces/ci/widgets/x", true),
            ("/apis/example.com/v1/widgets/x/status", true),
            ("/apis/example.com/v2/namespaces/ci/widgets/x", false),
            ("/apis/other.example.com/v1/widgets/x", false),
            ("/apis/com/v1.example/widgets/x", false),
            ("/api/v1/pods", true),
            ("/version", false),
        ] {
            let request = RequestInfo::parse("GET", path).expect("a path");
            assert_eq!(known.serve(&request), expected, "{path}");
        }
        let request = RequestInfo::parse("GET", "/apis/example.com/v1/widgets").expect("a path");
        assert!(!LocalApis::default().serve(&request));
    }
}
