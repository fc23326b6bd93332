//! kube-rs: typed calls, a reflector, and a controller of a resource of its own.

use std::{pin::pin, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt};
use harness::{Kubectl, Namespace, eventually};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::GroupVersionKind,
    runtime::{
        Controller, controller::Action, reflector, wait::await_condition, watcher, watcher::Event,
    },
};
use serde_json::json;

use super::{Scene, compare::steady};

const LIMIT: Duration = Duration::from_secs(60);

async fn client(kubectl: &Kubectl) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubectl.kubeconfig())?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    Ok(Client::try_from(config)?)
}

/// The clients of both ways.
async fn clients(scene: &Scene) -> Result<[Client; 2]> {
    let [direct, through] = scene.kubectls()?;
    Ok([client(&direct).await?, client(&through).await?])
}

fn paint(name: &str, colour: &str) -> Result<ConfigMap> {
    let metadata = json!({"name": name, "labels": {"owner": "rust"}});
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"colour": colour},
    });
    Ok(serde_json::from_value(object)?)
}

fn said(what: &str, object: &impl serde::Serialize) -> Result<String> {
    Ok(steady(&format!(
        "{what} {}",
        serde_json::to_string(object)?
    )))
}

/// Everything that [`Api`] does, in the words of its answers.
async fn calls(api: &Api<ConfigMap>) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    let create = PostParams::default();
    for name in ["one", "two", "three"] {
        seen.push(said(
            "created",
            &api.create(&create, &paint(name, "red")?).await?,
        )?);
    }
    let refusals = [
        api.create(&create, &paint("one", "red")?).await,
        api.create(&create, &paint("No name", "red")?).await,
        api.get("none").await,
    ];
    for refusal in refusals {
        match refusal {
            Err(kube::Error::Api(status)) => seen.push(said("refused", &status)?),
            other => bail!("not refused by the API server: {other:?}"),
        }
    }
    let (merge, apply) = (json!({"data": {"colour": "blue"}}), paint("four", "green")?);
    let agent = PatchParams::apply("agent");
    seen.push(said(
        "merged",
        &api.patch("one", &PatchParams::default(), &Patch::Merge(&merge))
            .await?,
    )?);
    seen.push(said(
        "applied",
        &api.patch("four", &agent, &Patch::Apply(&apply)).await?,
    )?);
    let mut two = api.get("two").await?;
    two.data
        .get_or_insert_default()
        .insert("gloss".to_owned(), "high".to_owned());
    seen.push(said("replaced", &api.replace("two", &create, &two).await?)?);
    let mut page = ListParams::default().labels("owner=rust").limit(3);
    loop {
        let list = api.list(&page).await?;
        seen.push(said("page", &list.items)?);
        match list.metadata.continue_ {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    let gone = api.delete("one", &DeleteParams::default()).await?;
    seen.push(format!(
        "deleted {:?}",
        gone.map_right(|status| status.is_success()).right()
    ));
    let rest = ListParams::default().labels("owner=rust");
    api.delete_collection(&DeleteParams::default(), &rest)
        .await?;
    seen.push(said("left", &api.list(&rest).await?.items)?);
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_calls_are_the_same() -> Result<()> {
    let scene = Scene::new()?;
    let mut seen = Vec::new();
    for client in clients(&scene).await? {
        seen.push(calls(&Api::namespaced(client, &scene.namespace.name)).await?);
    }
    assert_eq!(seen[0], seen[1]);
    Ok(())
}

/// The events of a reflector from its first list over three changes, and what its store holds then.
async fn reflected(api: &Api<ConfigMap>, config: watcher::Config) -> Result<Vec<String>> {
    let create = PostParams::default();
    api.create(&create, &paint("early", "red")?).await?;
    let (reader, writer) = reflector::store();
    let mut events = pin!(reflector(
        writer,
        watcher(api.clone(), config.labels("owner=rust"))
    ));
    let mut seen = Vec::new();
    while let Some(event) = events.try_next().await? {
        match event {
            Event::Init => seen.push("init".to_owned()),
            Event::InitApply(object) => seen.push(said("initial", &object)?),
            Event::InitDone => {
                seen.push("complete".to_owned());
                api.create(&create, &paint("late", "red")?).await?;
                let blue = json!({"data": {"colour": "blue"}});
                let agent = PatchParams::default();
                api.patch("early", &agent, &Patch::Merge(&blue)).await?;
                api.delete("late", &DeleteParams::default()).await?;
            }
            Event::Apply(object) => seen.push(said("applied", &object)?),
            Event::Delete(object) => {
                seen.push(said("deleted", &object)?);
                break;
            }
        }
    }
    seen.extend(reader.state().iter().map(|object| object.name_any()));
    api.delete("early", &DeleteParams::default()).await?;
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reflector_sees_the_same() -> Result<()> {
    let scene = Scene::new()?;
    for config in [
        watcher::Config::default(),
        watcher::Config::default().page_size(1),
        watcher::Config::default().streaming_lists(),
    ] {
        let mut seen = Vec::new();
        for client in clients(&scene).await? {
            let api = Api::namespaced(client, &scene.namespace.name);
            seen.push(tokio::time::timeout(LIMIT, reflected(&api, config.clone())).await??);
        }
        assert_eq!(seen[0], seen[1]);
        assert_eq!(
            seen[0].last().map(String::as_str),
            Some("early"),
            "{seen:?}"
        );
    }
    Ok(())
}

/// A resource of our own, removed at the end.
pub(super) struct Widgets<'a> {
    namespace: &'a Namespace,
    pub(super) resource: ApiResource,
}

impl<'a> Widgets<'a> {
    pub(super) fn define(namespace: &'a Namespace) -> Result<Self> {
        let group = format!("{}.example.com", namespace.name);
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let definition = json!({
            "metadata": {"name": format!("widgets.{group}")},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
                }],
            },
        });
        let kind = GroupVersionKind::gvk(&group, "v1", "Widget");
        let widgets = Self {
            namespace,
            resource: ApiResource::from_gvk_with_plural(&kind, "widgets"),
        };
        let api = namespace.api();
        api.create(DEFINITIONS, &definition)?;
        let list = format!("/apis/{group}/v1/namespaces/{}/widgets", namespace.name);
        eventually("the new resource", LIMIT, || Ok(api.get(&list).ok()))?;
        Ok(widgets)
    }
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

impl Drop for Widgets<'_> {
    fn drop(&mut self) {
        let name = format!("{DEFINITIONS}/widgets.{}", self.resource.group);
        if let Err(error) = self.namespace.api().delete(&name) {
            eprintln!("a definition stays: {error:#}");
        }
    }
}

/// What a reconciliation needs.
struct Operator {
    client: Client,
    resource: ApiResource,
}

/// Each widget has a ConfigMap of its colour, and says in its status that it has.
async fn reconcile(widget: Arc<DynamicObject>, operator: Arc<Operator>) -> kube::Result<Action> {
    let namespace = widget.namespace().unwrap_or_default();
    let owner = widget.controller_owner_ref(&operator.resource);
    let colour = &widget.data["spec"]["colour"];
    let child = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": widget.name_any(), "ownerReferences": [owner]},
        "data": {"colour": colour},
    });
    let operates = PatchParams::apply("operator").force();
    let children: Api<ConfigMap> = Api::namespaced(operator.client.clone(), &namespace);
    children
        .patch(&widget.name_any(), &operates, &Patch::Apply(&child))
        .await?;
    let widgets: Api<DynamicObject> =
        Api::namespaced_with(operator.client.clone(), &namespace, &operator.resource);
    let status = json!({"status": {"painted": colour}});
    widgets
        .patch_status(
            &widget.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&status),
        )
        .await?;
    Ok(Action::await_change())
}

/// Runs the controller until two widgets are painted, one is repainted, and a child is made anew.
async fn operated(client: &Client, widgets: &Widgets<'_>) -> Result<Vec<String>> {
    let (namespace, resource) = (&widgets.namespace.name, &widgets.resource);
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, resource);
    let children: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let operator = Arc::new(Operator {
        client: client.clone(),
        resource: resource.clone(),
    });
    let controller = Controller::new_with(
        objects.clone(),
        watcher::Config::default(),
        resource.clone(),
    )
    .owns(children.clone(), watcher::Config::default())
    .run(
        reconcile,
        |_, _, _| Action::requeue(Duration::from_secs(1)),
        operator,
    )
    .for_each(async |_| {});
    let controller = tokio::spawn(controller);

    let is = |colour: &'static str| {
        move |child: Option<&ConfigMap>| {
            child.is_some_and(|child| {
                child
                    .data
                    .as_ref()
                    .is_some_and(|data| data["colour"] == colour)
            })
        }
    };
    for name in ["gate", "door"] {
        let mut widget = DynamicObject::new(name, resource);
        widget.data = json!({"spec": {"colour": "red"}});
        objects.create(&PostParams::default(), &widget).await?;
        await_condition(children.clone(), name, is("red")).await?;
    }
    let blue = json!({"spec": {"colour": "blue"}});
    objects
        .patch("gate", &PatchParams::default(), &Patch::Merge(&blue))
        .await?;
    await_condition(children.clone(), "gate", is("blue")).await?;
    let gone = children.get("door").await?.uid().context("no uid")?;
    children.delete("door", &DeleteParams::default()).await?;
    let anew =
        |child: Option<&ConfigMap>| child.is_some_and(|child| child.uid() != Some(gone.clone()));
    await_condition(children.clone(), "door", anew).await?;
    let painted = |object: Option<&DynamicObject>| {
        object.is_some_and(|object| object.data["status"]["painted"] == "blue")
    };
    await_condition_of(&objects, "gate", painted).await?;
    controller.abort();

    let mut seen = Vec::new();
    for name in ["door", "gate"] {
        let child = children.get(name).await?;
        seen.push(format!(
            "{name} {:?} {}",
            child.data,
            child.owner_references().len()
        ));
        objects.delete(name, &DeleteParams::default()).await?;
        // The garbage collector may have been faster, and may not know the new resource yet.
        let _gone = children.delete(name, &DeleteParams::default()).await;
    }
    Ok(seen)
}

/// [`await_condition`] for a kind that is known at run time only.
async fn await_condition_of(
    api: &Api<DynamicObject>,
    name: &str,
    holds: impl Fn(Option<&DynamicObject>) -> bool,
) -> Result<()> {
    let mut objects = pin!(watcher::watch_object(api.clone(), name));
    while let Some(object) = objects.try_next().await? {
        if holds(object.as_ref()) {
            return Ok(());
        }
    }
    bail!("the watch of {name} ended")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_of_its_own_resource_works_the_same() -> Result<()> {
    let scene = Scene::new()?;
    let widgets = Widgets::define(&scene.namespace)?;
    let mut seen = Vec::new();
    for client in clients(&scene).await? {
        seen.push(tokio::time::timeout(LIMIT, operated(&client, &widgets)).await??);
    }
    assert_eq!(seen[0], seen[1]);
    ensure!(
        seen[0][1].starts_with("gate Some({\"colour\": \"blue\"}) 1"),
        "{seen:?}"
    );
    Ok(())
}
