/**
 * Loaded into each service (node --import) that npm start runs: when npm start is gone, however it ended, the service stops as by SIGTERM.
 * Else a killed npm start would leave services behind that hold the ports.
 */
const HARD_EXIT_MS = 15_000;

process.on('disconnect', () => {
  setTimeout(() => process.exit(1), HARD_EXIT_MS).unref();
  process.kill(process.pid, 'SIGTERM');
});
// Waiting for that must not keep the process alive.
process.channel?.unref();
