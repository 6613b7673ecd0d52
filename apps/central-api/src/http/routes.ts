import type { Right } from '@waypost/contracts';
import type { FastifyRequest, RouteOptions } from 'fastify';

/**
 * Who may send a request.
 * `public`: anyone; what the route needs to know of the client is in the body.
 * `probe`: anyone, at both addresses of central.
 * `health`: likewise; only operators get the details.
 * `device`: an enrolled device, which shows its access token. With AUTH=mac also one that has never enrolled, which names its MAC.
 * `key`: a program with an API key that has this right. For `metrics` also METRICS_TOKEN; without that token, anyone on the operators' listener, which is
 * the public one unless ADMIN_PORT is set.
 */
export type Access = 'public' | 'probe' | 'health' | 'device' | { key: Right };

/** Every route, and who may use it. Central does not start with a route that is missing here. */
export const ROUTES: Readonly<Record<string, Access>> = {
  'GET /healthz': 'probe',
  'GET /health': 'health',
  'GET /metrics': { key: 'metrics' },
  'GET /api/status': { key: 'status' },
  'POST /api/devices/enroll': 'public',
  'POST /api/auth/token': 'public',
  'POST /api/device-sync/request': 'device',
  'GET /api/device-sync/manifests/:manifestId': 'device',
  'GET /api/device-sync/manifests/:manifestId/tables/:table/chunks': 'device',
  'GET /api/device-sync/manifests/:manifestId/tables/:table/delta': 'device',
  'POST /api/device-sync/manifests/:manifestId/tables/:table/delta': 'device',
  'GET /api/device-sync/trust/:version': 'device',
  'POST /api/device-sync/ack': 'device',
  'GET /api/ledger/checkpoint': 'device',
  'GET /api/ledger/key': 'device',
  'GET /api/ledger/tile/*': 'device',
  'GET /api/ledger/proof/consistency': 'device',
  'GET /api/ledger/proof/inclusion': 'device',
  'POST /api/ledger/forks': 'device',
};

/** Hook for each route. @throws Error for one that is not in the table */
export function mustBeListed({ method, url }: RouteOptions): void {
  for (const one of [method].flat()) {
    if (!(routeOf(one, url) in ROUTES)) throw new Error(`${one} ${url} is in no table of routes: add it to http/routes.ts`);
  }
}

/** Undefined where there is no such route: the answer is 404. Decided by the route that was found, never by the URL as it was written. */
export function accessOf({ method, routeOptions: { url } }: FastifyRequest): Access | undefined {
  return url === undefined ? undefined : ROUTES[routeOf(method, url)];
}

/** The right that a route's program needs. */
export function rightOf(request: FastifyRequest): Right | undefined {
  const access = accessOf(request);
  return typeof access === 'object' ? access.key : undefined;
}

/** HEAD gets what GET does. */
function routeOf(method: string, url: string): string {
  return `${method === 'HEAD' ? 'GET' : method} ${url}`;
}
