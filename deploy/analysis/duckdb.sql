-- The record in DuckDB. Say where the store is, then read this file:
--
--   SET VARIABLE store = '/var/lib/sallyport/calls';
--   .read deploy/analysis/duckdb.sql
--   SELECT * FROM who_did_what WHERE decision = 'deny';
--
-- union_by_name: files of older versions lack newer columns, and without it DuckDB drops columns or
-- fails, depending on the order of the files.

CREATE OR REPLACE VIEW records AS
SELECT *
FROM read_parquet(
    getvariable('store') || '/**/*.parquet',
    hive_partitioning = true,
    hive_types_autocast = false,
    union_by_name = true
);

-- One row a call: its outcome, or where none was recorded what was recorded last: its intent, or what people were asked
-- and said (its approval is not null then).
CREATE OR REPLACE VIEW calls AS
SELECT * FROM records WHERE stage = 'ResponseComplete'
UNION ALL BY NAME
SELECT * REPLACE ('unknown' AS outcome)
FROM records AS intent
WHERE stage = 'RequestReceived'
  AND NOT EXISTS (
      SELECT 1 FROM records AS answer
      WHERE answer.auditID = intent.auditID AND answer.stage = 'ResponseComplete'
  )
QUALIFY row_number() OVER (PARTITION BY auditID ORDER BY sequence DESC) = 1;

-- Who approved or denied what, and how long the call waited.
CREATE OR REPLACE VIEW approvals AS
SELECT
    requestReceivedTimestamp AS time,
    agent.name AS agent,
    verb,
    objectRef.resource AS resource,
    objectRef.namespace AS namespace,
    objectRef.name AS name,
    risk,
    rule,
    approval.id AS approval,
    approval.state AS state,
    approval.by AS decided_by,
    approval.via AS via,
    approval.scope AS scope,
    heldMicros / 1e6 AS held_seconds,
    responseStatus.code AS code,
    outcome
FROM calls
WHERE approval IS NOT NULL
ORDER BY time;

-- Which agent, which model and which CI job did what, and what came back.
CREATE OR REPLACE VIEW who_did_what AS
SELECT
    requestReceivedTimestamp AS time,
    agent.name AS agent,
    gen_ai.request_model AS model,
    provenanceSource.model AS model_source,
    cicd.repository AS repository,
    cicd.run_id AS run,
    verb,
    objectRef.resource AS resource,
    objectRef.namespace AS namespace,
    objectRef.name AS name,
    decision,
    rule,
    responseStatus.code AS code,
    outcome
FROM calls
ORDER BY time;

-- What enforcing would deny or leave to people, of calls that passed because policies are only observed.
CREATE OR REPLACE VIEW only_observed AS
SELECT
    requestReceivedTimestamp AS time,
    agent.name AS agent,
    workload.namespace AS pod_namespace,
    workload.pod AS pod,
    verb,
    objectRef.resource AS resource,
    objectRef.namespace AS namespace,
    objectRef.name AS name,
    decision,
    rule,
    policyDigest,
    responseStatus.code AS code
FROM calls
WHERE enforcement = 'observe' AND decision IN ('deny', 'hold')
ORDER BY time;
