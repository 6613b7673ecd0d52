import type { SideCommands } from '@waypost/command-line';

export { runCommand } from '@waypost/command-line';

/** What `waypost` can do at a device. */
export const commands: SideCommands = {
  verify: async () => (await import('./verify.js')).verify,
  adopt: async () => (await import('./adopt.js')).adopt,
  status: async () => (await import('./status.js')).status,
};
