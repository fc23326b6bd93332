-- Calls per agent and decision. `union_by_name` keeps columns that older files do not have.
SELECT agent.name AS agent, gen_ai.request_model AS model, decision, count(*) AS calls,
       sum(coalesce(maskedRequest, 0) + coalesce(maskedResponse, 0))::INT AS masked
FROM read_parquet('${STORE}/**/*.parquet', hive_partitioning = true, union_by_name = true)
WHERE stage = 'ResponseComplete' AND objectRef.namespace = 'sallyport-demo'
GROUP BY ALL
ORDER BY agent, decision;
