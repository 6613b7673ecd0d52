import type { SideCommands } from '@waypost/command-line';

export { runCommand } from '@waypost/command-line';

/** What `waypost` can do at central's database. */
export const commands: SideCommands = {
  devices: async () => (await import('./devices.js')).devices,
  history: async () => (await import('./history.js')).history,
  manifest: async () => (await import('./manifest.js')).manifest,
  diff: async () => (await import('./diff.js')).diff,
  'device add': async () => (await import('./device.js')).deviceAdd,
  'device approve': async () => (await import('./device.js')).deviceApprove,
  'device list': async () => (await import('./device.js')).deviceList,
  'device show': async () => (await import('./device.js')).deviceShow,
  'device rotate': async () => (await import('./device.js')).deviceRotate,
  'device revoke': async () => (await import('./device.js')).deviceRevoke,
  'key add': async () => (await import('./key.js')).keyAdd,
  'key list': async () => (await import('./key.js')).keyList,
  'key show': async () => (await import('./key.js')).keyShow,
  'key revoke': async () => (await import('./key.js')).keyRevoke,
  'plan check': async () => (await import('./plan.js')).planCheck,
  'plan explain': async () => (await import('./plan.js')).planExplain,
  'capture show': async () => (await import('./capture.js')).captureShow,
  'capture install': async () => (await import('./capture.js')).captureInstall,
  'capture remove': async () => (await import('./capture.js')).captureRemove,
  'capture trust': async () => (await import('./capture.js')).captureTrust,
  'store check': async () => (await import('./store.js')).storeCheck,
  release: async () => (await import('./release.js')).release,
  'keys show': async () => (await import('./keys.js')).keysShow,
  'keys rotate': async () => (await import('./keys.js')).keysRotate,
  'keys export-root': async () => (await import('./keys.js')).keysExportRoot,
  'certs init': async () => (await import('./certs.js')).certsInit,
  'certs server': async () => (await import('./certs.js')).certsServer,
  'certs renew': async () => (await import('./certs.js')).certsRenew,
  'ledger verify': async () => (await import('./ledger.js')).ledgerVerify,
  'ledger export': async () => (await import('./ledger.js')).ledgerExport,
  'ledger check': async () => (await import('./ledger.js')).ledgerCheck,
  status: async () => (await import('./status.js')).status,
};
