import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { syncNow } from './first-sync.js';

/** An edge whose own cycle still runs for some questions about its status, then takes what it is asked to do. */
async function edgeAnswering(answers: { status: number; body: object }[], runningFor: number) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    const isStatus = request.method === 'GET';
    const { status, body } = isStatus ? { status: 200, body: { running: runningFor-- > 0 } } : answers.shift()!;
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, asked, [Symbol.asyncDispose]: async () => void server.close().closeAllConnections() };
}

const DONE = { status: 200, body: { status: 'Success', durationMs: 5, tables: [] } };
const RUNNING = { status: 409, body: { code: 'SYNC_RUNNING' } };
const STATUS = 'GET /api/sync/status';
const SYNC = 'POST /api/sync/now';
const { signal } = new AbortController();

test('while the edge syncs by itself it is asked for its status, not for another sync', async () => {
  await using edge = await edgeAnswering([RUNNING, DONE], 2);
  expect(await syncNow(edge.url, signal)).toEqual({ status: 'Success', durationMs: 5, tables: [] });
  expect(edge.asked).toEqual([STATUS, STATUS, STATUS, SYNC, STATUS, SYNC]);
});

test('a conflict of another kind is a failed sync, and no reason to wait', async () => {
  await using edge = await edgeAnswering([{ status: 409, body: { code: 'TABLE_NOT_OURS', detail: 'users', hint: 'adopt it' } }], 0);
  expect(await syncNow(edge.url, signal)).toEqual({ status: 'Failed', code: 'TABLE_NOT_OURS', detail: 'users', hint: 'adopt it' });
});
