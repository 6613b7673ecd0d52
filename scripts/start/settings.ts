import { freePort, isPortFree } from '../ports.js';

export interface Settings {
  centralPort: number;
  edgePort: number;
  syncInterval: string;
}

/** A fault that the person at the terminal can mend; shown without a stack. */
export class StartError extends Error {}

/**
 * Reads CENTRAL_PORT, EDGE_PORT and SYNC_INTERVAL, and tries the ports, so that nothing is started in vain.
 * @throws StartError naming each port that will not do, and its variable
 */
export async function readSettings(env: NodeJS.ProcessEnv): Promise<Settings> {
  const central = { service: 'central-api', variable: 'CENTRAL_PORT', fallback: 8080 };
  const edge = { service: 'edge-service', variable: 'EDGE_PORT', fallback: 8081 };
  const [centralPort, edgePort] = [portOf(central.variable, central.fallback, env), portOf(edge.variable, edge.fallback, env)];
  if (centralPort === edgePort) throw new StartError(`CENTRAL_PORT and EDGE_PORT are both ${edgePort}: they must differ.`);

  const busy: string[] = [];
  for (const [{ service, variable }, port] of [
    [central, centralPort],
    [edge, edgePort],
  ] as const) {
    if (await isPortFree(port)) continue;
    busy.push(`Port ${port} for ${service} is in use, or not allowed. Choose another one: ${variable}=${await freePort()} npm start`);
  }
  if (busy.length > 0) throw new StartError(`${busy.join('\n')}\nOr is npm start running already?`);
  return { centralPort, edgePort, syncInterval: env['SYNC_INTERVAL'] || '5m' };
}

function portOf(variable: string, fallback: number, env: NodeJS.ProcessEnv): number {
  const text = env[variable] || String(fallback);
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535) throw new StartError(`${variable} must be a port from 1 to 65535, not ${text}.`);
  return port;
}
