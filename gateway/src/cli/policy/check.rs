//! `sallyport policy check`.

use std::{path::PathBuf, process::ExitCode};

use serde::Serialize;

use crate::{
    api::v1alpha1::manifest::Place,
    cli::output::Output,
    policy::{PolicyError, PolicySet},
};

const AFTER_HELP: &str = "\
Exit code 0: the policies can be in force. 1: they cannot, and each problem is on a line of its own.

Examples:
  sallyport policy check policies/
  sallyport policy check policies/coder.yaml -o json | jq -r '.problems[].message'";

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct Args {
    /// A directory of policies, or one file.
    path: PathBuf,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    valid: bool,
    rules: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    problems: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    file: Option<PathBuf>,
    line: Option<u64>,
    policy: Option<String>,
    /// The rule of that policy that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    message: String,
    /// With the place, as a person reads it.
    text: String,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let checked = match super::read(&args.path) {
        Ok(set) => Checked::valid(&set),
        Err(error) => Checked::invalid(error.downcast::<PolicyError>()?)?,
    };
    args.output.show(&checked, |out| {
        for problem in &checked.problems {
            writeln!(out, "{}", problem.text)?;
        }
        match &checked.digest {
            Some(digest) => writeln!(out, "{} rules are valid: {digest}", checked.rules),
            None => Ok(()),
        }
    })?;
    Ok(if checked.valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Checked {
    fn valid(set: &PolicySet) -> Self {
        Self {
            valid: true,
            rules: set.len(),
            digest: Some(set.digest().to_owned()),
            problems: Vec::new(),
        }
    }

    /// What cannot be read at all is an error of the command.
    fn invalid(error: PolicyError) -> anyhow::Result<Self> {
        let PolicyError::Invalid(problems) = error else {
            return Err(error.into());
        };
        let shown = problems.into_iter().map(|problem| Shown {
            text: problem.to_string(),
            rule: rule(&problem.message).map(str::to_owned),
            file: match problem.place {
                Place::File(file) => Some(file),
                Place::Cluster { .. } => None,
            },
            line: problem.line,
            policy: problem.object,
            message: problem.message,
        });
        Ok(Self {
            valid: false,
            rules: 0,
            digest: None,
            problems: shown.collect(),
        })
    }
}

/// As in `spec.rules[2].verbs: rule "no-secrets": is required`.
fn rule(message: &str) -> Option<&str> {
    let (_, rule) = message.split_once(": rule \"")?;
    Some(rule.split_once("\": ")?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_file_and_rule() {
        let policy = "apiVersion: sallyport.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: p}\nspec:\n  \
                      subjects: [{agent: {name: coder}}]\n  rules:\n  - {name: no, effect: Deny, verbs: [gett], \
                      apiGroups: [\"\"], resources: [secrets], namespaces: [shop], names: [db]}\n";
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("p.yaml");
        std::fs::write(&file, policy).expect("written");
        let error = PolicySet::load(directory.path()).expect_err("a wrong verb");
        let checked = Checked::invalid(error).expect("problems");
        assert_eq!(checked.problems[0].file.as_ref(), Some(&file));
        assert_eq!(checked.problems[0].rule.as_deref(), Some("no"));
        assert_eq!(rule("metadata.name: this name is reserved"), None);
    }
}
