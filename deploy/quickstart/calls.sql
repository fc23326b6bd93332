-- Calls per agent and decision. The view `calls` is that of deploy/analysis/duckdb.sql.
SELECT agent.name AS agent, gen_ai.request_model AS model, decision, count(*) AS calls,
       sum(coalesce(maskedRequest, 0) + coalesce(maskedResponse, 0))::INT AS masked
FROM calls
WHERE objectRef.namespace = 'sallyport-demo'
GROUP BY ALL
ORDER BY agent, decision;
