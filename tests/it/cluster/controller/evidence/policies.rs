//! Policies tried on the record, and made from it, by people who have no credentials of the store.

use super::*;

/// A rule that the body of a call decides.
fn no_paint(namespace: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: freeze}}
spec:
  subjects:
  - agent: {{name: coder}}
  rules:
  - name: paint
    effect: Deny
    verbs: [create]
    apiGroups: [""]
    resources: [configmaps]
    namespaces: [{namespace}]
    names: ["*"]
    when: object.data.colour == 'red'
"#
    )
}

fn scene() -> Result<Scene> {
    let site = Site::new()?;
    let coder = crate::slice::coder(&site.namespace.name);
    let settings = serving(&site)?.with_agent("coder.yaml", &coder);
    let scene = Scene::behind(site, &settings)?;
    for (name, colour) in [("paint", "red"), ("water", "blue")] {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"colour": colour},
        });
        let path = scene.site.namespace.path("configmaps");
        post(&scene.gateway, &scene.coder, &path, &object)?;
    }
    let tried = scene.gateway.path("tried");
    fs::create_dir(&tried)?;
    let developer = crate::slice::developer_policy(scene.namespace());
    fs::write(tried.join("developer.yaml"), developer)?;
    fs::write(tried.join("freeze.yaml"), no_paint(scene.namespace()))?;
    Ok(scene)
}

#[test]
fn whoever_may_read_records_tries_policies_as_from_the_store_and_nobody_else() -> Result<()> {
    let scene = scene()?;
    let (alice, bob) = (scene.site.person("alice")?, scene.site.person("bob")?);
    let tried = scene.gateway.path("tried").display().to_string();
    let here = ["--agent", "coder", "-n", scene.namespace()];
    let simulate = [&["policy", "simulate", "--policies", &tried][..], &here].concat();
    let suggest = [&["policy", "suggest"][..], &here].concat();
    let store = ["--store", "store"];
    let from_store = eventually("both calls in the store", LIMIT, || {
        let table = [&simulate[..], &store, &["-o", "json"]].concat();
        let output = scene.gateway.command(&table)?;
        let found: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
        Ok((found["calls"] == 2).then_some(found))
    })?;
    assert_eq!(from_store["newlyDenied"], 1, "{from_store:#}");
    assert_eq!(from_store["undecidable"], 0, "{from_store:#}");

    let records = |verbs: &[&str]| json!([{"apiGroups": ["sallyport.dev"], "resources": ["records"], "verbs": verbs}]);
    let list = format!("/v1/records?namespace={}", scene.namespace());
    let whole = format!("{list}&bodies=true");
    scene.grant("alice", &alice, &records(&["list", "get"]), &whole)?;
    let direct = scene.direct();
    let direct: Vec<&str> = direct.iter().map(String::as_str).collect();
    let person = scene.site.terminal(&alice)?;
    let table = person.run(&[&simulate[..], &direct].concat())?;
    assert_eq!(table.status, 1, "{table:?}");
    assert_eq!(
        table.stdout,
        scene
            .gateway
            .command(&[&simulate[..], &store].concat())?
            .stdout
    );
    assert!(table.stdout.contains("deny (freeze/"), "{}", table.stdout);
    assert!(
        table.stderr.contains("Read 2 calls in 1 answers"),
        "{}",
        table.stderr
    );

    let suggested = person.run(&[&suggest[..], &direct].concat())?.success()?;
    let same = scene.gateway.command(&[&suggest[..], &store].concat())?;
    assert_eq!(suggested, same.success()?);

    // A list shows no bodies, so the right to it is not enough.
    scene.grant("bob", &bob, &records(&["list"]), &list)?;
    let person = scene.site.terminal(&bob)?;
    let refused = person.run(&[&simulate[..], &direct].concat())?;
    assert_eq!(
        (refused.status, refused.stdout.as_str()),
        (2, ""),
        "{refused:?}"
    );
    for part in [
        "may not get records.sallyport.dev",
        "sallyport-evidence-reader",
    ] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    Ok(())
}
