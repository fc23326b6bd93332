//! Envoy: two workers, the client's protocol towards the API server too, a JSON access log, no bodies.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    certificates::{AUTHORITY, CERTIFICATE, KEY, NAME},
    program::{Program, eventually},
    row::note,
    side::{ENVOY, Side},
    site::Site,
};

const READY_WITHIN: Duration = Duration::from_secs(30);

pub(crate) fn start(site: &Site) -> Option<Side> {
    let Ok(binary) = env::var("SALLYPORT_BENCH_ENVOY") else {
        note("SALLYPORT_BENCH_ENVOY is not set: Envoy is left out");
        return None;
    };
    let directory = site.fresh_directory();
    let address = free_address();
    let configuration = configuration(site, &directory, address);
    fs::write(directory.join("envoy.json"), configuration.to_string())
        .expect("a directory of our own");
    let program = Program::start(&binary, |command| {
        command
            .args([
                "--concurrency",
                "2",
                "--disable-hot-restart",
                "--log-level",
                "error",
            ])
            .args(["-c", "envoy.json"])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
    });
    await_listener(ENVOY, address);
    Some(Side::new(ENVOY, address, program))
}

/// For programs that cannot say which port they got.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

pub(crate) fn await_listener(name: &str, address: SocketAddr) {
    let listens = eventually(READY_WITHIN, || TcpStream::connect(address).ok());
    assert!(listens.is_some(), "{name} does not listen");
}

fn configuration(site: &Site, directory: &Path, address: SocketAddr) -> Value {
    json!({
        "static_resources": {
            "listeners": [{
                "name": "agents",
                "address": socket(address),
                "filter_chains": [{
                    "transport_socket": tls("Downstream", json!({ "common_tls_context": serving(site) })),
                    "filters": [{
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": connection_manager(directory)
                    }]
                }]
            }],
            "clusters": [cluster(site)]
        }
    })
}

fn connection_manager(directory: &Path) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "agents",
        "codec_type": "AUTO",
        "stream_idle_timeout": "0s",
        "access_log": [{ "name": "envoy.access_loggers.file", "typed_config": access_log(directory) }],
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" }
        }],
        "route_config": {
            "virtual_hosts": [{
                "name": "all", "domains": ["*"],
                "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "stub", "timeout": "0s" } }]
            }]
        }
    })
}

fn access_log(directory: &Path) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": directory.join("access.log"),
        "log_format": {
            "json_format": {
                "time": "%START_TIME%", "method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%",
                "protocol": "%PROTOCOL%", "status": "%RESPONSE_CODE%", "bytes": "%BYTES_SENT%",
                "duration": "%DURATION%", "peer": "%DOWNSTREAM_REMOTE_ADDRESS%",
                "userAgent": "%REQ(USER-AGENT)%"
            }
        }
    })
}

fn cluster(site: &Site) -> Value {
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    json!({
        "name": "stub",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "stub",
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket(site.stub.address) } }] }]
        },
        "typed_extension_protocol_options": {
            options: {
                "@type": format!("type.googleapis.com/{options}"),
                "use_downstream_protocol_config": { "http_protocol_options": {}, "http2_protocol_options": {} }
            }
        },
        "transport_socket": tls("Upstream", json!({ "sni": NAME, "common_tls_context": verifying(site) }))
    })
}

fn tls(direction: &str, context: Value) -> Value {
    let kind = format!(
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{direction}TlsContext"
    );
    let mut context = context;
    context["@type"] = kind.into();
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": context })
}

fn serving(site: &Site) -> Value {
    let file = |name: &str| json!({ "filename": site.directory().join(name) });
    json!({
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificates": [{ "certificate_chain": file(CERTIFICATE), "private_key": file(KEY) }]
    })
}

fn verifying(site: &Site) -> Value {
    json!({
        "validation_context": {
            "trusted_ca": { "filename": site.directory().join(AUTHORITY) },
            "match_typed_subject_alt_names": [{ "san_type": "DNS", "matcher": { "exact": NAME } }]
        }
    })
}

fn socket(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}
