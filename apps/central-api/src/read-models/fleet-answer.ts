import { askService, DEVICE_STATES, refusalOf, type Send } from '@waypost/command-line';
import { WaypostError } from '@waypost/contracts';
import { z } from 'zod';

/** What commands show of an answer to GET /api/status; it holds more. */
const fleetAnswerSchema = z.looseObject({
  findings: z.array(z.object({ severity: z.enum(['bad', 'warn']), what: z.string(), next: z.string() })),
  devices: z.record(z.enum(DEVICE_STATES), z.number()),
  epoch: z.string().nullable(),
  sequence: z.number(),
  liveManifests: z.number(),
  lastRequestAgeMs: z.number().nullable(),
  lastRequests: z.array(
    z.object({
      at: z.string(),
      mac: z.string().nullable(),
      operation: z.string(),
      status: z.string(),
      reason: z.string().nullable(),
      manifestId: z.string().nullable(),
      durationMs: z.number(),
    }),
  ),
});
export type FleetAnswer = z.infer<typeof fleetAnswerSchema>;

/**
 * The fleet as a running central tells it to who shows a key with the right `status`.
 * @returns undefined where that address has no such route: beside ADMIN_PORT the public one has none
 * @throws WaypostError as askService; API_KEY_INVALID, API_KEY_RIGHT_MISSING, TOO_MANY_REQUESTS; CENTRAL_REFUSED for an answer of another form
 */
export async function askFleet(url: string, send: Send): Promise<FleetAnswer | undefined> {
  const answer = await askService(url, '/api/status', '--url', send);
  if (answer.status === 404) return undefined;
  const refusal = refusalOf(answer);
  if (refusal) throw refusal;
  const parsed = fleetAnswerSchema.safeParse(answer.body);
  if (answer.ok && parsed.success) return parsed.data;
  throw new WaypostError('CENTRAL_REFUSED', {
    detail: `${url}/api/status answered ${answer.status}, not with the fleet as this version knows it.`,
    hint: 'Use the command of the same version as central.',
  });
}
