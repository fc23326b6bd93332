//! # The life of a request
//!
//! 1. **Request info.** Method and raw target become Kubernetes' `RequestInfo`. A target that two parsers
//!    could read differently is refused with 400; what is forwarded later is the raw target, never one
//!    that was parsed and written again.
//! 2. **Authenticate.** Each request, not each connection; on a [captured](super::identities#captured-pods) one the
//!    token must be that of the pod that connects. Failures are answered 401 and folded into one
//!    counted record per source and reason (per pod for captured ones), since their number is the attacker's to choose. Then the call takes
//!    its place among those of its user, or is refused: [shares](#shares).
//! 3. **Record the intent.** Level, masked request and identity are durable on local disk before policy
//!    is asked. So what was denied is recorded as fully as what was allowed, and a gateway that cannot
//!    write forwards nothing.
//! 4. **Evaluate.** Whom an `AgentStop` names is refused. Policies may need to know the object, and have it looked up. Where
//!    people decide, the call waits here, and is judged once more when they have ([the gate](super::gate)). An allow is a [`Permit`](crate::policy::Permit): it cannot be cloned or built
//!    elsewhere, and sending takes it by value.
//! 5. **Send.** The agent's credential and everything else that is not on the allow-list of headers is
//!    left behind; impersonation of the synthetic user, our `Audit-ID` and our credential are added; the
//!    built request is checked once more. A request is sent a second time only where it provably did not reach
//!    the API server: [connections](#connections-to-the-api-server).
//! 6. **Follow.** Bytes pass to the agent as they come; the record's masker reads along.
//! 7. **Record the outcome.** Durable before the last byte: an answer of up to 32 KiB is read whole, and its head waits
//!    for the outcome too. Of a longer one, one frame is held back until the next has come,
//!    and the last until the outcome is on disk; where there is no body the head waits. A stream without an
//!    end holds nothing back, so events of a watch are never delayed by the disk; there its end waits. HTTP/1.0
//!    is refused, since it cannot tell a broken answer from a whole one. The answer to a TokenRequest is read
//!    before it goes on, so that a token for another audience than ours is never handed out.
//!
//! ## What a failure means to the caller
//!
//! | what happened | answer | was it carried out? | recorded as |
//! |---|---|---|---|
//! | the intent could not be recorded | 500 `Status` | no | nothing could be |
//! | denied | 403 `Status` with rule and hint | no | `complete`, `deny` |
//! | people have not decided, or against it | 403 `Status` that names the request | no | `complete`, `deny` |
//! | a dry run that policy needed was refused | the API server's own answer to it | no | `complete`, `deny` |
//! | an answer that could not be masked for the agent | 500 `Status`, or an aborted stream | yes, unless it was a read | `complete` or `aborted` |
//! | a minted token was for another audience | 403 `Status` | yes, and withheld | `complete`, `deny` |
//! | no room for the bodies, of all or in the user's share | 429 `Status` with `Retry-After` | no | `complete` |
//! | the user has its calls open, or has written its share of the record | 429 `Status` with `Retry-After` | no | folded, `deny` |
//! | the API server could not be reached | 503 `Status` | no | `complete` |
//! | the answer was lost | 500 `Status` without `Retry-After` | unknown | `unknown` |
//! | the outcome could not be recorded, no byte sent yet | 500 `Status` | yes | intent without outcome: `unknown` |
//! | the outcome could not be recorded, bytes sent | aborted stream | yes | intent without outcome: `unknown` |
//! | the agent went away before the call was sent | – | no | `aborted` |
//! | the agent went away while the answer was awaited | – | unknown | `unknown` |
//! | the agent went away during the answer | – | yes | `aborted` |
//!
//! Clients repeat resets, 503 and 504, some with the body. That is why an unknown outcome is a 500, and
//! a decision is never anything but a 403.
//!
//! ## Shares
//!
//! What all agents share is divided by user, the synthetic one that the API server sees, so that an agent that asks
//! for too much is refused and no other notices. `limits.perPrincipal` says how much one may have: calls in flight,
//! room for bodies, and bytes written to the record. Of room for bodies, the users of one namespace or of one repository
//! have half of `limits.bufferedBytes` together, or one user's part where that is more, since whoever makes users there
//! could have it all; an answer that is masked for its agent draws on the same room. Records are counted as they are written, and calls wait
//! afterwards. From 70 % of the log's limit on the rate shrinks, to nothing at 95 %: so an agent that writes as fast
//! as it may slows down long before the log is full, and long before those that write little. It shrinks for all,
//! whoever has filled the log: a store that stays down stops everybody in the end.
//!
//! The answer is 429 with a `Retry-After`, which client-go and Python honour; nothing was forwarded. Refusals
//! for calls and for the record are folded into one counted record per user and reason in ten seconds; one for want of
//! room is a record of its own.
//!
//! ## Connections to the API server
//!
//! HTTP/2 where the API server speaks it, up to 90 streams a connection, fewer where it says so. Streams do not
//! stall each other: a connection's window is as large as those of all its streams together, so a reader that has
//! stopped costs 256 KiB (a watch 64 KiB) and nobody's time. Watches, followed logs and other long-running calls have
//! connections of their own. A connection that leaves a ping unanswered for 15 s is closed, and its calls with it.
//!
//! A call is tried again, up to four times in all, only where it provably did not reach the API server: the stream
//! could not be opened, was refused (`REFUSED_STREAM`), or lies above the last id of the GOAWAY with which an API
//! server leaves. Everything else that breaks before an answer is an unknown outcome. The API server's own 429 and
//! `Retry-After` pass to the agent, whose client knows what to do with them.
//!
//! ## Going down
//!
//! On SIGTERM the gateway stops accepting and tells each connection: HTTP/2 clients get a GOAWAY that covers every
//! request received, HTTP/1.1 clients `Connection: close` with the next answer. Then watches and followed logs end
//! as if they had run their time, so that clients resume from their last version; other calls finish. What is left
//! after `limits.drain` ends, and its outcome is recorded as unknown, that of an upgraded connection as aborted.
//!
//! A connection that was accepted before, and on which no call has come yet, is served one first if it comes within
//! 5 s. Listeners inside of pods are not closed by a drain: the node agent holds them too, so who connects now waits in
//! the kernel's queue for the next gateway, and no connection fails. A node agent that has ended gets them back from the
//! gateway. The gateway is ready once the node agent has said for the first time that it has handed over everything, and
//! serves on while it is away.
//!
//! When a captured pod is gone, its listeners close and its connections end, upgraded ones too; what was in flight is
//! recorded as if the agent had left.
//!
//! ## Upgraded connections
//!
//! exec, attach, cp and port-forward leave HTTP: by WebSocket (`v5`, `v4` and older, base64, SPDY tunnelled) or by
//! SPDY/3.1. Up to the API server's answer such a call is like any other. Then:
//!
//! - It is sent once, on an HTTP/1.1 connection of its own, which no other call ever uses. Of the client's handshake
//!   only the key, the version, the origin and the subprotocols travel; `Connection` and `Upgrade` are written anew. Extensions
//!   are not offered: Kubernetes has no use for them, and compressed messages could not be read later.
//! - The connection is taken over only after a 101 to the protocol that was asked for, with a subprotocol that was
//!   offered. Any other answer is an ordinary answer, and its connection is closed. A 101 to something else is an
//!   answer that was lost.
//! - Bytes pass as they are, both ways, through one buffer of 16 KiB each: a side that reads nothing stops the other.
//!   The connection keeps its place among those of its address.
//! - When one side closes, what is on its way to the other still gets there. The outcome, with the bytes of each
//!   direction behind code 101, is durable before the client sees the end. `complete` is a connection that one side
//!   closed in order. `aborted` is one that broke off, on which nothing passed for `upgrades.idle`, or that was still
//!   open at the end of a drain; the status message says which. The pings of WebSocket and SPDY clients are traffic:
//!   kubectl sends one every 5 s, so it is its end that ends a session, not silence.
//! - A drain lets open connections go on until its limit, since nobody can resume an exec as one resumes a watch.
//!
//! A client that cannot set headers may give its token as the subprotocol
//! `base64url.bearer.authorization.k8s.io.<token in base64url>` beside another one, as with kube-apiserver. It is taken
//! out of the handshake, and with an `Authorization` header beside it the request is refused.
//!
//! kube-apiserver upgrades more than that: watches and logs over WebSocket, and whatever a proxy subresource leads to.
//! Plain HTTP does the first two; of the rest `nodes/proxy` is a shell in every container of a node. They are refused
//! with 403 unless `upgrades.allow` names them, and policy is asked then as well. An upgrade of any other call is
//! ignored, as kube-apiserver ignores it, and the call is served without. Over HTTP/2 there are no upgrades, and
//! `CONNECT` is refused.
//!
//! ## Reads that lag
//!
//! `recording.readLag` lets `get`, `list` and `watch` go to the API server while their intent is being
//! committed. The answer still waits for the intent; only its outcome is committed behind it.
