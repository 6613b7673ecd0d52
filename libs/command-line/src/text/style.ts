import { styleText } from 'node:util';

/** The meaning of each colour. */
const TONES = { good: 'green', bad: 'red', warn: 'yellow', dim: 'dim', strong: 'bold' } as const;
export type Tone = keyof typeof TONES;

/** Paints a text that is already safe to print. */
export type Paint = (tone: Tone, text: string) => string;

export const plain: Paint = (_, text) => text;

/** Colours where the stream is a terminal with colours, and NO_COLOR is not set. */
export function paintFor(stream: NodeJS.WriteStream): Paint {
  return (tone, text) => styleText(TONES[tone], text, { stream, validateStream: true });
}

const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/**
 * A value from a database, safe to print: the audit stores any text that a client sent as a MAC address or an error, and terminals obey
 * control characters.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
