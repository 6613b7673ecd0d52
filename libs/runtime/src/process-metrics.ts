import { collectDefaultMetrics, Registry } from 'prom-client';

/** Gauges that are named as if they were counters, and lists of handles that grow with the connections: nobody needs them. */
const LEFT_OUT = ['requests', 'requests_total', 'handles', 'handles_total', 'resources_total'].map((name) => `nodejs_active_${name}`);

/** A registry with what Node tells of its process: CPU, memory, heap, garbage collections, event loop lag, open files. */
export function createRegistry(service: string): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const name of LEFT_OUT) registry.removeSingleMetric(name);
  registry.setDefaultLabels({ service });
  return registry;
}
