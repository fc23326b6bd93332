use super::*;

const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";

fn key() -> Key {
    Key::from_bytes([7; 32])
}

fn uri(subresource: &str, target: &str) -> String {
    let request = RequestInfo {
        is_resource_request: true,
        resource: "pods".into(),
        subresource: subresource.into(),
        ..RequestInfo::default()
    };
    request_uri(&key(), &request, target).into_inner()
}

#[test]
fn passwords_of_commands_and_tokens_in_a_query_are_replaced_and_the_rest_stays() {
    let exec = "/api/v1/namespaces/a/pods/b/exec?stdout=true&command=mysql&command=";
    let password = key().placeholder(b"hunter2");
    assert_eq!(
        uri(
            "exec",
            &format!("{exec}--password%3Dhunter2&command=-e&command=drop+table%20x&container=c")
        ),
        format!("{exec}--password%3D{password}&command=-e&command=drop+table%20x&container=c")
    );
    assert_eq!(
        uri("exec", &format!("{exec}--password&c%6fmmand=hunter2")),
        format!("{exec}--password&c%6fmmand={password}")
    );
    for name in [
        "token",
        "Access_Token",
        "%74oken",
        "id_token",
        "PASSWORD",
        "client%5Fsecret",
    ] {
        let target = format!("/x?a=b&{name}=hunter2;c=d&&e");
        assert_eq!(
            uri("", &target),
            target.replace("hunter2", &key().placeholder(b"hunter2"))
        );
    }
}

#[test]
fn key_hidden_behind_a_semicolon_is_found() {
    assert!(!uri("", "/x?a=1;token=hunter2").contains("hunter2"));
}

#[test]
fn targets_without_secrets_stay_byte_for_byte() {
    for target in [
        "/api/v1/pods?limit=500&watch=1&labelSelector=a%3Db",
        "/",
        "/?",
        "/x?&;&=&%zz=%",
        "/x?token=",
        "/%ff%00?a",
    ] {
        assert_eq!(uri("", target), target);
    }
}

#[test]
fn query_of_a_proxied_application_is_replaced_whole() {
    let masked = uri(
        "proxy",
        "/api/v1/namespaces/a/services/b/proxy/login?user=u&pin=1234",
    );
    assert_eq!(
        masked,
        format!(
            "/api/v1/namespaces/a/services/b/proxy/login?{}",
            key().placeholder(b"user=u&pin=1234")
        )
    );
}

#[test]
fn credentials_in_an_absolute_target_are_dropped() {
    assert_eq!(uri("", "http://user:hunter2@host/api?x=1"), "host/api?x=1");
    assert_eq!(uri("", "http://host/a@b"), "http://host/a@b");
}

#[test]
fn tokens_keys_and_certificates_in_text_are_replaced() {
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----";
    let opaque = "sha256~0123456789abcdef";
    for secret in [JWT, pem, opaque] {
        let text = format!("denied: Authorization: bEARER {secret}, ümlaut");
        let expected = text.replace(secret, &key().placeholder(secret.as_bytes()));
        assert_eq!(super::text(&key(), &text).get(), &expected);
    }
    let cut = format!("x {}", &pem[..40]);
    assert_eq!(
        text(&key(), &cut).get(),
        &format!("x {}", key().placeholder(&pem.as_bytes()[..40]))
    );
}

#[test]
fn prose_stays_as_it_is() {
    for prose in [
        "the bearer token is gone",
        "eyJ.x",
        "eyJust.a name",
        "--- BEGIN ---",
        "",
        "Bearer",
        "beyJond",
        "é-é",
    ] {
        assert_eq!(text(&key(), prose).get(), prose);
    }
}

#[test]
fn long_user_agents_are_cut_as_the_api_server_cuts_them() {
    let exact = "a".repeat(1024);
    assert_eq!(user_agent(&key(), &exact).get(), &exact);
    assert_eq!(
        user_agent(&key(), &(exact.clone() + "b")).get(),
        &(exact + "...TRUNCATED")
    );
    let within = "a".repeat(1023) + "éé";
    assert_eq!(
        user_agent(&key(), &within).get(),
        &("a".repeat(1023) + "...TRUNCATED")
    );
}

#[test]
fn long_texts_are_cut_after_they_are_masked() {
    let across = "a".repeat(1000) + " Bearer " + &"b".repeat(30);
    let masked = text(&key(), &across).into_inner();
    assert!(masked.contains(" Bearer masked:") && !masked.contains("bb"));
    assert_eq!(masked.len(), 1024 + TRUNCATED.len());
}

#[test]
fn request_uri_is_cut_at_a_character_after_it_is_masked() {
    let request = RequestInfo::default();
    let start =
        |target: &str, limit| request_uri_start(&key(), &request, target, limit).into_inner();
    assert_eq!(start("/a\u{e9}b", 5), "/a\u{e9}b");
    assert_eq!(start("/a\u{e9}b", 4), "/a\u{e9}...TRUNCATED");
    assert_eq!(start("/a\u{e9}b", 3), "/a...TRUNCATED");
    let token = start(&format!("/?token={}", "t".repeat(1000)), 100);
    assert_eq!(token, uri("", &format!("/?token={}", "t".repeat(1000))));
    assert!(!start("/?token=hunter2", 12).contains("hunt"));
}

#[test]
fn hostile_text_takes_linear_time() {
    // A quadratic scan of this would take minutes.
    for pattern in [
        "eyJ",
        "eyJ.",
        "-----BEGIN",
        "bearer ",
        "eyJa.b.",
        "-----BEGIN -----END ",
    ] {
        let text = pattern.repeat(1 << 18);
        assert!(!super::text(&key(), &text).get().is_empty());
    }
}
