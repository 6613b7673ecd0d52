-- Runs once, when the device's database is made, as the superuser. Passwords come from the container's environment, not from this file.
\set ON_ERROR_STOP on
\getenv waypost_password WAYPOST_PASSWORD
\getenv reader_password READER_PASSWORD

-- The service: creates and owns the mirror and schema waypost.
CREATE ROLE waypost LOGIN PASSWORD :'waypost_password';
GRANT CREATE, TEMPORARY ON DATABASE :"DBNAME" TO waypost;
GRANT USAGE, CREATE ON SCHEMA public TO waypost;

-- The device's other services: they read what Waypost has verified, and cannot change it.
CREATE ROLE reader LOGIN PASSWORD :'reader_password';
GRANT pg_read_all_data TO reader;
ALTER ROLE reader SET default_transaction_read_only = on;
