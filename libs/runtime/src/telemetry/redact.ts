import { shorten } from '../errors/shorten.js';

const CENSORED = '[redacted]';

/** Names of members whose values never appear in a log: headers, settings, options of clients. */
const SECRET_NAME =
  /^(proxy-)?authorization$|^(set-)?cookie$|passw(or)?d|passphrase|secret|token|api[-_]?key|credential|private[-_]?key|^(database|central|seq)[-_]?url$|connection[-_]?string|otlp[-_]?(traces[-_]?)?headers$/i;

/*
 * Texts come from outside, so every pattern takes time linear in the text: a repetition is either bounded, or cannot contain the beginning of
 * another match, so that no character is visited once per beginning.
 */

/** Within texts: what comes before a secret, and the secret. Passwords in URLs: `redactUrl`. */
const SECRET_TEXTS: readonly RegExp[] = [
  /(\b(?:proxy-)?authorization["']?\s*[:=]\s*["']?(?:(?:basic|bearer|digest)\s*)?)([^\s"',;]+)/gi,
  /(\b(?:basic|bearer)\s+)([A-Za-z0-9+/_.=-]{8,})/gi,
  /(\b(?:set-)?cookie["']?\s*[:=]\s*["']?)([^\r\n"']+)/gi,
  // Waypost's own secrets and JWTs, whatever stands before them.
  /(wp[ek]_)([\w-]{8,})/g,
  /(eyJ)([\w-]{8,300}\.[\w-]*\.[\w-]*)/g,
  /(-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----)([^-]+)/g,
  /((?:passw(?:or)?d|passphrase|secret|token|api[-_]?key)["']?\s*[:=]\s*)('[^']*'|"[^"]*"|[^\s"'&,;]+)/gi,
];

/** Only lines that match are searched for secrets; nearly none does. */
const SUSPICIOUS =
  /passw(or)?d|passphrase|secret|token|authorization|cookie|api[-_]?key|credential|private[-_]?key|connection[-_]?string|headers|(database|central|seq)[-_]?url|basic |bearer |wp[ek]_|eyJ|PRIVATE KEY|:\/\/[^\s":/@]*:/i;

/** Characters that JSON does not escape but terminals and line readers act on: DEL, C1, line and paragraph separators, changes of direction. */
const UNSAFE = /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;

/** Secrets of this process's settings. A shorter one would be found in words that are none. */
const OWN_SECRETS = new Set<string>();
const MIN_OWN_CHARS = 12;

/** From now on the secrets among these settings, and the passwords in their URLs, are cut out of every text, wherever they stand. */
export function hideSecretsOf(settings: object): void {
  for (const [name, value] of Object.entries(settings)) {
    if (typeof value !== 'string' || !SECRET_NAME.test(name)) continue;
    const secret = URL.canParse(value) ? decodeURIComponent(URL.parse(value)?.password ?? '') : value;
    if (secret.length >= MIN_OWN_CHARS) OWN_SECRETS.add(secret);
  }
}

function withoutOwnSecrets(text: string): string {
  let rest = text;
  for (const secret of OWN_SECRETS) rest = rest.replaceAll(secret, CENSORED);
  return rest;
}

/** Longest text in a line: enough for a stack with its causes, too little for a request's body. */
export const MAX_TEXT_CHARS = 8192;

/**
 * A log line that is safe to show: one JSON object, one line, without secrets, no text longer than MAX_TEXT_CHARS and a note of how much is missing.
 * Objects are searched to any depth; texts for passwords in URLs, credentials in headers and in settings. Takes time linear in the line.
 */
export function redactLine(line: string): string {
  const own = withoutOwnSecrets(line);
  const seen = own.length > MAX_TEXT_CHARS || SUSPICIOUS.test(own) ? redactJson(own) : own;
  return seen.replace(UNSAFE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** A text without secrets, in time linear in its length. */
export function redactText(text: string): string {
  const rest = withoutOwnSecrets(text);
  const withoutPasswords = rest.includes('://') ? rest.replace(/[^\s"']+/g, redactUrl) : rest;
  return SECRET_TEXTS.reduce((result, pattern) => result.replace(pattern, `$1${CENSORED}`), withoutPasswords);
}

/** Cuts the password out of a URL in a word. The password ends at the word's last @: an unescaped one may contain @. */
function redactUrl(word: string): string {
  const at = word.lastIndexOf('@');
  if (at < 0) return word;
  const user = /[a-z0-9+.-]:\/\/[^:/@]*:/i.exec(word);
  const start = user ? user.index + user[0].length : at;
  return start < at ? `${word.slice(0, start)}${CENSORED}${word.slice(at)}` : word;
}

function redactJson(line: string): string {
  try {
    return `${JSON.stringify(JSON.parse(line, redactMember))}\n`;
  } catch {
    return redactText(line);
  }
}

function redactMember(name: string, value: unknown): unknown {
  const isText = typeof value === 'string';
  if ((isText || (typeof value === 'object' && value !== null)) && SECRET_NAME.test(name)) return CENSORED;
  return isText ? shorten(redactText(value), MAX_TEXT_CHARS) : value;
}
