//! nginx: two workers, kept HTTP/1.1 connections to the API server (it speaks nothing newer there), its access log.

use std::{env, fs, path::Path, process::Stdio};

use crate::{
    certificates::{AUTHORITY, CERTIFICATE, KEY, NAME},
    envoy::{await_listener, free_address},
    program::Program,
    row::note,
    side::{NGINX, Side},
    site::Site,
};

pub(crate) fn start(site: &Site) -> Option<Side> {
    let Ok(binary) = env::var("SALLYPORT_BENCH_NGINX") else {
        note("SALLYPORT_BENCH_NGINX is not set: nginx is left out");
        return None;
    };
    let directory = site.fresh_directory();
    let address = free_address();
    fs::write(
        directory.join("nginx.conf"),
        configuration(site, address.port()),
    )
    .expect("a directory of our own");
    let program = Program::start(&binary, |command| {
        command
            .args(["-p", ".", "-c", "nginx.conf", "-e", "error.log"])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
    });
    await_listener(NGINX, address);
    Some(Side::new(NGINX, address, program))
}

/// Root's workers would otherwise be someone who cannot see our directory; anybody else's stay who they are.
fn configuration(site: &Site, port: u16) -> String {
    let file = |name: &str| quoted(&site.directory().join(name));
    let (certificate, key, authority) = (file(CERTIFICATE), file(KEY), file(AUTHORITY));
    let upstream = site.stub.address;
    format!(
        "daemon off;
        user root root;
        worker_processes 2;
        pid nginx.pid;
        error_log error.log error;
        events {{ worker_connections 4096; }}
        http {{
            access_log access.log combined;
            client_body_temp_path body; proxy_temp_path proxy;
            fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
            keepalive_requests 100000000;
            upstream stub {{ server {upstream}; keepalive 64; keepalive_requests 100000000; }}
            server {{
                listen 127.0.0.1:{port} ssl http2;
                ssl_certificate {certificate};
                ssl_certificate_key {key};
                ssl_protocols TLSv1.2 TLSv1.3;
                location / {{
                    proxy_pass https://stub;
                    proxy_http_version 1.1;
                    proxy_set_header Connection \"\";
                    proxy_set_header Host {NAME};
                    proxy_ssl_name {NAME};
                    proxy_ssl_protocols TLSv1.2 TLSv1.3;
                    proxy_ssl_verify on;
                    proxy_ssl_trusted_certificate {authority};
                }}
            }}
        }}
        "
    )
}

fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}
