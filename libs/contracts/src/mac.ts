import { WaypostError } from './errors.js';

const SIX_PAIRS = /^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/;
const THREE_QUADS = /^[0-9a-f]{4}([.:-])[0-9a-f]{4}\1[0-9a-f]{4}$/;
const TWO_HALVES = /^[0-9a-f]{6}[:-][0-9a-f]{6}$/;
const BARE = /^[0-9a-f]{12}$/;

/**
 * Brings a MAC address of any usual notation (`48:B0:2D:E9:C3:B7`, `48-b0-2d-e9-c3-b7`, `48b0.2de9.c3b7`, `48b02d:e9c3b7`, `48b02de9c3b7`)
 * to the one that Waypost stores and binds: lower case, six pairs, colons.
 * @throws WaypostError MAC_INVALID
 */
export function normalizeMac(input: string): string {
  const text = input.trim().toLowerCase();
  const known = [SIX_PAIRS, THREE_QUADS, TWO_HALVES, BARE].some((form) => form.test(text));
  const mixed = text.includes(':') && text.includes('-');
  if (!known || mixed) {
    throw new WaypostError('MAC_INVALID', { detail: `${JSON.stringify(input.slice(0, 64))} is not a MAC address.` });
  }
  const digits = text.replace(/[^0-9a-f]/g, '');
  return (digits.match(/../g) as string[]).join(':');
}
