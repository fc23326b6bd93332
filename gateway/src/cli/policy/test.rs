//! `sallyport policy test`.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use crate::{
    cli::output::Output,
    policy::{
        PolicySet,
        cases::{self, CaseFile, Outcome, SUFFIX},
    },
};

const AFTER_HELP: &str = "\
A file with cases is called *.test.yaml. It is judged by the policies that it lists under `policies`, or by all of
its directory. A case:

  - name: secrets stay closed
    as: {agent: {name: reader}}      # or serviceAccount: {namespace, name}, or oidc: {issuer, claims}
    verb: get                        # or method and url, as in url: /api/v1/namespaces/shop/secrets/db
    resource: secrets
    namespace: shop
    objectName: db
    expect: Deny                     # or Allow, or RequireApproval
    rule: read-only/no-secrets       # optional

Also: apiGroup, command, apply, dryRun, inAgentsNamespace, object, oldObject, and model and ci under as. A user's
token out of a captured pod has oidc and serviceAccount, and podAgent where an Agent object names that account.

Exit code 0: every case is decided as expected. 1: one is not, or a file is wrong.

Examples:
  sallyport policy test policies/
  sallyport policy test policies/ --policies /etc/sallyport/policies";

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct Args {
    /// Directories with *.test.yaml, or such files.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Judge by these policies, whatever the files list.
    #[arg(long, value_name = "PATH")]
    policies: Option<PathBuf>,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Serialize)]
struct Tested {
    passed: usize,
    failed: usize,
    files: Vec<TestedFile>,
}

#[derive(Serialize)]
struct TestedFile {
    file: PathBuf,
    cases: Vec<Outcome>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    for path in &args.paths {
        files.extend(super::case_files(path)?);
    }
    if files.is_empty() {
        bail!(
            "there are no files named *{SUFFIX} there; see `sallyport policy test --help` for what they hold"
        );
    }
    let files = files
        .iter()
        .map(|file| tested(file, args.policies.as_deref()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let outcomes = || files.iter().flat_map(|file| &file.cases);
    let failed = outcomes().filter(|outcome| !outcome.passed).count();
    let tested = Tested {
        passed: outcomes().count() - failed,
        failed,
        files,
    };
    args.output.show(&tested, |out| print(&tested, out))?;
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn tested(file: &Path, policies: Option<&Path>) -> anyhow::Result<TestedFile> {
    let read = cases::read(file).map_err(|problem| anyhow::anyhow!("{problem}"))?;
    ensure!(
        !read.cases.is_empty(),
        "{} has no cases, and so tests nothing; see `sallyport policy test --help`",
        file.display()
    );
    let set = set_for(&read, policies)
        .with_context(|| format!("the policies of {} cannot be in force", file.display()))?;
    Ok(TestedFile {
        cases: cases::run(&set, &read.cases),
        file: read.file,
    })
}

fn set_for(cases: &CaseFile, policies: Option<&Path>) -> anyhow::Result<PolicySet> {
    if let Some(path) = policies {
        return super::read(path);
    }
    if cases.policies.is_empty() {
        let beside = cases
            .file
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        return super::read(beside.unwrap_or_else(|| Path::new(".")));
    }
    Ok(PolicySet::read(&cases.policies)?)
}

fn print(tested: &Tested, out: &mut dyn Write) -> io::Result<()> {
    for file in &tested.files {
        for outcome in file.cases.iter().filter(|outcome| !outcome.passed) {
            let line = outcome
                .line
                .map(|line| format!(":{line}"))
                .unwrap_or_default();
            writeln!(
                out,
                "{}{line}: {}\n{outcome}\n",
                file.file.display(),
                outcome.case
            )?;
        }
    }
    writeln!(out, "{} passed, {} failed", tested.passed, tested.failed)
}
