use std::collections::BTreeMap;

use super::*;

fn config(fields: &str) -> S3 {
    serde_saphyr::from_str(&format!("{{bucket: evidence, {fields}}}")).unwrap()
}

fn described(fields: &str, variables: &[(&str, &str)]) -> Result<String, String> {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    let environment = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    let config = config(fields);
    clients(&config, &environment)
        .and_then(|_| describe(&config, &environment))
        .map_err(|error| error.to_string())
}

const KEYS: [(&str, &str); 2] = [(KEY_ID, "id"), (SECRET, "hunter2")];

#[test]
fn credentials_are_looked_for_as_the_sdks_do() {
    let pod = [
        (POD, "http://169.254.170.23/v1/credentials"),
        (POD_TOKEN, "/token"),
    ];
    let web = [(WEB_IDENTITY, "/token"), (ROLE, "arn:aws:iam::1:role/x")];
    for (variables, source) in [
        (&[&KEYS[..], &web].concat()[..], KEY_ID),
        (&web, WEB_IDENTITY),
        (&pod, "the container's credentials endpoint"),
        (&[(TASK, "/v2/x")], "the container's credentials endpoint"),
        (&[], "the instance's metadata service"),
    ] {
        let told = described("region: eu-central-1, prefix: prod", variables).unwrap();
        let expected = format!("s3://evidence/prod in eu-central-1, credentials from {source}");
        assert_eq!(told, expected);
    }
}

#[test]
fn half_a_credential_is_refused_with_the_other_half() {
    let error = described("region: x", &KEYS[..1]).unwrap_err();
    assert!(error.contains(KEY_ID) && error.contains(SECRET), "{error}");
    let error = described("region: x", &[(WEB_IDENTITY, "/token")]).unwrap_err();
    assert!(error.contains(ROLE), "{error}");
}

#[test]
fn a_bucket_of_aws_needs_its_region() {
    let error = described("timeout: 5s", &KEYS).unwrap_err();
    assert!(
        error.contains("recording.store.s3.region") && error.contains("AWS_REGION"),
        "{error}"
    );
    let from_variable = [&KEYS[..], &[("AWS_REGION", "eu-west-1")]].concat();
    assert!(
        described("timeout: 5s", &from_variable)
            .unwrap()
            .contains("in eu-west-1")
    );
    let elsewhere = described("endpoint: 'https://s3.example'", &KEYS).unwrap();
    assert!(elsewhere.contains("at https://s3.example"), "{elsewhere}");
}

#[test]
fn no_variable_changes_where_records_go() {
    let stray = [
        &KEYS[..],
        &[
            ("AWS_ENDPOINT_URL", "http://elsewhere"),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_SKIP_SIGNATURE", "true"),
            ("AWS_CONDITIONAL_PUT", "disabled"),
        ],
    ]
    .concat();
    let told = format!("{:?}", {
        let variables: BTreeMap<_, _> = stray.into_iter().collect();
        clients(&config("region: eu-west-1"), &|name: &str| {
            variables.get(name).map(|value| (*value).to_owned())
        })
        .unwrap()
    });
    assert!(
        told.contains("https://s3.eu-west-1.amazonaws.com/evidence"),
        "{told}"
    );
    assert!(
        told.contains("skip_signature: false") && told.contains("ETagMatch"),
        "{told}"
    );
    assert!(
        !told.contains("elsewhere") && !told.contains("hunter2"),
        "{told}"
    );
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let empty = directory.path().join("empty");
    fs::write(&empty, "").unwrap();
    for field in ["caFile", "credentialsFile"] {
        for path in [&missing, &empty] {
            let fields = format!("region: x, {field}: '{}'", path.display());
            let error = described(&fields, &KEYS).unwrap_err();
            let expected = format!("recording.store.s3.{field}");
            assert!(
                error.contains(&expected) && error.contains(path.to_str().unwrap()),
                "{error}"
            );
        }
    }
}
