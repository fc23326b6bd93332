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
//! 1. The floor, which is code: no token of an audience that the API server would accept (TokenRequests, Secrets of
//!    type `kubernetes.io/service-account-token`, signing requests for client or kubelet certificates), no change to
//!    objects of `sallyport.dev` or their definitions, no JSON Patch that tests or copies what a Secret holds, nothing
//!    whose verb is not known. Where only the body shows it, a body that cannot be read is refused.
//! 2. A `Deny` that matches. Neither file order nor a broader `Allow` changes that.
//! 3. An `Allow` that matches.
//! 4. The built-in rule for discovery: `/api`, `/apis`, `/openapi`, `/version`, and the self reviews behind
//!    `kubectl auth can-i` and `whoami`.
//! 5. `Deny`, by the rule `default`.
//!
//! A rule selects resources by `apiGroups`, `resources`, `namespaces` and `names`, all of which must be written, or
//! paths by `nonResourceURLs`. `"*"` matches everything and is never implied. A `Deny` for one name also denies
//! calls that name nothing but could touch it, such as a list; a `Deny` for one namespace likewise calls over all. A
//! server-side apply, and an update that can create, are denied where `create` is.
//!
//! exec, attach and port-forward are opened with `get` over WebSocket and with `create` over SPDY, depending on the
//! client, and are one action here: a `Deny` of either verb denies both, and so does an `Allow` of either allow both
//! where it names the subresource, as `resources: [pods/exec]`. An `Allow` of `get` for `resources: ["*"]` opens no
//! shell: it is how people write that somebody may read. The record keeps the verb that was used. cp is exec of `tar`.
//!
//! Policy comes on top of RBAC, which the API server asks of the synthetic user as of anybody. Therefore
//! `kubectl auth can-i` through the gateway answers for RBAC alone: its yes can still be a no of policy.
//!
//! The directory is read again when a file changes and on SIGHUP. A set that is wrong anywhere is refused whole,
//! with file, line, rule and field in the log, and the last good one stays; at a start there is none, so the
//! gateway does not start. `sallyport gateway --check` says the same beforehand, and warns of rules that can never
//! match because no issuer has the name they give.
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
