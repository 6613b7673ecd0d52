import { exitCodeFor } from '@waypost/command-line';
import type { Query } from '@waypost/runtime';
import { assessFleet } from './assess-fleet.js';
import { deviceData, type Thresholds } from './devices.js';
import { type FleetFacts, readFleet } from './fleet.js';

/** The JSON form of a fleet. */
export function fleetData(fleet: FleetFacts): object {
  return { ...fleet, worst: fleet.worst.map(deviceData) };
}

/** The fleet as central's database has it, and what is wrong with it: `ok` is false where an operator should act now. */
export async function readFleetReport(query: Query, thresholds: Thresholds): Promise<object> {
  const fleet = await readFleet(query, thresholds);
  const findings = assessFleet(fleet, null, null);
  return { side: 'central', ok: exitCodeFor(findings) === 0, findings, ...fleetData(fleet) };
}
