import { type ErrorCode, WaypostError } from '@waypost/contracts';
import { type Finding, hasBad } from '../read/findings.js';

/** Meaning of the exit status, as docs/cli.md promises it. */
export const ExitCode = {
  /** Nothing wrong. */
  ok: 0,
  /** The answer is bad: drift, an unhealthy fleet, a plan that does not fit, no such device or manifest. */
  finding: 1,
  /** The command line or the configuration is wrong. */
  usage: 2,
  /** There is no answer: database or central not reached, out of time, something unexpected. */
  unreachable: 3,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

const USAGE: ReadonlySet<ErrorCode> = new Set([
  'CONFIG_INVALID',
  'MAC_INVALID',
  'NAME_INVALID',
  'REQUEST_INVALID',
  'API_KEY_REQUIRED',
  'API_KEY_INVALID',
  'API_KEY_RIGHT_MISSING',
]);
/** These answer the question: there is no such device, the plan is wrong. */
const FINDINGS: ReadonlySet<ErrorCode> = new Set([
  'DEVICE_UNKNOWN',
  'DEVICE_INACTIVE',
  'DEVICE_AMBIGUOUS',
  'PLAN_INVALID',
  'MANIFEST_UNKNOWN',
  'MANIFEST_NOT_YOURS',
  'MANIFEST_INVALID',
  'KEY_NOT_UNIQUE',
  'ROW_TOO_LARGE',
]);

export function exitCodeOf(error: unknown): ExitCode {
  if (!(error instanceof WaypostError)) return ExitCode.unreachable;
  if (USAGE.has(error.code)) return ExitCode.usage;
  return FINDINGS.has(error.code) ? ExitCode.finding : ExitCode.unreachable;
}

/** 1 where a finding is bad; a warning alone must not wake an operator. */
export function exitCodeFor(findings: readonly Finding[]): ExitCode {
  return hasBad(findings) ? ExitCode.finding : ExitCode.ok;
}
