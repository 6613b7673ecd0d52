/** For a new table with secrets: default privileges of the schema let roles of dashboards read every table. */
export function keepPrivate(table: string): string {
  return `
    DO $$
    DECLARE
      other text;
    BEGIN
      FOR other IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
        FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = 'waypost.${table}'::regclass AND a.grantee <> c.relowner
      LOOP
        EXECUTE 'REVOKE ALL ON waypost.${table} FROM ' || other;
      END LOOP;
    END $$`;
}
