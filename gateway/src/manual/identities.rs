//! # Identities
//!
//! An agent's token has the audience `sallyport`. The API server answers 401 to it, so a token that
//! leaks, or an agent that finds another way to the API server, has nothing to use there. That is the
//! boundary; the network only makes it convenient.
//!
//! Upstream the gateway impersonates a **synthetic user**, `sallyport:sa:<namespace>:<name>` or
//! `sallyport:oidc:<issuer>:<sub>`, in the group `sallyport:agents`, and says in extras which agent, model
//! and gateway this is. The agent's own ServiceAccount needs no rights at all, RBAC is bound to the
//! synthetic user, and the cluster's own audit log shows it as `impersonatedUser` under our `Audit-ID`.
//! `system:` users and groups are refused in code, whatever a configuration says.
//!
//! For a ServiceAccount token the cluster's keys are only a filter that answers cheap lies cheaply;
//! TokenReview is the authority, because only the API server knows that a pod is gone. Its yes is kept
//! for ten seconds at most, which is what the API server itself does.
//!
//! On the explicit listener no kernel vouches for the pod behind a connection, so a pod's token would
//! work for whoever stole it: ServiceAccount tokens are refused there unless
//! `explicit.allowServiceAccountTokens` is set, which the demo and the tests do.
//!
//! What is known of an agent beyond its credential carries its source: `oidc-claim` where the issuer
//! says it, `operator-declared` where an `Agent` object says it, `self-declared` where only the agent
//! does. CI jobs are matched on immutable ids (`repository_id`, `project_id`), never on names or `sub`
//! strings, which can be given to someone else.
