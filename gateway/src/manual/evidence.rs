//! # Evidence
//!
//! One durable append is one record, one WAL payload, one Parquet row: the intent of a call (`RequestReceived`) and its
//! outcome (`ResponseComplete`), joined by `auditID`. The outcome's row is complete in itself, so an analyst filters
//! `stage = 'ResponseComplete'`; an intent without an outcome is a call whose end is unknown, and `sallyport audit
//! list` shows it so. A call that people decide on has two rows more, of stage `RequestReceived` with `decision =
//! 'hold'`: that it waits, and what they said. What a decision asked of the API server, a lookup or a dry run, is a
//! call of its own with the same session and `requestReceivedTimestamp`.
//!
//! The bytes that a record's digest covers are its canonical JSON ([`crate::audit::canonical`], with test
//! vectors), not the Parquet file: files may be compacted later and the digests still hold.
//!
//! A file is cut from the WAL by a mark that is itself durable, so a gateway that dies while it encodes
//! or stores makes the same file again, byte for byte. A name is written once: in a directory by a link that fails
//! where the name is taken, in a bucket by one PUT on condition that it is free. A name that is taken, also by an
//! earlier try whose answer was lost, is success only if what is stored has the same SHA-256; a bucket's object is
//! read for that, since the digest in its metadata (`x-amz-meta-sha256`) is only what a writer said. Otherwise the
//! error names the file and both digests, the records stay in the log, and the files after it are stored all the same.
//!
//! While the store is out of reach the log is the backlog: it goes on to be cut, and afterwards, or after a restart,
//! one file after the other is stored, the oldest first. What is stored leaves the log at once. The log is bounded,
//! and once it is full nothing is forwarded, so the record has no gap.
//!
//! `sallyport audit` merges store and log; a record in both counts once. Of a bucket it lists names, then reads the
//! files that can matter in blocks of 4 MiB, the end of the file first, and keeps 64 MiB of them at most.
//!
//! The record holds the masked view only. A body that cannot be masked is kept as content type, length
//! and keyed digest. Placeholders are keyed digests too: equal secrets are equal in the record, so that
//! "who saw this value" can be answered without the value.
//!
//! The API server compresses answers of more than 128 KiB for clients that ask, as kubectl does. What passes
//! is what it sent, and so is what `responseBytes` and `responseDigest` speak of; the record holds, masks and
//! counts what the bytes inflate to. A body is inflated up to 256 MiB, and to 1 MiB more than 200 times its
//! length; of one that becomes longer, or is compressed in another way than by gzip, the record has length
//! and digest alone.
//!
//! What passes in exec and attach is read beside the bytes, over WebSocket and SPDY. What cannot be read is not
//! guessed: `bodyState` is `digest-only`, and `unread` says why. How the program ended is in `responseStatus` beside
//! code 101, without the command, which may hold a password. What is typed is not recorded unless
//! `upgrades.recordStdin` says so. An agent can print a MiB of nothing first; `responseBytes` and `responseDigest`
//! cover what passed on the connection. A private key is left out from its beginning to its end, in PEM or in lines of
//! base64; a beginning without an end hides at most 64 KiB.
//!
//! Who follows the record sees a row once it is on disk, as it is in the log. A reader that falls behind 4 MiB is told
//! in a last line and given up; no call waits for a reader. Each read of evidence is a record of its own
//! (`objectRef.apiGroup` `sallyport.dev`, rule `built-in/subject-access-review`), durable before anything is shown; of
//! refused ones all but the first in ten seconds are counted in one. `audit list`, `audit show` and `trace` take the
//! controller where neither `--config` nor `--store` is named; they read the store that its `evidence.store` names, and
//! calls of the last minute may still be in a gateway's log, where `audit tail` shows them. `audit show` computes
//! digests again at your own terminal.
//!
//! `entry` says how a call came in. A `captured` one has `workload` and, where the kernel told in time, `process`; it
//! has no `sourceIPs`, since the pod's loopback would say nothing, and the API server is told no client address either.
//! One record is of no call at all: `authentication/client_rejected_certificate` counts the handshakes that a captured
//! pod's client ended within ten seconds because it trusts another CA. It has the pod and no verb, and its outcome is
//! `aborted`.
//!
//! Not promised yet: checkpoints, proofs and `audit verify`. The digests, the sequence without gaps and
//! the log's identity, which those stand on, are in the files from the first version.
