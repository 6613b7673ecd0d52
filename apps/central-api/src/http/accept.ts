/**
 * Whether an Accept or Accept-Encoding header names exactly this token, and not with the weight 0 (RFC 9110). Wildcards do not count: they say what a
 * client can bear, not what it knows.
 */
export function accepts(header: string | undefined, token: string): boolean {
  return (header ?? '')
    .toLowerCase()
    .split(',')
    .map((part) => part.split(';').map((word) => word.trim()))
    .some(([name, ...parameters]) => name === token && weightOf(parameters) > 0);
}

function weightOf(parameters: readonly string[]): number {
  const weight = parameters.find((parameter) => parameter.startsWith('q='))?.slice('q='.length);
  return weight === undefined ? 1 : Number(weight);
}
