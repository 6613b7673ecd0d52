import { Agent } from 'undici';
import { askCentral, countTableReads, lastTableReadAt } from './ask-central.js';
import { residentMemory, resetPeakMemory } from './process-stats.js';
import type { ServiceProcess } from './service-process.js';

/** Numbers that `mediansByName` can take. */
export interface FleetAnswers {
  /** Table snapshots that central read for it. */
  reads: number;
  totalMs: number;
  /** From the end of the last read to the last answer. */
  afterLastReadMs: number;
  /** Of central meanwhile; NaN where there is no /proc. */
  peakBytes: number;
}

/** MAC addresses of so many devices. */
export function fleetMacs(devices: number): string[] {
  return Array.from({ length: devices }, (_, at) => `02:00:00:00:${[at >> 8, at & 255].map(hexByte).join(':')}`);
}

/** Devices that hold what central has, each asking over a connection of its own at the same moment, after a change. */
export async function askAll(central: ServiceProcess, macs: readonly string[], change: () => Promise<void>): Promise<FleetAnswers> {
  const agent = new Agent({ connections: macs.length, headersTimeout: 0, bodyTimeout: 0 });
  try {
    const held = await Promise.all(macs.map((mac) => askCentral(central.url, { mac }, agent)));
    const bodies = held.map(({ device, epoch, sequence, manifestId }) => ({ mac: device.mac, have: { epoch, sequence, manifestId } }));
    await change();
    const readsBefore = await countTableReads(central.url);
    await resetPeakMemory(central.pid);
    central.takeLog();
    const startedAt = performance.now();
    const answers = await Promise.all(bodies.map((body) => askCentral(central.url, body, agent)));
    const totalMs = performance.now() - startedAt;
    const answeredAt = Date.now();
    const hashes = new Set(answers.map(({ tables }) => tables.map(({ sha256 }) => sha256).join()));
    if (hashes.size !== 1) throw new Error('Devices of one scope got different tables.');
    return {
      reads: (await countTableReads(central.url)) - readsBefore,
      totalMs,
      afterLastReadMs: answeredAt - lastTableReadAt(central.takeLog()),
      peakBytes: (await residentMemory(central.pid))?.peakBytes ?? NaN,
    };
  } finally {
    await agent.destroy();
  }
}

function hexByte(value: number): string {
  return value.toString(16).padStart(2, '0');
}
