use super::{checked::tree_of, path::Segment, *};

fn written(paths: &[&str]) -> config::SensitiveFields {
    let any = vec![ANY.to_owned()];
    config::SensitiveFields {
        api_groups: any.clone(),
        resources: any.clone(),
        namespaces: any.clone(),
        names: any,
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    }
}

fn tree(paths: &[&str]) -> Tree {
    let mut problems = Vec::new();
    let paths: Vec<_> = paths.iter().map(|path| (*path).to_owned()).collect();
    let tree = tree_of(&paths, &mut problems);
    assert_eq!(problems, []);
    tree
}

#[test]
fn what_people_are_shown_of_a_call_is_hidden_from_agents() {
    let at = |target: &str| RequestInfo::parse("GET", target).expect("a request");
    let request = at("/apis/sallyport.dev/v1alpha1/namespaces/shop/approvalrequests/x");
    assert!(always_masked(&request));
    let key = Key::from_bytes([7; 32]);
    for (pointer, is_hidden) in [
        ("/spec/diff", true),
        ("/spec/object", true),
        ("/spec/call/argv", true),
        ("/spec/call/argv/2", true),
        ("/spec/call/params", true),
        ("/spec/call/target", true),
        ("/status/votes", false),
        ("/spec/call/verb", false),
    ] {
        assert_eq!(
            is_sensitive(&key, &request, pointer),
            is_hidden,
            "{pointer}"
        );
    }
    let stops = at("/apis/sallyport.dev/v1alpha1/agentstops/x");
    assert!(!always_masked(&stops));
}

#[test]
fn a_path_is_read_as_kubectl_writes_it() {
    let name = |name: &str| Segment::Name(name.to_owned());
    for (text, segments) in [
        (".spec.token", vec![name("spec"), name("token")]),
        ("$.spec.token", vec![name("spec"), name("token")]),
        ("{.spec.token}", vec![name("spec"), name("token")]),
        ("{ $['spec'].token }", vec![name("spec"), name("token")]),
        (
            ".spec.data[*].value",
            vec![name("spec"), name("data"), Segment::Any, name("value")],
        ),
        (".data.*", vec![name("data"), Segment::Any]),
        (
            r#".data['tls.key']["it's"]"#,
            vec![name("data"), name("tls.key"), name("it's")],
        ),
        (".spec.a-b_c/d", vec![name("spec"), name("a-b_c/d")]),
    ] {
        assert_eq!(path::parse(text), Ok(segments), "{text}");
    }
}

#[test]
fn a_path_that_is_not_of_names_alone_is_refused_and_told_what_to_write() {
    let deep = ".a".repeat(17);
    for (text, why) in [
        (
            "",
            "must begin with the name of a member, as .spec or ['spec']",
        ),
        ("$", "must begin with the name of a member"),
        ("spec.token", "must begin with the name of a member"),
        (".*", "must begin with the name of a member"),
        ("[*].spec", "must begin with the name of a member"),
        (
            ".spec[0]",
            "an index, which another element may have tomorrow; write [*]",
        ),
        (".spec[-1].a", "an index"),
        (".spec[0:2]", "a slice; write [*]"),
        (".spec[?(@.name=='a')].value", "a filter; write [*]"),
        (".spec['a','b']", "a path for each"),
        (".spec[a,b]", "a path for each"),
        (".spec[token]", "without quotes; write ['token']"),
        (".spec[*", "a '[' without its ']'"),
        (".spec['a", "a '[' without its ']'"),
        (".spec['']", "an empty name"),
        (".spec.", "an empty name"),
        (r".data.tls\.key", "write ['a.b'] for a.b"),
        (".spec.a b", "write ['a.b'] for a.b"),
        (
            "..token",
            "searches with '..' at any depth; write each place",
        ),
        (".spec..token", "searches with '..'"),
        ("{.spec", "braces around a part of it"),
        ("{.spec}.a", "braces around a part of it"),
        ("x{.spec}", "braces around a part of it"),
        (
            ".items[*].spec",
            "begins with .items, where lists have their objects",
        ),
        (
            ".Object.spec",
            "begins with .Object, where lists have their objects",
        ),
        (&deep, "longer than 16 segments"),
        (
            &format!(".{}", "a".repeat(1024)),
            "longer than 16 segments or 1024 bytes",
        ),
    ] {
        let problem = path::parse(text).expect_err(text).to_string();
        assert!(problem.contains(why), "{text}: {why:?} in {problem:?}");
    }
}

#[test]
fn an_entry_of_the_configuration_that_is_wrong_names_its_place() {
    let mut wrong = written(&[".spec.token", ".spec..a"]);
    wrong.resources = vec!["pushsecrets/status".into()];
    wrong.names = Vec::new();
    let message = configured(&[written(&[".spec"]), wrong]).expect_err("it is wrong");
    assert_eq!(
        message.to_string(),
        "masking.sensitiveFields[1].resources[0]: \"pushsecrets/status\" has a subresource; write the resource alone, its \
         subresources count; masking.sensitiveFields[1].names: is required and must not be empty; write [\"*\"] to match \
         everything; masking.sensitiveFields[1].paths[1]: \".spec..a\" searches with '..' at any depth; write each place, as \
         .spec.token"
    );
    let none = configured(&[written(&[])])
        .expect_err("it is wrong")
        .to_string();
    assert!(none.contains("paths: must have 1 to 64 entries"), "{none}");
}

#[test]
fn a_json_pointer_is_read_as_the_api_server_does() {
    let tree = tree(&[
        ".spec.data[*].value",
        ".spec.a",
        ".data['a/b~c']",
        ".data.1",
    ]);
    let root = Nodes::of([&tree]);
    let touches = |pointer: &str| !root.pointer(pointer).is_empty();
    for pointer in [
        "",
        "/spec",
        "x/spec",
        "/SPEC/a",
        "/spec/data",
        "/spec/data/0",
        "/spec/data/-/value",
        "/spec/data/-1/value",
        "/spec/data/+0/value/below",
        "/spec/data/0/Value",
        "/spec/a/b/c",
        "/data/a~1b~0c",
        "/data/1",
    ] {
        assert!(touches(pointer), "{pointer}");
    }
    for pointer in [
        "/metadata",
        "/spec/b",
        "/spec/data/0/name",
        "/data/a/b~c",
        "/data/b",
    ] {
        assert!(!touches(pointer), "{pointer}");
    }
    assert!(root.pointer("/spec/data/7/value/x").hides);
    assert!(!root.pointer("/spec/data/7").hides);
}

#[test]
fn an_object_is_meant_by_name_and_namespace_and_where_they_are_not_known() {
    let mut fields = written(&[".spec"]);
    fields.names = vec!["one".into()];
    fields.namespaces = vec!["shop".into()];
    let fields = [SensitiveFields::new(&fields).expect("it is right")];
    let is_meant = |(namespace, name): (&str, &str), own: (&str, &str)| {
        let request = RequestInfo {
            is_resource_request: true,
            resource: "things".into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Default::default()
        };
        let selected = Selected::new(&fields, &Rule::select(&request)).expect("it is selected");
        let known = |text: &str| {
            (!text.is_empty())
                .then(|| text.to_owned())
                .into_iter()
                .collect()
        };
        let own = Identity {
            namespaces: known(own.0),
            names: known(own.1),
            is_unsure: false,
        };
        !selected.of(&own).is_empty()
    };
    for (url, own, expected) in [
        (("shop", "one"), ("", ""), true),
        (("shop", ""), ("shop", "one"), true),
        (("", ""), ("shop", "one"), true),
        (("", ""), ("", ""), true),
        (("", ""), ("", "one"), true),
        (("shop", ""), ("", ""), true),
        (("shop", "one"), ("shop", "two"), true),
        (("shop", "two"), ("", ""), false),
        (("shop", ""), ("shop", "two"), false),
        (("lab", "one"), ("", ""), false),
        (("", ""), ("lab", "one"), false),
    ] {
        assert_eq!(is_meant(url, own), expected, "{url:?} {own:?}");
    }
}
