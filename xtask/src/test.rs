//! `cargo xtask test`: builds, starts one control plane and one OIDC provider, runs every theme.

use anyhow::{Result, bail};

use self::themes::Theme;
pub(crate) use self::{environment::Environment, report::Report, themes::THEMES};
use crate::{
    build,
    command::{command, is_root},
    progress,
    tools::{
        Cache, cargo_tools, cluster, ebpf, faketime, go_client,
        layer::{self, OtherClients},
        programs::{self, IP, NFT},
    },
    workspace,
};

mod assets;
mod environment;
mod report;
mod themes;

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// One theme; all of them where absent.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(themes::names()))]
    pub(crate) theme: Option<String>,
    /// Of that theme only tests with this in their name.
    pub(crate) only: Option<String>,
}

/// How much work each test does. The code is the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tier {
    Ci,
    Soak,
}

impl Tier {
    /// The tier's name for tests, and the name of its nextest profile.
    fn name(self) -> &'static str {
        match self {
            Self::Ci => "ci",
            Self::Soak => "soak",
        }
    }
}

pub(crate) fn run(args: Args) -> Result<()> {
    finish(&run_tier(&args, Tier::Ci)?)
}

/// Prints what ran; an error unless everything passed and something ran.
pub(crate) fn finish(report: &Report) -> Result<()> {
    println!("{report}");
    match (report.failed(), report.passed()) {
        (0, 0) => bail!("no test ran"),
        (0, _) if report.missing_root => {
            bail!(
                "the kernel theme did not run: loading kernel programs takes root on Linux; run `sudo -E cargo xtask test kernel`"
            )
        }
        (0, _) => Ok(()),
        (failed, _) => bail!("{failed} tests failed"),
    }
}

/// Runs the chosen tests, and returns what they did.
pub(crate) fn run_tier(args: &Args, tier: Tier) -> Result<Report> {
    let theme = args.theme.as_deref().and_then(themes::find);
    let loads_programs = theme.is_none_or(|theme| theme.needs_root);
    let missing_root = loads_programs && !can_load_programs();
    let cache = Cache::open()?;
    let nextest = cargo_tools::nextest(&cache)?;
    if loads_programs && !missing_root {
        ebpf::ensure(&cache)?;
        programs::ensure(&[IP, NFT])?;
    }
    progress::step("building the gateway and the tests", build::everything)?;
    let needs_cluster = theme.is_none_or(|theme| theme.needs_cluster);
    let others = match needs_cluster {
        true => layer::other_clients(&cache)?,
        false => None,
    };
    let mut environment = needs_cluster
        .then(|| Environment::start(&cache))
        .transpose()?;
    if let Some(environment) = &mut environment
        && theme.is_none_or(|theme| theme.name == "install")
    {
        environment.start_installed()?;
    }

    report::remove_previous(tier.name())?;
    let mut run = command(nextest);
    run.args([
        "nextest",
        "run",
        "--no-tests",
        "fail",
        "--profile",
        tier.name(),
    ]);
    run.arg("-E").arg(filter(theme, missing_root));
    run.args(&args.only);
    run.env("SALLYPORT_TEST_TIER", tier.name())
        .env("SALLYPORT_TEST_GATEWAY", workspace::gateway());
    run.envs(environment.iter().flat_map(Environment::variables));
    if needs_cluster {
        run.env("SALLYPORT_TEST_GO_CLIENT", go_client::binary(&cache)?)
            .env(
                "SALLYPORT_TEST_KUBERNETES_EXAMPLES",
                cluster::examples(&cache)?,
            );
    }
    run.envs(others.iter().flat_map(OtherClients::variables));
    if needs_cluster && let Some(library) = faketime::library(&cache)? {
        run.env("SALLYPORT_TEST_FAKETIME", library);
    }
    // The report says what failed; nextest's own words are on the screen already.
    let status = run.status()?;
    let report = Report::read(tier.name(), missing_root)?;
    if !status.success() && report.failed() == 0 {
        bail!("nextest ended with {status}");
    }
    Ok(report)
}

fn filter(theme: Option<&Theme>, missing_root: bool) -> String {
    let chosen = theme.map_or_else(|| "all()".to_owned(), Theme::filter);
    let beyond_us = THEMES
        .iter()
        .filter(|theme| missing_root && theme.needs_root);
    beyond_us.fold(chosen, |filter, theme| {
        format!("({filter}) - ({})", theme.filter())
    })
}

fn can_load_programs() -> bool {
    cfg!(target_os = "linux") && is_root()
}
