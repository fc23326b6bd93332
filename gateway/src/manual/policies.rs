//! # Policies and record levels
//!
//! Two questions are asked of each call, in files of their own: may it happen, and how much of it is kept.
//!
//! ## May it happen
//!
//! `policy.directory` holds [`AgentPolicy`](crate::api::v1alpha1::agent_policy) objects. A policy has subjects (a
//! ServiceAccount, claims of an OIDC issuer, an agent by name, or `all: "*"`) and rules. All rules of all policies
//! whose subject is the caller count together:
//!
//! 0. An [`AgentStop`](crate::api::v1alpha1::agent_stop) for the caller: everything is denied
//!    ([the stop](super::gate#the-stop)).
//! 1. The floor, which is code: no token of an audience that the API server would accept (TokenRequests, Secrets of
//!    type `kubernetes.io/service-account-token` or `bootstrap.kubernetes.io/token`, Secrets `bootstrap-token-*` of
//!    `kube-system`, signing requests for client or kubelet certificates; in volumes a
//!    `serviceAccountToken` of another audience than `sallyport`, and any `podCertificate`, that was not there before), no
//!    change to objects of `sallyport.dev` or their definitions, no JSON Patch that tests or copies what a Secret holds,
//!    nothing whose verb is not known. Where only the body shows it, a body that cannot be read is refused. What runs outside
//!    of agents' namespaces is out of the gateway's sight: pods, what makes them, kinds that Kubernetes does not define,
//!    exec, attach and port-forward need a rule that names the namespace, not `"*"`. Whoever makes a pod reads the
//!    Secrets that it names, so the rules on `get` of those Secrets count; Secrets that only pull images do not. A Secret
//!    that the agent would see only masked is given to no pod, unless every rule that masks it has `secretReferences:
//!    Allow`.
//! 2. A `Deny` that matches. Neither file order nor a broader `Allow` changes that.
//! 3. A `RequireApproval` that matches: [a person decides](super::gate), also on what no `Allow` allows.
//! 4. An `Allow` that matches.
//! 5. The built-in rule for discovery: `/api`, `/apis`, `/openapi`, `/version`, and the self reviews behind
//!    `kubectl auth can-i` and `whoami`.
//! 6. `Deny`, by the rule `default`.
//!
//! A rule selects resources by `apiGroups`, `resources`, `namespaces` and `names`, all of which must be written, or
//! paths by `nonResourceURLs`. `"*"` matches everything and is never implied. A `Deny` for one name also denies
//! calls that name nothing but could touch it, such as a list; a `Deny` for one namespace likewise calls over all. A
//! server-side apply, and an update that can create, are denied where `create` is.
//!
//! A whole policy, with a rule that allows, one that asks people and one that denies:
//!
//! ```yaml
//! apiVersion: sallyport.dev/v1alpha1
//! kind: AgentPolicy
//! metadata: {name: shop-fixer}
//! spec:
//!   subjects:
//!     - agent: {name: fixer}
//!   rules:
//!     - name: look
//!       effect: Allow
//!       verbs: [get, list, watch]
//!       apiGroups: ["", apps]
//!       resources: [pods, pods/log, deployments, secrets]
//!       namespaces: [shop]
//!       names: ["*"]
//!       agentView: Masked
//!     - name: scale
//!       effect: RequireApproval
//!       verbs: [patch, update]
//!       apiGroups: [apps]
//!       resources: [deployments, deployments/scale]
//!       namespaces: [shop]
//!       names: ["*"]
//!       approval: {groups: [shop-owners], hold: 2m}
//!     - name: not-to-the-node
//!       effect: Deny
//!       verbs: ["*"]
//!       apiGroups: ["*"]
//!       resources: ["*"]
//!       namespaces: ["*"]
//!       names: ["*"]
//!       when: risk.reachesNode
//!       reason: agents stay off the nodes
//! ```
//!
//! exec, attach and port-forward are opened with `get` over WebSocket and with `create` over SPDY, depending on the
//! client, and are one action here: a `Deny` of either verb denies both, and so does an `Allow` of either allow both
//! where it names the subresource, as `resources: [pods/exec]`. An `Allow` of `get` for `resources: ["*"]` opens no
//! shell: it is how people write that somebody may read. The record keeps the verb that was used. cp is exec of `tar`.
//!
//! A rule's `when` and `unless` are CEL over `request`, `user`, `workload`, `provenance`, `risk`, `object` and
//! `oldObject`. Where one cannot be evaluated, an `Allow` does not match, and `Deny` and `RequireApproval` do; the denial
//! says why and shows no value of an object. A verb or class of risk that does not exist is refused, and so is a condition
//! that is written out as something else than true or false. An expression has at most 4 KiB, no loop inside a loop, and regular
//! expressions written out. It does not read objects with a list or map of more than 2,000 entries. Provenance that only
//! the agent itself vouches for is absent.
//!
//! A call is decided by its request line where that is enough. Only where a rule, a class of risk or the floor reads the
//! object is it learned: from the body, by a read as the agent, or by a dry run of the API server. `object` is the object
//! *after* the change. What cannot be learned is denied, and what is sent then is what was judged: as JSON, on condition
//! that the object is still the one it was; if it is not, the call is judged anew. Each of these reads is a record of its
//! own, by the rules `built-in/lookup` and `built-in/dry-run`.
//!
//! A server-side apply and a strategic merge patch, which `kubectl apply` and `edit` send, only the API server can work
//! out. They are tried where kube-apiserver itself stores the object, so that a dry run stores nothing: Kubernetes' own
//! resources, and custom resources whose APIService `kubectl get apiservices` shows as `Local`, which the gateway hears
//! with `objects` in its configuration. The read as the agent comes first: who may not get the object is denied by
//! `built-in/lookup`, and nothing is tried. An aggregated API server might carry a dry run out, so it is sent none; there,
//! and while the gateway does not know who serves a group, an apply that creates is read from its body, and one that
//! changes is denied by `built-in/dry-run`: use `kubectl apply` without `--server-side`. An admission webhook that has
//! side effects makes the API server refuse a dry run, and so the call. What the gateway heard of APIServices stays known
//! while its watch fails: put no API server of your own behind a group that was `Local` before the gateways hear again.
//!
//! `risk` is the gateway's own class of a call, `low`, `medium`, `high` or `critical`, with its reasons in plain words.
//! `risk.reachesNode` tells that pods would be made which may do to their node what they like. What a pod or a template
//! is already counts for nothing as long as its programs, what they were given and all else of its spec stay, and a
//! workload that made no pods makes none: a label on a privileged pod is harmless; another image or user in it, another
//! node, or a schedule that resumes, is not. `kubectl scale` shows no template, so a start by it is not told.
//! `deploy/policies` has policies to begin with, `read-only`, `developer-agent`, `ci-deployer` and `guardrails`, each
//! with its cases. A policy in `mode: Audit` decides nothing.
//!
//! A captured pod may present a user's OIDC token instead of its own. Such a token proves no pod, so an `Allow` counts only
//! with a subject `workload`, which names both: `serviceAccount`, as the kernel saw the pod, and either `oidc` or `agent`.
//! What is denied, or left to people, for the user, the pod's ServiceAccount or the agent that is declared for it, is so for
//! the two together, and a stop of any of these, or of the pod's session, stops the user there. The pod's agent lets nothing
//! pass: no `Allow`, no `workload` and no BreakGlass sees it.
//!
//! Policy comes on top of RBAC, which the API server asks of the synthetic user as of anybody. `kubectl auth can-i`
//! through the gateway answers for RBAC and policy: a no names the rule. Of a yes that needs approval the answer's `reason`
//! says so, which kubectl does not print. `--list` shows RBAC's rules and says that policy allows less.
//!
//! With `objects` in the configuration, `AgentPolicy` and `Agent` objects of the cluster count beside the files, as one
//! set; a name may be in one place only. Until all of them have been heard and were valid once, every call is denied and
//! the gateway is not ready. Later, while anything is wrong anywhere, the last good set stays: the log says once what and
//! where, `sallyport_reload_refused` is 1, and `kubectl get agentpolicies` shows it once a controller runs. While the API
//! server is away, what is known stays. The definitions keep fields that nobody knows wherever such a field would narrow
//! what an object matches or allows, so a misspelt `when:` makes the gateway refuse the policy instead of widening it. A
//! `BreakGlass` with such a field opens nothing, and `break-glass approve` names the field. An
//! `Agent` that is changed or deleted counts for calls that begin afterwards; stop the agent to end what it runs.
//!
//! Every set that was in force is in the store as `policies/<digest>.jsonl`; `sha256sum` of the file is the
//! `policyDigest` of the record.
//!
//! The directory is read again when a file changes and on SIGHUP. A set that is wrong anywhere is refused whole,
//! with file, line, rule and field in the log, and the last good one stays; at a start there is none, so the
//! gateway does not start. `sallyport gateway --check` says the same beforehand, and warns of rules that can never
//! match because no issuer has the name they give.
//!
//! | command | answers |
//! |---|---|
//! | `sallyport policy check DIR` | what is wrong, with file, line and rule |
//! | `sallyport policy test DIR` | whether the cases, `*.test.yaml` beside the policies, come out as they say |
//! | `sallyport policy explain` | per rule, why it matches one call or which selector does not, and whether it masks the answer |
//! | `sallyport policy simulate` | which recorded calls another set would decide otherwise, or show in clear where they were masked; what the record cannot tell is `undecidable` |
//! | `sallyport policy suggest` | the least that allows what an agent did, masked where it saw it masked, with its cases |
//!
//! `explain` judges a user's token out of a captured pod with `--pod-account` and `--pod-agent`; a case has
//! `serviceAccount`, `oidc` and `podAgent`. Of a recorded call whose pod may have been a restricted agent's, `simulate`
//! says `undecidable`.
//!
//! `simulate` and `suggest` read the record with their own rights (`--config`, `--store`), or through the controller
//! where neither is named: with the rights to list and get records, in all namespaces or in that of `-n`. They read page
//! after page to the end and say how many calls those were. What they could not read is named, in `problems` of
//! `simulate -o json` too, and the exit code is no success.
//!
//! ## Only observed
//!
//! In a namespace labelled `sallyport.dev/agents=observe` the effect of policies is lowered, and nothing else, for its
//! own captured pods: what policies deny, or would hold, is forwarded, nobody is asked, and no watch ends because
//! policies deny it. Views, record levels and `streams` hold as everywhere: a watch that would be masked now, or
//! recorded more fully, ends. The record has `enforcement` `observe`, the decision as it would have been and its rule;
//! the log has the reason, and `sallyport_observed_total` counts. What enforcing would change:
//!
//! ```text
//! sallyport audit list --config gateway.yaml --enforcement observe --decision deny
//! sallyport audit list --config gateway.yaml --enforcement observe --decision hold
//! ```
//!
//! `simulate` and `suggest` take such a call for one that passed. `kubectl auth can-i` says yes, and in `reason` which rule
//! would say no. What is not lowered, there as everywhere, and has `enforcement` `enforce` in the record:
//!
//! - authentication, quotas, stops, and recording: what cannot be recorded is not forwarded here either;
//! - masked views, the guard against writing placeholders back, and with them what compares values that are masked; where a
//!   rule denies and another one masks, the answer is masked;
//! - what the floor protects: Sallyport's own objects, namespace, labels and keys, the ways around the gateway, and the API
//!   server's credentials. What it must look at for that is learned; what cannot be learned is denied, such as an update of
//!   a Deployment by an agent that the API server does not let `get` it.
//!
//! That a rule must name the namespace, and that a Secret in a pod counts as a read, asks for rules: these parts of the floor
//! are effects of policies, and lowered. Which namespaces are observed the gateway hears from the cluster, so that needs
//! `objects` in its configuration; until it has heard, policies count. Raised to `enforce`, what runs is judged at once, and a stream ends
//! that nobody approved and whose rule requires approval. Where a BreakGlass is open too, it counts first, and what it does
//! not reach is observed.
//!
//! ## How much of it is kept
//!
//! `recording.policyFile` is an unchanged `audit.k8s.io/v1` Policy: the first rule that matches gives the level. A
//! rule written for the caller's own name matches, and so does one for its synthetic user. Where no file is
//! given the shipped one is used:
//!
//! | calls | level |
//! |---|---|
//! | watch, and paths outside the resource API | `Metadata` |
//! | list of Secrets, ConfigMaps and RBAC objects | `RequestResponse` |
//! | other lists | `Metadata` |
//! | everything else | `RequestResponse` |
//!
//! `None` is raised to `Metadata` unless `recording.allowNone` is set. No level turns masking off, and none makes a
//! denied call disappear. A body over 1 MiB, and one that is not JSON, is kept as type, length and digest.
//! Of what a program prints the first MiB is kept: logs as a text, exec and attach as an object with `stdout`,
//! `stderr` and `exitStatus`, 512 KiB each. What is longer, or no text, ends in `...TRUNCATED`.
//!
//! `detectors` in a policy say what secrets of your own look like: `name`, `prefix`, `characters`, `length`, perhaps
//! `check: LooksRandom`, and made-up examples in `mustMatch` and `mustNotMatch`. While the policy is in force they
//! are looked for in the records of all callers, and where an agent sees secrets masked, in any mode. A detector that
//! does not do what its examples say makes the policy refused. None takes anything away.
//!
//! `sensitiveFields` in a policy say where secrets stand that nothing about them gives away: fields of custom resources,
//! or all of one ConfigMap. They count where and when detectors do, and only add:
//!
//! ```yaml
//! sensitiveFields:
//! - apiGroups: [external-secrets.io]
//!   resources: [pushsecrets]
//!   namespaces: ["*"]
//!   names: ["*"]
//!   paths: [".spec.data[*].value", ".spec.template['a.b']"]
//! - apiGroups: [""]
//!   resources: [configmaps]
//!   namespaces: [shop]
//!   names: [legacy-credentials]
//!   paths: [".data.*", ".binaryData.*"]
//! ```
//!
//! All five lists are required. A path is a JSONPath of kubectl's in one object: `.name`, `['a.b']`, `.*` and `[*]`, of at
//! most 16 segments; an index, a filter, a slice and `..` are refused. Names are compared without case. All that is at
//! or below a path is hidden, in objects, subresources, lists, watches, patches and what kubectl noted of the object, and
//! so is every cell of a table of such objects but name and age, whoever prints it; those of ConfigMaps, Secrets and
//! ApprovalRequests only where they show such a field. Behind 10,000 hidden values of one body, whole lists and objects
//! are hidden. An object that says neither in the body nor in the URL what it is called, or where it is, counts as one
//! that is meant. A policy has at most 64 entries, all together 256.
