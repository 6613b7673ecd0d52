import { prettyFactory } from 'pino-pretty';

const toText = prettyFactory({ colorize: process.stdout.isTTY, singleLine: true, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss' });

/** JSON's escapes of what a terminal would act on: control characters but line feeds and tabs, other line ends, changes of direction. */
const UNSAFE_ESCAPES = /\\(\\|[rbf]|u00(?:[01]|[89])[0-9a-f]|u007f|u202[89a-e]|u206[6-9])/g;

/** A line of a service's log as people read it. Whatever a MAC or a table's name holds, it moves no cursor and forges no line. */
export function terminalText(line: string): string {
  return toText(line.replace(UNSAFE_ESCAPES, (whole, escaped: string) => (escaped === '\\' ? whole : `\\${whole}`))).trimEnd();
}
