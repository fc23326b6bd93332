//! # Operation
//!
//! ## Metrics
//!
//! `http://<admin.listen>/metrics`, in the OpenMetrics text format. Label values are closed sets, whatever agents
//! send: verbs are the eight of Kubernetes or `other`, and no metric has a user, an agent, a name or a path.
//!
//! | metric | type | labels | unit and meaning |
//! |---|---|---|---|
//! | `sallyport_calls_total` | counter | `verb`, `decision` (`allow`, `deny`, `none`), `code` (`1xx` … `5xx`, `none`) | recorded calls |
//! | `sallyport_call_duration_seconds` | histogram, 1 ms to 16 s | `verb` | seconds from the request's head to the recorded outcome; watches to their end |
//! | `sallyport_rejections_total` | counter | `reason` | requests that the gateway itself refused or could not serve |
//! | `sallyport_connections` | gauge | – | open connections of agents |
//! | `sallyport_upgraded_connections` | gauge | – | those of them that have left HTTP: exec, attach, port-forward and what else is allowed |
//! | `sallyport_captured_pods`, `sallyport_captured_listeners` | gauge | – | pods whose connections arrive here, and the listeners inside of them |
//! | `sallyport_node_agent_connected` | gauge | – | 1 while the node agent is there; without it listeners stay open, and no new pod is served |
//! | `sallyport_connection_errors_total` | counter | `kind` | what went wrong on agents' connections before there was a request to answer |
//! | `sallyport_wal_used_bytes`, `sallyport_wal_limit_bytes` | gauge | – | bytes of the write-ahead log that wait for the store, and its size |
//! | `sallyport_wal_full_seconds` | gauge | – | seconds until nothing is forwarded because the log is full; `+Inf` while it does not grow: [below](#a-store-that-is-down) |
//! | `sallyport_wal_failing` | gauge | – | 1 while records cannot be made durable, and so nothing is forwarded |
//! | `sallyport_wal_last_sequence` | gauge | – | sequence number of the newest record |
//! | `sallyport_wal_commits_total` | counter | – | writes to the log, each with one `fdatasync` for all records that waited |
//! | `sallyport_observed_total` | counter | decision (`deny`, `hold`) | calls that policies would have denied or held, and that passed in an observed namespace |
//! | `sallyport_audited_rules_total` | counter | – | rules of policies in `mode: Audit` that matched a call |
//! | `sallyport_decoys_read_total` | counter | – | decoys in answers to agents, and in pods that they make |
//! | `sallyport_break_glass_calls_total` | counter | – | calls that passed by a BreakGlass alone |
//! | `sallyport_break_glass_open` | gauge | – | BreakGlass objects that are open |
//! | `sallyport_alerts_lost_total` | counter | – | alerts that have no Event of their own, since too many different ones came; another Event counts them |
//! | `sallyport_reload_refused` | gauge | `part` (`policies`, `agents`, `record levels`, `serving certificate`) | 1 while the newest state is refused and the last good one stays |
//! | `sallyport_store_pending_files` | gauge | – | files cut from the log but not in the store yet |
//! | `sallyport_store_files_total`, `sallyport_store_failures_total` | counter | – | files written to the store, and attempts that failed |
//!
//! `reason` is one of `ambiguous`, `answer_not_masked`, `answer_not_recorded`, `approval_denied`, `approval_draining`,
//! `approval_expired`, `approval_pending`, `approval_too_many`, `approval_unavailable`, `approval_used`,
//! `approval_void`, `refused_by_api_server`, `authority_unavailable`, `body_broken`, `body_encoded`, `body_in_cbor`,
//! `body_too_large`, `body_too_slow`, `busy`, `denied`, `http_version`, `impersonation`, `not_recorded`,
//! `outcome_unknown`, `quota_bytes`, `quota_calls`, `quota_record`, `unauthenticated`, `unreachable`, `unsafe`,
//! `upgrade_not_allowed`, `upgrade_unusable`. Worth an alert: `wal_failing`, `wal_full_seconds` under an hour for two
//! minutes, `wal_used_bytes` over half of `wal_limit_bytes`, and any `not_recorded`, `answer_not_recorded` or `unsafe`.
//!
//! The node agent's, at its own `admin.listen`:
//!
//! | metric | type | labels | unit and meaning |
//! |---|---|---|---|
//! | `sallyport_node_pods` | gauge | `state` (`captured`, `denied`, `needs-recreate`, `exempt`, `unknown`) | pods of this node: [below](#which-pods-are-captured) |
//! | `sallyport_node_problems` | gauge | – | what is wrong on the node as a whole; the NodeCoverage says what |
//! | `sallyport_node_coverage_write_failures_total` | counter | – | attempts to write the NodeCoverage that failed |
//! | `sallyport_node_listeners` | gauge | – | listening sockets held in agents' pods |
//! | `sallyport_node_gateways` | gauge | – | gateways that hold the same listeners |
//! | `sallyport_node_mismatches_total` | counter | – | how often what was there was not what should be: links, listeners, canaries |
//! | `sallyport_node_kernel_decisions` | gauge | `decision` | what the kernel programs decided since their maps were made |
//!
//! `decision` is one of `denied`, `denied_bind`, `denied_guarded`, `dropped_packet`, `passed_unclassified`,
//! `redirected_v4`, `redirected_v4_mapped`, `redirected_v6`. Worth an alert: any pod in the states `denied` and
//! `unknown`, and any problem.
//!
//! The controller's, at its own `admin.listen`:
//!
//! | metric | type | labels | unit and meaning |
//! |---|---|---|---|
//! | `sallyport_controller_leader` | gauge | – | 1 where this replica leads |
//! | `sallyport_controller_deliveries_total` | counter | `kind`, `outcome` (`delivered`, `failed`, `given_up`) | messages to webhooks |
//! | `sallyport_controller_callbacks_total` | counter | `outcome` | callbacks: accepted, or why not |
//! | `sallyport_controller_votes_total` | counter | `outcome` | votes that callbacks brought: written, or why not |
//! | `sallyport_controller_evidence_calls_total` | counter | `outcome` | calls of people for evidence: answered, or why nothing was shown |
//!
//! ## Which pods are captured
//!
//! Each node agent writes one object, the `NodeCoverage` of its node's name, and renews its `observedAt` every 30 s for
//! as long as it looks. `kubectl get nodecoverages` shows the numbers, and these commands the rest, with the rights of
//! your own kubeconfig (`list` of `nodecoverages.sallyport.dev`, for coverage of `pods` too):
//!
//! | command | answers | exit code |
//! |---|---|---|
//! | `sallyport coverage -A` | which pods are `captured`, `denied`, `needs-recreate`, `exempt` or `unknown`, and why | 0 all captured or exempt, 3 not all |
//! | `sallyport discover -A` | which workloads connect to the API server, before anything is enforced | 0 |
//! | `sallyport doctor` | whether this node and the cluster can do what capture needs, whether what is installed works, and what to do | 0 nothing failed, 3 something did |
//! | `sallyport debug destinations --config node.yaml` | what a node agent redirects and guards | 0 |
//!
//! Each ends with 1 where it could not ask. `coverage` joins the reports with the pods that the API server has, so a
//! pod of a node without a report of the last two minutes is `unknown`, whatever was said of it before. `discover`
//! counts connections, not requests, of pods that run now, and says since when.
//!
//! | state | what to do |
//! |---|---|
//! | `denied` | the reason says what cannot be served; the pod is an agent, and its connections end nowhere meanwhile |
//! | `needs-recreate` | delete the pod, so that its owner makes it again with our token and CA |
//! | `unknown` | look at the node agent of that node: `kubectl -n sallyport-system get pods -o wide`, then its log |
//! | `exempt`, though it was meant to be an agent | static pods and pods in the node's network cannot be agents |
//!
//! A pod that becomes one of these gets one event: `AgentDenied`, `AgentNeedsRecreate`, `NeverAnAgent`.
//!
//! The list of destinations follows the cluster. What goes from it stays for an hour, and what finds no port of
//! `ports.count` is denied to agents and named among the problems. Node ports of Services that lead to the API server
//! are denied as well, since each would be a destination per node.
//!
//! ## A store that is down
//!
//! Calls go on while the write-ahead log has room; files are tried again after 1, 2, 4, 8 and then every 10 s, and the
//! log says why they fail. `wal_full_seconds` is the room that is left divided by the growth since files began to wait,
//! or in the last five minutes of that, what was released counted against what was appended. It is `+Inf` until files
//! have waited for ten seconds, and 0 once calls are refused; those get a 500 `Status` that names the log. Nothing
//! needs to be done afterwards: the backlog is stored in order, and calls pass again as soon as the first file has
//! left.
//!
//! On SIGTERM the gateway stores what is left within 20 s after the drain; what the store has not taken by then stays
//! in the log for the next start. So give a pod a `terminationGracePeriodSeconds` of `limits.drain` and 25 s more, and
//! its log a disk that outlives it.
//!
//! | the log says | what to do |
//! |---|---|
//! | `the server says NoSuchBucket`, `PermanentRedirect`, `AuthorizationHeaderMalformed` | check bucket, region and endpoint |
//! | `InvalidAccessKeyId`, `SignatureDoesNotMatch`, `ExpiredToken` | check the credentials; a `credentialsFile` may be replaced while the gateway runs |
//! | `AccessDenied` | grant what [the bucket's policy](super::configuration#a-bucket-as-store) needs |
//! | `no whole answer within …` | the endpoint hangs, or the line is too slow for a file: raise `recording.store.s3.timeout` |
//! | `… is not the file of the same records` | someone else wrote that name: find out who; move it away, and ours is stored |
//!
//! ## Connections that go wrong
//!
//! What is no request leaves no record: nobody has been authenticated, and nothing was forwarded. It is counted by
//! `kind`, and logged at `debug` with the client's address (`RUST_LOG=info,hyper=error,sallyport=debug`). HTTP/1.1 is
//! answered with a code and an empty body, and HTTP/2 with a reset or a GOAWAY. Whatever has a body is a `Status`, of
//! the gateway or of the API server.
//!
//! | `kind` | what the client did | what it gets |
//! |---|---|---|
//! | `share` | its address holds a quarter of all connections, or its pod a sixteenth | closed at once |
//! | `namespace` | nothing: the socket of a captured connection is not of its pod's network namespace | closed at once; look at the node agent |
//! | `certificate` | it does not trust our certificate; of a captured pod that is [recorded](super::evidence) too | – |
//! | `tls`, `tls_slow` | it speaks no TLS that we do, or no whole handshake within 10 s | an alert; closed |
//! | `malformed` | a first line, header, length or frame that is none: folded lines, spaces before colons, two lengths | 400; GOAWAY |
//! | `head_too_large` | HTTP/1.1 with over 100 headers, or a head over 64 KiB | 431 (414 for the target alone) |
//! | `head_slow` | no whole head within 30 s, an idle connection too | closed |
//! | `stream` | one malformed HTTP/2 request, a head over 64 KiB, or more than 250 streams at a time | a reset, for a large head behind a 431; the connection goes on |
//! | `flood` | HTTP/2 frames that cost more than they say: resets, continuations, empty data | GOAWAY `ENHANCE_YOUR_CALM` |
//! | `stalled` | HTTP/2 without a preface for 10 s, a ping unanswered for 20 s, nothing read for 60 s, or no call with a credential that holds for 30 s | closed |
//! | `answer_broken` | nothing: the API server's answer broke off | the cut answer, and HTTP/1.1 closed |
//! | `gone` | it left within a request or an answer | – |
//!
//! A client of HTTP/1.1 that closes its sending side has left, as for the API server itself: its call is given up and
//! recorded, and it gets no answer. Every client that is killed looks like this.
//!
//! ## Pods that cannot work
//!
//! | what shows | why | what to do |
//! |---|---|---|
//! | `a pod's client trusts another CA than the gateway's` in the log, or records of rule `authentication/client_rejected_certificate` | the pod is older than its namespace's label, or its client has a CA of its own | recreate the pod, or let its client trust the `ca.crt` beside its token |
//! | 401 `this pod was created before its namespace was labelled` | it mounts the API server's own token | recreate the pod |
//! | 401 `this token belongs to another pod`, rule `authentication/pod_mismatch` | one pod's token in another pod's hands | find out how it got there: the record names both |
//! | the init container `sallyport-start-gate` fails | its last line says what answered instead of a gateway | do what it says; the agent's containers have not started |
//!
//! ## What kubectl shows
//!
//! Messages of the gateway begin with `sallyport:`; all others are the API server's own. kubectl asks for discovery
//! first and drops the message of a refusal there ("unknown", "the server has asked for the client to provide
//! credentials"), so for discovery the gateway says it once more as a warning.
//!
//! | kubectl says | why | what to do |
//! |---|---|---|
//! | `denied by rule "built-in/not-approvable"` | nobody can be shown all of the call | the hint says what to send instead |
//! | `denied by rule "built-in/dry-run"` | only the API server can tell what the apply makes, and it cannot safely be tried | apply without `--server-side`; of custom resources, let the gateway list and watch `apiservices`, as the installed roles do |
//! | `denied by rule "built-in/masked-view"`, of a dry run | what is written would be masked | leave it out, or make the change without `--dry-run=server` |
//! | `objects in CBOR are not accepted` | 415: it could not be masked | send JSON, YAML or protobuf |
//! | `Forbidden: … denied by rule "p/r"` | that rule of that policy | ask its owner; repeating it changes nothing |
//! | `Forbidden: … denied by rule "default"` | no rule allows it | add a rule that does |
//! | `Forbidden: … "sallyport:sa:…" cannot …` | RBAC, for the synthetic user | bind a role to that user |
//! | `Warning: … refuses the gateway to impersonate …` | the gateway's role does not list that user | add it to `resourceNames` of the rule for `impersonate` |
//! | `Warning: … impersonation through the gateway is not allowed` | `--as` | leave it out: the agent is who its token says |
//! | `You must be logged in to the server`, with a warning | the token; the warning says what about it | get one of audience `sallyport` from an issuer that is configured |
//! | `Warning: … the gateway's own credential` | `upstream` | renew the gateway's credential |
//! | `unable to upgrade connection: … denied by rule "p/r"` | that rule of that policy, for exec, attach, cp and port-forward | as for any other call; kubectl has tried WebSocket and then SPDY, so the record has two calls of one step |
//! | `upgraded connections are not allowed for …` | `upgrades.allow` | watch and follow logs over plain HTTP, as all clients can |
//! | `the API server's answer was lost` | the connection broke after the call was sent | look at the object before repeating it |
//! | `denied by rule "AgentStop/x"` | a person stopped it | `sallyport agents resume`, once it is clear why |
//! | `not by g: …`, of `agents stop` | gateway g could not be asked, or has heard that the stop was lifted | it hears of the stop by its watch; run the same command again, and see that its pod runs |
//! | `denied by rule "built-in/not-heard"` | the gateway has not heard the cluster's objects | look at its log, the CRDs and ClusterRole `sallyport-gateway-objects` |
//! | nothing, for up to `approval.hold` | a person is asked | `kubectl get approvalrequests -A`; [the gate](super::gate) |
//!
//! Each response has an `Audit-ID` (`kubectl -v=8` shows it): `sallyport audit show` takes it, and the cluster's own
//! audit log has it too.
