//! # The gate
//!
//! What happens where a rule neither allows nor denies: people decide, agents see placeholders, and everything stops.
//!
//! ## People decide
//!
//! A rule of effect `RequireApproval` holds the call. The gateway writes an
//! [`ApprovalRequest`](crate::api::v1alpha1::approval_request) into the namespace of the call's target
//! (`objects.namespace` where there is none): who asks, which model and CI run, and who vouches for each; the call; its
//! risk in plain words; what would change, masked, as a diff. Then it waits, for `approval.hold` of the rule, 50 s
//! where nothing is said. kubectl and every other client that was tried take that for a slow answer. Nothing of the
//! call is on disk meanwhile but its masked record.
//!
//! | what happens | the caller gets |
//! |---|---|
//! | enough people approve while it waits | the call is sent, once, and answered |
//! | somebody denies | 403 with who and why |
//! | the wait is over | 403 that names the request; the same call again passes once it is approved, through any gateway |
//! | it expires (`approval.expires`, 15 minutes) | 403; the next try asks anew |
//! | the caller leaves | nothing: the question is withdrawn |
//! | policy denies meanwhile, or the agent is stopped | 403 of that rule |
//! | the gateway goes down | 403; the request is kept, run the call again |
//!
//! People decide with `sallyport approvals list | show | watch | approve | deny`, or with kubectl alone: `approvals
//! show` prints the command. `sallyport wait NAME` waits in a script: 0 approved, 1 denied or expired, 75 still open. A
//! chat's button goes through [the controller](#the-controller), where the rule's `channels` let it.
//!
//! What is approved is a SHA-256 of the RFC 8785 JSON of caller, operation, parameters, body and version of the object:
//! the same for JSON, YAML and protobuf, and for an exec over WebSocket and SPDY. Only `pretty` and `timeout` are left
//! out; of a proxied call, and of a path outside of the resources, nothing is. Identical calls of one caller share a
//! request. An approval is for one call unless it says more: `SameRequest` until it expires, `Command` for the rest of
//! one kubectl command, `Session` for the rule in this CI run or pod; each use is in `status.uses`. A wider approval
//! covers no call of a higher risk, none that other rules ask for as well, and none under other policies; of critical
//! risk every call is asked for by itself, and no chat decides. exec, attach and port-forward are bound to the pod's
//! uid, so their agent needs `get pods`; the pod is looked up once more before the call is sent, and between that and
//! the kubelet lies one new connection. A deletion of a collection is bound to the objects that it covers, at most 500:
//! one that is made, changed or gone before it is sent ends it with a 403, and what is made after that stays, because
//! the API server is told to delete what that version of the list held (`resourceVersionMatch=Exact`; an aggregated API
//! server may not heed it). It deletes by name, so one that is replaced in that last moment is deleted. Requests that
//! nobody voted on are deleted five minutes after they end, and an agent may have 100 of them. A use is written there,
//! by compare-and-swap, before the call is forwarded: a gateway that dies in between leaves an approval that is used up
//! and a call whose outcome is unknown, never a call sent twice.
//!
//! kubectl's exec and attach over WebSocket are accepted while they wait: the terminal shows what it waits for and
//! how to approve it, keeps up to 128 KiB of input, and runs, or ends with the reason and exit status 1. Other
//! clients see nothing until the decision and then a 403, because some take a refusal on an open connection for
//! success.
//!
//! An answer after an approval carries the warning `allowed by approval NAMESPACE/NAME (by WHOM)`; with
//! `--warnings-as-errors` kubectl then fails although the change is made. A call that was judged when its object did
//! not exist is held to that: if one is made meanwhile, the API server answers 409 and nothing is overwritten.
//!
//! People see all of a call or are not asked: a command with parameters over 8 KiB, a change over 48 KiB, and one that
//! cannot be masked are denied by `built-in/not-approvable`. So is one in which something looks like a secret and may
//! be more than one: what detectors hide from people may hold no space and nothing that means something to a shell. Of
//! a deletion the first 48 KiB are shown, with a note that the rest goes too. Where a call goes, and how, is shown too:
//! its parameters, and for a proxied call or one outside of the resources its method, path and query, to which the
//! approval is bound as they came. A chat's message has buttons only where it shows everything.
//!
//! Votes only grow, and each is its writer's: the admission policies `sallyport-approval-*` check that `by` is who
//! writes, that groups are those the rule asks for, that only gateways ask and use, and that agents, ServiceAccounts
//! and whoever asked do not vote; the definition itself keeps what was said. Whoever is behind an OIDC token does not
//! decide under a name in its claims `sub`, `email`, `login`, `oid`, `preferred_username`, `upn`, `actor`, `actor_id`,
//! `user_email`, `user_id` and `user_login`, also behind the API server's prefix; a token with more than 16 of them, or
//! one longer than 512 bytes, cannot ask. Who may impersonate users in the cluster may vote as them: that shows only in
//! the API server's audit log.
//!
//! The gateway judges again, and an approval expires by its clock or the API server's, whichever is later: a gateway
//! that is behind sends nothing late, but gets nothing approved where `expires` is shorter than it is behind. Keep
//! gateways' clocks within 30 s: one that is further behind refuses tokens that were just made.
//!
//! ## Masked views
//!
//! `agentView: Masked` in a rule lets an agent work with Secrets whose values it does not see. Its `Accept` is narrowed
//! to JSON, and every place that the record masks holds a placeholder, valid for its field and with no length of what
//! it stands for. The same value looks different for another agent, in another object and at another place of it, so
//! nothing is learned by guessing. What ApprovalRequests show of a change and quote of its call, agents see masked
//! whatever policy says. An answer that cannot be masked is refused, or broken off if it has begun; the record keeps its
//! own view. Logs and what passes in exec are not masked for the agent; deny them where that matters.
//!
//! A view of one Secret or namespace holds for every answer that may have it in it, as a denial does: a list, a watch,
//! a call over all namespaces, and where the rule's condition cannot be evaluated. Record levels and `streams` of a
//! rule reach as far. Verbs count as written: a rule for `get` masks no list.
//!
//! Answers to writes, and refusals of them, show no more than the caller may read: what is read only masked is masked
//! there too, and a refusal then gives code and reason without the API server's words. What is left: a server-side
//! apply without `--force-conflicts` conflicts only where the value differs, and replacing a value tests one guess;
//! each try is a recorded write. Where a decision has to try an apply in a dry run, nothing would be written by it, so
//! of a Secret or a kind with sensitive fields that is seen only masked it is refused by `built-in/masked-view` without
//! `--force-conflicts`, as is a patch of an immutable Secret. A field that cannot be changed answers 200 for the value
//! it has and 422 for another. A dry run is refused where its body has something in it that would be masked, cannot be
//! read, or is a JSON Patch, and always where it changes a Secret; others pass, so `kubectl diff` works where nothing
//! in them is masked. A pod is given no Secret that its maker sees only masked, whether in volumes or in variables,
//! unless the rule that masks it says `secretReferences: Allow`: then whoever chooses the pod's image can have it print
//! the values.
//!
//! A warning of the API server's, which admission webhooks and policies write, is withheld where detectors find a
//! secret in it, where it quotes a value of an object with environment variables or sensitive fields, and for every
//! write of a Secret.
//!
//! What [`sensitiveFields`](super::policies#how-much-of-it-is-kept) name holds a placeholder too, which is a text
//! whatever the field is: a client that decodes a number there fails. A JSON Patch that reads or tests such a field is
//! refused, and so is a field selector that names one. `managedFields` lose the fields of an entry that would name a
//! hidden value.
//!
//! helm can install, list and, up to helm 3, show releases under a masked view. `upgrade`, `rollback` and `uninstall`
//! fail before they change anything; do not add `--no-hooks`.
//!
//! With `helmManifests: Show`, in every rule that masks the release, its manifest and its hooks are shown, each object in
//! them masked as it would be by itself. It is a choice because charts put secrets into ConfigMaps, custom resources and
//! arguments too, where only detectors and `sensitiveFields` find them. Values, templates, notes and comments are never
//! shown. Then `helm status`, `get manifest`, `uninstall`, and `upgrade` with all its values given anew (`-f`, `--set`)
//! work with helm 3 and 4. What would store a placeholder is refused before anything changes: `rollback`, `upgrade
//! --reuse-values`, and `upgrade` without values where the release has some. So an upgrade that fails is not rolled back,
//! whatever `--atomic` or `--rollback-on-failure` say: upgrade again. `uninstall` is refused where a hook that runs on
//! deletion has something masked in it, or a value that YAML 1.1 and 1.2 read differently; with `--no-hooks` helm deletes
//! and runs none. helm cannot note anything in a release that it saw masked. So after an upgrade `helm history` says
//! `deployed` of the revision before as well, and helm goes by the newest; `helm test` runs and then fails; and after
//! `uninstall --keep-history` all is deleted while the release still says `deployed`: leave `--keep-history` out.
//!
//! A manifest stays hidden as a whole, as without `Show`, where a document in it can be read in two ways, is a list or
//! is longer than 1 MiB, and where there are more than 2000 documents or 4 MiB in the release, or 16 MiB in the answer.
//! On Secrets an agent sees the annotation `helm.sh/resource-policy` where it says `keep`, and with `Show` whose they
//! are (`meta.helm.sh/release-name` and `release-namespace`): helm would delete what it is to keep, and leave what is
//! its own.
//!
//! A request that carries a placeholder, plain, in base64, in YAML, protobuf, the URL or an exec's arguments, is
//! refused by `built-in/write-back` with the field's path, whatever the rule: it would be written in the value's place.
//! `sallyport trace PLACEHOLDER` says which agent, model, session and call was shown one that turned up elsewhere; it
//! finds them in any text.
//!
//! In records, protobuf and YAML are the JSON of the same object, with the same placeholders. Fields that only a newer
//! API server knows are left out of records; in a request that has to be judged they are refused. Environment variables
//! are recorded by name, never by their literal values. What an exec runs is recorded as it came, but for what
//! detectors find, what looks random, and what follows a telling name and is no variable: `--password cat`,
//! `--env=DB_PASSWORD=cat`, `"password":"cat"`. Every string is searched for what looks like a secret: tokens, private
//! keys, passwords in URLs, and values that look random behind a name like `password`; a private key whose body only
//! stands for one (nothing, dots, a name in brackets) is shown, but for what programs print. `managedFields` are empty.
//! No answer in CBOR is asked for, and an object in CBOR is refused with 415. YAML over 1 MiB and YAML whose aliases
//! multiply are recorded by length and digest alone. A cell of a table that prints an environment variable or what
//! kubectl applied holds a placeholder, if its column names its path.
//!
//! ## Decoys
//!
//! A Secret that is listed in `decoys` is read by nobody who has a reason to: each answer that holds one, and each
//! allowed write of a pod, or of what makes pods, that mounts one or takes variables from it, is an alert, and with
//! `stopSession` the end of the session that asked; bind ClusterRole `sallyport-gateway-decoys` to the gateway for that.
//!
//! ## The stop
//!
//! `sallyport agents stop NAME | --session ID | --all --reason TEXT` makes an `AgentStop` object. Every gateway that
//! hears of it denies new calls and ends watches, followed logs and upgraded connections; `agents resume` writes into
//! it who resumes, and why, from when on no gateway counts it, and `agents list` shows who is stopped. NAME is what an
//! `Agent` object or a verified claim says, a ServiceAccount's full name, or a user as records have it; never a name
//! that an agent gives itself. An AgentStop that a gateway cannot understand stops everyone, and the refusal names it;
//! `agents resume --object NAME` lifts that one. Each gateway records when it begins and ceases to deny (verbs `stop`
//! and `resume`), with whoever stopped and resumed. A stop that was resumed is deleted when the same is stopped anew,
//! or by an `agents resume` an hour later. Where the admission policies are installed nobody deletes one before;
//! elsewhere that lifts it, and the row names nobody.
//!
//! Gateways hear of stops, policies, votes and open glasses by watches of 10 s each, which follow one another without a
//! list: at once as a rule. A watch whose connection has died in silence is given up 15 s after its last word; 10 s
//! more pass for each connection in its place on which no answer begins. An API server that was away is heard at most 5
//! s after it is back, or half a minute where it was not refusing but silent.
//!
//! So `agents stop` waits for no watch. The controller reads the AgentStop and brings it to every gateway (`POST
//! /v1/stops/NAME/apply` of the evidence API: it takes the right to create `agentstops`, and is recorded), and the
//! command says `applied by 12 of 12 gateways`, or by which not and why. A stop that was brought so counts as any
//! other, until the gateway hears of the object itself: lifting it ends it everywhere, and a controller that dies leaves
//! nothing behind. A gateway that has not heard of it for a minute lists the stops anew, and counts it until that list
//! is whole, however long its watch fails. Where the evidence API is not reached, the command says so and the stop
//! counts by the watches; where it is and not every gateway confirms, the exit code is 75. `agents resume` leaves it to the watches.
//!
//! What runs is judged again whenever policies, stops or agents' namespaces change, and every 5 minutes. A watch or log
//! ends with a clean end of body; an upgraded connection is closed. The record says which rule ended it. What began
//! without an approval ends when a rule comes to ask for one. A watch that began in clear ends when it would be masked,
//! and what runs ends when more of it is to be recorded than when it began. Shorter `streams` bounds are taken over; an
//! idle limit that came later may end it an eighth late.
//!
//! A person can end one watch, followed log, terminal, port-forward or held call: `sallyport streams list` and
//! `streams end`. Its outcome says who, why and by which way. An exec or attach over WebSocket gets a `Status` on its
//! error channel, also when a stop or a policy ends it; a SPDY session breaks off. A held call that is ended is
//! denied and its question withdrawn. Nothing keeps the agent from beginning anew: a stop does.
//!
//! ## Break glass
//!
//! A `BreakGlass` object lets named agents do in named namespaces, for at most 15 minutes, what policies deny or
//! hold. One person makes it (`sallyport break-glass open --agent fixer -n shop --reason TEXT`) and another one votes
//! for it within 15 minutes (`break-glass approve NAME`); a ServiceAccount, a node, an agent, or a user whose name
//! begins with `system:` is neither. Each gateway judges that again, by its own clock, and takes two names of which
//! one is the other behind an issuer's prefix for one person. A gateway whose clock is more than a minute behind the
//! voter's opens it so much later, and closes it so much later. What it did not hear of, or cannot understand, opens
//! nothing. `break-glass close NAME --reason TEXT` ends it at once, and with it every watch and terminal that only it
//! allowed.
//!
//! What is in no namespace, or in more than one, asks for `"*"`; so does a Namespace itself. A user's token in a
//! captured pod is reached only where `agents` names both, the user or its agent and the pod's ServiceAccount, or
//! `"*"`. The floor, stops, authentication, recording and the write-back guard are as before, and where the floor
//! asks for a rule that names the namespace, a BreakGlass is no such rule. Secrets are shown as the rules that match
//! say, and masked where no rule lets the call pass. A pod is given no Secret that policies would not give it without
//! the BreakGlass; where the rule that masks it says `secretReferences: Allow`, they do.
//!
//! A call that passes by it is recorded with `decision` allow, `rule` `BreakGlass/NAME`, level RequestResponse, and
//! in `riskReasons` what would have been decided; its caller gets a `Warning`. Asking, each vote, opening and end are
//! rows of their own, and alerts. ClusterRole `sallyport-break-glass` is bound to nobody by the install; who may
//! impersonate users can be both people. Nobody deletes a BreakGlass but the controller, after `approvals.retention`.
//!
//! ## The controller
//!
//! Run as many replicas as you like: the one that holds the Lease `sallyport-controller` writes, the others follow the
//! same objects. Only what a replica itself saw change counts, for as long as its own clock says; what the Lease says
//! of times is compared with what it said before, never with a clock. A leader that cannot renew stops after 10 s, its
//! last write is over 4 s later, and a rival waits 15 s. SIGTERM lets another lead at once. Nothing here decides on a
//! call: gateways judge by policies, votes and their own clocks, also while no controller runs.
//!
//! It keeps `status.state` of approval requests right for people's eyes and deletes what is over after seven days, says
//! in the status of each `AgentPolicy` whether its rules count, tells webhooks, and takes decisions from them.
//!
//! A denial is an alert (Event `CriticalDenied`) where the call would have been of critical risk: by the object that it
//! was judged on, or by its body where no rule read one. Of a JSON Patch that no rule read the request line alone
//! counts. A call with impersonation headers is of critical risk, whatever it wants.
//!
//! What is to be told is in the cluster, so nothing is lost with a leader: a request says in `status.toldAt` that
//! webhooks were told, an alert's Event says it in the annotation `sallyport.dev/told`. A leader that ends between
//! telling and saying so tells it twice. `X-Sallyport-Signature: v0=<hex>` is HMAC-SHA256 over `v0:<timestamp>:<body>`,
//! as Slack signs its own.
//!
//! A callback must be signed, within five minutes, new, and of a user whom `decisions.users` names. It is accepted at
//! once; the vote is written afterwards, with `via: Webhook`, only where the rule's channels have it and never for
//! critical risk. What became of it is said at the callback's URL, if `decisions.responseHosts` has its host.
//!
//! ## People read the evidence
//!
//! `sallyport audit tail`, `audit list`, `audit show` and `streams list|end` go through the controller, over a
//! port-forward with your own kubeconfig or with `--server`. Who asks is known by the API server (a token it accepts,
//! or a certificate of its client CA), may by RBAC on `records` and `streams` of `sallyport.dev`, and is recorded by a
//! gateway before anything is answered; without a gateway that records, nothing is shown. A right in one namespace
//! reads calls on objects of that one. Every gateway is asked, and one that cannot be is named: a silent one would look
//! like a quiet one. A right that ends, ends a tail within a minute. `trace` goes there too where neither `--config`
//! nor `--store` is named: the last seven days where `--since` is absent, with the right to list records. So do `policy
//! simulate` and `policy suggest`: a list with `bodies=true` has bodies, takes the right to get records beside that to
//! list them, and says with `truncated: false` that there is nothing older.
//!
//! A person is answered five calls a second behind a burst of 50, two tails (eight in all), and one query at a time;
//! what is beyond that gets 429 and is not recorded. A query has 60 s: a list says `truncated` and where it stopped,
//! newest files first; `audit show` that has not found its call by then gets 504. Where no place is free within 10 s
//! the answer is 503. Of one person's refused reads in ten seconds the first is a record, and one more counts the
//! others (`itemCount`). Reads use none of the room in the log that is kept for outcomes, but for that count.
//!
//! `sallyport ca control` makes the certificates and throws the key of their CA away;
//! `deploy/install/examples/evidence.yaml` shows the rest. Before their two years are over, make others and replace
//! both Secrets and the ConfigMap. ClusterRoles `sallyport-evidence-reader` and `sallyport-stream-operator` say what,
//! Role `sallyport-evidence-access` gives the way there by port-forward; all are bound to nobody. There is no
//! APIService: a dead one would block the deletion of namespaces for everybody.
//!
//! ## Alerts
//!
//! Alerts are Events in `sallyport-system` (`kubectl get events -n sallyport-system`), named by what they are about, so
//! two leaders write one. A gateway writes the same alert at most once a minute and counts. It tells four different
//! ones of a reason that one user or pod gives cause for, until one has been quiet for ten minutes, and one that counts
//! the others, which are in `sallyport_alerts_lost_total` as well; no user or reason takes another's room.
