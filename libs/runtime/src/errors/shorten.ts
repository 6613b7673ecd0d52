/** Of the detail of a refusal that repeats parts of a request. */
export const MAX_DETAIL_CHARS = 2048;

/** Cuts a text that came from outside. Remove secrets first: half of a secret is no longer recognized as one. */
export function shorten(text: string, maxChars: number): string {
  return text.length <= maxChars ? text : `${text.slice(0, maxChars)}… (${text.length - maxChars} more characters)`;
}
