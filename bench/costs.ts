import { measure } from './measure.js';
import type { Services, SyncAnswer } from './services.js';
import { medianOf, type Spread, spreadOf } from './statistics.js';

/** What one sync took, or what is measured beside it. */
export interface Cost {
  ms: number;
  /** Over the wire, both ways. */
  bytes?: number;
  /** CPU time of central's process; absent where there is no /proc. */
  centralCpuMs?: number;
}

/** Of several; bytes and CPU time are medians. */
export interface CostSpread extends Omit<Cost, 'ms'> {
  ms: Spread;
}

/** One cycle, from its request to its answer, which comes after central has the acknowledgement. Bytes are known of services that were started `counted`. */
export async function measureSync(services: Services): Promise<{ answer: SyncAnswer; cost: Cost }> {
  return measureRequest(services, () => services.postSync());
}

/** As measureSync, of what is asked of the edge. */
export async function measureRequest<Answer>(services: Services, ask: () => Promise<Answer>): Promise<{ answer: Answer; cost: Cost }> {
  services.wire?.takeBytes();
  const { result: answer, ms, cpuSeconds } = await measure({ central: services.central.pid }, ask);
  const cost: Cost = { ms };
  if (services.wire) cost.bytes = services.wire.takeBytes();
  if (cpuSeconds['central'] !== undefined) cost.centralCpuMs = cpuSeconds['central'] * 1000;
  return { answer, cost };
}

/** What all of them took together; the first one says what is known. */
export function sumOf(costs: readonly Cost[]): Cost {
  const names = Object.keys(costs[0] ?? {}) as (keyof Cost)[];
  return Object.fromEntries(names.map((name) => [name, costs.reduce((sum, cost) => sum + (cost[name] ?? NaN), 0)])) as unknown as Cost;
}

/** Costs by what they are of, collected over rounds. */
export class Costs {
  private readonly samples: Record<string, Cost[]> = {};

  add(name: string, cost: Cost): void {
    (this.samples[name] ??= []).push(cost);
  }

  spreads(): Record<string, CostSpread> {
    return Object.fromEntries(Object.entries(this.samples).map(([name, costs]) => [name, spreadCosts(costs)]));
  }
}

function spreadCosts(costs: readonly Cost[]): CostSpread {
  const spread: CostSpread = { ms: spreadOf(costs.map(({ ms }) => ms)) };
  for (const name of ['bytes', 'centralCpuMs'] as const) {
    const values = costs.flatMap((cost) => cost[name] ?? []);
    if (values.length > 0) spread[name] = medianOf(values);
  }
  return spread;
}
