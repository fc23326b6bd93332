//! Rules made of needs, joined where nothing is widened by it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    MAX_NAMES,
    need::{Kind, Need, ObjectNeed},
};
use crate::api::v1alpha1::{
    agent_policy::{AgentView, Effect, Rule},
    matching::ANY,
};

type Texts = BTreeSet<String>;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) verbs: Texts,
    pub(super) target: Target,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Target {
    Objects(Objects),
    Paths(Texts),
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Objects {
    pub(super) kind: Kind,
    pub(super) held: bool,
    /// What it answers is masked.
    pub(super) masked: bool,
    pub(super) api_group: String,
    pub(super) resources: Texts,
    pub(super) namespaces: Texts,
    pub(super) names: Names,
}

/// The objects that a rule is for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Names {
    These(Texts),
    /// A request without a name needs it.
    All,
    /// There were more than [`MAX_NAMES`].
    Many,
}

/// In an order that reads well: by group and kind.
pub(super) fn drafts(needs: impl Iterator<Item = Need>) -> Vec<Draft> {
    let (mut objects, mut paths) = (Vec::new(), BTreeMap::<String, Texts>::new());
    for need in needs {
        match need {
            Need::Object(need) => objects.push(need),
            Need::Path { verb, path } => drop(paths.entry(path).or_default().insert(verb)),
        }
    }
    let mut drafts: Vec<_> = join_resources(join_namespaces(without_covered(rows(objects))))
        .into_iter()
        .map(|(verbs, objects)| Draft {
            name: String::new(),
            verbs,
            target: Target::Objects(objects),
        })
        .collect();
    drafts.extend(paths_by_verbs(paths));
    name_each(&mut drafts);
    drafts
}

impl Draft {
    /// What people had to approve, they approve on.
    pub(super) fn effect(&self) -> Effect {
        match &self.target {
            Target::Objects(objects) if objects.held => Effect::RequireApproval,
            _ => Effect::Allow,
        }
    }

    /// What the agent saw masked, it sees masked on.
    pub(super) fn agent_view(&self) -> Option<AgentView> {
        match &self.target {
            Target::Objects(objects) if objects.masked => Some(AgentView::Masked),
            _ => None,
        }
    }

    pub(super) fn rule(&self) -> Rule {
        let list = |texts: &Texts| texts.iter().cloned().collect::<Vec<_>>();
        let objects = match &self.target {
            Target::Objects(objects) => Some(objects),
            Target::Paths(_) => None,
        };
        Rule {
            name: self.name.clone(),
            effect: self.effect(),
            verbs: list(&self.verbs),
            api_groups: objects.map(|objects| vec![objects.api_group.clone()]),
            resources: objects.map(|objects| list(&objects.resources)),
            namespaces: objects.map(|objects| list(&objects.namespaces)),
            names: objects.map(|objects| objects.names.list()),
            non_resource_urls: match &self.target {
                Target::Paths(paths) => Some(list(paths)),
                Target::Objects(_) => None,
            },
            reason: None,
            when: None,
            unless: None,
            warn: None,
            agent_view: self.agent_view(),
            secret_references: None,
            helm_manifests: None,
            record: None,
            streams: None,
            approval: None,
        }
    }
}

impl Names {
    pub(super) fn list(&self) -> Vec<String> {
        match self {
            Self::These(names) => names.iter().cloned().collect(),
            Self::All | Self::Many => vec![ANY.to_owned()],
        }
    }

    fn cover(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::These(names), Self::These(others)) => others.is_subset(names),
            (Self::These(_), _) => false,
            _ => true,
        }
    }
}

type Verbed = (Texts, Objects);

/// One for each kind, resource, namespace and set of names.
fn rows(needs: Vec<ObjectNeed>) -> Vec<Verbed> {
    let mut by_place: BTreeMap<_, BTreeMap<String, Option<Texts>>> = BTreeMap::new();
    for need in needs {
        let place = (
            need.api_group,
            need.resource,
            need.kind,
            need.held,
            need.masked,
            need.namespace,
        );
        let names = by_place.entry(place).or_default().entry(need.verb);
        let names = names.or_insert_with(|| Some(Texts::new()));
        match (names.as_mut(), need.name) {
            (Some(names), Some(name)) => drop(names.insert(name)),
            _ => *names = None,
        }
    }
    let mut rows = Vec::new();
    for ((api_group, resource, kind, held, masked, namespace), verbs) in by_place {
        for (names, verbs) in by_names(kind, verbs) {
            let objects = Objects {
                kind,
                held,
                masked,
                api_group: api_group.clone(),
                resources: [resource.clone()].into(),
                namespaces: namespaces(&namespace, &verbs),
                names,
            };
            rows.push((verbs, objects));
        }
    }
    rows
}

/// What is created outside all namespaces may be of a kind that is in none, which the floor wants to be named.
fn namespaces(namespace: &str, verbs: &Texts) -> Texts {
    let in_none = namespace == ANY && verbs.contains("create");
    let none = in_none.then(String::new);
    none.into_iter().chain([namespace.to_owned()]).collect()
}

/// Whoever may list all objects sees each of them, so to read one by its name adds nothing.
fn by_names(kind: Kind, verbs: BTreeMap<String, Option<Texts>>) -> BTreeMap<Names, Texts> {
    let lists = kind == Kind::Read && verbs.values().any(Option::is_none);
    let mut by_names: BTreeMap<Names, Texts> = BTreeMap::new();
    for (verb, names) in verbs {
        let names = match names {
            Some(names) if !lists && names.len() <= MAX_NAMES => Names::These(names),
            Some(_) if !lists => Names::Many,
            _ => Names::All,
        };
        by_names.entry(names).or_default().insert(verb);
    }
    by_names
}

/// A rule over all namespaces leaves nothing for one over some.
fn without_covered(rows: Vec<Verbed>) -> Vec<Verbed> {
    let is_covered = |(verbs, row): &Verbed| {
        rows.iter().any(|(others, other)| {
            other.namespaces.contains(ANY)
                && !row.namespaces.contains(ANY)
                && other.api_group == row.api_group
                && other.resources == row.resources
                && other.kind == Kind::Read
                && other.held == row.held
                && other.masked == row.masked
                && other.names.cover(&row.names)
                && verbs.is_subset(others)
        })
    };
    rows.iter()
        .filter(|row| !is_covered(row))
        .cloned()
        .collect()
}

fn join_namespaces(rows: Vec<Verbed>) -> Vec<Verbed> {
    join(
        rows,
        |objects| std::mem::take(&mut objects.namespaces),
        |objects, namespaces| {
            objects.namespaces = namespaces;
        },
    )
}

fn join_resources(rows: Vec<Verbed>) -> Vec<Verbed> {
    join(
        rows,
        |objects| std::mem::take(&mut objects.resources),
        |objects, resources| {
            objects.resources = resources;
        },
    )
}

/// Joins what differs in one list alone.
fn join(
    rows: Vec<Verbed>,
    take: impl Fn(&mut Objects) -> Texts,
    put: impl Fn(&mut Objects, Texts),
) -> Vec<Verbed> {
    let mut joined: BTreeMap<(Objects, Texts), Texts> = BTreeMap::new();
    for (verbs, mut objects) in rows {
        let list = take(&mut objects);
        joined.entry((objects, verbs)).or_default().extend(list);
    }
    let restored = joined.into_iter().map(|((mut objects, verbs), list)| {
        put(&mut objects, list);
        (verbs, objects)
    });
    restored.collect()
}

fn paths_by_verbs(paths: BTreeMap<String, Texts>) -> Vec<Draft> {
    let mut by_verbs: BTreeMap<Texts, Texts> = BTreeMap::new();
    for (path, verbs) in paths {
        by_verbs.entry(verbs).or_default().insert(path);
    }
    let drafts = by_verbs.into_iter().map(|(verbs, paths)| Draft {
        name: String::new(),
        verbs,
        target: Target::Paths(paths),
    });
    drafts.collect()
}

fn name_each(drafts: &mut [Draft]) {
    let mut taken = Texts::new();
    for draft in drafts {
        let wanted = label(&wanted_name(draft));
        let numbered = (2..).map(|number| {
            let suffix = format!("-{number}");
            let room = wanted.len().min(63 - suffix.len());
            wanted[..room].trim_end_matches('-').to_owned() + &suffix
        });
        let mut names = [wanted.clone()].into_iter().chain(numbered);
        draft.name = names
            .find(|name| taken.insert(name.clone()))
            .unwrap_or(wanted);
    }
}

/// What is done to what: `read-configmaps-and-pods`, `patch-deployments-scale`, `exec-pods`, `ask-delete-pods`.
fn wanted_name(draft: &Draft) -> String {
    let Target::Objects(objects) = &draft.target else {
        return format!("{}-other-paths", listed(&draft.verbs));
    };
    let what = listed(&objects.resources);
    let name = match objects.kind {
        Kind::Read => format!("read-{what}"),
        Kind::Write => format!("{}-{what}", action(&draft.verbs)),
        Kind::Connect => match channel(&objects.resources) {
            Some((subresource, resource)) => format!("{subresource}-{resource}"),
            None => format!("connect-{what}"),
        },
    };
    let name = match objects.masked {
        true => format!("{name}-masked"),
        false => name,
    };
    match objects.held {
        true => format!("ask-{name}"),
        false => name,
    }
}

fn action(verbs: &Texts) -> String {
    match verbs.len() {
        1 | 2 => listed(verbs),
        _ => "write".to_owned(),
    }
}

fn channel(resources: &Texts) -> Option<(&str, &str)> {
    let (resource, subresource) = resources.first()?.split_once('/')?;
    (resources.len() == 1).then_some((subresource, resource))
}

fn listed(texts: &Texts) -> String {
    let mut texts = texts.iter().map(String::as_str);
    match (texts.next(), texts.next(), texts.count()) {
        (Some(one), None, _) => one.to_owned(),
        (Some(one), Some(other), 0) => format!("{one}-and-{other}"),
        (Some(one), Some(_), more) => format!("{one}-and-{}-more", more + 1),
        (None, ..) => String::new(),
    }
}

/// A name that Kubernetes takes as a label of DNS.
pub(super) fn label(text: &str) -> String {
    let plain = |character: char| match character.to_ascii_lowercase() {
        lower @ ('a'..='z' | '0'..='9') => lower,
        _ => '-',
    };
    let mut label: String = text.chars().map(plain).take(63).collect();
    while label.contains("--") {
        label = label.replace("--", "-");
    }
    match label.trim_matches('-') {
        "" => "agent".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}
