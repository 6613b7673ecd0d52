import { isLoopback } from '@waypost/contracts';
import { httpUrl } from '@waypost/runtime';
import { z } from 'zod';

/** Variables that say where central is, and what must be true of it. */
export const centralShape = {
  CENTRAL_URL: httpUrl.describe('Address of central, such as `https://central.example`'),
  CENTRAL_CA: z
    .string()
    .optional()
    .describe(
      'Path of a file in PEM: only authorities in it may sign [central’s certificate](deploy.md#tls). By default those of the system',
    ),
  CENTRAL_FINGERPRINT: z
    .string()
    .transform(readFingerprint)
    .optional()
    .describe('In place of authorities: SHA-256 of central’s certificate, or of an authority that it sends along, in hex'),
  ALLOW_INSECURE: z
    .enum(['true', 'false'], { error: 'must be true or false' })
    .prefault('false')
    .transform((text) => text === 'true')
    .describe('`true`: `CENTRAL_URL` may be plain HTTP to another machine, where others on the network may read and change rows'),
};

export type CentralVariables = z.infer<z.ZodObject<typeof centralShape>>;

/** 64 hex digits in lower case. With colons it is what OpenSSL and `waypost certs` print. */
function readFingerprint(text: string, context: z.RefinementCtx): string {
  const digits = text.trim().replaceAll(':', '').toLowerCase();
  if (/^[0-9a-f]{64}$/.test(digits)) return digits;
  context.addIssue({ code: 'custom', message: 'must be a SHA-256 fingerprint: 64 hex digits, with or without colons' });
  return z.NEVER;
}

/** What is wrong with these variables together. */
export function checkCentral(given: Partial<CentralVariables>, context: z.RefinementCtx): void {
  const complain = (name: keyof CentralVariables, message: string): void => context.addIssue({ code: 'custom', path: [name], message });
  const { CENTRAL_CA: ca, CENTRAL_FINGERPRINT: fingerprint } = given;
  if (ca !== undefined && fingerprint !== undefined) complain('CENTRAL_FINGERPRINT', 'stands beside CENTRAL_CA: set one of the two');
  const url = URL.parse(given.CENTRAL_URL ?? '');
  if (url?.protocol !== 'http:') return;
  if (ca !== undefined) complain('CENTRAL_CA', 'needs an https:// CENTRAL_URL: without TLS it protects nothing');
  if (fingerprint !== undefined) complain('CENTRAL_FINGERPRINT', 'needs an https:// CENTRAL_URL: without TLS it protects nothing');
  if (given.ALLOW_INSECURE === true || isLoopback(url)) return;
  complain(
    'CENTRAL_URL',
    'is plain HTTP to another machine: write https://, or set ALLOW_INSECURE=true where no other machine is on the network',
  );
}

/** The variables alone, for what is not the service. */
export const centralSchema = z.object(centralShape).superRefine(checkCentral, { when: () => true });
