use super::*;

#[test]
fn the_default_profile_is_read() {
    let text = "# made by an agent\n[other]\naws_access_key_id=no\n\n[default]\naws_access_key_id = AKIA\n\
                aws_secret_access_key = a/b+c==\nregion = x\n";
    let credential = parse(text).unwrap();
    assert_eq!(
        (credential.key_id.as_str(), credential.secret_key.as_str()),
        ("AKIA", "a/b+c==")
    );
    assert_eq!(credential.token, None);

    let with_token = parse(&format!("{text}aws_session_token = t\n")).unwrap();
    assert_eq!(with_token.token.as_deref(), Some("t"));
}

#[test]
fn what_is_missing_is_named_and_nothing_else() {
    for (text, missing) in [
        ("", "aws_access_key_id"),
        ("aws_access_key_id = hunter2", "aws_access_key_id"),
        (
            "[default]\naws_access_key_id = hunter2",
            "aws_secret_access_key",
        ),
        (
            "[default]\naws_access_key_id = hunter2\naws_secret_access_key =\n",
            "aws_secret_access_key",
        ),
    ] {
        let problem = parse(text).unwrap_err();
        assert!(
            problem.contains(missing) && !problem.contains("hunter2"),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn a_replaced_file_counts_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("credentials");
    let write = |id: &str| {
        let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = s\n");
        fs::write(&path, text).unwrap();
    };
    write("one");
    let file = CredentialsFile::open(path.clone()).unwrap();
    assert_eq!(file.get_credential().await.unwrap().key_id, "one");
    write("two");
    assert_eq!(file.get_credential().await.unwrap().key_id, "two");
    fs::remove_file(&path).unwrap();
    let error = file.get_credential().await.unwrap_err();
    assert!(error.to_string().contains("credentialsFile"), "{error}");
}
