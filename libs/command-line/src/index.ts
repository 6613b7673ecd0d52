export * from './read/database.js';
export { DEVICE_STATES, type DeviceState } from './read/device-states.js';
export type { Finding } from './read/findings.js';
export { type Send, sendBy } from './read/send.js';
export * from './read/service.js';

export * from './text/format.js';
export { type Paint, printable } from './text/style.js';
export { type Cell, renderFacts } from './text/table.js';
export * from './text/verdict.js';

export * from './run/command.js';
export { ExitCode, exitCodeFor } from './run/exit-codes.js';
export { runCommand, runCommandLine, type SideCommands } from './run/run.js';
