//! # Configuration
//!
//! One YAML file, `sallyport gateway --config FILE`. Unknown fields are refused. Relative paths are relative to the
//! file. Sizes are written `4096`, `64MiB`, `10GiB`; durations `500ms`, `60s`, `5m`, `1h`. The types are in
//! [`crate::config`].
//!
//! | field | default | |
//! |---|---|---|
//! | `cluster` | required | the cluster's name in records and in the paths of the store |
//! | `node` | the host name | this gateway's name in records |
//! | `explicit.listen` | required | address and port for agents, as `0.0.0.0:6443` |
//! | `explicit.allowServiceAccountTokens` | `false` | accept pods' tokens without a kernel that vouches for the pod |
//! | `tls.local.directory`, `.names` | – | a CA of our own and a certificate for these names; not inside a cluster |
//! | `tls.files.certFile`, `.keyFile` | – | a certificate chain and its key, PEM; read again when they change |
//! | `upstream.kubeconfig` | the pod's own credential | how the gateway reaches the API server |
//! | `upstream.context` | the current one | the kubeconfig's context |
//! | `authentication.serviceAccounts.issuer` | none accepted | the API server's `--service-account-issuer` |
//! | `authentication.serviceAccounts.jwksFile` | from the API server | the keys of that issuer |
//! | `authentication.oidc[].name` | required | a short alias, part of user names; policies and agents name it |
//! | `authentication.oidc[].issuer` | required | `iss` of its tokens, and where discovery starts |
//! | `authentication.oidc[].audiences` | `[sallyport]` | each token must be for one of these |
//! | `authentication.oidc[].preset` | `none` | `github-actions` or `gitlab`: which claims name the CI run |
//! | `authentication.oidc[].jwksFile` | by discovery | the issuer's keys |
//! | `authentication.oidc[].caFile` | the system's roots | more roots for the issuer's HTTPS |
//! | `authentication.oidc[].modelClaim`, `.modelVersionClaim` | none | claims that name the model |
//! | `agents.directory` | no agents | [`Agent`](crate::api::v1alpha1::agent) objects, read again when they change |
//! | `policy.directory` | required | [`AgentPolicy`](crate::api::v1alpha1::agent_policy) objects, likewise |
//! | `recording.policyFile` | the shipped one | an `audit.k8s.io/v1` Policy: [record levels](super::policies) |
//! | `recording.allowNone` | `false` | let the level `None` mean that nothing is kept |
//! | `recording.readLag` | `false` | [reads that lag](super::request_life#reads-that-lag) |
//! | `recording.wal.directory` | required | the write-ahead log; on a local disk that honours fsync |
//! | `recording.wal.limit` | `10GiB` | nothing is forwarded once 95 % of it is used; the rest is for outcomes |
//! | `recording.wal.segmentSize` | `64MiB` | at most a quarter of the limit |
//! | `recording.store.directory` | required | where Parquet files go |
//! | `recording.flush.interval` | `60s` | a file is written at least this often, if there is something to write |
//! | `recording.flush.urgentInterval` | `5s` | the same after a denied call |
//! | `recording.flush.size` | `64MiB` | or as soon as this much of the log waits |
//! | `masking.keyFile` | required | 32 random bytes in base64, mode 0600; equal values get equal placeholders under it |
//! | `admin.listen` | not served | `/metrics`, `/healthz` and `/readyz` in plain HTTP |
//! | `upgrades.allow` | nothing | what may be upgraded beside exec, attach and port-forward of pods: `watch`, `pods/log`, `pods/proxy`, `services/proxy`, `nodes/proxy`; [upgraded connections](super::request_life#upgraded-connections) |
//! | `upgrades.idle` | `10m` | an upgraded connection ends when nothing has passed for so long |
//! | `limits.bufferedBytes` | `256MiB` | what all bodies in memory may take together |
//! | `limits.perPrincipal.bufferedBytes` | `64MiB` | what those of one user may take of it: [shares](super::request_life#shares) |
//! | `limits.perPrincipal.recordBytesPerSecond` | `16MiB` | what one user's calls may write to the log on average; ten seconds' worth may come at once |
//! | `limits.perPrincipal.calls` | `512` | one user's calls in flight, watches included |
//! | `limits.drain` | `25s` | how long SIGTERM waits for calls in flight, and for upgraded connections to end by themselves |
//!
//! Fixed: a request body has 3 MiB and 30 s, as with kube-apiserver; a request head 64 KiB, 100 headers and 30 s; a
//! token 16 KiB; there are 4096 connections at most.
