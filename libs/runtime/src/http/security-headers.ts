import type { FastifyInstance } from 'fastify';

/** A year, as browsers' lists of such sites ask for at least. */
const HSTS = 'max-age=31536000';

/**
 * What answers tell a browser that comes here by mistake or by another site's doing: nothing in them is a page, a script, or to be kept. An answer that may
 * be kept says so itself.
 */
export const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
};

/** @param speaksTls browsers then never try plain HTTP again */
export function addSecurityHeaders(server: FastifyInstance, { speaksTls }: { speaksTls: boolean }): void {
  const headers = { ...SECURITY_HEADERS, ...(speaksTls ? { 'strict-transport-security': HSTS } : {}) };
  server.addHook('onRequest', (_request, reply, done) => {
    void reply.headers(headers);
    done();
  });
}
