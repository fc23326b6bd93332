//! # Capture
//!
//! How an agent's connections come to the gateway although nobody told the agent, and what still holds while which
//! part is dead. The network is what makes capture invisible; the boundary is the credential: an agent's token is of
//! no use to the API server ([`identities`](super::identities)).
//!
//! ## The way of a connection
//!
//! ```text
//! agent's pod                                kernel                                   gateway, no privilege
//!   connect(10.96.0.1:443) ────────────────▶ DESTINATIONS: 10.96.0.1:443 is 15300
//!                                            PODS: this pod's cgroup is an agent's
//!   connected to 127.0.0.1:15300 ◀────────── rewritten, in the pod's own network
//!     └──────────── listener in the pod ──────────────────────────────────────────▶ accept: pod, destination
//! ```
//!
//! - **Who**: the listener was made inside of one pod's network namespace and only that pod reaches it. So the
//!   listener that accepted says which pod it is; a source address never does. The namespace's cookie is compared
//!   for every connection.
//! - **Where to**: each destination has a port of its own, on `127.0.0.1` for IPv4 and on `[::1]` for IPv6. A port that
//!   has stood for a destination stands for no other within the hour. No table of connections exists that could lose
//!   an entry.
//! - **What it costs others**: a pod that is no agent is marked so, and its connections are left alone, with every part
//!   of Sallyport dead too.
//!
//! ## Which pods
//!
//! | pod | becomes |
//! |---|---|
//! | in a namespace labelled `sallyport.dev/agents=enforce` or `observe` | an agent |
//! | labelled `sallyport.dev/agent=true`, in any namespace | an agent |
//! | one of these that carries a token for the API server, or our token without the ConfigMap `sallyport-ca` beside it | an agent that `needs-recreate`: redirected, and told so with a 401 |
//! | in the node's own network; made from a file on the node (static) | never an agent: `exempt`, with an event where a label meant otherwise |
//! | the node agent's own | `exempt`, before anything is attached |
//! | one of which the API server has not told | `unknown`: passes in profile `shared`, is an agent in `dedicated` |
//!
//! A pod is known by its cgroup, whose directory kubelet names after the pod's UID, in any of kubelet's layouts; the
//! outermost directory counts, so nothing made inside of a pod makes it another. A static pod is told by the name of
//! its cgroup alone, never by an annotation, which anyone could set. The API server's word and the cgroup may come in
//! either order. What the API server has said of a pod stays in force while it is away, and as long as the pod's
//! cgroup exists, even when the pod was deleted with force.
//!
//! The gateway's pod is like any other that is no agent: `exempt` once the API server has told of it. In profile
//! `dedicated` its connections to the API server are refused until then, so a gateway that is made anew while no node
//! agent runs on its node is not ready before that is back. One that was there already is not touched: what the kernel
//! knows of its pod stays.
//!
//! ## The order
//!
//! For an agent: the guard that keeps its processes off the reserved ports, the listeners, its entry in `PODS`, the
//! links on its own cgroup, a canary's connection. Then it is `captured`. Where a step fails the later ones still
//! happen, except that no listener comes without the guard: connections are then led to where nobody listens, and
//! refused (`denied`). It is tried again after 20 ms and up to every 2 s, and holds up no other pod.
//!
//! For a destination: listeners in every agent's pod first, then the kernel's list. For a pod that ends: its listeners
//! first, here and in every gateway, so that its network can go; then what the kernel knows of it.
//!
//! A pod's network is entered by a thread that ends there. It has to be the network of a process in the pod's cgroup,
//! not the node's, and to have an address that the API server says the pod has. So a pod is `denied` until kubelet has
//! reported its address, about a second.
//!
//! ## What is observed
//!
//! Every `reconcileInterval`, and soon after a container came or went in a pod:
//!
//! - the kernel is asked which programs run on the cgroups where ours should; a pin proves nothing;
//! - each agent's network is entered as it is now. Its cookie says whether it is the one that the listeners are in: a
//!   pod whose sandbox was made anew under the same UID gets new ones. The kernel's list of listening sockets has to
//!   have ours on each port and no other, by the socket's own number. One connection for each IP version has to come
//!   about.
//!
//! The canary connects at first, and from then on while a gateway is there, since nobody else would take it out of the
//! queue. It proves that the kernel completes a connection on our socket. It does not prove that a gateway accepts it,
//! which is the gateway's own readiness, nor that a `connect` in the pod is rewritten, which the first observation
//! proves. What differs is repaired; the node agent is not ready until it was seen to be right, and
//! `sallyport_node_mismatches_total` counts it.
//!
//! ## Who holds what, and what holds while which part is dead
//!
//! Programs, their lists and their links are pinned: no process has to run for them to work. Listeners are held twice,
//! by the node agent and by the gateway.
//!
//! | dead | agents | other pods |
//! |---|---|---|
//! | node agent | those captured are served as before. New pods are `unknown` until it is back; new sandboxes are refused | no change |
//! | gateway | up to 1024 connections a listener wait in the kernel and are served when it is back | no change |
//! | both | refused | no change |
//! | API server | the gateway answers that it is unreachable; the node agent keeps to what it knows | their own business |
//! | everything, after a reboot | nothing is redirected until the node agent is up: the token is no use to the API server, and the start gate keeps agents from starting | no change |
//!
//! A node agent that starts waits up to 3 s for a gateway, and up to 10 s for what it holds, before it opens a
//! listener itself, since a port cannot be listened on twice. Where someone else holds it, the pod is `denied` and
//! its reason says so, until the holder gives it back or the pod is made again.
//!
//! ## Upgrades
//!
//! A new node agent says so at the old one's socket; the old one stops acting, hands over every listener, and waits
//! for its end with `superseded` in `/readyz`. The new one replaces the programs in one step each and puts its own
//! socket in the place of the old one; gateways connect again within a moment, and no connection is refused meanwhile.
//! If the versions of the kernel's lists differ, the old programs work on until the new ones have been told all
//! destinations. With `maxSurge: 1`, `maxUnavailable: 0` that is a rolling upgrade; it takes no host port.
//!
//! SIGTERM removes nothing, since it also comes before a reboot and in every upgrade. `sallyport node uninstall` alone
//! removes what is pinned, and then agents' connections go to the API server, which refuses their tokens. End the node
//! agent first: one that runs puts back what it misses.
//!
//! ## Operations
//!
//! The node agent needs the host's cgroup2, bpffs and `/proc` (with the host's processes in it), and five capabilities:
//! BPF and NET_ADMIN for the programs, SYS_ADMIN and SYS_PTRACE to enter agents' networks, CHOWN to give its socket to
//! the gateway's user. Its API rights: list and watch pods, namespaces, services, endpointslices and nodes; patch its
//! own Node's labels; write its NodeCoverage and events. It parses nothing that an agent sent, and `cargo xtask layers`
//! checks that its code cannot. Its fields are in [configuration](super::configuration#the-node-agent), its metrics in
//! [operation](super::operation#metrics).
//!
//! | you see | do |
//! |---|---|
//! | `/readyz` waits for `start` | the log says for what: the cgroup of pods, the API server, a gateway |
//! | `/readyz` waits for `observed state` | `sallyport coverage` shows the node's problems; it is ready again once they are gone |
//! | `denied`: the API server has not told its address yet | nothing for a few seconds; later, see why kubelet cannot report |
//! | `denied`: its processes cannot be seen | mount the host's `/proc` and name it as `proc` in node.yaml |
//! | `denied`: … is held by someone else | the gateway that holds it has not connected, or a process that listened before the pod became an agent: make the pod again |
//! | a record's labels have `sallyport.dev/labels-cut` | the pod has more than 16 KiB of labels; the others are left out |
//! | `getpeername` in a pod answers `127.0.0.1` or `::1` | nothing: clients compare the certificate, not this; it is not restored |
//! | captured, but those to `[…]` are refused | IPv6 is off on the pod's loopback; harmless where clients use IPv4 |
//! | Node without `sallyport.dev/ready` | the node agent has not been ready for 30 s after its start, or is not now; agents' pods are not scheduled there |
