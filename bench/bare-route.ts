import { fastify } from 'fastify';
import pg from 'pg';

/**
 * What an audited poll costs at the least: a route that parses the body and inserts the same row, nothing more. `DATABASE_URL` and `PORT` as for
 * central; says `ready` on its standard output.
 */
const INSERT = `
  INSERT INTO bare_requests (mac, manifest_id, requested_at, operation, status, reason, duration_ms, request_id)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`;

const pool = new pg.Pool({ connectionString: process.env['DATABASE_URL'], max: 5 });
const app = fastify();
app.post<{ Body: { mac: string; have: { manifestId: string } } }>('/api/device-sync/request', async (request) => {
  const { mac, have } = request.body;
  await pool.query({
    name: 'insert',
    text: INSERT,
    values: [mac, have.manifestId, new Date(), 'request', 'Issued', 'unchanged', 1, request.id],
  });
  return { unchanged: have.manifestId };
});
await app.listen({ port: Number(process.env['PORT']), host: '127.0.0.1' });
process.stdout.write('ready\n');
process.on('SIGTERM', () => {
  void app.close().then(() => pool.end());
});
