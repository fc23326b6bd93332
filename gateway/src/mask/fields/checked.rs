//! What somebody wrote, checked: an entry that counts is right in every list.

use std::{fmt, sync::Arc};

use super::{Entry, SensitiveFields, path, tree::Tree};
use crate::{
    api::v1alpha1::{
        agent_policy::MAX_SENSITIVE_PATHS,
        selectors::{self, check_group, check_name, check_namespace, check_resource},
    },
    config,
};

/// Why an entry cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldProblem {
    /// As `paths[1]`.
    pub field: String,
    pub message: String,
}

/// Why the configuration's cannot be used.
#[derive(Debug, thiserror::Error)]
pub struct UnusableFields {
    index: usize,
    problems: Vec<FieldProblem>,
}

impl fmt::Display for UnusableFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, problem) in self.problems.iter().enumerate() {
            let FieldProblem { field, message } = problem;
            let separator = if count == 0 { "" } else { "; " };
            let index = self.index;
            write!(
                f,
                "{separator}masking.sensitiveFields[{index}].{field}: {message}"
            )?;
        }
        Ok(())
    }
}

impl SensitiveFields {
    pub fn new(written: &config::SensitiveFields) -> Result<Self, Vec<FieldProblem>> {
        let config::SensitiveFields {
            api_groups,
            resources,
            namespaces,
            names,
            paths,
        } = written;
        let mut problems = Vec::new();
        problems.extend(wrong("apiGroups", api_groups, check_group));
        problems.extend(wrong("resources", resources, check_plural));
        problems.extend(wrong("namespaces", namespaces, check_namespace));
        problems.extend(wrong("names", names, check_name));
        let tree = tree_of(paths, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self(Arc::new(Entry {
            api_groups: api_groups.clone(),
            resources: resources.clone(),
            namespaces: namespaces.clone(),
            names: names.clone(),
            paths: tree,
        })))
    }
}

fn wrong(
    field: &str,
    list: &[String],
    check: impl Fn(&str) -> Option<String>,
) -> impl Iterator<Item = FieldProblem> {
    let wrong = selectors::check_list(list, check).into_iter();
    wrong.map(move |wrong| FieldProblem {
        field: format!("{field}{}", wrong.place),
        message: wrong.message,
    })
}

fn check_plural(resource: &str) -> Option<String> {
    match resource.contains('/') {
        true => Some("has a subresource; write the resource alone, its subresources count".into()),
        false => check_resource(resource),
    }
}

pub(super) fn tree_of(paths: &[String], problems: &mut Vec<FieldProblem>) -> Tree {
    let mut tree = Tree::default();
    if !(1..=MAX_SENSITIVE_PATHS).contains(&paths.len()) {
        problems.push(FieldProblem {
            field: "paths".into(),
            message: format!(
                "must have 1 to {MAX_SENSITIVE_PATHS} entries, as [\".spec.token\"], has {}",
                paths.len()
            ),
        });
        return tree;
    }
    for (index, path) in paths.iter().enumerate() {
        match path::parse(path) {
            Ok(segments) => tree.insert(&segments),
            Err(problem) => problems.push(FieldProblem {
                field: format!("paths[{index}]"),
                message: format!("{path:?} {problem}"),
            }),
        }
    }
    tree
}

/// What the configuration adds.
pub(in crate::mask) fn configured(
    written: &[config::SensitiveFields],
) -> Result<Vec<SensitiveFields>, UnusableFields> {
    let checked = written.iter().enumerate().map(|(index, fields)| {
        SensitiveFields::new(fields).map_err(|problems| UnusableFields { index, problems })
    });
    checked.collect()
}
