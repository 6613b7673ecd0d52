import { WaypostError } from '@waypost/contracts';

export function shuttingDown(): WaypostError {
  return new WaypostError('SHUTTING_DOWN', { detail: 'The service is stopping; the cycle was aborted, and the next one resumes.' });
}

/** The promise's outcome, or SHUTTING_DOWN as soon as the signal fires, whatever becomes of the promise then. */
export async function raceAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: stopped, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(shuttingDown());
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  promise.catch(() => undefined);
  try {
    return await Promise.race([stopped, promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
