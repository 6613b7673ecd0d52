import type { CommandContext } from '@waypost/command-line';
import type { Thresholds } from '../read-models/devices.js';

/** As the environment sets them for central. @throws WaypostError CONFIG_INVALID */
export function thresholdsOf(context: CommandContext): Thresholds {
  return { staleMs: context.setting('DEVICE_STALE_AFTER', '1h'), silentMs: context.setting('DEVICE_SILENT_AFTER', '24h') };
}
