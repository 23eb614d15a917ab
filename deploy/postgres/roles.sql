-- The roles and the database of the ledger, for psql of a superuser; run it again after a change, it does no harm:
--
--     psql -v ON_ERROR_STOP=1 -f roles.sql postgres
--     psql -c '\password siem_owner' -c '\password siem' postgres
--
-- Neither role has a password before the second line, and so neither can sign in by one.
--   siem_owner   owns the tables; runs `siem db upgrade`, and nothing else
--   siem         the fleet, the API and the command line: reads and writes rows, changes no table
-- For preflight and backups see deploy/guides.

SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY['siem_owner', 'siem']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE siem_owner NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 10;
ALTER ROLE siem NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

SELECT 'CREATE DATABASE siem OWNER siem_owner ENCODING ''UTF8'' TEMPLATE template0'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'siem') \gexec
ALTER DATABASE siem OWNER TO siem_owner;
REVOKE ALL ON DATABASE siem FROM PUBLIC;
GRANT CONNECT ON DATABASE siem TO siem;

\connect siem

ALTER SCHEMA public OWNER TO siem_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO siem;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO siem;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO siem;
-- What a later release adds is usable as soon as `siem db upgrade` has made it.
ALTER DEFAULT PRIVILEGES FOR ROLE siem_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO siem;
ALTER DEFAULT PRIVILEGES FOR ROLE siem_owner IN SCHEMA public GRANT USAGE ON SEQUENCES TO siem;

-- Functions by which `siem` begins, seals and drops periods of deliveries: their owner makes and drops the tables.
ALTER DEFAULT PRIVILEGES FOR ROLE siem_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE siem_owner IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO siem;
SELECT format('REVOKE EXECUTE ON FUNCTION %1$s FROM PUBLIC; GRANT EXECUTE ON FUNCTION %1$s TO siem', oid::regprocedure)
FROM pg_proc WHERE proowner = 'siem_owner'::regrole \gexec

-- A transaction of the fleet takes seconds. One that was left open, on a host that vanished, keeps rows from
-- being vacuumed. `siem db upgrade` may take as long as its tables are large, so it is not limited.
ALTER ROLE siem IN DATABASE siem SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE siem IN DATABASE siem SET statement_timeout = '5min';
