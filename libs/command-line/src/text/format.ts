const UNITS: readonly (readonly [suffix: string, ms: number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
];

/** A span in its two largest units: `34 h 12 min`, `3 d 4 h`, `12 s`. */
export function formatSpan(ms: number): string {
  const sign = ms < 0 ? '-' : '';
  let rest = Math.abs(ms);
  if (rest < 1000) return `${sign}${Math.round(rest)} ms`;
  const at = UNITS.findIndex(([, unitMs]) => rest >= unitMs);
  const parts: string[] = [];
  for (const [suffix, unitMs] of UNITS.slice(at, at + 2)) {
    const count = Math.floor(rest / unitMs);
    rest -= count * unitMs;
    if (count > 0) parts.push(`${count} ${suffix}`);
  }
  return sign + parts.join(' ');
}

/** `2026-11-21 03:04:05Z`: as logs and SQL write it, to the second. */
export function formatTime(time: Date | string): string {
  return new Date(time)
    .toISOString()
    .replace('T', ' ')
    .replace(/\.\d+Z$/, 'Z');
}

/** `1.2 MB`; powers of ten, as links and disks are sold. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = bytes;
  let at = 0;
  while (Math.abs(value) >= 1000 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${at === 0 ? value : value.toFixed(1)} ${units[at]}`;
}

export function formatCount(count: number): string {
  return count.toLocaleString('en-US');
}

/** `+12`, `-3`, `0`. */
export function formatDelta(delta: number): string {
  return `${delta > 0 ? '+' : ''}${formatCount(delta)}`;
}

/** Enough of a hash to tell two apart; --json has all of it. */
export function shortHash(sha256: string): string {
  return sha256.slice(0, 12);
}

/** `1 device`, `2 devices`. */
export function plural(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}
