//! Every client gets through the gateway what it gets without it: the same requests, by the same tools,
//! of the same user, both ways.

use anyhow::{Context, Result, bail, ensure};
use harness::{Call, Cluster, Gateway, Kubectl, Namespace, Protocol, Relay, Settings, Wire};
use serde_json::{Value, json};

use self::compare::Seen;
use crate::slice::developer_policy;

mod compare;
mod discovery;
mod errors;
mod go;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod helm;
mod kubectl;
mod lists;
mod load;
mod python;
mod restart;
mod rust;
mod subresources;
mod watches;
mod writes;

/// How often an answer may change while it is compared: it tells the time, or another test writes.
const ATTEMPTS: usize = 20;

/// One agent in its namespace, where it may do everything, and the two ways to the API server.
struct Scene {
    cluster: Cluster,
    namespace: Namespace,
    token: String,
    gateway: Gateway,
}

/// The same user's way to the API server, and its way through the gateway.
struct Ways {
    direct: Wire,
    through: Wire,
}

impl Scene {
    fn new() -> Result<Self> {
        Self::with(|settings| settings)
    }

    /// With the API server behind a wire that can be cut.
    fn behind_relay() -> Result<(Self, Relay)> {
        let relay = Relay::before(&Cluster::from_env()?)?;
        let scene = Self::with(|settings| settings.through(&relay))?;
        Ok((scene, relay))
    }

    fn with(change: impl FnOnce(Settings) -> Settings) -> Result<Self> {
        Self::before(Cluster::from_env()?, change)
    }

    /// Before the API server of another control plane.
    fn before(cluster: Cluster, change: impl FnOnce(Settings) -> Settings) -> Result<Self> {
        let namespace = Namespace::create(&cluster)?;
        let (_, token) = namespace.create_coder()?;
        let settings = Settings::new(&cluster)
            .with_policy("developer.yaml", &developer_policy(&namespace.name));
        let gateway = Gateway::start(&change(settings))?;
        Ok(Self {
            cluster,
            namespace,
            token,
            gateway,
        })
    }

    fn user(&self) -> String {
        self.namespace.synthetic_user("coder")
    }

    fn ways(&self, protocol: Protocol) -> Result<Ways> {
        Ok(Ways {
            direct: self.cluster.wire_as(protocol, &self.user())?,
            through: self.gateway.wire(protocol, &self.token)?,
        })
    }

    /// kubectl without the gateway, and through it.
    fn kubectls(&self) -> Result<[Kubectl; 2]> {
        let namespace = &self.namespace.name;
        Ok([
            Kubectl::impersonating(&self.cluster, namespace, &self.user())?,
            Kubectl::through(&self.gateway, namespace, &self.token)?,
        ])
    }

    /// The path of a resource here.
    fn path(&self, group_version: &str, rest: &str) -> String {
        let root = match group_version {
            "v1" => "api/v1".to_owned(),
            group_version => format!("apis/{group_version}"),
        };
        format!("/{root}/namespaces/{}/{rest}", self.namespace.name)
    }

    /// Creates an object as the administrator.
    fn create(&self, group_version: &str, resource: &str, object: &Value) -> Result<Value> {
        self.namespace
            .api()
            .create(&self.path(group_version, resource), object)
    }

    fn create_configmap(&self, name: &str, colour: &str) -> Result<Value> {
        let object = json!({
            "metadata": {"name": name, "labels": {"colour": colour}},
            "data": {"colour": colour},
        });
        self.create("v1", "configmaps", &object)
    }

    /// The revision of the store now.
    fn revision(&self) -> Result<String> {
        let list = self
            .namespace
            .api()
            .get(&self.path("v1", "configmaps?limit=1"))?;
        let revision = list["metadata"]["resourceVersion"].as_str();
        Ok(revision.context("a list names no revision")?.to_owned())
    }

    /// Each call answered alike over HTTP/1.1 and HTTP/2, byte for byte, and as `expected`: two equal
    /// failures prove nothing.
    async fn same_as(&self, calls: &[Call], expected: impl Fn(&Seen) -> Result<()>) -> Result<()> {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let ways = self.ways(protocol)?;
            for call in calls {
                let seen = ways.same(call).await;
                let seen = seen.with_context(|| format!("{protocol:?} {call:?}"))?;
                expected(&seen).with_context(|| format!("{protocol:?} {call:?}"))?;
            }
        }
        Ok(())
    }
}

impl Ways {
    /// The API server is asked before and after: only where it agrees with itself is there one right answer.
    async fn same(&self, call: &Call) -> Result<Seen> {
        for _ in 0..ATTEMPTS {
            let before = Seen::of(self.direct.call(call).await?);
            let through = Seen::of(self.through.call(call).await?);
            let after = Seen::of(self.direct.call(call).await?);
            if before == after {
                ensure!(through == before, "{}", before.difference(&through));
                return Ok(through);
            }
        }
        bail!("the API server gave no two equal answers in {ATTEMPTS} attempts")
    }

    /// One call each way after `reset`, equal in all but what is new with every object.
    async fn same_after(&self, mut reset: impl FnMut() -> Result<()>, call: &Call) -> Result<Seen> {
        reset()?;
        let direct = Seen::of(self.direct.call(call).await?).steady();
        reset()?;
        let through = Seen::of(self.through.call(call).await?).steady();
        ensure!(through == direct, "{}", direct.difference(&through));
        Ok(through)
    }
}

/// Wants an answer of `status` with a body.
fn is(status: u16) -> impl Fn(&Seen) -> Result<()> {
    move |seen| {
        ensure!(seen.status == status, "not {status}: {seen}");
        Ok(())
    }
}
