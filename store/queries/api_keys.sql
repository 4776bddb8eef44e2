-- API keys.

-- put_key --
-- The admin key is put at each start.
INSERT INTO api_keys (id, hash, tenant, name, scopes, created_at)
VALUES (:id, :hash, :tenant, :name, :scopes, :created_at)
ON CONFLICT (hash) DO NOTHING

-- key_by_hash --
-- One lookup per API request.
SELECT id, hash, tenant, name, scopes, created_at FROM api_keys WHERE hash = :hash

-- key_exists --
-- Asked at each heartbeat of a stream.
SELECT 1 AS found FROM api_keys WHERE id = :id

-- list_keys --
-- Newest first.
SELECT id, hash, tenant, name, scopes, created_at FROM api_keys WHERE id < :cursor
ORDER BY id DESC LIMIT :limit

-- delete_key --
-- Effective at once.
DELETE FROM api_keys WHERE id = :id RETURNING id

-- has_keys --
-- Whether this is the first start.
SELECT 1 AS found FROM api_keys LIMIT 1
