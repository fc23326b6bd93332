//! # A first install
//!
//! For Kubernetes 1.36 and later on Linux nodes with cgroup2. Every command but `kubectl` is this program's. Nothing
//! changes for any pod until a namespace is labelled.
//!
//! ## Step by step
//!
//! 1. **What the API server calls itself.** Its own tokens say who issues them (`iss`) and for which audiences it takes
//!    them (`aud`):
//!
//!    ```text
//!    kubectl create token default | cut -d. -f2 | base64 -d
//!    ```
//!
//!    An audience that is missing from the policies is a token that an agent could use around the gateway.
//!
//! 2. **Manifests.** Read what is printed, keep it in version control, apply it. If the API server refuses any document,
//!    stop here: a binding without its policy binds nothing.
//!
//!    ```text
//!    sallyport manifests --image sallyport:0.1.0 --cluster prod --issuer ISS --api-audience AUD > sallyport.yaml
//!    kubectl apply -f sallyport.yaml
//!    ```
//!
//!    `cgroupRoot` and the volume `cgroup` are where the host mounts cgroup2; `destinations` is for ways to the API
//!    server that the cluster does not know of. Both configurations are in ConfigMaps, so after a change:
//!    `kubectl -n sallyport-system rollout restart daemonset`.
//!
//! 3. **An authority.** Agents trust its root. The gateways issue with an intermediate that can vouch for the API
//!    server's names and addresses alone: name every one that clients use, or they will refuse the gateway there.
//!
//!    ```text
//!    sallyport ca create --directory ca --service-cidr 10.96.0.0/12 --address ENDPOINT --name api.prod.example
//!    kubectl -n sallyport-system create secret tls sallyport-issuer --cert ca/issuer.crt --key ca/issuer.key
//!    ```
//!
//!    `ca/ca.key` belongs in a safe. The intermediate lasts two years; `sallyport ca renew` makes another for the
//!    same names and addresses, and no agent notices.
//!
//! 4. **A masking key.** Equal secrets get equal placeholders in the records of all nodes while it stays the same.
//!
//!    ```text
//!    kubectl -n sallyport-system create secret generic sallyport-masking \
//!      --from-literal=masking.key="$(head -c 32 /dev/urandom | base64)"
//!    kubectl -n sallyport-system rollout status daemonset/sallyport-node daemonset/sallyport-gateway
//!    ```
//!
//! 5. **Policies and agents**, as ConfigMaps of `*.yaml` files ([`policies`](super::policies)). Without them every call
//!    but discovery is denied, unless its namespace is only observed.
//!
//!    ```text
//!    kubectl -n sallyport-system create configmap sallyport-policies --from-file=policies/
//!    kubectl -n sallyport-system create configmap sallyport-agents --from-file=agents/
//!    ```
//!
//!    `AgentPolicy` and `Agent` objects of the cluster count as well ([`policies`](super::policies)). ClusterRole
//!    `sallyport-approver` is for people who decide, `sallyport-operator` for people on call; both are bound to nobody.
//!
//! 6. **A namespace.** `--observe` labels it `observe`, which can be raised to `enforce`: what policies deny passes, and is
//!    recorded as what it would have been ([`policies`](super::policies#only-observed)). The command refuses a namespace in which a Secret holds a ServiceAccount token, checks by a pod that
//!    is never made that admission acts, puts the CA there, labels, and lists the pods that must be made anew.
//!
//!    ```text
//!    sallyport agents enforce coders --observe --ca-file ca/ca.crt --api-audience ISS --api-audience AUD
//!    sallyport rbac generate -n coders | kubectl apply -f -
//!    kubectl -n coders rollout restart deployment
//!    ```
//!
//!    Without `--observe` the same command raises it, once `sallyport audit list --enforcement observe --decision deny` lists
//!    nothing that should pass.
//!
//! A pod in any other namespace becomes an agent's by the label `sallyport.dev/agent: "true"` when it is created. The
//! ConfigMap `sallyport-ca` must be there (`kubectl create configmap sallyport-ca --from-file=ca.crt`), or the pod waits.
//!
//! ## What each policy promises
//!
//! | policy | promise |
//! |---|---|
//! | `sallyport-agent-token` | no ServiceAccount token of the pod is good at the API server: its audience is `sallyport`. The CA at the standard path is ours |
//! | `sallyport-start-gate` | before any code of the agent runs, a first init container has seen that connections end at the gateway, by our CA and no file of the pod's own. It runs again for each new sandbox, not when a container restarts |
//! | `sallyport-drop-net-raw` | no container has raw sockets |
//! | `sallyport-agent-pods` | all of this holds of the pod that is stored, whoever mutated it; no host namespaces, ports or paths, no privilege, no capability but `NET_BIND_SERVICE`, no runtime with a kernel of its own; no `host` in probes and lifecycle hooks, which the kubelet would call from the node's network; no sysctl that hands out the reserved ports. It is the same for ephemeral containers, and none comes before the gate has succeeded |
//! | `sallyport-no-token-secrets` | no Secret of an agents' namespace gets a ServiceAccount token for ever |
//! | `sallyport-ca` | in agents' namespaces only administrators (`system:masters`, `sallyport:admins`, whoever may create policy bindings) write the ConfigMap `sallyport-ca`, and no agent's user ever does |
//! | `sallyport-no-kubernetes-service` | no new Service of an agents' namespace takes the place of `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` |
//! | `sallyport-namespace-label` | nobody takes the label away, weakens it or deletes the namespace, through any subresource, but the group `sallyport:admins`; `kube-*` and `sallyport-system` never get it |
//! | `sallyport-pod-labels` | a pod's labels of `sallyport.dev` are those it was created with |
//! | `sallyport-node-agent` | the node agent labels and reports about its own node, and changes nothing else of it |
//! | `sallyport-approval-request`, `sallyport-approval-decision` | only gateways ask for approval and use one; a vote is its writer's own, of the groups that the rule asks for, and never by who asked, an agent or a ServiceAccount |
//! | `sallyport-stops` | whoever makes an AgentStop is its `by`, whoever lifts it is `status.resumed.by`, for good, and none is deleted before; agents do nothing of this |
//! | `sallyport-via` | an agent's user changes nothing except through a gateway, and mints no token for the API server even there |
//!
//! All fail closed, and none has parameters: where a parameter object is missing, the API server refuses whatever the
//! policy matches. If writes are ever refused by one of them in error, delete its *binding*, which no policy guards.
//! A policy counts about a second after it is stored. It sees pods, not templates: a Deployment is accepted, and says in
//! its condition `ReplicaFailure` why its pods do not come.
//!
//! A mutating webhook that wants the first init container's place each time makes the pod refused, and so does one that
//! puts variables into every init container, as EKS's for IAM roles: there, annotate pods with
//! `eks.amazonaws.com/skip-containers: sallyport-start-gate`. A `LimitRange` whose minimum is above 10m CPU or 16Mi
//! refuses the gate; raise its resources in `sallyport-start-gate`.
//!
//! ## What admission does not cover
//!
//! - **Reads.** get, list, watch, logs and reviews pass no admission. For those the credential is the boundary, and RBAC:
//!   whoever may impersonate an agent's user reads as that agent.
//! - **Policies, bindings and webhook configurations themselves.** Whoever may change them may switch all of this off;
//!   watch them in the cluster's own audit log.
//! - **Pods that are older than the label.** They keep their token for the API server until they are made anew. They are
//!   redirected and get 401; their spec cannot change any more.
//! - **Static pods**, which no API server admits: they are never agents.
//! - **Secrets that a pod mounts.** Their type is not visible from the pod. In agents' namespaces the type is kept out; a
//!   pod that is an agent by its own label mounts what its namespace has.
//! - **The CA and Services where a pod is an agent by its own label.** RBAC alone says who writes `sallyport-ca` and a
//!   Service `kubernetes` there. In agents' namespaces, one of either that is older than the label stays: `--ca-file`
//!   replaces the CA, and such a Service you must delete.
//! - **Other credentials.** Tokens for other audiences (a vault, a cloud) stay as they are, and a cloud identity that the
//!   API server accepts is a way around; `cloudMetadata: deny` closes the node's.
//! - **Aggregated API servers**, which have an admission of their own.
//!
//! ## Whose rights
//!
//! The gateway holds no right on what agents work on. It reads Sallyport's own objects, namespaces and APIServices,
//! asks for approvals and marks them used, and makes an AgentStop where `decoys.stopSession` is set. It may review
//! tokens, and be the users that `sallyport rbac generate` names, one by one, since RBAC knows no prefix. As any of
//! them it can do no more than the ClusterRole `sallyport-gateway-ceiling` says, in the namespaces where that is bound:
//! constrained impersonation, of Kubernetes 1.36. **One rule with the old verb `impersonate` beside it lifts the
//! ceiling, silently**; the metric `apiserver_impersonation_attempts_total{mode="legacy"}` of the API server must stay
//! 0, and an audit event without `authenticationMetadata` was such a call. `kubectl auth can-i` answers the agent's
//! RBAC and knows no ceiling.
//!
//! Copies leave out `impersonate` and `create` on `serviceaccounts/token`, which ClusterRole `admin` has: a copy of it is a
//! role of its own that does not follow the original. Run `rbac generate` again when ServiceAccounts or bindings change.
//! What could not be copied it says, such as a role for every resource.
//!
//! The node agent and the gateway are two DaemonSets and meet at a socket of the host. One pod has one ServiceAccount, and
//! what parses agents' requests must not hold the rights of what classifies pods. RBAC cannot limit the node agent to pods
//! of its node, nor its `patch` of Nodes to labels; the latter `sallyport-node-agent` does.
//!
//! ## The log of a gateway's pod
//!
//! Two gateways run on a node while one replaces the other, so each pod has a log of its own,
//! `/var/lib/sallyport/wal/POD-UID`. A container that restarts goes on in it. A pod that ends has stored its records if
//! the store was in reach; if not, they stay in that directory of the node, and no later gateway picks them up by itself:
//! run `sallyport gateway` with that directory as `recording.wal.directory`, and look for such directories before a node
//! goes away. `recording.store.directory` is on the node too, and lost with it: in earnest, use a bucket.
