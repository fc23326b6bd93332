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
//! `explicit.allowServiceAccountTokens` is set, which the demo and the tests do. The record and an alert (`TokenTheft`)
//! say whose it was, where it is bound to a pod and good by the cluster's keys; the API server is not asked.
//!
//! ## Captured pods
//!
//! A captured connection arrives at a listener inside of the pod's own network namespace. The node agent made it for
//! that pod and that destination, so the listener that accepts says who is calling and where to, and the kernel says
//! with the accepted socket (`SO_NETNS_COOKIE`) that it is so; a socket of another namespace is closed. Addresses are
//! never identity: all pods come from their loopback.
//!
//! The token must agree. A ServiceAccount token has the audience `sallyport` and is bound to exactly that pod, or the answer
//! is 401:
//!
//! | reason | what was shown |
//! |---|---|
//! | `pod_mismatch` | another pod's token. The record has both, the pod that connected as `workload` and whose token it was as `user` |
//! | `not_bound_to_pod` | a token that `kubectl create token` made: it proves no pod |
//! | `needs_recreate` | the API server's own token, in a pod that was made before its namespace was labelled: recreate it |
//! | `wrong_audience` | a token for something else |
//!
//! An OIDC token is verified as on the explicit listener. It proves no pod, and whoever stole it could show it in any: the
//! caller is the user and the pod together, `user` and `workload` in the record, and only a rule whose subject is a
//! `workload` allows it anything ([`policies`](super::policies)). Its session is the CI run, else the pod.
//!
//! The pod is compared for every request, also where TokenReview's answer about the token is known already, so no pod
//! profits from what another has shown. `explicit.allowServiceAccountTokens` is not asked. `workload` is what the node
//! agent says of the pod; its labels are worth what the right to create the pod is worth, so where an agent can create
//! pods they are as good as self-declared, and no policy reads them. `process` is the process that made the connection
//! as the kernel saw it, absent where the answer took longer than 50 ms: later requests on the connection may be another
//! process's, which was given the socket.
//!
//! What is known of an agent beyond its credential carries its source: `oidc-claim` where the issuer
//! says it, `operator-declared` where an `Agent` object says it, `self-declared` where only the agent
//! does. CI jobs are matched on immutable ids (`repository_id`, `project_id`), never on names or `sub`
//! strings, which can be given to someone else.
