use http::HeaderMap;

use super::*;

fn asked(accept: &[&str]) -> String {
    let mut headers = HeaderMap::new();
    for value in accept {
        headers.append(header::ACCEPT, value.parse().expect("a header"));
    }
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let headers = request_headers(&headers);
    assert!(!headers.contains_key(header::ACCEPT_ENCODING));
    assert_eq!(headers.get_all(header::ACCEPT).iter().count(), 1);
    headers[header::ACCEPT].to_str().expect("text").to_owned()
}

#[test]
fn the_api_server_is_asked_for_what_can_be_masked() {
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for (accept, expected) in [
        (
            &["application/vnd.kubernetes.protobuf,application/json"][..],
            "application/json",
        ),
        (&["application/vnd.kubernetes.protobuf"], "application/json"),
        (&["*/*"], "application/json"),
        (&[], "application/json"),
        (&["application/yaml"], "application/json"),
        (
            &["application/json;as=Table;v=v1;g=meta.k8s.io,application/json"],
            &*format!("{table}, application/json"),
        ),
        (
            &[
                "application/cbor;as=Table;v=v1;g=meta.k8s.io, application/json;as=Table;v=v1;g=meta.k8s.io",
                "application/cbor",
            ],
            table,
        ),
    ] {
        assert_eq!(asked(accept), expected, "{accept:?}");
    }
}

#[test]
fn a_warning_counts_what_is_hidden_where_it_can() {
    let info = |resource: &str| RequestInfo {
        resource: resource.to_owned(),
        ..RequestInfo::default()
    };
    let warned = |masked, resource| {
        let warning = warning(masked, &info(resource))?;
        Some(warning.to_str().expect("text").to_owned())
    };
    assert_eq!(warned(Some(0), "secrets"), None);
    assert_eq!(warned(None, "pods"), None);
    assert_eq!(
        warned(Some(2), "pods").as_deref(),
        Some(
            "299 - \"sallyport: 2 values in this answer are masked by policy; do not write the placeholders back\""
        )
    );
    assert!(warned(None, "secrets").is_some_and(|text| text.contains("the values in this answer")));
}
