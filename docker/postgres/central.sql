-- Runs once, when central's database is made, as the superuser. Passwords come from the container's environment, not from this file.
\set ON_ERROR_STOP on
\getenv waypost_password WAYPOST_PASSWORD
\getenv grafana_password GRAFANA_DATABASE_PASSWORD

-- The service: reads the business data, and writes nothing but schema waypost.
CREATE ROLE waypost LOGIN PASSWORD :'waypost_password';
CREATE SCHEMA waypost AUTHORIZATION waypost;
GRANT USAGE ON SCHEMA public TO waypost;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO waypost;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO waypost;

-- Grafana: reads the audit and nothing else, with a limit on time and connections.
CREATE ROLE grafana LOGIN PASSWORD :'grafana_password' CONNECTION LIMIT 10;
ALTER ROLE grafana SET default_transaction_read_only = on;
ALTER ROLE grafana SET statement_timeout = '30s';
ALTER ROLE grafana SET search_path = waypost;
GRANT USAGE ON SCHEMA waypost TO grafana;
ALTER DEFAULT PRIVILEGES FOR ROLE waypost IN SCHEMA waypost GRANT SELECT ON TABLES TO grafana;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
REVOKE TEMPORARY ON DATABASE :"DBNAME" FROM PUBLIC;
-- Temporary views tell what the plan's queries read: each is rolled back.
GRANT TEMPORARY ON DATABASE :"DBNAME" TO waypost;
