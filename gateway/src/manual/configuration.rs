//! # Configuration
//!
//! Two YAML files: the gateway's, `sallyport gateway --config FILE`, and [the node agent's](#the-node-agent),
//! `sallyport node --config FILE`. Unknown fields are refused. Relative paths are relative to the file. Sizes are
//! written `4096`, `64MiB`, `10GiB`; durations `500ms`, `60s`, `5m`, `1h`. The types are in [`crate::config`].
//!
//! ## The gateway
//!
//! | field | default | |
//! |---|---|---|
//! | `cluster` | required | the cluster's name in records and in the paths of the store |
//! | `node` | `NODE_NAME`, else the host name | this gateway's name in records |
//! | `explicit.listen` | this or `capture` | address and port for agents that come by themselves, as `0.0.0.0:6443` |
//! | `explicit.allowServiceAccountTokens` | `false` | accept pods' tokens without a kernel that vouches for the pod |
//! | `capture.socket` | `/run/sallyport/node.sock` | where the node agent hands over the listeners of captured pods; `capture: {}` is enough, and needs `authentication.serviceAccounts` |
//! | `capture.nodeUid` | `0` | whom the node agent runs as; anyone else at the socket is refused |
//! | `tls.local.directory`, `.names` | – | a CA of our own and a certificate for these names; not inside a cluster |
//! | `tls.authority.certFile`, `.keyFile` | – | an issuing CA and its key, PEM, which signs a certificate for each destination; read again when they change |
//! | `tls.authority.chainFile` | none | what leads from there to the CA that clients trust, sent behind each certificate |
//! | `tls.authority.names` | required with `explicit` | names and addresses of the explicit listener |
//! | `tls.files.certFile`, `.keyFile` | – | a certificate chain and its key, PEM, shown to everybody; read again when they change |
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
//! | `policy.directory` | required without `objects` | [`AgentPolicy`](crate::api::v1alpha1::agent_policy) objects, likewise |
//! | `objects.namespace` | `sallyport-system` | with `objects: {}`, policies, agents, stops and approvals that are objects of the cluster count too; approval of what is in no namespace is asked for in this one. Without `objects`, what needs approval is denied |
//! | `recording.policyFile` | the shipped one | an `audit.k8s.io/v1` Policy: [record levels](super::policies) |
//! | `recording.allowNone` | `false` | let the level `None` mean that nothing is kept |
//! | `recording.readLag` | `false` | [reads that lag](super::request_life#reads-that-lag) |
//! | `recording.wal.directory` | required | the write-ahead log; on a local disk that honours fsync |
//! | `recording.wal.limit` | `10GiB` | nothing is forwarded once 95 % of it is used; the rest is for outcomes |
//! | `recording.wal.segmentSize` | `64MiB` | at most a quarter of the limit |
//! | `recording.store.directory` | this or `s3` | where Parquet files go |
//! | `recording.store.s3.bucket` | this or `directory` | or the bucket they go to; see [a bucket](#a-bucket-as-store) |
//! | `recording.store.s3.prefix` | none | what their names begin with, as `prod/eu` |
//! | `recording.store.s3.region` | `AWS_REGION`, else `AWS_DEFAULT_REGION` | the bucket's region; with an `endpoint`, `us-east-1` if nobody says |
//! | `recording.store.s3.endpoint` | AWS | another server, as `https://s3.example:9000`; the bucket is a part of the path |
//! | `recording.store.s3.allowHttp` | `false` | let `endpoint` begin with `http://`: records then travel in the clear |
//! | `recording.store.s3.caFile` | the system's roots | more roots for the endpoint's certificate, PEM |
//! | `recording.store.s3.credentialsFile` | the environment | an AWS credentials file, read anew for each request |
//! | `recording.store.s3.timeout` | `60s` | how long storing a file, or reading a part of one, may take, repetitions included; at least `1s` |
//! | `recording.flush.interval` | `60s` | a file is written at least this often, if there is something to write |
//! | `recording.flush.urgentInterval` | `5s` | the same after a denied call |
//! | `recording.flush.size` | `64MiB` | or as soon as this much of the log waits |
//! | `masking.keyFile` | required | 32 random bytes in base64, mode 0600; equal values get equal placeholders under it |
//! | `masking.detectors` | none | secrets of your own: `name`, a `prefix` of 4 to 64 characters, the `characters` behind it (as `A-Za-z0-9_-`), the least `length` of them (8 to 4096), perhaps `check: LooksRandom`, and examples in `mustMatch` and `mustNotMatch` |
//! | `masking.sensitiveFields` | none | fields that are secret whatever they look like: `apiGroups`, `resources`, `namespaces`, `names` and `paths`, as in a policy, of up to 64 paths each: [how much is kept](super::policies#how-much-of-it-is-kept) |
//! | `decoys.secrets` | none | Secrets (`namespace`, `name`) that nobody has a reason to read: [decoys](super::gate#decoys) |
//! | `decoys.stopSession` | `false` | stop the session that reads one |
//! | `admin.listen` | not served | `/metrics`, `/healthz` and `/readyz` in plain HTTP |
//! | `upgrades.allow` | nothing | what may be upgraded beside exec, attach and port-forward of pods: `watch`, `pods/log`, `pods/proxy`, `services/proxy`, `nodes/proxy`; [upgraded connections](super::request_life#upgraded-connections) |
//! | `upgrades.idle` | `10m` | an upgraded connection ends when nothing has passed for so long |
//! | `upgrades.recordStdin` | `false` | record what clients send to programs; what is typed at a password prompt is then in the record wherever no detector knows it |
//! | `control.listen`, `.tls`, `.clientCaFile` | not served | lets the controller follow what is recorded, see what runs, end one call and bring stops; whoever has a certificate of that CA for `controller.sallyport.dev` is the controller: [people read the evidence](super::gate#people-read-the-evidence) |
//! | `limits.bufferedBytes` | `256MiB` | what all bodies in memory may take together |
//! | `limits.perPrincipal.bufferedBytes` | `64MiB` | what those of one user may take of it: [shares](super::request_life#shares) |
//! | `limits.perPrincipal.recordBytesPerSecond` | `16MiB` | what one user's calls may write to the log on average; ten seconds' worth may come at once |
//! | `limits.perPrincipal.calls` | `512` | one user's calls in flight, watches included |
//! | `limits.drain` | `25s` | how long SIGTERM waits for calls in flight, and for upgraded connections to end by themselves |
//!
//! Fixed: a request body has 3 MiB and 30 s, as with kube-apiserver; a request head 64 KiB, over HTTP/1.1 100 headers
//! and 30 s; a token 16 KiB; there are 4096 connections at most, of which an address may hold a quarter and a captured
//! pod a sixteenth and the pods of a namespace a quarter, and 8192 listeners inside of pods. Where few files may be
//! open there are fewer of both, and the log says so.
//!
//! ## A bucket as store
//!
//! ```yaml
//! recording:
//!   wal: {directory: /var/lib/sallyport/wal}
//!   store:
//!     s3: {bucket: example-evidence, prefix: prod, region: eu-central-1}
//! ```
//!
//! The gateway, and whoever reads the record with `sallyport audit`, needs these permissions and no others:
//!
//! ```json
//! {"Version": "2012-10-17", "Statement": [
//!   {"Effect": "Allow", "Action": ["s3:PutObject", "s3:GetObject"], "Resource": "arn:aws:s3:::example-evidence/prod/*"},
//!   {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::example-evidence"}
//! ]}
//! ```
//!
//! `PutObject` writes; `GetObject` compares where a name is taken, and reads; `ListBucket` lists for readers, and lets
//! the server say that an object is not there. A reader needs no `PutObject`, and nobody `DeleteObject`.
//!
//! Credentials are looked for as the AWS SDKs do, in this order: `credentialsFile` (its profile `default`);
//! `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, with `AWS_SESSION_TOKEN`; `AWS_WEB_IDENTITY_TOKEN_FILE` and
//! `AWS_ROLE_ARN`, which EKS sets for a ServiceAccount with a role; `AWS_CONTAINER_CREDENTIALS_FULL_URI` and its token
//! file (EKS Pod Identity) or `…_RELATIVE_URI`; the instance's metadata service. Those that expire are asked for again
//! five minutes before, and a file counts as soon as it is replaced; variables stay what they were at the start. No
//! other variable changes where records go or whether they are encrypted, but a proxy of `HTTPS_PROXY` is used.
//! `sallyport gateway --check` says which credentials it would use, and asks nobody.
//!
//! The server must know conditional writes (`If-None-Match: *`), as AWS, MinIO and Ceph do. Give the bucket versions,
//! and Object Lock with a default retention as long as the record must live: nobody can then remove evidence earlier,
//! and the gateway needs no permission for it, since a default of the bucket applies to every new object. Let a
//! lifecycle rule expire objects and old versions after that.
//!
//! ## The node agent
//!
//! One file serves every node: what differs comes from the environment, where a pod's downward API puts it. The types
//! are in [`crate::config::node`].
//!
//! | field | default | |
//! |---|---|---|
//! | `gatewayUid` | required | whom the gateway runs as; only it and root may connect at the socket |
//! | `node` | `NODE_NAME`, required | the Node object's name |
//! | `kubeconfig` | the pod's own credential | how the node agent reaches the API server |
//! | `socket` | `/run/sallyport/node.sock` | where gateways connect, as their `capture.socket`; in a directory of the host |
//! | `cgroupRoot` | found in `/proc/mounts` | the host's cgroup2 mount |
//! | `kubepods` | found below `cgroupRoot` | the cgroup of all pods, relative to `cgroupRoot` |
//! | `proc` | `/proc` | the host's `/proc` |
//! | `hostNetns` | `1/ns/net` below `proc` | the node's own network namespace, whose connections pass |
//! | `pins` | `/sys/fs/bpf/sallyport` | a directory on a bpffs of the host, which holds programs and maps while no process runs |
//! | `profile` | `shared` | what becomes of pods of which the API server has not told: `shared`, they pass; `dedicated`, they are taken for agents |
//! | `ports.first`, `ports.count` | `15300`, `256` | loopback ports inside of agents' pods, one a destination, which agents cannot bind; both are written or none. Within 1024 to 65535, at most 1024 of them, none of 30000 to 60999 |
//! | `destinations.names` | none | public names of the API server with their ports, resolved again and again: `api.example.com:443` |
//! | `destinations.addresses` | none | its addresses with their ports that the cluster does not know of: `203.0.113.7:6443` |
//! | `cloudMetadata` | `deny` | `allow` lets agents reach the cloud's metadata service, which hands out the node's credentials |
//! | `apiAudiences` | none | audiences that the API server accepts beside the usual ones: a pod with a token for one of these `needs-recreate` |
//! | `ownPod.namespace`, `.name`, `.uid` | `POD_NAMESPACE`, `POD_NAME`, `POD_UID`; else none | the pod that the node agent runs in, which passes whatever its labels say |
//! | `admin.listen` | not served | `/metrics`, `/healthz` and `/readyz` in plain HTTP |
//! | `reconcileInterval` | `30s` | how often what is there is compared with what should be; up to `60s` |
