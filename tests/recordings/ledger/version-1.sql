BEGIN TRANSACTION;
CREATE TABLE attempts (
    request_id TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    started_at REAL NOT NULL,
    ended_at REAL NOT NULL,
    day TEXT NOT NULL,
    run TEXT NOT NULL,
    node TEXT NOT NULL,
    parent_node TEXT NOT NULL,
    role TEXT NOT NULL,
    harness TEXT NOT NULL,
    key TEXT NOT NULL,
    dialect TEXT NOT NULL,
    requested_model TEXT NOT NULL,
    model TEXT NOT NULL,
    upstream TEXT NOT NULL,
    stream BOOLEAN NOT NULL,
    status BIGINT NOT NULL,
    code TEXT NOT NULL,
    fault TEXT,
    finish_reason TEXT NOT NULL,
    queue_s REAL NOT NULL,
    load_s REAL NOT NULL,
    ttft_s REAL,
    decode_s REAL NOT NULL,
    total_s REAL NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    decode_tokens BIGINT NOT NULL,
    tool_calls BIGINT NOT NULL,
    reported_cost_usd TEXT,
    cost_usd TEXT,
    price_source TEXT NOT NULL,
    energy_j REAL,
    system_sha TEXT NOT NULL,
    tools_sha TEXT NOT NULL,
    policy TEXT NOT NULL,
    answer_sha TEXT NOT NULL,
    reused_tokens BIGINT,
    first_difference BIGINT,
    culprit TEXT NOT NULL,
    PRIMARY KEY (request_id, attempt)
);
INSERT INTO "attempts" VALUES('5c1f0e77a9b2000001',1,1793491200.25,1793491201.25,'2026-11-01','run-7','n1','n0','subagent','claude-code','ci','anthropic-messages','opus','z-ai/glm-5.2','openrouter',1,429,'provider_rate_limit','provider','',0.0,0.0,NULL,0.0,1.0,0,0,0,0,0,0,0,NULL,NULL,'',NULL,'0123456789abcdef','fedcba9876543210','','',NULL,NULL,'');
INSERT INTO "attempts" VALUES('5c1f0e77a9b2000001',2,1793491201.5,1793491202.75,'2026-11-01','run-7','n1','n0','subagent','claude-code','ci','anthropic-messages','opus','glm-5.2','zai',1,200,'',NULL,'tool_calls',0.0,0.0,0.4,0.0,1.25,900,512,0,40,12,0,1,'0.000012345678901234567','0.000012345678901234567','provider',NULL,'0123456789abcdef','fedcba9876543210','','00112233445566ff',NULL,NULL,'');
INSERT INTO "attempts" VALUES('5c1f0e77a9b2000002',1,1793577600.0,1793577601.0,'2026-11-02','','','','unattributed','','','chat-completions','smollm2-135m','smollm2-135m','local',0,499,'client_gone','client','',0.0,0.0,NULL,0.0,1.0,7,0,0,0,0,0,0,NULL,'0','local: no power reading',1.5,'','','','',NULL,NULL,'');
CREATE TABLE ledger_version (version BIGINT NOT NULL);
INSERT INTO "ledger_version" VALUES(1);
CREATE INDEX attempts_ended_at ON attempts (ended_at);
CREATE INDEX attempts_run ON attempts (run, ended_at);
CREATE INDEX attempts_paid ON attempts (started_at, key, cost_usd) WHERE cost_usd <> '0' AND price_source <> 'replay';
COMMIT;
