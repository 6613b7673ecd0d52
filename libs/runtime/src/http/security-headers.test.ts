import { fastify } from 'fastify';
import { addSecurityHeaders } from './security-headers.js';

async function headersOf(url: string, { speaksTls = false } = {}) {
  const server = fastify();
  addSecurityHeaders(server, { speaksTls });
  server.get('/plain', () => ({}));
  server.get('/kept', (_request, reply) => reply.header('cache-control', 'private, immutable').send({}));
  server.get('/broken', () => {
    throw new Error('broken');
  });
  const { headers } = await server.inject(url);
  await server.close();
  return headers;
}

test.each(['/plain', '/broken', '/missing'])('%s tells a browser to do nothing with it, and not to keep it', async (url) => {
  expect(await headersOf(url)).toMatchObject({
    'x-content-type-options': 'nosniff',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
  });
});

test('an answer that may be kept says so itself', async () => {
  expect((await headersOf('/kept'))['cache-control']).toBe('private, immutable');
});

test('only a server that speaks TLS asks for TLS from then on', async () => {
  expect(await headersOf('/plain')).not.toHaveProperty('strict-transport-security');
  expect((await headersOf('/plain', { speaksTls: true }))['strict-transport-security']).toMatch(/^max-age=\d{8,}$/);
});
