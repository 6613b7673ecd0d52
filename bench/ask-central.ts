import type { Manifest } from '@waypost/contracts';
import { type Dispatcher, request } from 'undici';
import type { LogLine } from './service-process.js';

/** One device's request, as it goes over the wire. @throws Error when it is not answered with a manifest */
export async function askCentral(url: string, body: { mac: string; have?: object }, dispatcher?: Dispatcher): Promise<Manifest> {
  const answer = await request(`${url}/api/device-sync/request`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...(dispatcher ? { dispatcher } : {}),
  });
  const text = await answer.body.text();
  if (answer.statusCode !== 200) throw new Error(`${body.mac} got ${answer.statusCode}: ${text}`);
  return (JSON.parse(text) as { manifest: Manifest }).manifest;
}

/** Table snapshots that central has read from its database so far, whole or in part. */
export async function countTableReads(url: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const reads = text.split('\n').filter((line) => /^waypost_central_table_snapshots_total\{.*source="(built|changed)"/.test(line));
  if (reads.length === 0) throw new Error(`${url}/metrics does not count table snapshots`);
  return reads.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

/** When the last of these reads ended, by central's log: milliseconds since 1970. */
export function lastTableReadAt(log: readonly LogLine[]): number {
  return Math.max(
    ...log.flatMap((line) => (line['msg'] === 'snapshot built' && line['built'] !== 0 ? [Date.parse(String(line['time']))] : [])),
  );
}
