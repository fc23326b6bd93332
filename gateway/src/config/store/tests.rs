use super::*;

fn parse(text: &str) -> Result<Store, String> {
    let store: Store = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    store.check().map(|()| store)
}

fn s3(fields: &str) -> Result<S3, String> {
    match parse(&format!("s3: {{{fields}}}"))? {
        Store::S3(s3) => Ok(s3),
        Store::Directory(_) => panic!("a directory"),
    }
}

#[test]
fn a_bucket_needs_no_more_than_its_name() {
    let s3 = s3("bucket: evidence").expect("valid");
    assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), ("evidence", ""));
    assert_eq!(s3.timeout.0, Duration::from_secs(60));
    assert!(!s3.allow_http && s3.credentials_file.is_none());
}

#[test]
fn what_is_no_store_is_refused_with_the_two_that_are() {
    for text in ["dir: x", "{}", "{directory: x, s3: {bucket: evidence}}"] {
        let error = parse(text).expect_err(text);
        assert!(
            error.contains("directory") && error.contains("s3"),
            "{text}: {error}"
        );
    }
    parse("s3: {bucket: evidence, key: secret}").expect_err("no field of s3");
}

#[test]
fn plain_http_is_asked_for_in_so_many_words() {
    let plain = "bucket: evidence, endpoint: 'http://minio:9000'";
    let error = s3(plain).expect_err("in the clear");
    assert!(
        error.starts_with("recording.store.s3.endpoint: http://minio:9000")
            && error.contains("allowHttp: true"),
        "{error}"
    );
    s3(&format!("{plain}, allowHttp: true")).expect("asked for");
    s3("bucket: evidence, endpoint: 'https://minio:9000'").expect("not in the clear");
}

#[test]
fn every_wrong_field_is_named() {
    for (fields, field) in [
        ("bucket: s3://evidence", "bucket"),
        ("bucket: evidence/prod", "bucket"),
        ("bucket: evidence, prefix: /prod", "prefix"),
        ("bucket: evidence, prefix: prod/", "prefix"),
        ("bucket: evidence, prefix: a//b", "prefix"),
        ("bucket: evidence, prefix: a/../b", "prefix"),
        ("bucket: evidence, prefix: 'a b'", "prefix"),
        ("bucket: evidence, timeout: 10ms", "timeout"),
        ("bucket: evidence, endpoint: minio", "endpoint"),
        ("bucket: evidence, endpoint: 'ftp://minio'", "endpoint"),
        (
            "bucket: evidence, endpoint: 'https://minio?x=1'",
            "endpoint",
        ),
    ] {
        let error = s3(fields).expect_err(fields);
        assert!(
            error.starts_with(&format!("recording.store.s3.{field}: ")),
            "{fields}: {error}"
        );
    }
}

#[test]
fn a_credential_in_the_endpoint_is_not_repeated() {
    let error =
        s3("bucket: evidence, endpoint: 'https://id:hunter2@minio'").expect_err("a credential");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn files_are_relative_to_the_configuration() {
    let mut store =
        parse("s3: {bucket: evidence, caFile: ca.crt, credentialsFile: /run/credentials}")
            .expect("valid");
    store.resolve(Path::new("/etc/sallyport"));
    let Store::S3(s3) = store else {
        panic!("a directory")
    };
    assert_eq!(
        s3.ca_file.as_deref(),
        Some(Path::new("/etc/sallyport/ca.crt"))
    );
    assert_eq!(
        s3.credentials_file.as_deref(),
        Some(Path::new("/run/credentials"))
    );
}
