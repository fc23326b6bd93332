//! Objects as the API server writes them, full of what is secret: every such value begins with one word, which is looked for
//! in what is seen.

use std::io::{Read, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary};
use sallyport::request_info::RequestInfo;
use serde_json::Value;

use super::json::{
    Json::{self, List, Map, Text},
    Printer, member, plain,
};

/// In every value that is secret, and what it is in base64 where a value begins with it.
const SECRET: &str = "canary";
const ENCODED: &str = "Y2FuYXJ5";

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What was asked for.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Scene {
    Secret,
    Secrets,
    SecretWatch,
    SecretTable,
    Release,
    Pod,
    Pods,
    PodWatch,
    PodTable,
    Locker,
    Lockers,
    /// What kubectl makes of several kinds, and an aggregated API server may.
    List,
}

#[derive(Arbitrary, Debug)]
pub(crate) struct Objects<'a> {
    pub(crate) scene: Scene,
    /// Members that the fuzzer named, and what is behind the word in their values.
    members: Vec<(&'a str, &'a str)>,
    copies: u8,
    /// Members stand in another order.
    turned: u8,
    /// Texts are escaped whole.
    escaped: bool,
}

impl Scene {
    pub(crate) fn request(self) -> RequestInfo {
        let target = match self {
            Self::Secret | Self::Release => "/api/v1/namespaces/shop/secrets/db",
            Self::Secrets | Self::SecretTable => "/api/v1/namespaces/shop/secrets",
            Self::SecretWatch => "/api/v1/secrets?watch=true",
            Self::Pod => "/api/v1/namespaces/shop/pods/web",
            Self::Pods | Self::PodTable => "/api/v1/namespaces/shop/pods",
            Self::PodWatch => "/api/v1/pods?watch=true",
            Self::Locker => "/apis/tests.example/v1/namespaces/shop/lockers/one",
            Self::Lockers => "/apis/tests.example/v1/lockers",
            Self::List => "/apis/tests.example/v1/namespaces/shop/others",
        };
        RequestInfo::parse("GET", target).expect("a target of ours")
    }

    pub(crate) fn is_of_secrets(self) -> bool {
        let request = self.request();
        request.api_group.is_empty() && request.resource == "secrets"
    }
}

impl Objects<'_> {
    /// No name can be taken for a value.
    pub(crate) fn are_apart_from_values(&self) -> bool {
        let mut names = self.members.iter().map(|(name, _)| name);
        names.all(|name| !is_secret(name))
    }

    pub(crate) fn are_in_order(&self) -> bool {
        self.turned == 0
    }

    pub(crate) fn print(&self) -> String {
        let (one, frames) = match self.scene {
            Scene::Secret => (self.secret("db"), 1),
            Scene::Secrets => (self.list("SecretList", |name| self.secret(name)), 1),
            Scene::SecretWatch => (event(self.secret("db")), self.copies % 4),
            Scene::SecretTable => (self.table(|name| self.secret(name)), 1),
            Scene::Release => (self.release(), 1),
            Scene::Pod => (self.pod("web"), 1),
            Scene::Pods => (self.list("PodList", |name| self.pod(name)), 1),
            Scene::PodWatch => (event(self.pod("web")), self.copies % 4),
            Scene::PodTable => (self.table(|name| self.pod(name)), 1),
            Scene::Locker => (self.locker("one"), 1),
            Scene::Lockers => (self.list("LockerList", |name| self.locker(name)), 1),
            Scene::List => (self.list("List", |name| self.any(name)), 1),
        };
        let mut text = String::new();
        for _ in 0..frames {
            text += &self.printed(&one);
            text.push('\n');
        }
        text
    }

    fn printed(&self, json: &Json) -> String {
        let (turned, escaped) = (usize::from(self.turned), self.escaped);
        Printer { turned, escaped }.print(json)
    }

    fn secret(&self, name: &str) -> Json {
        let applied = self.printed(&self.secret_alone(name, Vec::new()));
        let annotations = vec![
            member("note", value("")),
            member(LAST_APPLIED, Text(applied)),
        ];
        self.secret_alone(name, annotations)
    }

    fn secret_alone(&self, name: &str, annotations: Vec<(String, Json)>) -> Json {
        let data = |(name, rest): &(&str, &str)| {
            let stored = STANDARD.encode([SECRET, rest].concat());
            member(name, Text(stored))
        };
        let text = |(name, rest): &(&str, &str)| member(name, value(rest));
        let values = vec![
            member("data", Map(self.members.iter().map(data).collect())),
            member("stringData", Map(self.members.iter().map(text).collect())),
            member("type", plain("Opaque")),
        ];
        object("v1", "Secret", name, annotations, values)
    }

    fn release(&self) -> Json {
        let release = serde_json::json!({
            "name": "site", "namespace": "shop", "version": 3, "manifest": SECRET, "hooks": [{"manifest": SECRET}],
            "info": {"status": "deployed", "description": SECRET, "notes": SECRET},
            "chart": {"metadata": {"name": "web", "version": "1.0.0"}, "values": {"password": SECRET}},
            "config": self.members.iter().map(|(_, rest)| [SECRET, rest].concat()).collect::<Vec<_>>(),
        });
        let stored = STANDARD.encode(STANDARD.encode(zipped(&release)));
        let data = Map(vec![member("release", Text(stored))]);
        let values = vec![
            member("data", data),
            member("type", plain("helm.sh/release.v1")),
        ];
        object(
            "v1",
            "Secret",
            "sh.helm.release.v1.site.v3",
            Vec::new(),
            values,
        )
    }

    fn pod(&self, name: &str) -> Json {
        let variable = |(name, rest): &(&str, &str)| {
            Map(vec![
                member("name", plain(name)),
                member("value", value(rest)),
            ])
        };
        let container = Map(vec![
            member("name", plain("c")),
            member("image", plain("registry.example/a:1")),
            member("env", List(self.members.iter().map(variable).collect())),
        ]);
        let spec = Map(vec![member("containers", List(vec![container]))]);
        let applied = self.printed(&Map(vec![
            member("kind", plain("Secret")),
            member("data", Map(vec![member("a", value(""))])),
        ]));
        let annotations = vec![member(LAST_APPLIED, Text(applied))];
        object("v1", "Pod", name, annotations, vec![member("spec", spec)])
    }

    fn locker(&self, name: &str) -> Json {
        let entry = |(name, rest): &(&str, &str)| {
            Map(vec![
                member("name", plain(name)),
                member("value", value(rest)),
            ])
        };
        let spec = Map(vec![
            member("token", value("")),
            member("data", List(self.members.iter().map(entry).collect())),
        ]);
        object(
            "tests.example/v1",
            "Locker",
            name,
            Vec::new(),
            vec![member("spec", spec)],
        )
    }

    fn any(&self, name: &str) -> Json {
        match name {
            "o1" => self.secret(name),
            _ => self.pod(name),
        }
    }

    fn list(&self, kind: &str, item: impl Fn(&str) -> Json) -> Json {
        let items = (0..self.copies % 4).map(|index| item(&format!("o{index}")));
        Map(vec![
            member("kind", plain(kind)),
            member("apiVersion", plain("v1")),
            member("metadata", Map(vec![member("resourceVersion", plain("1"))])),
            member("items", List(items.collect())),
        ])
    }

    fn table(&self, object: impl Fn(&str) -> Json) -> Json {
        let columns = Map(vec![member("name", plain("Name"))]);
        let row = |index: u8| {
            let name = format!("o{index}");
            Map(vec![
                member("cells", List(vec![plain(&name)])),
                member("object", object(&name)),
            ])
        };
        Map(vec![
            member("kind", plain("Table")),
            member("apiVersion", plain("meta.k8s.io/v1")),
            member("metadata", Map(Vec::new())),
            member("columnDefinitions", List(vec![columns])),
            member("rows", List((0..self.copies % 4).map(row).collect())),
        ])
    }
}

fn object(
    api_version: &str,
    kind: &str,
    name: &str,
    annotations: Vec<(String, Json)>,
    rest: Vec<(String, Json)>,
) -> Json {
    let metadata = vec![
        member("name", plain(name)),
        member("namespace", plain("shop")),
        member("generation", Json::Plain("1")),
        member("labels", Map(vec![member("app", plain("shop"))])),
        member("annotations", Map(annotations)),
    ];
    let mut members = vec![
        member("kind", plain(kind)),
        member("apiVersion", plain(api_version)),
        member("metadata", Map(metadata)),
    ];
    members.extend(rest);
    Map(members)
}

fn event(object: Json) -> Json {
    Map(vec![
        member("type", plain("ADDED")),
        member("object", object),
    ])
}

fn value(rest: &str) -> Json {
    Text([SECRET, rest].concat())
}

fn zipped(release: &Value) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    write!(gzip, "{release}").expect("memory takes it");
    gzip.finish().expect("memory takes it")
}

/// Whether there is a value that is secret anywhere in it, in base64 and in a release too.
pub(crate) fn is_revealed(seen: &Value) -> bool {
    match seen {
        Value::String(text) => {
            is_secret(text) || unzipped(text).is_some_and(|text| is_secret(&text))
        }
        Value::Array(elements) => elements.iter().any(is_revealed),
        Value::Object(members) => members.values().any(is_revealed),
        _ => false,
    }
}

fn is_secret(text: &str) -> bool {
    text.contains(SECRET) || text.contains(ENCODED)
}

fn unzipped(text: &str) -> Option<String> {
    let zipped = STANDARD.decode(STANDARD.decode(text).ok()?).ok()?;
    let mut text = String::new();
    GzDecoder::new(&zipped[..]).read_to_string(&mut text).ok()?;
    Some(text)
}
