import { WaypostError } from '@waypost/contracts';
import type { FastifyRequest } from 'fastify';

/**
 * Refuses what a page of another site makes a browser on this machine send (CSRF): browsers say it in Sec-Fetch-Site, older ones in Origin. Programs send
 * neither, and are let through. The rules are those of Go's `http.CrossOriginProtection`.
 * @throws WaypostError REQUEST_CROSS_SITE
 */
export async function refuseCrossSite({ method, headers }: FastifyRequest): Promise<void> {
  if (['GET', 'HEAD', 'OPTIONS'].includes(method)) return;
  const { 'sec-fetch-site': site, origin, host } = headers;
  // A browser lets no page set this header.
  if (site === 'same-origin' || site === 'none') return;
  if (site === undefined && (origin === undefined || URL.parse(origin)?.host === host)) return;
  throw new WaypostError('REQUEST_CROSS_SITE');
}
