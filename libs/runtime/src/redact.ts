const CENSORED = '[redacted]';

/** Names of members whose values nobody may read in a log, whatever holds them: headers, settings, options of clients. */
const SECRET_NAME =
  /^(proxy-)?authorization$|^(set-)?cookie$|passw(or)?d|passphrase|secret|token|api[-_]?key|credential|private[-_]?key|^(database|central|seq)[-_]?url$|connection[-_]?string|otlp[-_]?(traces[-_]?)?headers$/i;

/** Within texts: what comes before a secret, and the secret. */
const SECRET_TEXTS: readonly RegExp[] = [
  // The last @ of the word: an unescaped password may hold others.
  /(\b[a-z][a-z0-9+.-]*:\/\/[^\s:/@"']*:)([^\s"']*)(?=@)/gi,
  /(\b(?:proxy-)?authorization["']?\s*[:=]\s*["']?(?:basic|bearer|digest)?\s*)([^\s"',;]+)/gi,
  /(\b(?:basic|bearer)\s+)([A-Za-z0-9+/_.=-]{8,})/gi,
  /(\b(?:set-)?cookie["']?\s*[:=]\s*["']?)([^\r\n"']+)/gi,
  /(\b[\w-]*(?:passw(?:or)?d|passphrase|secret|token|api[-_]?key)["']?\s*[:=]\s*)('[^']*'|"[^"]*"|[^\s"'&,;]+)/gi,
];

/** What a line must hold to be looked at closely: nearly none does. */
const SUSPICIOUS =
  /passw(or)?d|passphrase|secret|token|authorization|cookie|api[-_]?key|credential|private[-_]?key|connection[-_]?string|headers|(database|central|seq)[-_]?url|basic |bearer |:\/\/[^\s"]*@/i;

/** What JSON leaves as it is, though terminals and readers of lines act on it: DEL, C1, line and paragraph separators, changes of direction. */
const UNSAFE = /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;

/**
 * A line of the log as it may be seen: one JSON object, one line, without secrets.
 * Objects are searched to any depth; texts for passwords in URLs, credentials in headers and in settings.
 */
export function redactLine(line: string): string {
  const seen = SUSPICIOUS.test(line) ? redactJson(line) : line;
  return seen.replace(UNSAFE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

export function redactText(text: string): string {
  return SECRET_TEXTS.reduce((result, pattern) => result.replace(pattern, `$1${CENSORED}`), text);
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
  return isText ? redactText(value) : value;
}
