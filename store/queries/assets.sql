-- Assets: files that were uploaded to providers.

-- add_asset --
-- Before the upload, so that an upload whose outcome is unknown is visible.
INSERT INTO assets (id, tenant, provider, account, name, media_type, created_at, status,
                    provider_asset_id, uuid, size, url)
VALUES (:id, :tenant, :provider, :account, :name, :media_type, :created_at, :status,
        :provider_asset_id, :uuid, :size, :url)

-- finish_asset --
-- The outcome of an upload.
UPDATE assets SET status = :status, provider_asset_id = :provider_asset_id, uuid = :uuid,
    name = :name, media_type = :media_type, size = :size, url = :url
WHERE id = :id

-- asset --
-- One asset of a tenant.
SELECT id, tenant, provider, account, name, media_type, created_at, status, provider_asset_id,
       size, url
FROM assets WHERE tenant = :tenant AND id = :id

-- list_assets --
-- Newest first.
SELECT id, tenant, provider, account, name, media_type, created_at, status, provider_asset_id,
       size, url
FROM assets WHERE tenant = :tenant AND provider = :provider AND id < :cursor
ORDER BY id DESC LIMIT :limit

-- assets_by_uuid --
-- Asked for each job whose input has UUIDs: whose assets they are.
SELECT id, tenant, provider, account, name, media_type, created_at, status, provider_asset_id,
       size, url
FROM assets WHERE uuid {in:uuids}

-- delete_asset --
-- The file is deleted at the provider first.
DELETE FROM assets WHERE tenant = :tenant AND id = :id RETURNING id
