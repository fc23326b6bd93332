//! Names of the installation, and those that make an agent's pod, as the manifests write them too.

/// Of all our objects.
pub const GROUP: &str = "sallyport.dev";
/// Where it is installed.
pub const NAMESPACE: &str = "sallyport-system";
/// On a namespace, `enforce` or `observe`: its pods are agents, whose policy is enforced or only observed.
pub const AGENTS_LABEL: &str = "sallyport.dev/agents";
/// On a pod, `true`: it is an agent, wherever it runs.
pub const AGENT_LABEL: &str = "sallyport.dev/agent";
/// The ConfigMap with our CA, which admission puts in the place of kube-root-ca.crt.
pub const CA_CONFIG_MAP: &str = "sallyport-ca";
/// The first init container, which waits until connections end at the gateway.
pub const START_GATE: &str = "sallyport-start-gate";
