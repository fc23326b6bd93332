//! What of a Service, an EndpointSlice and a Node says where connections go. TCP only: the API server speaks nothing
//! else, except for HTTP/3, which no client speaks to it.

use std::net::IpAddr;

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};

use super::cluster::Compact;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Service {
    /// Empty for a headless one.
    pub(super) cluster_ips: Box<[IpAddr]>,
    /// External and load balancer addresses, which kube-proxy answers on every node.
    pub(super) external_ips: Box<[IpAddr]>,
    pub(super) ports: Box<[ServicePort]>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ServicePort {
    /// Joins it with the ports of EndpointSlices; empty where there is but one.
    pub(super) name: Box<str>,
    pub(super) port: u16,
    pub(super) node_port: Option<u16>,
}

/// Endpoints of a Service in the slice's namespace, ready or not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Slice {
    pub(super) service: Box<str>,
    pub(super) addresses: Box<[IpAddr]>,
    /// Name and number.
    pub(super) ports: Box<[(Box<str>, u16)]>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Node {
    pub(super) internal_ips: Box<[IpAddr]>,
    pub(super) external_ips: Box<[IpAddr]>,
    pub(super) kubelet_port: u16,
}

impl Compact for Service {
    type Object = core::Service;

    fn of(object: &core::Service) -> Option<Self> {
        let spec = object.spec.as_ref()?;
        let balancer = object
            .status
            .as_ref()
            .and_then(|status| status.load_balancer.as_ref());
        let ingress = balancer
            .and_then(|balancer| balancer.ingress.as_ref())
            .into_iter()
            .flatten();
        let ingress = ingress.filter_map(|ingress| ingress.ip.as_ref());
        let external = spec.external_ips.iter().flatten().chain(ingress);
        let ports = spec
            .ports
            .iter()
            .flatten()
            .filter(|port| is_tcp(port.protocol.as_ref()));
        Some(Self {
            cluster_ips: addresses(spec.cluster_ips.iter().flatten()),
            external_ips: addresses(external),
            ports: ports.filter_map(service_port).collect(),
        })
    }
}

fn service_port(port: &core::ServicePort) -> Option<ServicePort> {
    Some(ServicePort {
        name: port.name.clone().unwrap_or_default().into(),
        port: number(port.port)?,
        node_port: port.node_port.and_then(number),
    })
}

impl Compact for Slice {
    type Object = discovery::EndpointSlice;

    fn of(object: &discovery::EndpointSlice) -> Option<Self> {
        let service = object.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
        let ports = object.ports.iter().flatten();
        let ports = ports
            .filter(|port| is_tcp(port.protocol.as_ref()))
            .filter_map(|port| {
                let name = port.name.clone().unwrap_or_default().into();
                Some((name, number(port.port?)?))
            });
        let endpoints = object.endpoints.iter().flatten();
        let slice = Self {
            service: service.as_str().into(),
            addresses: addresses(endpoints.flat_map(|endpoint| &endpoint.addresses)),
            ports: ports.collect(),
        };
        let leads_anywhere = !slice.addresses.is_empty() && !slice.ports.is_empty();
        leads_anywhere.then_some(slice)
    }
}

impl Compact for Node {
    type Object = core::Node;

    fn of(object: &core::Node) -> Option<Self> {
        let status = object.status.as_ref()?;
        let of_type = |wanted: &str| {
            let known = status.addresses.iter().flatten();
            addresses(
                known
                    .filter(|address| address.type_ == wanted)
                    .map(|address| &address.address),
            )
        };
        let daemons = status.daemon_endpoints.as_ref();
        let kubelet = daemons.and_then(|daemons| daemons.kubelet_endpoint.as_ref());
        Some(Self {
            internal_ips: of_type("InternalIP"),
            external_ips: of_type("ExternalIP"),
            kubelet_port: kubelet
                .and_then(|kubelet| number(kubelet.port))
                .unwrap_or(Self::KUBELET_PORT),
        })
    }
}

impl Node {
    /// Where the kubelet listens unless told otherwise.
    const KUBELET_PORT: u16 = 10250;
}

/// `None` is what a headless Service has for its address; names are endpoints that no proxy serves; loopback is the
/// agent's own, whatever a Node calls its address.
fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> Box<[IpAddr]> {
    let addresses = texts.filter_map(|text| text.parse::<IpAddr>().ok());
    let addresses = addresses.map(|ip| ip.to_canonical());
    addresses.filter(|ip| !ip.is_loopback()).collect()
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

fn is_tcp(protocol: Option<&String>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}
